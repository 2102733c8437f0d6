//! [`NftTable`]: an `inet` table of nftables as text, as `nft -f` reads it.

use std::fmt;

/// A table with its sets and chains. It prints as `nft list table` would show it.
#[derive(Debug)]
pub struct NftTable {
    name: &'static str,
    sets: String,
    chains: String,
    rules: usize,
}

impl NftTable {
    /// A table called `name`, without sets and chains.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            sets: String::new(),
            chains: String::new(),
            rules: 0,
        }
    }

    /// Adds the definition of a set, indented as it is to stand.
    pub fn set(&mut self, definition: &str) {
        self.sets.push_str(definition);
    }

    /// Begins a chain; it comes before the chains whose rules name it.
    pub fn open_chain(&mut self, name: &str) {
        self.chains.push_str(&format!("\tchain {name} {{\n"));
    }

    /// Adds the line of a base chain that names its hook, or a comment.
    pub fn line(&mut self, line: &str) {
        self.chains.push_str(&format!("\t\t{line}\n"));
    }

    /// Adds a rule to the chain that was begun last.
    pub fn rule(&mut self, rule: &str) {
        self.rules += 1;
        self.line(rule);
    }

    /// Ends the chain that was begun last.
    pub fn close_chain(&mut self) {
        self.chains.push_str("\t}\n");
    }

    /// How many rules were added.
    pub const fn rules(&self) -> usize {
        self.rules
    }

    /// The transaction that puts the table in the place of any of its name.
    pub fn replacement(&self) -> String {
        format!("{}\n{self}", Self::removal(self.name))
    }

    /// The transaction that removes the table called `name`, whether it is there or not: deleting a missing table is an
    /// error, adding a present one is not.
    pub fn removal(name: &str) -> String {
        format!("add table inet {name}\ndelete table inet {name}\n")
    }
}

impl fmt::Display for NftTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, sets, chains, ..
        } = self;
        write!(out, "table inet {name} {{\n{sets}{chains}}}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_counts_its_rules_and_not_its_other_lines() {
        let mut table = NftTable::new("x");
        assert_eq!(table.rules(), 0);
        table.open_chain("input");
        table.line("type filter hook input priority filter;");
        for _ in 0..3 {
            table.rule("accept");
        }
        table.close_chain();
        assert_eq!(table.rules(), 3);
        assert_eq!(
            table.to_string(),
            "table inet x {\n\tchain input {\n\t\ttype filter hook input priority filter;\n\
             \t\taccept\n\t\taccept\n\t\taccept\n\t}\n}\n"
        );
    }
}

//! Text for `nft -f`: words, sets and comments, escaped.
//!
//! nft has no escapes inside a quoted string, so a comment is made of characters that cannot end one.

use std::fmt;

use ipnet::IpNet;

use crate::address::PortSet;
use crate::address::{Family, PrefixSet};
use crate::verdict::Action;

/// The name of `meta nfproto` and of set types: `ipv4`.
pub const fn nfproto(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// The header of payload expressions: `ip daddr`.
pub const fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// A named set of prefixes of one family, as a block of a table: two levels of tabs, a comment line above.
#[derive(Debug, Clone, Copy)]
pub struct NftSet<'a> {
    /// Its name: letters, digits and `_`.
    pub name: &'a str,
    /// The comment above it, one line of text.
    pub comment: &'a str,
    /// The family of its type.
    pub family: Family,
    /// Its elements, at least one, all of the family.
    pub prefixes: &'a PrefixSet,
}

impl fmt::Display for NftSet<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixes: Vec<String> = self.prefixes.prefixes().map(prefix).collect();
        let elements = if prefixes.len() > MAX_ON_A_LINE {
            format!("\n\t\t\t{}\n\t\t", prefixes.join(",\n\t\t\t"))
        } else {
            format!(" {} ", prefixes.join(", "))
        };
        write!(
            out,
            "\t# {}\n\tset {} {{\n\t\ttype {}_addr\n\t\tflags interval\n\t\tauto-merge\n\t\telements = {{{elements}}}\n\t}}\n",
            self.comment,
            self.name,
            nfproto(self.family),
        )
    }
}

/// A prefix; one of a single address without its length.
pub fn prefix(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// Ports to compare with: one range by itself, several in braces.
pub fn one_or_set(ports: &PortSet) -> String {
    match ports.ranges() {
        [one] => one.to_string(),
        _ => format!("{{ {ports} }}"),
    }
}

/// The verdict statement of an action.
pub const fn accept_or_drop(action: Action) -> &'static str {
    match action {
        Action::Forward => "accept",
        Action::Drop => "drop",
    }
}

/// Any text as the content of a quoted comment: shortened to the kernel's limit, without characters that would end the
/// string or the line.
pub fn comment(text: &str) -> String {
    super::comment(text, MAX_COMMENT)
}

/// Prefixes of a set that stand on one line.
const MAX_ON_A_LINE: usize = 4;
/// Bytes of a comment (NFTNL_UDATA_COMMENT_MAXLEN, with its end).
const MAX_COMMENT: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_comment_ends_its_string_or_its_line() {
        let hostile = "a\"; drop\n\\ }\u{85}é".repeat(20);
        let comment = comment(&hostile);
        assert!(comment.len() <= MAX_COMMENT);
        assert!(!comment.contains(['"', '\\']) && !comment.chars().any(char::is_control));
    }

    #[test]
    fn a_comment_is_cut_between_characters() {
        // Two bytes each: the 127th byte would be half of one.
        assert_eq!(comment(&"é".repeat(100)), "é".repeat(63));
    }

    #[test]
    fn an_address_has_no_length_and_a_list_its_own_lines() {
        let set = |count: u8| -> PrefixSet {
            (0..count)
                .map(|at| IpNet::new([10, 0, at * 2, 1].into(), 32).expect("a length"))
                .collect()
        };
        let written = |count| {
            NftSet {
                name: "x_v4",
                comment: "x",
                family: Family::V4,
                prefixes: &set(count),
            }
            .to_string()
        };
        assert!(
            written(1).contains("elements = { 10.0.0.1 }"),
            "{}",
            written(1)
        );
        assert!(written(4).contains("elements = { 10.0.0.1, 10.0.2.1, 10.0.4.1, 10.0.6.1 }"));
        assert_eq!(
            written(5).matches("\n\t\t\t10.0.").count(),
            5,
            "{}",
            written(5)
        );
    }
}

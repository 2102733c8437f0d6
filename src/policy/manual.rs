//! [`manual`]: the reference of the policy file, written from the tables of its sections.

use std::fmt::Write as _;

use crate::policy::section::SECTIONS;
use crate::policy::syntax::{Absent, Form, Key, Kind, SectionTable};

/// The reference of the policy file in Markdown: every section with its keys. `docs/policy.md` is this text.
pub fn manual() -> String {
    let mut out = INTRODUCTION.to_owned();
    out.push_str("\n## Values\n\n| value | written as |\n|---|---|\n");
    for form in Form::ALL {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "| {} | {} |", form.names().0, form.rule());
    }
    for section in SECTIONS {
        write_section(&mut out, section, "##");
    }
    out
}

fn write_section(out: &mut String, section: &SectionTable, level: &str) {
    let _ = writeln!(
        out,
        "\n{level} `{}`\n\n{}\n",
        section.title(),
        section.meaning
    );
    out.push_str(
        "| key | type | default | meaning | example | since |\n|---|---|---|---|---|---|\n",
    );
    for key in section.keys {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | `{}` | {} |",
            key.name,
            type_of(key),
            default_of(key),
            key.meaning,
            key.example,
            key.since
        );
    }
    if !section.examples.is_empty() {
        let title = section.title();
        let examples = section.examples.iter();
        let examples: Vec<_> = examples.map(|body| format!("{title}\n{body}")).collect();
        let _ = writeln!(out, "\n```toml\n{}```", examples.join("\n"));
    }
    for key in section.keys {
        if let Kind::Tables(table) = key.kind {
            write_section(out, table, "###");
        }
    }
}

/// The type of a key in TOML's terms.
pub(super) fn type_of(key: &Key) -> String {
    let quoted = |words: Vec<&str>| {
        let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
        words.join(", ")
    };
    match key.kind {
        Kind::Text(form) => format!("string: {}", form.names().0),
        Kind::Texts(form) => format!("array of strings: {}", form.names().1),
        Kind::Word(words) => format!("string: {}", quoted(words())),
        Kind::Words(words) => format!("array of strings: {}", quoted(words())),
        Kind::Integer(first, last) => format!("integer, {first} to {last}"),
        Kind::Integers(first, last) => format!("array of integers, {first} to {last}"),
        Kind::Boolean => "`true` or `false`".to_owned(),
        Kind::Tables(table) => format!("array of tables: [`{}`](#{})", table.name, table.name),
    }
}

pub(super) fn default_of(key: &Key) -> String {
    match key.absent {
        Absent::Refused => "required".to_owned(),
        Absent::Value(value) => format!("`{value}`"),
        Absent::Otherwise(prose) => prose.to_owned(),
    }
}

const INTRODUCTION: &str = "\
<!-- generated from src/policy/section/; `OFFRAMP_GENERATE=1 cargo test --lib generated_` writes it -->

# The policy file

A policy is one TOML file. All sections but `[vpn]` may be absent, and so may every key that has a default. Sections in double
brackets may stand several times. An unknown section or key is an error, which names the nearest known one; `offramp check`
reports every mistake of a file at once. Tables 1 to 4 are those of Microsoft's article \"Enabling Lync Media to Bypass a VPN
Tunnel\". Verdicts, such as `media` or `hairpin`, are those of [verdicts.md](verdicts.md).

The smallest policy that moves calls off the tunnel:

```toml
[vpn]
interfaces = [\"tun0\"]
client_subnets = [\"172.16.1.0/24\"]

[corporate]
subnets = [\"10.0.0.0/8\"]
```

Complete policies are in `config/`.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_manual_of_the_policy_is_current() {
        crate::generated::assert_file("docs/policy.md", &manual());
    }
}

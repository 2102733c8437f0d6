//! [`page`]: the manual page of the policy file, offramp.toml(5), written from the tables of its sections.

use std::fmt::Write as _;

use crate::policy::section::SECTIONS;
use crate::policy::syntax::{Form, Key, Kind, SectionTable};

use super::manual::{default_of, type_of};

/// The manual page of the policy file in roff: what `docs/policy.md` says, for a terminal.
pub fn page() -> String {
    let mut out = format!(
        ".TH OFFRAMP.TOML 5 \"\" \"offramp {}\"\n.SH NAME\nofframp.toml \\- the policy of offramp\n.SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION")
    );
    out += &roff(
        "A policy is one TOML file. All sections but `[vpn]` may be absent, and so may every key that has a default. Sections in double \
         brackets may stand several times. `offramp check` reports every mistake of a file at once; a running gateway takes a changed file \
         by itself.",
    );
    out += "\n.SH VALUES\n";
    for form in Form::ALL {
        item(&mut out, form.names().0, &[form.rule().to_owned()]);
    }
    for section in SECTIONS {
        write_section(&mut out, section);
    }
    out += ".SH FILES\n";
    item(
        &mut out,
        "/etc/offramp/policy.toml",
        &["The policy of the service.".to_owned()],
    );
    out += ".SH SEE ALSO\n.BR offramp (1)\n";
    out
}

fn write_section(out: &mut String, section: &SectionTable) {
    // Writing to a String cannot fail, here and below.
    _ = writeln!(
        out,
        ".SH {}\n{}",
        roff(&section.title()),
        roff(section.meaning)
    );
    for key in section.keys {
        let facts = [
            key.meaning.to_owned(),
            format!("Type: {}. Default: {}.", type_of(key), default_of(key)),
            format!("Example: `{} = {}`", key.name, key.example),
        ];
        item(out, key.name, &facts);
    }
    for example in section.examples {
        _ = writeln!(
            out,
            ".PP\n.nf\n{}\n{}.fi",
            roff(&section.title()),
            lines(example)
        );
    }
    for Key { kind, .. } in section.keys {
        if let Kind::Tables(table) = kind {
            write_section(out, table);
        }
    }
}

/// A term, and what there is to say about it.
fn item(out: &mut String, term: &str, facts: &[String]) {
    _ = writeln!(out, ".TP\n.B {}", roff(term));
    for (at, fact) in facts.iter().enumerate() {
        let line_break = if at > 0 { ".br\n" } else { "" };
        _ = writeln!(out, "{line_break}{}", roff(fact));
    }
}

fn lines(text: &str) -> String {
    text.lines().map(|line| roff(line) + "\n").collect()
}

/// Markdown of one line as roff: code is bold, a link is its text, and nothing is a request.
fn roff(markdown: &str) -> String {
    let mut out = String::from("\\&");
    let mut is_code = false;
    let mut rest = markdown;
    while let Some(char) = rest.chars().next() {
        // A link: its target is a file that stands elsewhere.
        if let (false, Some((text, target))) = (is_code, link(rest)) {
            out += &roff(text);
            rest = &rest[text.len() + target.len() + "[]()".len()..];
            continue;
        }
        match char {
            '`' => {
                is_code = !is_code;
                out += if is_code { "\\fB" } else { "\\fR" };
            }
            '\\' => out += "\\e",
            '-' => out += "\\-",
            // Not every terminal, nor every groff, has more than ASCII.
            '\u{2026}' => out += "...",
            other if other.is_ascii() => out.push(other),
            other => _ = write!(out, "\\[u{:04X}]", u32::from(other)),
        }
        rest = &rest[char.len_utf8()..];
    }
    out
}

/// The text and the target of a link at the beginning of `markdown`.
fn link(markdown: &str) -> Option<(&str, &str)> {
    let (text, after) = markdown.strip_prefix('[')?.split_once("](")?;
    let (target, _) = after.split_once(')')?;
    (!text.contains(['[', ']'])).then_some((text, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_roff() {
        assert_eq!(roff("`a-b` is [it](x.md#y)."), "\\&\\fBa\\-b\\fR is \\&it.");
        assert_eq!(roff(".hidden 'C:\\x'"), "\\&.hidden 'C:\\ex'");
        assert_eq!(roff("[vpn]"), "\\&[vpn]");
    }

    #[test]
    fn every_section_and_key_is_there() {
        let page = page();
        for section in SECTIONS {
            assert!(
                page.contains(&format!(".SH {}\n", roff(&section.title()))),
                "{}",
                section.name
            );
            for key in section.keys {
                assert!(
                    page.contains(&format!(".B {}\n", roff(key.name))),
                    "{}",
                    key.name
                );
            }
        }
    }
}

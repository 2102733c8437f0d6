//! Mistakes that people make in policies: the lines written, and those that were meant. `docs/mistakes.md` is generated from
//! them, with the message that each gets; the tests hold that the first are refused and the second accepted.

mod cases;

use std::fmt::Write as _;

use self::cases::GROUPS;
use super::{Diagnostics, parse};

/// A mistake.
struct Mistake {
    /// Part of the policy before the lines.
    before: &'static str,
    /// The lines as they are written by mistake.
    written: &'static str,
    /// The lines that were meant.
    meant: &'static str,
}

/// Mistakes of one kind.
struct Group {
    title: &'static str,
    mistakes: &'static [Mistake],
}

/// A mistake in lines that are a whole policy.
const fn whole(written: &'static str, meant: &'static str) -> Mistake {
    let before = "";
    Mistake {
        before,
        written,
        meant,
    }
}

/// A mistake in lines beside a section `[vpn]`.
const fn beside(written: &'static str, meant: &'static str) -> Mistake {
    let before = VPN;
    Mistake {
        before,
        written,
        meant,
    }
}

/// Lines that every policy needs, for mistakes elsewhere.
const VPN: &str = "[vpn]\ninterfaces = [\"tun0\"]\nclient_subnets = [\"172.16.1.0/24\"]\n\n";

fn refusal(mistake: &Mistake) -> Diagnostics {
    let text = format!("{}{}\n", mistake.before, mistake.written);
    match parse("policy.toml", text.as_bytes()) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors,
    }
}

/// The page: a table for each group.
fn page() -> String {
    let mut out = INTRODUCTION.to_owned();
    for group in GROUPS {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "\n## {}\n", group.title);
        out.push_str("| written | message | meant |\n|---|---|---|\n");
        for mistake in group.mistakes {
            let errors = refusal(mistake);
            let first = errors.iter().next().expect("a refusal has an error");
            let mut message = prose(first.message());
            // Behind a "did you mean" are the keys or words that there are, which other pages have.
            let help = first.help().iter();
            for help in help.filter(|_| !first.message().contains("did you mean")) {
                let _ = write!(message, "<br>help: {}", prose(help));
            }
            let (written, meant) = (code(mistake.written), code(mistake.meant));
            let _ = writeln!(out, "| {written} | {message} | {meant} |");
        }
    }
    out
}

/// Lines as code in a cell of a table.
fn code(lines: &str) -> String {
    let lines: Vec<String> = lines.lines().map(|line| format!("`{line}`")).collect();
    lines.join("<br>").replace('|', "\\|")
}

/// A message in a cell of a table: what is code in it stays code, and nothing else is taken for Markdown.
fn prose(message: &str) -> String {
    let parts = message.split('`').enumerate().map(|(at, part)| {
        if at % 2 == 1 {
            return format!("`{part}`");
        }
        part.replace('*', "\\*")
            .replace('_', "\\_")
            .replace('<', "&lt;")
            .replace("](", "]\\(")
    });
    let text: String = parts.collect();
    text.replace('|', "\\|").replace('\n', "<br>")
}

const INTRODUCTION: &str = "\
<!-- generated from src/policy/mistakes/; `OFFRAMP_GENERATE=1 cargo test --lib generated_` writes it -->

# Mistakes in policies

The lines that people write, the first message that `offramp check` gives, and the lines that were meant. `check` reports all mistakes of a
file at once, each with its line underlined. A policy with a mistake is never taken: a start refuses it, and a reload keeps the policy in force.

A byte order mark, Windows line ends and tabs are no mistakes. A file has to be UTF-8: PowerShell's `>` writes UTF-16, which is refused.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_page_of_mistakes_is_current() {
        let mistakes = GROUPS.iter().map(|group| group.mistakes.len());
        assert!(mistakes.sum::<usize>() >= 36);
        crate::generated::assert_file("docs/mistakes.md", &page());
    }

    #[test]
    fn the_lines_that_were_meant_are_accepted() {
        for mistake in GROUPS.iter().flat_map(|group| group.mistakes) {
            // Lines that were meant in `[vpn]` have it.
            let before = if mistake.meant.contains("[vpn]") {
                ""
            } else {
                VPN
            };
            let text = format!("{before}{}\n", mistake.meant);
            if let Err(errors) = parse("policy.toml", text.as_bytes()) {
                panic!("{text}\n{errors}");
            }
        }
    }

    #[test]
    fn every_message_says_more_than_that_it_is_wrong() {
        for mistake in GROUPS.iter().flat_map(|group| group.mistakes) {
            let errors = refusal(mistake);
            let first = errors.iter().next().expect("a refusal has an error");
            let told = first.message();
            let advises = !first.help().is_empty()
                || ["did you mean", "write ", "it takes "]
                    .iter()
                    .any(|advice| told.contains(advice));
            assert!(advises, "no advice:\n{}\n{errors}", mistake.written);
        }
    }

    #[test]
    fn what_editors_of_windows_write_is_no_mistake() {
        let text = format!(
            "\u{feff}{}",
            VPN.replace('\n', "\r\n").replace(" = ", "\t=\t")
        );
        assert!(parse("policy.toml", text.as_bytes()).is_ok());
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let errors = parse("policy.toml", &utf16).expect_err("another encoding");
        assert_eq!(errors.to_string().lines().count(), 1, "{errors}");
    }
}

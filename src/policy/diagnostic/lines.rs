//! The plain form of a [`Diagnostic`], for builds without feature `snippets`:
//!
//! ```text
//! policy.toml:4:1: error[unknown-key]: unknown key `subnet` in [corporate]; did you mean `subnets`?
//!   unknown key
//!   help: [corporate] takes subnets, dns_servers
//! ```

use std::fmt::Write as _;

use super::item::Diagnostic;
use super::list::Diagnostics;
use super::report::Style;

/// Writes one of `diagnostics`: its place and message, the text of its labels, and its help.
pub(super) fn write(out: &mut String, diagnostics: &Diagnostics, item: &Diagnostic, _: Style) {
    let (origin, line, column) = (diagnostics.origin(), item.line(), item.column());
    let (severity, code) = (item.severity(), item.code().as_str());
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{origin}:{line}:{column}: {severity}[{code}]: {}",
        item.message()
    );
    for (index, label) in item.labels().iter().enumerate() {
        let (line, column, text) = (label.line(), label.column(), label.text());
        let _ = match (index, text) {
            (_, "") => Ok(()),
            (0, _) => writeln!(out, "  {text}"),
            _ => writeln!(out, "  {line}:{column}: {text}"),
        };
    }
    for help in item.help() {
        let _ = writeln!(out, "  help: {}", help.replace('\n', "\n  "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_its_place_its_labels_and_its_remedy() {
        let text = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnet = []\n\
            [[allow]]\nname = \"SAP\"\nto = [\"10.1.0.0/16\"]\n[[allow]]\nname = \"SAP\"\nto = [\"10.2.0.0/16\"]\n";
        let refused =
            crate::policy::parse("policy.toml", text.as_bytes()).expect_err("two mistakes");
        let mut out = String::new();
        for item in &refused {
            write(&mut out, &refused, item, Style::Plain);
        }
        let expected = "\
policy.toml:4:1: error[unknown-key]: unknown key `subnet` in [corporate]; did you mean `subnets`?
  unknown key
  help: [corporate] takes subnets, dns_servers
policy.toml:9:8: error[duplicate-name]: two [[allow]] are named \"SAP\"
  second
  6:8: first
  help: a verdict names its rule: give each a name of its own
";
        assert_eq!(out, expected);
    }
}

//! [`accept`]: takes the warnings that the policy accepts (`[[accept]]`) out of what is to be shown.

use super::diagnostic::{AcceptedWarning, Code, Diagnostic, Diagnostics, Remark, Severity};
use super::meaning::Policy;
use super::section::accept::Accept;

/// Moves the warnings that `policy` accepts to those that `diagnostics` keeps apart, each with the operator's reason.
pub fn accept(policy: &Policy, diagnostics: &mut Diagnostics) {
    let items = std::mem::take(&mut diagnostics.items);
    for item in items {
        let entries = policy.accepts.iter();
        let mut entries = entries.filter(|it| accepts(it, &item, &diagnostics.source));
        match entries.next() {
            Some(entry) => diagnostics.accepted.push(AcceptedWarning {
                item,
                reason: entry.reason.value.clone(),
                by_line: entry.warning.line,
            }),
            None => diagnostics.items.push(item),
        }
    }
}

/// Warns of entries that accept nothing. For whoever has collected all warnings that there can be.
pub fn warn_of_idle_accepts(policy: &Policy, diagnostics: &mut Diagnostics) {
    for entry in &policy.accepts {
        let line = entry.warning.line;
        let is_used = diagnostics.accepted.iter().any(|it| it.by_line == line);
        if is_used {
            continue;
        }
        let about = match &entry.about {
            Some(about) => format!(" about `{}`", about.value),
            None => String::new(),
        };
        let message = format!(
            "no warning `{}`{about} is left to accept",
            entry.warning.value
        );
        let remark = Remark::warning(Code::AcceptWithoutEffect, message).at(line);
        diagnostics.remark(
            &remark.help("take the [[accept]] out, so that it hides nothing that comes later"),
        );
    }
}

fn accepts(entry: &Accept, item: &Diagnostic, source: &str) -> bool {
    if item.severity() != Severity::Warning || item.code() != entry.warning.value {
        return false;
    }
    let Some(about) = &entry.about else {
        return true;
    };
    let about = about.value.as_str();
    let mut lines = item
        .labels()
        .iter()
        .map(|label| line_of(source, label.span().start));
    item.message().contains(about) || lines.any(|line| line.contains(about))
}

/// The line of `source` that has the byte `at`.
fn line_of(source: &str, at: usize) -> &str {
    let Some((before, after)) = source.split_at_checked(at) else {
        return "";
    };
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let end = after.find('\n').map_or(source.len(), |end| at + end);
    &source[start..end]
}

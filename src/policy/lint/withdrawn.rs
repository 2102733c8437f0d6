//! Checks for prefixes of Microsoft 365 that guides still list, and that Microsoft has withdrawn.

use super::List;
use crate::feed::withdrawn_long_ago;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::syntax::PolicyFile;

/// Warns of prefixes of a public service that were withdrawn: their addresses may be anybody's.
pub(super) fn check_withdrawn(
    name: &str,
    list: &List<'_>,
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) {
    let is_withdrawn = |prefix| withdrawn_long_ago(prefix).is_some();
    for (prefix, span) in list.matching(file, is_withdrawn) {
        let Some(row) = withdrawn_long_ago(prefix) else {
            continue;
        };
        let message = format!("{prefix} of \"{name}\" is not of Microsoft 365 any more");
        let label = out.text.label(span, row.was);
        let problem = Diagnostic::warning(Code::PrefixWithdrawn, message).with_label(label);
        out.add(problem.with_help(row.instead));
    }
}

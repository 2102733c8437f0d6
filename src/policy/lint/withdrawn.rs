//! Checks for prefixes of Microsoft 365 that guides still list, and that Microsoft has withdrawn.

use ipnet::IpNet;

use super::List;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::syntax::PolicyFile;

/// Warns of prefixes of a public service that were withdrawn: their addresses may be anybody's.
pub(super) fn check_withdrawn(
    name: &str,
    list: &List<'_>,
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) {
    for (withdrawn, instead) in WITHDRAWN {
        let is_it = |prefix: IpNet| withdrawn.parse() == Ok(prefix);
        for (prefix, span) in list.matching(file, is_it) {
            let message = format!("{prefix} of \"{name}\" is not of Microsoft 365 any more");
            let label = out.text.label(span, "withdrawn");
            let problem = Diagnostic::warning(Code::PrefixWithdrawn, message).with_label(label);
            out.add(problem.with_help(instead));
        }
    }
}

/// Prefixes that the endpoints of Microsoft 365 had, each with its replacement. The first two were of entry id 11, Teams' media, as
/// the change log of the web service says; issues 779 and 885 of MicrosoftDocs/OfficeDocs-Enterprise are about the third.
const WITHDRAWN: [(&str, &str); 3] = [
    (
        "13.107.64.0/18",
        "take it out; a [[feed]] of the format microsoft-365 keeps Teams' prefixes current",
    ),
    (
        "52.120.0.0/14",
        "write 52.122.0.0/15, or a [[feed]] of the format microsoft-365",
    ),
    (
        "13.107.60.1/32",
        "take it out; a [[feed]] of the format microsoft-365 keeps Teams' prefixes current",
    ),
];

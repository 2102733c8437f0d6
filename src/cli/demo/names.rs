//! The names of the demo: what a client finds before and after.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use comfy_table::{Table, presets};
use serde_json::json;

use super::{failed, lines, marked};
use crate::cli::error::CliError;
use crate::gateway::testbed::names::{Resolved, resolve};
use crate::gateway::testbed::site::Site;
use crate::name::record_type;
use crate::plan::zones::{Answer, Zones};

/// Names that the demo asks for: of Tables 2 to 4, of internal discovery, and one that is nobody's business.
pub(super) const NAMES: [&str; 4] = [
    "sip.contoso.com",
    "av.contoso.com",
    "lyncdiscoverinternal.contoso.com",
    "intranet.contoso.com",
];

/// Outcome of a name.
pub(super) struct NameOutcome {
    name: &'static str,
    before: Resolved,
    after: Resolved,
    expected: Resolved,
    because: String,
    /// The same without the entry's name, for a table of 80 columns.
    brief: String,
}

/// Returns the answers of `server` to the first client for each of [`NAMES`].
pub(super) fn ask(site: &Site, server: SocketAddr) -> Result<Vec<Resolved>, CliError> {
    thread::scope(|scope| {
        let threads = NAMES
            .map(|name| scope.spawn(move || (name, site.home_a.run(|| resolve(server, name)))));
        let answers = threads.into_iter().map(|thread| {
            let (name, answer) = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            answer
                .map_err(failed)?
                .map_err(|error| CliError::Failed(format!("{name}: {error}")))
        });
        answers.collect()
    })
}

/// Returns the outcome of each of [`NAMES`], beside the policy's answer.
pub(super) fn compare(
    zones: &Zones,
    before: Vec<Resolved>,
    after: Vec<Resolved>,
) -> Vec<NameOutcome> {
    NAMES
        .into_iter()
        .zip(before.into_iter().zip(after))
        .map(|(name, (before, after))| {
            let (expected, word, source) = expectation(zones, name, before);
            let because = source
                .as_ref()
                .map(|(kind, line)| format!("{word}: {kind}, line {line}"));
            let brief = source.map(|(_, line)| format!("{word}, line {line}"));
            NameOutcome {
                name,
                before,
                after,
                expected,
                because: because.unwrap_or_else(|| word.to_owned()),
                brief: brief.unwrap_or_else(|| word.to_owned()),
            }
        })
        .collect()
}

/// Returns the policy's answer for `name`, for which the company's own server answers `internal`; a word for it, and its entry in the
/// policy, with its line.
fn expectation(
    zones: &Zones,
    name: &str,
    internal: Resolved,
) -> (Resolved, &'static str, Option<(String, u32)>) {
    let Ok(name) = name.parse() else {
        return (Resolved::NoName, "no name", None);
    };
    let answer = zones.answer(&name, record_type::A);
    let source = answer.owner().and_then(|owner| owner.sources.first());
    let source = source.map(|source| (source.kind.to_string(), source.line));
    match answer {
        Answer::Forward => (internal, "forwarded", source),
        Answer::Records { sets, .. } => {
            let address: Option<&Ipv4Addr> = sets.ipv4.first();
            let resolved = address.map_or(Resolved::NoAnswer, |it| Resolved::Address(*it));
            (resolved, "pinned", source)
        }
        Answer::NoData { .. } => (Resolved::NoAnswer, "no data", source),
        Answer::NxDomain { .. } => (Resolved::NoName, "hidden", source),
    }
}

impl NameOutcome {
    pub(super) fn is_as_expected(&self) -> bool {
        self.after == self.expected
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({
            "name": self.name,
            "before": self.before.to_string(),
            "with_offramp": self.after.to_string(),
            "policy": self.because,
            "as_expected": self.is_as_expected(),
        })
    }
}

/// The outcomes, for people.
pub(super) fn report(outcomes: &[NameOutcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "Name",
        "Before",
        "With offramp",
        "By the policy",
    ]);
    for outcome in outcomes {
        table.add_row([
            outcome.name.to_owned(),
            outcome.before.to_string(),
            outcome.after.to_string(),
            marked(&outcome.brief, outcome.is_as_expected()),
        ]);
    }
    lines(&table)
}

//! The names of the demo: what a client finds before and after.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use comfy_table::{Table, presets};
use serde_json::json;

use super::failed;
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
            let (expected, because) = expectation(zones, name, before);
            NameOutcome {
                name,
                before,
                after,
                expected,
                because,
            }
        })
        .collect()
}

/// Returns the policy's answer for `name`, for which the company's own server answers `internal`.
fn expectation(zones: &Zones, name: &str, internal: Resolved) -> (Resolved, String) {
    let Ok(name) = name.parse() else {
        return (Resolved::NoName, "no name".to_owned());
    };
    let answer = zones.answer(&name, record_type::A);
    let source = answer
        .owner()
        .and_then(|owner| owner.sources.first())
        .map(|source| format!(": {}, line {}", source.kind, source.line))
        .unwrap_or_default();
    match answer {
        Answer::Forward => (internal, "forwarded".to_owned()),
        Answer::Records { sets, .. } => {
            let address: Option<&Ipv4Addr> = sets.ipv4.first();
            let resolved = address.map_or(Resolved::NoAnswer, |it| Resolved::Address(*it));
            (resolved, format!("pinned{source}"))
        }
        Answer::NoData { .. } => (Resolved::NoAnswer, format!("no data{source}")),
        Answer::NxDomain { .. } => (Resolved::NoName, format!("hidden{source}")),
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
        "What the policy says",
    ]);
    for outcome in outcomes {
        let differs = if outcome.is_as_expected() {
            ""
        } else {
            "  <-- differs"
        };
        table.add_row([
            outcome.name.to_owned(),
            outcome.before.to_string(),
            outcome.after.to_string(),
            format!("{}{differs}", outcome.because),
        ]);
    }
    let mut text = String::new();
    for line in table.lines() {
        _ = writeln!(text, "{}", line.trim());
    }
    text
}

//! The difference that a reload makes: told to whoever asks for it, and logged.
//!
//! ```text
//!  reload dry-run ─▶ load, compare (a thread of its own) ─▶ checks ─▶ report        nothing changes
//!  reload ─▶ loader … in force ─▶ compare (a thread of its own) ─▶ log, report
//! ```
//!
//! Two policies of many prefixes take long to compare, so what is new is in force first.

use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::task::JoinError;
use tracing::{info, warn};

use super::lifecycle::Gateway;
use super::preflight;
use super::reload::refusal;
use crate::filter::CompiledPolicy;
use crate::gateway::divert::{Divert, DivertPlan};
use crate::gateway::report::control;
use crate::gateway::report::reload_report::ReloadReport;
use crate::gateway::tun::publish::Enforced;
use crate::plan::Effects;
use crate::policy::Severity;

/// A reload that was tried, and whoever asked for it.
pub(super) struct Tried {
    stream: UnixStream,
    outcome: Result<Candidate, String>,
}

/// A policy that a reload would put into force.
struct Candidate {
    policy: CompiledPolicy,
    effects: Result<Effects, String>,
    /// The pushes that would follow, a line each.
    pushes: Vec<String>,
}

/// Compares a policy that was in force with another one.
///
/// # Errors
/// The reason why they are not compared: a gateway's memory is for its traffic.
fn compare(before: &CompiledPolicy, after: &CompiledPolicy) -> Result<Effects, String> {
    let sizes = [before, after].map(|it| Effects::prefixes_of(it.policy()));
    if sizes.iter().any(|size| *size > MAX_COMPARED) {
        return Err(format!(
            "policies of more than {MAX_COMPARED} prefixes are not compared"
        ));
    }
    Ok(Effects::of_compiled(before, after))
}

/// Clients of the control socket that wait for reloads.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// For the next that ends.
    next: Vec<UnixStream>,
    /// For the one after that, which has not begun.
    later: Vec<UnixStream>,
}

impl Waiting {
    /// Adds a client; `is_loading` if a reload is on its way that may have read the files already.
    pub(super) fn add(&mut self, stream: UnixStream, is_loading: bool) {
        match is_loading {
            true => self.later.push(stream),
            false => self.next.push(stream),
        }
    }

    /// Returns the clients of the reload that has ended.
    pub(super) fn take(&mut self) -> Vec<UnixStream> {
        std::mem::replace(&mut self.next, std::mem::take(&mut self.later))
    }
}

impl<D: Divert> Gateway<D> {
    /// Tries a reload for a client of the control socket, without effect.
    pub(super) fn try_reload(&mut self, stream: UnixStream) {
        let (source, before) = (Arc::clone(&self.source), self.published.current());
        let next = self.next_generation();
        let preview = self.pusher.preview();
        self.tried.spawn_blocking(move || {
            let outcome = source.load(next).map_err(|error| error.to_string());
            let outcome = outcome.map(|policy| {
                let effects = compare(before.policy(), &policy);
                let pushes = preview.of(policy.policy());
                Candidate {
                    policy,
                    effects,
                    pushes,
                }
            });
            Tried { stream, outcome }
        });
    }

    /// Reports a reload that was tried.
    pub(super) async fn conclude_try(&mut self, tried: Result<Tried, JoinError>) {
        let Tried { stream, outcome } = match tried {
            Ok(tried) => tried,
            // The connection went with it, so the client hears of it.
            Err(panic) => return warn!("trying a reload failed: {panic}"),
        };
        let generation = self.published.generation().0;
        let report = match outcome {
            Err(why) => ReloadReport::new(&self.name, generation, Err(why)),
            Ok(Candidate {
                policy,
                effects,
                pushes,
            }) => {
                let wanted = D::Plan::of(&policy);
                let findings =
                    preflight::check_change::<D>(policy.policy(), &wanted, &self.netlink).await;
                let mut report = match (refusal(&wanted.summary(), &findings), effects) {
                    (Some(why), _) => ReloadReport::new(&self.name, generation, Err(why)),
                    (None, Ok(effects)) => ReloadReport::new(&self.name, generation, Ok(&effects)),
                    (None, Err(why)) => {
                        ReloadReport::without_difference(&self.name, generation, &why)
                    }
                };
                let warnings = findings
                    .iter()
                    .filter(|it| it.severity == Severity::Warning);
                let warnings = warnings.map(|it| format!("{}; {}", it.what, it.remedy));
                report.warnings = warnings.collect();
                if report.refused.is_none() {
                    report.pushes = pushes;
                }
                let waiting = self.keys_for_restart(policy.policy(), &wanted);
                report.at_next_start = waiting.into_iter().map(str::to_owned).collect();
                report
            }
        };
        tokio::spawn(control::tell(stream, report));
    }

    /// Tells the clients who wait for a reload that it was refused.
    pub(super) fn tell_refused(&mut self, why: &str) {
        let generation = self.published.generation().0;
        for stream in self.waiting.take() {
            let report = ReloadReport::new(&self.name, generation, Err(why.to_owned()));
            tokio::spawn(control::tell(stream, report));
        }
    }

    /// Logs what the policy that is in force has changed from `before`, and tells the clients who wait for it.
    pub(super) fn tell_difference(
        &mut self,
        before: Arc<Enforced>,
        at_next_start: Vec<&'static str>,
    ) {
        let current = self.published.current();
        let name = self.name.clone();
        let streams = self.waiting.take();
        let generation = current.policy().generation().0;
        tokio::spawn(async move {
            let compared =
                tokio::task::spawn_blocking(move || compare(before.policy(), current.policy()));
            let compared = compared.await.map_err(|panic| panic.to_string());
            let report = match compared.and_then(|it| it) {
                Ok(effects) => {
                    log(generation, &effects);
                    ReloadReport::new(&name, generation, Ok(&effects))
                }
                Err(why) => {
                    warn!(
                        generation,
                        "the difference to the policy before is not known: {why}"
                    );
                    ReloadReport::without_difference(&name, generation, &why)
                }
            };
            let report = ReloadReport {
                at_next_start: at_next_start.into_iter().map(str::to_owned).collect(),
                ..report
            };
            for stream in streams {
                tokio::spawn(control::tell(stream, report.clone()));
            }
        });
    }
}

/// Logs the differences, a line each, the first [`MAX_LINES`].
fn log(generation: u64, effects: &Effects) {
    if effects.is_empty() {
        return info!(generation, "the policy says the same as before");
    }
    let lines = effects.summary(MAX_PREFIXES);
    for line in lines.iter().take(MAX_LINES) {
        info!(generation, "changed: {line}");
    }
    if let Some(more) = lines.len().checked_sub(MAX_LINES).filter(|it| *it > 0) {
        info!(generation, "changed: {more} more lines");
    }
    if effects.has_no_effect() {
        info!(generation, "no verdict, no route and no name has changed");
    }
}

/// Maximum number of prefixes of policies that are compared: some seconds and some 10 MB.
const MAX_COMPARED: usize = 20_000;
/// Maximum number of lines in the log for one reload.
const MAX_LINES: usize = 20;
/// Maximum number of prefixes in one of them.
const MAX_PREFIXES: usize = 8;

//! Reloads: puts a loaded policy into force, or refuses it and changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinError;
use tracing::{error, info, warn};

use super::lifecycle::{Extent, Gateway};
use super::loader::{Loaded, ReloadTrigger};
use super::options::keys_for_restart;
use super::{preflight, report};
use crate::filter::{CompiledPolicy, Generation};
use crate::gateway::divert::{Divert, DivertPlan, DivertSummary};
use crate::gateway::host::watch::Fingerprint;
use crate::gateway::report::status::FileStatus;
use crate::gateway::resolver::{self, DnsServer};
use crate::gateway::tun::publish::Enforced;
use crate::policy::{Policy, Reject, Severity};
use crate::verify::Finding;

impl<D: Divert> Gateway<D> {
    /// Requests a load; the control loop takes the policy once it is loaded.
    pub(super) fn ask_for_policy(&mut self, trigger: ReloadTrigger) {
        let next = self.next_generation();
        self.loader.ask(trigger, next);
    }

    pub(super) fn next_generation(&self) -> Generation {
        Generation(self.published.generation().0 + 1)
    }

    /// Puts a loaded policy into force.
    pub(super) async fn take(&mut self, loaded: Result<Loaded, JoinError>) {
        match loaded {
            Ok(loaded) => {
                self.watch.follow(&loaded.files);
                if let Some(policy) = loaded.policy {
                    let before = self.published.current();
                    let taken = match policy {
                        Ok(policy) => self.exchange(policy).await,
                        Err(error) => Err(error.to_string()),
                    };
                    if taken.is_ok() {
                        self.in_force = FileStatus::of(&loaded.files, &loaded.fingerprint);
                        self.keep(loaded.files.clone(), loaded.fingerprint);
                    }
                    self.conclude(taken, before, &loaded.files).await;
                }
            }
            Err(panic) => {
                let why = format!("loading it failed: {panic}");
                self.conclude(Err(why), self.published.current(), &[]).await;
            }
        }
        let next = self.next_generation();
        self.loader.go_on(next);
    }

    /// Logs and counts the outcome of a reload; `before` was in force until then, and the keys that are taken wait for the next
    /// start.
    async fn conclude(
        &mut self,
        taken: Result<Vec<&'static str>, String>,
        before: Arc<Enforced>,
        files: &[PathBuf],
    ) {
        let generation = self.published.generation().0;
        match taken {
            Ok(at_next_start) => {
                self.test_itself(Extent::Brief).await;
                self.reloads.note(SystemTime::now(), generation, None);
                info!(generation, "reloaded: {} is in force", self.name);
                self.warn_of_gap();
                self.offer_routes();
                self.tell_difference(before, at_next_start);
            }
            Err(why) => {
                let why = self.rights.explain(why, files);
                error!(
                    "reload refused, generation {generation} stays in force: {}",
                    why.trim_end()
                );
                self.tell_refused(&why);
                self.reloads.note(SystemTime::now(), generation, Some(why));
            }
        }
        self.report_ready();
    }

    /// Keeps a copy of the policy that has come into force, which `files` held when they had this fingerprint.
    pub(super) fn keep(&self, files: Vec<PathBuf>, fingerprint: Fingerprint) {
        let Some(last_good) = self.last_good.clone() else {
            return;
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = last_good.save(&files, &fingerprint) {
                warn!(
                    "no copy of the policy can be kept in {}: {error}; a start with a mistake in the policy file will be refused",
                    last_good.folder().display()
                );
            }
        });
    }

    /// Puts a policy into force, and returns the keys that wait for the next start.
    async fn exchange(&mut self, policy: CompiledPolicy) -> Result<Vec<&'static str>, String> {
        let wanted = D::Plan::of(&policy);
        let findings = preflight::check_change::<D>(policy.policy(), &wanted, &self.netlink).await;
        // Whatever its outcome, it logs them.
        _ = report(&findings);
        if let Some(why) = refusal(&wanted.summary(), &findings) {
            return Err(why);
        }
        self.health.note_logged(findings);
        let waiting = self.keys_for_restart(policy.policy(), &wanted);
        for key in &waiting {
            warn!("{key} takes effect at the next start of offramp");
        }
        if policy.policy().filter.reject != Reject::Nothing && self.published.rejector().is_none() {
            warn!(
                "filter.reject takes effect at the next start of offramp, with the right to open packet sockets (CAP_NET_RAW)"
            );
        }
        let changed = self.divert.change(wanted).await;
        self.count_passed(changed.map_err(|error| error.to_string())?);
        let enforcement = self.trial.effect(&policy.policy().gateway.enforcement);
        self.queries.change(policy.policy()).await;
        if let Some(dns) = &self.dns {
            dns.publish(policy.policy(), &enforcement, &self.queries);
        }
        self.drops.change(&policy.policy().gateway).await;
        self.own.change(policy.own());
        self.published
            .publish(policy, enforcement, self.drops.writer());
        Ok(waiting)
    }
}

impl<D: Divert> Gateway<D> {
    /// Returns the keys of `policy` and of its diversion that take effect at the next start only.
    pub(super) fn keys_for_restart(&self, policy: &Policy, wanted: &D::Plan) -> Vec<&'static str> {
        let mut waiting = wanted.keys_for_restart(self.divert.plan());
        waiting.extend(keys_for_restart(&policy.gateway, &self.options));
        let answered_at = self.dns.as_ref().map_or(&[][..], DnsServer::listen);
        if resolver::listen_addresses(policy) != answered_at {
            waiting.push("dns.listen");
        }
        waiting
    }
}

/// Returns the reason why a policy whose diversion is `summary` cannot be put into force on a host with these `findings`.
pub(super) fn refusal(summary: &DivertSummary, findings: &[Finding]) -> Option<String> {
    if summary.interfaces.is_empty() {
        return Some("it names no interface of the VPN (vpn.interfaces)".to_owned());
    }
    let errors = findings.iter().filter(|it| it.severity == Severity::Error);
    let errors: Vec<String> = errors
        .map(|it| format!("{}; {}", it.what, it.remedy))
        .collect();
    (!errors.is_empty()).then(|| errors.join("\n"))
}

//! [`Health`]: the conditions of the host that a start asks for, asked again while the gateway runs.
//!
//! ```text
//!  every 3 s   firewalls, on a thread of their own, if they have changed ─┐
//!              settings, routing rules, interfaces, sources, backlog ─────┴─▶ findings ─▶ log, status, metrics, /readyz
//! ```

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use super::absence::Absence;
use super::pools::{Share, Strangers};
use super::preflight;
use crate::filter::{CompiledPolicy, Generation};
use crate::gateway::divert::firewall::Firewalls;
use crate::gateway::divert::netlink::Netlink;
use crate::gateway::divert::{Divert, DivertPlan, names};
use crate::gateway::tun::publish::Enforced;
use crate::policy::Severity;
use crate::verify::Finding;

/// The conditions of the host, as they were found last.
#[derive(Debug, Default)]
pub(super) struct Health {
    findings: Vec<Finding>,
    /// The findings that the log has of a start or a reload.
    logged: Vec<Finding>,
    /// The look at the firewalls that is under way.
    looking: Option<JoinHandle<FirewallLook>>,
    /// The last one.
    last: Option<FirewallLook>,
    /// The interfaces that the policy names, by index.
    indices: HashMap<u32, String>,
    checks: u64,
    backlog: Backlog,
    strangers: Strangers,
    absence: Absence,
    /// The error that no interface of the VPN is there, if the policy asks for one.
    absent: Option<String>,
}

/// A look at the firewalls of the host.
#[derive(Debug, Clone)]
struct FirewallLook {
    firewalls: Arc<Firewalls>,
    /// The policy and the interfaces that they were checked for.
    generation: Generation,
    present: Vec<String>,
    findings: Vec<Finding>,
    /// True if a firewall would let pass behind the filter what it stops without.
    opens: bool,
}

impl Health {
    /// Takes note of findings that the log has already.
    pub(super) fn note_logged(&mut self, findings: Vec<Finding>) {
        self.logged = findings;
    }

    /// The present findings, errors first.
    pub(super) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The number of times that they were looked for.
    pub(super) fn checks(&self) -> u64 {
        self.checks
    }

    /// The present errors, one a line; `None` if there are none.
    pub(super) fn errors(&self) -> Option<String> {
        let errors = self
            .findings
            .iter()
            .filter(|it| it.severity == Severity::Error);
        let lines: String = errors
            .map(|it| format!("{}; {}\n", it.what, it.remedy))
            .collect();
        (!lines.is_empty()).then_some(lines)
    }

    /// Returns `true` if a firewall would let pass behind the filter what it stops without, by the last look.
    pub(super) fn opens(&self) -> bool {
        self.last.as_ref().is_some_and(|look| look.opens)
    }

    /// Returns `true` while a look at the firewalls is under way.
    pub(super) fn is_looking(&self) -> bool {
        self.looking.is_some()
    }

    /// Begins a look at the firewalls; none is under way.
    pub(super) async fn look<D: Divert>(
        &mut self,
        plan: &D::Plan,
        enforced: Arc<Enforced>,
        netlink: &Netlink,
    ) {
        let present = netlink.interfaces().await.unwrap_or_default();
        let last = self.last.clone();
        let plan = plan.clone();
        self.looking = Some(tokio::task::spawn_blocking(move || {
            look_at_firewalls::<D>(last, &plan, enforced.policy(), present)
        }));
    }

    /// Waits for the end of a look; forever where none is under way.
    pub(super) async fn looked(&mut self) {
        let Some(looking) = &mut self.looking else {
            return std::future::pending().await;
        };
        let looked = looking.await;
        self.looking = None;
        match looked {
            Ok(look) => self.last = Some(look),
            Err(panic) => debug!("a look at the host's firewalls has failed: {panic}"),
        }
    }

    /// Asks for the other conditions, logs what differs from the last time, and keeps it all. `share` is that of the traffic so far
    /// which comes from no client, `more` what others have found.
    pub(super) async fn conclude<D: Divert>(
        &mut self,
        divert: &D,
        policy: &CompiledPolicy,
        share: Share,
        more: Vec<Finding>,
        netlink: &Netlink,
    ) {
        let plan = divert.plan();
        let mut findings = preflight::check_standing::<D>(policy.policy(), plan, netlink).await;
        findings.extend(more);
        findings.extend(divert.observe().await);
        findings.extend(
            self.last
                .iter()
                .flat_map(|look| look.findings.iter().cloned()),
        );
        findings.extend(self.renamed(&plan.summary().interfaces, netlink).await);
        findings.extend(self.absent(policy, netlink).await);
        findings.extend(self.strangers.check(share, Instant::now()));
        if D::USES_BACKLOG {
            findings.extend(self.backlog.check(dropped_in_backlog(), Instant::now()));
        }
        findings.sort_by_key(|finding| finding.severity);
        let mut unique: Vec<Finding> = Vec::new();
        for finding in findings {
            if !unique.iter().any(|it| it.what == finding.what) {
                unique.push(finding);
            }
        }
        self.log_changes(&unique);
        self.findings = unique;
        self.checks += 1;
    }

    /// The error that no interface of the VPN has been there for as long as the policy allows.
    pub(super) fn absence(&self) -> Option<&str> {
        self.absent.as_deref()
    }

    async fn absent(&mut self, policy: &CompiledPolicy, netlink: &Netlink) -> Option<Finding> {
        let policy = policy.policy();
        let patterns: Vec<String> = policy
            .vpn
            .interfaces
            .iter()
            .map(|it| it.value.clone())
            .collect();
        // Where the kernel does not tell, nothing is known to be missing.
        let Ok(present) = netlink.interfaces().await else {
            return None;
        };
        let is_there = present
            .iter()
            .any(|name| patterns.iter().any(|it| names(it, name)));
        let absent = self
            .absence
            .check(&policy.gateway, &patterns, is_there, Instant::now());
        self.absent = absent.as_ref().map(|finding| finding.what.clone());
        absent
    }

    fn log_changes(&mut self, findings: &[Finding]) {
        let logged = std::mem::take(&mut self.logged);
        let is_among =
            |these: &[Finding], one: &Finding| these.iter().any(|it| it.what == one.what);
        for finding in findings {
            let Finding { what, remedy, .. } = finding;
            match finding.severity {
                _ if is_among(&self.findings, finding) || is_among(&logged, finding) => {}
                Severity::Error => error!("{what}; {remedy}"),
                Severity::Warning => warn!("{what}; {remedy}"),
            }
        }
        for gone in self.findings.iter().filter(|it| !is_among(findings, it)) {
            info!("resolved: {}", gone.what);
        }
    }

    /// Finds interfaces of the VPN that have another name than before.
    async fn renamed(&mut self, patterns: &[String], netlink: &Netlink) -> Vec<Finding> {
        let Ok(links) = netlink.links().await else {
            return Vec::new();
        };
        let mut findings = Vec::new();
        for link in &links {
            if patterns.contains(&link.name) {
                self.indices.insert(link.index, link.name.clone());
            }
            let Some(before) = self.indices.get(&link.index).filter(|it| **it != link.name) else {
                continue;
            };
            if !patterns.contains(before) || links.iter().any(|it| it.name == *before) {
                continue;
            }
            findings.push(Finding::host_error(
                format!(
                    "interface {before} is called {} now: nothing that enters there is judged",
                    link.name
                ),
                format!(
                    "rename it (`ip link set {} name {before}`), or name it in vpn.interfaces",
                    link.name
                ),
            ));
        }
        self.indices
            .retain(|index, _| links.iter().any(|it| it.index == *index));
        findings
    }
}

/// Reads the firewalls, if they have changed since `last`, and checks them.
fn look_at_firewalls<D: Divert>(
    last: Option<FirewallLook>,
    plan: &D::Plan,
    policy: &CompiledPolicy,
    present: Vec<String>,
) -> FirewallLook {
    let generation = policy.generation();
    let firewalls = match last {
        None => Arc::new(Firewalls::read()),
        Some(last) => {
            let firewalls = Firewalls::read_again(Arc::clone(&last.firewalls));
            let is_same = Arc::ptr_eq(&firewalls, &last.firewalls);
            if is_same && last.generation == generation && last.present == present {
                return last;
            }
            firewalls
        }
    };
    FirewallLook {
        findings: preflight::check_firewalls::<D>(policy, plan, &firewalls, &present),
        opens: D::opens(plan, &firewalls, &present),
        firewalls,
        generation,
        present,
    }
}

/// The packets that the kernel has dropped because the backlog of a processor was full.
#[derive(Debug, Default)]
struct Backlog {
    dropped: Option<u64>,
    /// The time when they were more than before.
    rose: Option<Instant>,
}

impl Backlog {
    /// Compares `dropped` with the last time; a rise is a finding for a minute.
    fn check(&mut self, dropped: Option<u64>, now: Instant) -> Option<Finding> {
        let before = std::mem::replace(&mut self.dropped, dropped);
        if before
            .zip(dropped)
            .is_some_and(|(before, dropped)| dropped > before)
        {
            self.rose = Some(now);
        }
        let rose = self.rose?;
        (now.duration_since(rose) < BACKLOG_MEMORY).then(|| {
            Finding::host_warning(
                "the kernel drops packets because the backlog of a processor is full (/proc/net/softnet_stat): what the filter \
                 forwards goes through it, too",
                "make it longer: sysctl -w net.core.netdev_max_backlog=10000, and in /etc/sysctl.d for the next start",
            )
        })
    }
}

/// The second column of `/proc/net/softnet_stat`, of all processors; `None` if it cannot be read.
fn dropped_in_backlog() -> Option<u64> {
    sum_of_drops(&fs::read_to_string(SOFTNET).ok()?)
}

fn sum_of_drops(text: &str) -> Option<u64> {
    let column = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().map(column).sum()
}

const SOFTNET: &str = "/proc/net/softnet_stat";
/// Time for which a rise of drops is reported.
const BACKLOG_MEMORY: Duration = Duration::from_secs(60);
/// Interval between looks: a look at a ruleset that has not changed is one question to the kernel.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_of_drops_in_the_backlog_is_a_finding_for_a_minute() {
        let mut backlog = Backlog::default();
        let start = Instant::now();
        let mut found = |dropped, seconds| {
            let now = start + Duration::from_secs(seconds);
            backlog.check(dropped, now).is_some()
        };
        assert!(!found(Some(7), 0), "they are of before the start");
        assert!(!found(Some(7), 3));
        assert!(found(Some(8), 6));
        assert!(found(Some(8), 60));
        assert!(!found(Some(8), 66));
        assert!(!found(None, 69));
        assert!(!found(Some(9), 72), "nobody knows when they came");
    }

    #[test]
    fn drops_in_the_backlog_are_added_for_all_processors() {
        let text = "0000001a 0000000a 00000000 00000000\n00000005 00000010 00000000 00000000\n";
        assert_eq!(sum_of_drops(text), Some(26));
        assert_eq!(sum_of_drops("nonsense\n"), None);
    }
}

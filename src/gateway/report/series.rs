//! [`Series`]: the state of a running gateway as the time series that Prometheus scrapes.
//!
//! ```text
//!  Status, readiness ──▶ Snapshot ──▶ Series::render ──▶ text, version 0.0.4
//!                                       │ which rules have a series of their own
//! ```
//!
//! At most [`MAX_SERIES`] series exist, whatever the policy and the traffic: a scrape costs the same every time, and no
//! policy fills the database that keeps them. Reasons are all there from the start. Rules and interfaces beyond what
//! there is room for are summed under the name [`OTHERS`]. A rule keeps its series for as long as it is reported
//! by its name (`publish`), so that no counter ever goes back: neither its own nor that of the others.

mod families;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;

use families::{Families, Labels};

use super::status::{DnsStatus, Reloads, RuleStatus, Status};
use crate::gateway::record::RecordStatus;
use crate::gateway::resolver::Outcome;
use crate::gateway::tun::publish::OTHERS;
use crate::gateway::tun::quality::{JITTER_BOUNDS, LOSS_BOUNDS};
use crate::packet::Traffic;
use crate::packet::media::Evidence;
use crate::policy::Severity;
use crate::verdict::{Action, Reason, RuleKind};

/// A gateway's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its numbers, with every rule of the policies so far, also those that decided nothing.
    pub status: Status,
    /// True if traffic is diverted, every worker lives, and no condition of the host hinders it.
    pub ready: bool,
}

/// The state, at one moment, of a DNS server without the rest of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesSnapshot {
    /// Version of the program.
    pub version: String,
    /// Its numbers.
    pub dns: DnsStatus,
    /// Generation of the policy in force, from 1.
    pub generation: u64,
    /// Outcomes of later policies.
    pub reloads: Reloads,
}

/// The state to report to everyone who asks at that moment.
#[derive(Debug, Clone)]
pub enum Report {
    /// Of a gateway.
    Gateway(Arc<Snapshot>),
    /// Of a DNS server alone.
    Names(Arc<NamesSnapshot>),
}

/// The series of a program, from its start to its end.
#[derive(Debug)]
pub struct Series {
    started: SystemTime,
    /// The rules that have series of their own, by kind and name, and the counts they reported last.
    named: BTreeMap<(String, String), Traffic>,
    /// Counts, by kind, of rules that had a series of their own and have been summed under the others since.
    reported_before: BTreeMap<String, Traffic>,
}

/// Series at most, whatever the policy and the traffic.
pub const MAX_SERIES: usize = 271;

/// The media type of [`Series::render`].
pub const MEDIA_TYPE: &str = prometheus_text::CONTENT_TYPE;

impl Series {
    /// Creates the series of a gateway that started at `started`.
    pub fn new(started: SystemTime) -> Self {
        Self {
            started,
            named: BTreeMap::new(),
            reported_before: BTreeMap::new(),
        }
    }

    /// Renders `report` in the text format of Prometheus.
    pub fn render_report(&mut self, report: &Report) -> String {
        match report {
            Report::Gateway(snapshot) => self.render(snapshot),
            Report::Names(snapshot) => encode(NamesScrape {
                snapshot: Arc::clone(snapshot),
                start_time: self.start_time(),
            }),
        }
    }

    /// Renders `snapshot` in the text format of Prometheus.
    pub fn render(&mut self, snapshot: &Arc<Snapshot>) -> String {
        self.release_names(&snapshot.status.rules);
        self.name_rules(&snapshot.status.rules);
        encode(Scrape {
            snapshot: Arc::clone(snapshot),
            start_time: self.start_time(),
            rules: self.rule_traffic(&snapshot.status.rules),
        })
    }

    /// Returns the start time in seconds since 1970.
    fn start_time(&self) -> f64 {
        let since = self.started.duration_since(UNIX_EPOCH);
        since.map_or(0.0, |since| since.as_secs_f64())
    }

    /// Takes their series from rules that are no longer reported: from here on they are summed under the others.
    fn release_names(&mut self, rules: &[RuleStatus]) {
        let reported: BTreeSet<(&str, &str)> = rules.iter().map(key).collect();
        let named = std::mem::take(&mut self.named).into_iter();
        let (named, gone) = named
            .partition::<BTreeMap<_, _>, _>(|((kind, name), _)| reported.contains(&(kind, name)));
        self.named = named;
        for ((kind, _), traffic) in gone {
            *self.reported_before.entry(kind).or_default() += traffic;
        }
    }

    /// Gives series to rules that have none, as far as there is room: to all of them, or to the busiest.
    fn name_rules(&mut self, rules: &[RuleStatus]) {
        let room = MAX_NAMED_RULES - self.named.len();
        let mut unnamed: Vec<&RuleStatus> = rules
            .iter()
            .filter(|rule| rule.name != OTHERS && !self.names(rule))
            .collect();
        if unnamed.len() > room {
            // A rule that has decided nothing may wait until it does.
            unnamed.retain(|rule| rule.packets > 0);
            unnamed.sort_by_key(|rule| Reverse(rule.packets));
            unnamed.truncate(room);
        }
        for rule in unnamed {
            let key = (rule.kind.clone(), rule.name.clone());
            self.named.insert(key, Traffic::default());
        }
    }

    fn names(&self, rule: &RuleStatus) -> bool {
        let key = (rule.kind.clone(), rule.name.clone());
        self.named.contains_key(&key)
    }

    /// Returns the traffic of each rule that has a series, and of the others of each kind, by kind and name.
    fn rule_traffic(&mut self, rules: &[RuleStatus]) -> BTreeMap<(String, String), Traffic> {
        let mut sums = BTreeMap::<_, Traffic>::new();
        let mut others = BTreeMap::<_, Traffic>::new();
        for rule in rules {
            let traffic = Traffic {
                packets: rule.packets,
                bytes: rule.bytes,
            };
            let key = (rule.kind.clone(), rule.name.clone());
            match self.named.get_mut(&key) {
                Some(reported) => {
                    *reported = traffic;
                    sums.insert(key, traffic);
                }
                None => *others.entry(rule.kind.clone()).or_default() += traffic,
            }
        }
        for (kind, mut sum) in others {
            // Already reported under their own names.
            let before = self.reported_before.get(&kind).copied().unwrap_or_default();
            sum.packets = sum.packets.saturating_sub(before.packets);
            sum.bytes = sum.bytes.saturating_sub(before.bytes);
            sums.insert((kind, OTHERS.to_owned()), sum);
        }
        sums
    }
}

fn encode(scrape: impl Collector + 'static) -> String {
    let mut registry = Registry::with_prefix("offramp");
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("a string takes whatever is written");
    text
}

/// Returns the kind and name that identify a rule.
fn key(rule: &RuleStatus) -> (&str, &str) {
    (&rule.kind, &rule.name)
}

/// One scrape.
#[derive(Debug)]
struct Scrape {
    snapshot: Arc<Snapshot>,
    /// Seconds since 1970.
    start_time: f64,
    rules: BTreeMap<(String, String), Traffic>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Snapshot { status, ready } = &*self.snapshot;
        let mut out = Families(&mut encoder);

        let verdicts = traffic_by_verdict(status);
        out.counters(
            "packets",
            "Packets judged, by action and reason; a super-packet counts as the packets that it is cut into.",
            verdicts.iter().map(|(labels, it)| (*labels, it.packets)),
        )?;
        out.counters(
            "bytes",
            "Bytes of the packets judged, IP headers included.",
            verdicts.iter().map(|(labels, it)| (*labels, it.bytes)),
        )?;

        let rules: Vec<_> = self
            .rules
            .iter()
            .map(|((kind, name), it)| ([("kind", &**kind), ("name", &**name)], it))
            .collect();
        out.counters(
            "rule_packets",
            "Packets that a rule of the policy decided; those of kind public should have gone outside the tunnel.",
            rules.iter().map(|(labels, it)| (*labels, it.packets)),
        )?;
        out.counters(
            "rule_bytes",
            "Bytes of the packets that a rule of the policy decided.",
            rules.iter().map(|(labels, it)| (*labels, it.bytes)),
        )?;

        if let Some(drops) = status.device.overload_drops {
            out.counter(
                "overload_dropped_packets",
                "Packets lost because the filter did not keep up.",
                drops,
            )?;
        }
        out.counter(
            "failed_writes",
            "Packets lost because the kernel refused them on their way back.",
            status.device.failed_writes,
        )?;
        out.counter(
            "unread_packets",
            "Packets that passed unjudged because a worker did not read them in time.",
            status.diversion.unread_packets,
        )?;
        if let Some(late) = status.diversion.late {
            out.late(&late)?;
        }
        if let Some(flows) = status.diversion.flows {
            out.counter(
                "cleared_flows",
                "Flows that pass in the kernel, since the filter has cleared them.",
                flows.cleared,
            )?;
            out.counter(
                "evicted_cleared_flows",
                "Cleared flows that are judged again, for lack of room.",
                flows.evicted,
            )?;
        }
        out.counter(
            "evicted_fragments",
            "First fragments evicted for lack of room: the non-first fragments of their datagrams were forwarded.",
            status.evicted_fragments,
        )?;

        out.rejections(&status.rejections)?;
        if let Some(media) = &status.media {
            out.media(media)?;
        }

        let records = [("log", &status.drop_log), ("capture", &status.drop_capture)];
        let records: Vec<(&str, &RecordStatus)> = records
            .into_iter()
            .filter_map(|(record, status)| Some((record, status.as_ref()?)))
            .collect();
        if !records.is_empty() {
            let results = records.iter().flat_map(|(record, status)| {
                [("written", status.written), ("lost", status.lost)]
                    .map(|(result, count)| ([("record", *record), ("result", result)], count))
            });
            out.counters(
                "drop_records",
                "Lines of the drop log and packets of the capture of drops: written, or lost because writing failed.",
                results,
            )?;
            out.gauges(
                "drop_record_failed",
                "1 while the drop log, or the capture of drops, cannot be written.",
                records.iter().map(|(record, status)| {
                    ([("record", *record)], u32::from(status.error.is_some()))
                }),
            )?;
        }

        out.policies(&status.reloads, status.generation)?;
        let file = status.files.first();
        let digest = file.and_then(|it| it.sha256.as_deref());
        out.release(digest, status.fleet.as_ref())?;
        out.enforcement(&status.enforcement)?;
        out.pushes(&status.pushes)?;
        if let Some(dns) = &status.dns {
            out.names(dns)?;
        }

        out.gauge(
            "ready",
            "1 while traffic is diverted, every worker lives, and no condition of the host hinders it.",
            u32::from(*ready),
        )?;
        let findings = |severity: &str| {
            let found = status.health.iter().filter(|it| it.severity == severity);
            found.count()
        };
        out.gauges(
            "findings",
            "Conditions of the host that hinder the gateway, by severity; `offramp status` names them.",
            [Severity::Error, Severity::Warning]
                .map(|it| ([("severity", it.as_str())], findings(it.as_str()))),
        )?;
        out.gauge(
            "bypassed",
            "1 while everything passes unjudged, by `offramp bypass on`.",
            u32::from(status.diversion.bypassed),
        )?;
        if let Some(test) = &status.diversion.self_test {
            out.gauge(
                "self_test_passed",
                "1 if packets of the gateway's own met the verdicts of the policy, on the way of clients' packets.",
                u32::from(test.failures.is_empty()),
            )?;
        }
        out.gauge(
            "workers",
            "Worker threads; each has a queue of the tun device.",
            status.device.workers,
        )?;
        out.gauge(
            "diverted_prefixes",
            "Prefixes whose packets are diverted to the filter; 0 where all packets are.",
            status.diversion.prefixes,
        )?;
        let interfaces = interfaces_present(status);
        out.gauges(
            "interfaces_present",
            "VPN interfaces that exist, by the pattern of vpn.interfaces that matches them.",
            interfaces
                .iter()
                .map(|(pattern, count)| ([("pattern", *pattern)], *count)),
        )?;
        out.program(&status.version, self.start_time)
    }
}

/// One scrape of a DNS server without the rest of the gateway.
#[derive(Debug)]
struct NamesScrape {
    snapshot: Arc<NamesSnapshot>,
    /// Seconds since 1970.
    start_time: f64,
}

impl Collector for NamesScrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families(&mut encoder);
        out.policies(&self.snapshot.reloads, self.snapshot.generation)?;
        out.names(&self.snapshot.dns)?;
        out.program(&self.snapshot.version, self.start_time)
    }
}

/// Returns the traffic by verdict: every possible verdict, and any other that was counted all the same.
fn traffic_by_verdict(status: &Status) -> Vec<(Labels<'static, 2>, Traffic)> {
    let all = Reason::ALL
        .into_iter()
        .flat_map(|reason| Action::ALL.map(|action| (action, reason)));
    let sums = all.filter_map(|(action, reason)| {
        let given = status
            .verdicts
            .iter()
            .find(|it| it.action == action.name() && it.reason == reason.name());
        let traffic = given.map(|it| Traffic {
            packets: it.packets,
            bytes: it.bytes,
        });
        let labels = [("action", action.name()), ("reason", reason.name())];
        match traffic {
            Some(traffic) => Some((labels, traffic)),
            None => {
                let is_possible = reason.actions().contains(&action);
                is_possible.then(|| (labels, Traffic::default()))
            }
        }
    });
    sums.collect()
}

/// Counts the interfaces of each pattern, of the first [`MAX_PATTERNS`], and of the others.
fn interfaces_present(status: &Status) -> BTreeMap<&str, usize> {
    let mut present = BTreeMap::new();
    for interface in &status.diversion.interfaces {
        let count = interface.present.len();
        let pattern = &*interface.pattern;
        if present.contains_key(pattern) {
            // The policy names it twice.
            continue;
        }
        if present.len() < MAX_PATTERNS {
            present.insert(pattern, count);
        } else {
            *present.entry(OTHERS).or_default() += count;
        }
    }
    present
}

/// Rules that have series of their own, of packets and of bytes: more than most policies have.
const MAX_NAMED_RULES: usize = 50;
/// Patterns of interfaces that have a series of their own, but for one.
const MAX_PATTERNS: usize = 8;
/// Series without labels, or with labels of two values at most.
const SINGLE_SERIES: usize = 31;
/// Of answers to clients: two kinds, and those suppressed.
const REJECTION_SERIES: usize = 3;
/// Series of the drop log, of the capture of drops, and of the log of queries.
const RECORD_SERIES: usize = 9;
/// Of flows to media ports: those in memory, and those evicted.
const FLOW_SERIES: usize = 2;
/// Of RTP streams: those under way, and those evicted; and of loss and jitter each: bounds, the bucket beyond, number and sum.
const STREAM_SERIES: usize = 2 + (LOSS_BOUNDS.len() + 3) + (JITTER_BOUNDS.len() + 3);
/// Of names: threads; outcomes; connections; names that were not hidden; and of the time that answers took: six bounds, their number and their sum.
const DNS_SERIES: usize = Outcome::ALL.len() + 3 + 8;

/// Series that exist at once if the policy and the traffic give cause to each of them.
const ALL_SERIES: usize = {
    let verdicts = Action::ALL.len() * Reason::ALL.len();
    let rules = MAX_NAMED_RULES + RuleKind::ALL.len();
    let patterns = MAX_PATTERNS + 1;
    let others =
        SINGLE_SERIES + REJECTION_SERIES + RECORD_SERIES + DNS_SERIES + FLOW_SERIES + STREAM_SERIES;
    let evidence = Evidence::TABLE.len();
    // Of verdicts and rules: packets, and bytes.
    2 * verdicts + 2 * rules + evidence + patterns + others
};
const _: () = assert!(ALL_SERIES <= MAX_SERIES);

#[cfg(test)]
mod tests;

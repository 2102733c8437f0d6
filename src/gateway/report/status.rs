//! [`Status`]: the state of a running gateway.

mod fleet;
mod media;
mod policy;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub use fleet::{FleetStatus, ReleaseStatus};
pub use media::{
    BucketStatus, EvidenceStatus, HistogramStatus, MediaStatus, QualityStatus, StreamGroupStatus,
};
pub use policy::{FeedStatus, LossStatus, LostServiceStatus, ReviewFindingStatus, ReviewStatus};
use serde::{Deserialize, Serialize};

use crate::gateway::divert::{self, DivertSummary, FlowCounts, LateInterfaces};
use crate::gateway::host::watch::Fingerprint;
use crate::gateway::push::PushStatus;
use crate::gateway::record::RecordStatus;
use crate::gateway::record::drops::DropTableStatus;
use crate::gateway::reject::Rejector;
use crate::gateway::resolver::{DnsServer, QueryLog};
use crate::gateway::tun::workers::Workers;
use crate::packet::Traffic;
use crate::packet::reject::RejectionKind;
use crate::policy::{DivertScope, Enforcement, FailMode};
use crate::verdict::{Action, Reason, RuleKind};
use crate::verify::Finding;

/// The state of a running gateway: one JSON object, on the control socket and by `offramp status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since the gateway began to judge traffic.
    pub uptime_seconds: u64,
    /// The policy file.
    pub policy: String,
    /// The files of the policy in force; empty for the last good policy, which is a copy.
    #[serde(default)]
    pub files: Vec<FileStatus>,
    /// Generation of the policy in force, from 1.
    pub generation: u64,
    /// The release of a fleet; `null` without an agent.
    #[serde(default)]
    pub fleet: Option<FleetStatus>,
    /// Outcomes of later policies.
    pub reloads: Reloads,
    /// The reason why `/readyz` answers 503; `null` if the gateway is ready.
    #[serde(default)]
    pub not_ready: Option<String>,
    /// The clients for whom the policy takes effect, and the packets that it did not drop.
    #[serde(default)]
    pub enforcement: EnforcementStatus,
    /// The traffic diverted.
    pub diversion: DiversionStatus,
    /// The filter's own device.
    pub device: DeviceStatus,
    /// Packets and bytes, for every reason and action that occurred.
    pub verdicts: Vec<VerdictStatus>,
    /// Packets and bytes of every rule that decided any, of this and earlier policies; rules replaced long ago are
    /// summed under `(others)`.
    pub rules: Vec<RuleStatus>,
    /// First fragments evicted for lack of room: their non-first fragments were forwarded.
    pub evicted_fragments: u64,
    /// The conditions of the host that hinder the gateway at present, errors first.
    #[serde(default)]
    pub health: Vec<FindingStatus>,
    /// The number of times that the host was asked for such conditions since the start.
    #[serde(default)]
    pub health_checks: u64,
    /// The recognition of media; `null` if the policy blocks by ports alone (`media.match = "ports"`).
    #[serde(default)]
    pub media: Option<MediaStatus>,
    /// Answers to clients whose packets were dropped (`filter.reject`).
    #[serde(default)]
    pub rejections: RejectionStatus,
    /// The pin-point DNS server; `null` if the policy has none.
    #[serde(default)]
    pub dns: Option<DnsStatus>,
    /// The log of samples of dropped packets, if the policy has one.
    #[serde(default)]
    pub drop_log: Option<RecordStatus>,
    /// The capture of dropped packets, if one was asked for.
    #[serde(default)]
    pub drop_capture: Option<RecordStatus>,
    /// Destinations, services and clients of dropped packets, by samples; `null` if nothing samples them.
    #[serde(default)]
    pub drop_table: Option<DropTableStatus>,
    /// Traces of clients that are running.
    #[serde(default)]
    pub traces: usize,
    /// The services that the policy cuts off; `null` without `gateway.page`, and before the first packet of them.
    #[serde(default)]
    pub losses: Option<LossStatus>,
    /// The targets of `routes.push`, and the last push to each.
    #[serde(default)]
    pub pushes: Vec<PushStatus>,
    /// The review of the policy in force; `null` without `gateway.page`, and until it is done.
    #[serde(default)]
    pub review: Option<ReviewStatus>,
}

/// A file of the policy in force, with the content that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// The policy file, or one of a feed.
    pub path: String,
    /// SHA-256 of its content, in hexadecimal digits as `sha256sum` prints it; `null` if there was none to read.
    pub sha256: Option<String>,
}

impl FileStatus {
    /// Describes `files`, which had this fingerprint when they were read.
    pub fn of(files: &[PathBuf], fingerprint: &Fingerprint) -> Vec<Self> {
        let digests = fingerprint.digests();
        let files = files.iter().zip(digests);
        files
            .map(|(path, sha256)| Self {
                path: path.display().to_string(),
                sha256,
            })
            .collect()
    }
}

/// Answers to clients whose packets were dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RejectionStatus {
    /// RSTs sent.
    pub rst: u64,
    /// ICMP errors "port unreachable" sent.
    pub unreachable: u64,
    /// Answers that were not sent: beyond the rate, or to a source that is not routed to the VPN's interface it came from.
    pub suppressed: u64,
}

impl RejectionStatus {
    /// Returns what `rejector` has sent, and what it and `workers` have not.
    pub fn of(rejector: Option<&Rejector>, workers: &Workers) -> Self {
        let Some(rejector) = rejector else {
            return Self::default();
        };
        let mut status = Self {
            suppressed: workers.suppressed_rejections() + rejector.failed(),
            ..Self::default()
        };
        for (kind, sent) in rejector.sent() {
            match kind {
                RejectionKind::Reset => status.rst = sent,
                RejectionKind::Unreachable => status.unreachable = sent,
            }
        }
        status
    }
}

/// A condition of the host that hinders the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingStatus {
    /// `error` if traffic is not handled as configured, `warning` if it may not be.
    pub severity: String,
    /// The condition.
    pub what: String,
    /// The change that solves it.
    pub remedy: String,
}

impl From<&Finding> for FindingStatus {
    fn from(finding: &Finding) -> Self {
        Self {
            severity: finding.severity.as_str().to_owned(),
            what: finding.what.clone(),
            remedy: finding.remedy.clone(),
        }
    }
}

/// The pin-point DNS server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsStatus {
    /// The addresses of its listeners.
    pub listen: Vec<SocketAddr>,
    /// The threads that answer; each client meets one of them.
    #[serde(default)]
    pub threads: usize,
    /// Queries by outcome.
    pub outcomes: Vec<OutcomeStatus>,
    /// Histogram of the time that answers took, by rising bounds.
    pub latency: Vec<LatencyStatus>,
    /// Sum for all answers.
    pub latency_microseconds: u64,
    /// Connections evicted to make room for others.
    #[serde(default)]
    pub crowded_out_connections: u64,
    /// Queries whose answers had names that would be hidden if the policy were enforced for the client.
    #[serde(default)]
    pub not_enforced: u64,
    /// The log of queries, if the policy has one.
    #[serde(default)]
    pub query_log: Option<RecordStatus>,
}

/// The number of queries with one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeStatus {
    /// `pinned`, `hidden`, `forwarded`, `cached`, `refused`, `failed` or `dropped`.
    pub outcome: String,
    /// Queries.
    pub queries: u64,
}

/// The number of answers in one bucket of the latency histogram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyStatus {
    /// Upper bound of the bucket, inclusive; `null` for the last, which has none.
    pub up_to_microseconds: Option<u64>,
    /// Answers.
    pub answers: u64,
}

/// Outcomes of policies after the first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reloads {
    /// Put in force, or replaced since.
    pub taken: u64,
    /// Rejected for mistakes: the one before stayed in force.
    pub refused: u64,
    /// The error of the last one refused; `null` once a later one was put in force.
    pub last_error: Option<String>,
    /// The last few of both, the newest first.
    #[serde(default)]
    pub recent: Vec<ReloadStatus>,
}

/// The outcome of one policy after the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// RFC 3339, in UTC.
    pub time: String,
    /// Generation of the policy in force then.
    pub generation: u64,
    /// The first line of the error if it was refused; `null` if it was put in force.
    pub error: Option<String>,
}

impl Reloads {
    /// Takes note of a policy that was put in force at `at`, or refused for `error`; `generation` is in force then.
    pub fn note(&mut self, at: SystemTime, generation: u64, error: Option<String>) {
        let first_line = |error: &String| {
            let line = error.lines().next().unwrap_or_default();
            line.chars().take(MAX_ERROR).collect()
        };
        let reload = ReloadStatus {
            time: humantime::format_rfc3339_seconds(at.max(SystemTime::UNIX_EPOCH)).to_string(),
            generation,
            error: error.as_ref().map(first_line),
        };
        match &error {
            None => self.taken += 1,
            Some(_) => self.refused += 1,
        }
        self.last_error = error;
        self.recent.insert(0, reload);
        self.recent.truncate(MAX_RECENT);
    }
}

/// Reloads that are told one by one.
const MAX_RECENT: usize = 8;
/// Characters of an error that are told with each.
const MAX_ERROR: usize = 200;

/// Flows that the filter has cleared: it forwards all of their packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsStatus {
    /// Flows cleared since the start.
    pub cleared: u64,
    /// Of these: judged again before a minute without a packet, for lack of room.
    pub evicted: u64,
}

impl From<FlowCounts> for FlowsStatus {
    fn from(counts: FlowCounts) -> Self {
        let FlowCounts { cleared, evicted } = counts;
        Self { cleared, evicted }
    }
}

/// The traffic diverted, and by which interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiversionStatus {
    /// `ebpf` or `nftables`.
    #[serde(default)]
    pub kind: String,
    /// True if everything passes unjudged, by `offramp bypass on`.
    #[serde(default)]
    pub bypassed: bool,
    /// Packets that passed unjudged because a worker did not read them in time.
    #[serde(default)]
    pub unread_packets: u64,
    /// Flows that pass in the kernel, since the filter has cleared them; `null` for `nftables`.
    #[serde(default)]
    pub flows: Option<FlowsStatus>,
    /// Interfaces of the VPN that were up before what enters there was judged; `null` for `nftables`, which marks by name.
    #[serde(default)]
    pub late: Option<LateStatus>,
    /// The last self-test; `null` if there was none yet, while everything is bypassed, and where no packets can be led to the interfaces.
    #[serde(default)]
    pub self_test: Option<SelfTestStatus>,
    /// `gateway.divert`, as it is in force.
    pub scope: String,
    /// `gateway.on_failure`.
    pub on_failure: String,
    /// Prefixes that can lead to the filter; 0 where all traffic does.
    pub prefixes: usize,
    /// The patterns of `vpn.interfaces`, and the interfaces present that match each.
    pub interfaces: Vec<InterfaceStatus>,
    /// Changes by other programs that were undone.
    #[serde(default)]
    pub repairs: Repairs,
}

/// Interfaces of the VPN that have come since the start, and were up before their program was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateStatus {
    /// How many.
    pub interfaces: u64,
    /// The packets that had entered there by then: unjudged, or stopped under `on_failure = "closed"`.
    pub packets: u64,
    /// The longest time that one was up, from when the gateway heard of it, in microseconds.
    pub longest_microseconds: u64,
}

impl From<LateInterfaces> for LateStatus {
    fn from(late: LateInterfaces) -> Self {
        Self {
            interfaces: late.count,
            packets: late.packets,
            longest_microseconds: u64::try_from(late.longest.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// The clients for whom the policy takes effect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EnforcementStatus {
    /// The part that is not enforced, in words; `null` if everything is.
    pub gap: Option<String>,
    /// Packets that were forwarded since the start, though their verdict is "drop".
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Enforcement for a limited time (`offramp enforce`); `null` if none was asked for since the start.
    #[serde(default)]
    pub trial: Option<TrialStatus>,
}

impl EnforcementStatus {
    /// Describes it; `spared` is the traffic that was forwarded, though its verdict is "drop".
    pub fn new(enforcement: &Enforcement, spared: Traffic, trial: Option<TrialStatus>) -> Self {
        Self {
            gap: enforcement.gap(),
            packets: spared.packets,
            bytes: spared.bytes,
            trial,
        }
    }
}

/// Enforcement for a limited time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialStatus {
    /// Its state.
    pub state: TrialState,
    /// Seconds until it ends; `null` if it does not end by itself.
    pub seconds_left: Option<u64>,
    /// False if the policy file says `enforce = false`, which counts at the next start.
    pub file_enforces: bool,
}

/// The state of enforcement for a limited time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialState {
    /// The policy is enforced until the time is over.
    Running,
    /// The policy is enforced until the process ends.
    Kept,
    /// The policy is not enforced any more.
    Over,
}

/// The outcome of a self-test: packets of the gateway that enter at the interfaces as clients' would.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SelfTestStatus {
    /// Its failures; empty if all packets met the verdict of the policy.
    pub failures: Vec<String>,
    /// Interfaces and families that no packet could be sent to, and why.
    #[serde(default)]
    pub untested: Vec<String>,
}

/// Changes to the kernel's state by other programs, which the gateway has undone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Repairs {
    /// The number of repairs.
    pub count: u64,
    /// The change repaired last; `null` if there was none.
    pub last: Option<String>,
}

/// One entry of `vpn.interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// As the policy writes it.
    pub pattern: String,
    /// The interfaces present that match it.
    pub present: Vec<String>,
}

/// The filter's own device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// The threads that read its queues.
    pub workers: usize,
    /// Packets that each worker has judged.
    pub judged: Vec<u64>,
    /// True if a batch of packets is read or written in one system call (io_uring), false if each packet takes its own.
    pub io_uring: bool,
    /// Packets lost because its queue was full: the filter did not keep up. `null` where the kernel does not report it.
    pub overload_drops: Option<u64>,
    /// Packets to be forwarded that the kernel did not take back.
    pub failed_writes: u64,
}

/// The traffic with one verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictStatus {
    /// `forward` or `drop`.
    pub action: String,
    /// The reason, as in verdict files.
    pub reason: String,
    /// Packets; a super-packet counts as what it is cut into.
    pub packets: u64,
    /// Bytes of these, IP headers included.
    pub bytes: u64,
}

/// The traffic that one rule decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// `media`, `server`, `allow`, `public` or `feed`.
    pub kind: String,
    /// The operator's name for it.
    pub name: String,
    /// Line of the policy file that names it; `null` for a rule that the policy in force has not, or has not written.
    #[serde(default)]
    pub line: Option<u32>,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The word for `scope`, as `gateway.divert` has it.
pub fn scope_word(scope: DivertScope) -> &'static str {
    match scope {
        DivertScope::All => "all",
        DivertScope::Policy => "policy",
        DivertScope::Suspects => "suspects",
    }
}

impl DiversionStatus {
    /// Returns the status of the diversion `summary` on a host that has the interfaces `present`.
    pub fn new(summary: &DivertSummary, present: &[String], repairs: &Repairs) -> Self {
        let interface = |pattern: &String| {
            let named = present.iter().filter(|name| divert::names(pattern, name));
            InterfaceStatus {
                pattern: pattern.clone(),
                present: named.cloned().collect(),
            }
        };
        let on_failure = match summary.on_failure {
            FailMode::Open => "open",
            FailMode::Closed => "closed",
        };
        Self {
            kind: String::new(),
            bypassed: false,
            unread_packets: 0,
            late: None,
            flows: None,
            self_test: None,
            scope: scope_word(summary.scope).to_owned(),
            on_failure: on_failure.to_owned(),
            prefixes: summary.prefixes,
            interfaces: summary.interfaces.iter().map(interface).collect(),
            repairs: repairs.clone(),
        }
    }
}

impl DnsStatus {
    /// Returns the status of `server` and of its log.
    pub fn new(server: &DnsServer, log: &QueryLog) -> Self {
        let microseconds = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        let counters = server.counters();
        let outcomes = counters.outcomes();
        let latency = counters.latency();
        Self {
            listen: server.listen().to_vec(),
            threads: server.threads(),
            outcomes: outcomes
                .map(|(outcome, queries)| OutcomeStatus {
                    outcome: outcome.name().to_owned(),
                    queries,
                })
                .collect(),
            latency: latency
                .buckets
                .into_iter()
                .map(|(bound, answers)| LatencyStatus {
                    up_to_microseconds: bound.map(microseconds),
                    answers,
                })
                .collect(),
            latency_microseconds: microseconds(latency.sum),
            crowded_out_connections: counters.evicted(),
            not_enforced: counters.spared(),
            query_log: log.status(),
        }
    }
}

impl From<((Reason, Action), Traffic)> for VerdictStatus {
    fn from(((reason, action), Traffic { packets, bytes }): ((Reason, Action), Traffic)) -> Self {
        Self {
            action: action.to_string(),
            reason: reason.to_string(),
            packets,
            bytes,
        }
    }
}

impl From<((RuleKind, String), Traffic)> for RuleStatus {
    fn from(((kind, name), Traffic { packets, bytes }): ((RuleKind, String), Traffic)) -> Self {
        Self {
            kind: kind.name().to_owned(),
            name,
            line: None,
            packets,
            bytes,
        }
    }
}

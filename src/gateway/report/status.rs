//! [`Status`]: what a running gateway tells about itself.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::gateway::divert::{self, DivertSummary};
use crate::gateway::resolver::{DnsServer, QueryLog};
use crate::packet::Traffic;
use crate::policy::{DivertScope, FailMode};
use crate::verdict::{Action, Reason, RuleKind};

/// What a running gateway tells about itself: one JSON object, on the control socket and by `offramp status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since traffic is judged.
    pub uptime_seconds: u64,
    /// The policy file.
    pub policy: String,
    /// Which of the policies since the start is in force, from 1.
    pub generation: u64,
    /// What became of later ones.
    pub reloads: Reloads,
    /// What is diverted.
    pub diversion: DiversionStatus,
    /// The filter's own device.
    pub device: DeviceStatus,
    /// Packets and bytes, for every reason and action that there was.
    pub verdicts: Vec<VerdictStatus>,
    /// Packets and bytes of every rule that decided any, of this and earlier policies; rules that are long gone are
    /// summed under `(others)`.
    pub rules: Vec<RuleStatus>,
    /// First fragments forgotten before their time, for lack of room: their tails were forwarded.
    pub evicted_fragments: u64,
    /// The pin-point DNS server; `null` where the policy wants none.
    #[serde(default)]
    pub dns: Option<DnsStatus>,
    /// The log of samples of what was dropped, where the policy wants one.
    #[serde(default)]
    pub drop_log: Option<RecordStatus>,
    /// The capture of what was dropped, where one is wanted.
    #[serde(default)]
    pub drop_capture: Option<RecordStatus>,
}

/// What is written down of dropped packets, or of queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordStatus {
    /// Where it is written.
    pub place: String,
    /// Lines, or packets, that were written.
    pub written: u64,
    /// Those that were to be written and were not: the disk was full, or too slow.
    pub lost: u64,
    /// Why nothing can be written at the moment.
    pub error: Option<String>,
}

/// The pin-point DNS server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsStatus {
    /// Where it answers.
    pub listen: Vec<SocketAddr>,
    /// What became of queries.
    pub outcomes: Vec<OutcomeStatus>,
    /// How long answers took, by rising bounds.
    pub latency: Vec<LatencyStatus>,
    /// Of all answers together.
    pub latency_microseconds: u64,
    /// Connections that were closed because others needed their room.
    #[serde(default)]
    pub crowded_out_connections: u64,
    /// The log of queries, where the policy wants one.
    #[serde(default)]
    pub query_log: Option<RecordStatus>,
}

/// How many queries had an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeStatus {
    /// `pinned`, `hidden`, `forwarded`, `cached`, `refused`, `failed` or `dropped`.
    pub outcome: String,
    /// Queries.
    pub queries: u64,
}

/// How many answers took as long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyStatus {
    /// As long at most, and longer than the bound before; `null` for the last.
    pub up_to_microseconds: Option<u64>,
    /// Answers.
    pub answers: u64,
}

/// What became of policies after the first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reloads {
    /// In force, or replaced since.
    pub taken: u64,
    /// With mistakes: the one before stayed in force.
    pub refused: u64,
    /// Why the last one was refused; `null` once a later one was taken.
    pub last_error: Option<String>,
}

/// What is diverted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiversionStatus {
    /// `gateway.divert`, as it is in force.
    pub scope: String,
    /// `gateway.on_failure`.
    pub on_failure: String,
    /// Prefixes that can lead to the filter; 0 where everything does.
    pub prefixes: usize,
    /// `vpn.interfaces`, and which there are of each.
    pub interfaces: Vec<InterfaceStatus>,
    /// Changes by other programs that were undone.
    #[serde(default)]
    pub repairs: Repairs,
}

/// Changes of the kernel's part by other programs, which the gateway has undone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Repairs {
    /// How often there was something to restore.
    pub count: u64,
    /// What was restored last; `null` where nothing was.
    pub last: Option<String>,
}

/// One entry of `vpn.interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// As the policy writes it.
    pub pattern: String,
    /// The interfaces that it names at the moment.
    pub present: Vec<String>,
}

/// The filter's own device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// Its queues, with a worker each.
    pub workers: usize,
    /// Packets that each worker has judged.
    pub judged: Vec<u64>,
    /// Whether a batch of packets is read or written in one system call (io_uring), or each in its own.
    pub io_uring: bool,
    /// Packets that found its queue full, and were lost: the filter did not keep up. `null` where the kernel does not say.
    pub overload_drops: Option<u64>,
    /// Packets that were to pass and that the kernel did not take back.
    pub failed_writes: u64,
}

/// How often a verdict was given.
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

/// What a rule has decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// `media`, `server`, `allow`, `public` or `feed`.
    pub kind: String,
    /// The operator's name for it.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl DiversionStatus {
    /// The diversion `summary` on a host that has the interfaces `present`.
    pub fn new(summary: &DivertSummary, present: &[String], repairs: &Repairs) -> Self {
        let interface = |pattern: &String| {
            let named = present.iter().filter(|name| divert::names(pattern, name));
            InterfaceStatus {
                pattern: pattern.clone(),
                present: named.cloned().collect(),
            }
        };
        let scope = match summary.scope {
            DivertScope::All => "all",
            DivertScope::Policy => "policy",
            DivertScope::Suspects => "suspects",
        };
        let on_failure = match summary.on_failure {
            FailMode::Open => "open",
            FailMode::Closed => "closed",
        };
        Self {
            scope: scope.to_owned(),
            on_failure: on_failure.to_owned(),
            prefixes: summary.prefixes,
            interfaces: summary.interfaces.iter().map(interface).collect(),
            repairs: repairs.clone(),
        }
    }
}

impl DnsStatus {
    /// What `server` and its log tell.
    pub fn new(server: &DnsServer, log: &QueryLog) -> Self {
        let microseconds = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        let outcomes = server.counters().outcomes();
        let latency = server.counters().latency();
        Self {
            listen: server.listen().to_vec(),
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
            crowded_out_connections: server.counters().crowded_out(),
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
            packets,
            bytes,
        }
    }
}

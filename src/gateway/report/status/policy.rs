//! The part of the status that is about the policy in force, beside its counters: the services that it cuts off, and its review.

use serde::{Deserialize, Serialize};

use crate::audit::{CutService, Nature, Role, Scope, Suggestion};
use crate::gateway::record::drops::LossReport;
use crate::verify::{Finding, Statement};

/// The services that the policy in force cuts off, told by samples of dropped packets. It has no address of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LossStatus {
    /// Generation of the policy that they were dropped by.
    pub generation: u64,
    /// Packets that were examined, of those dropped by `[media]`: at most 1,000 a second at offices and at clients each.
    pub examined: u64,
    /// The services: those that users lose first, then unclear ones, then media; at most 64.
    pub services: Vec<LostServiceStatus>,
    /// Services beyond those.
    pub left_out: u64,
    /// The entry that would keep RDP Shortpath to corporate hosts, if it is dropped.
    pub shortpath: Option<String>,
}

/// A service that is cut off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LostServiceStatus {
    /// `service` if users lose it, `unclear`, or `media`.
    pub nature: String,
    /// The name that it is known by.
    pub name: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Its ports.
    pub ports: String,
    /// `request` if clients call it, `reply` if it runs on clients.
    pub role: String,
    /// `corporate` or `client`: the hosts on the other side.
    pub scope: String,
    /// Packets examined.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Hosts on the other side; at least so many.
    pub hosts: u64,
    /// True if there was nothing but attempts to connect.
    pub attempts_only: bool,
    /// The `[[allow]]` that would keep it, if there is one.
    pub allow: Option<String>,
}

impl LossStatus {
    /// Describes `report`.
    pub fn new(report: &LossReport) -> Self {
        let LossReport {
            generation,
            examined,
            losses,
        } = report;
        let services = losses.services.iter().map(LostServiceStatus::of);
        Self {
            generation: generation.0,
            examined: *examined,
            services: services.take(MAX_SERVICES).collect(),
            left_out: losses.services.len().saturating_sub(MAX_SERVICES) as u64,
            shortpath: losses.shortpath.as_ref().map(|it| it.toml.clone()),
        }
    }
}

impl LostServiceStatus {
    fn of((service, allow): &(CutService, Option<Suggestion>)) -> Self {
        let nature = match service.nature {
            Nature::Service => "service",
            Nature::Unclear => "unclear",
            Nature::Media => "media",
        };
        let role = match service.role {
            Role::Request => "request",
            Role::Reply => "reply",
        };
        let scope = match service.scope {
            Scope::Corporate => "corporate",
            Scope::Client => "client",
        };
        Self {
            nature: nature.to_owned(),
            name: service.name.map(str::to_owned),
            protocol: service.protocol.to_string(),
            ports: service.ports.to_string(),
            role: role.to_owned(),
            scope: scope.to_owned(),
            packets: service.traffic.packets,
            bytes: service.traffic.bytes,
            hosts: service.destinations.count,
            attempts_only: service.attempts_only,
            allow: allow.as_ref().map(|it| it.toml.clone()),
        }
    }
}

/// The review of the policy in force: whether names, routes and filter agree, and the feeds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReviewStatus {
    /// Generation of the policy.
    pub generation: u64,
    /// The findings of `offramp verify`, errors first.
    pub findings: Vec<ReviewFindingStatus>,
    /// Its feeds.
    pub feeds: Vec<FeedStatus>,
}

/// A finding of `offramp verify`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReviewFindingStatus {
    /// `LEAK`, …
    pub code: String,
    /// `error` or `warning`.
    pub severity: String,
    /// The problem.
    pub what: String,
    /// Lines of the policy file, the main one first.
    pub lines: Vec<u32>,
    /// The conflicting statements: a part, and its statement.
    pub why: Vec<(String, String)>,
    /// The change that solves it.
    pub remedy: String,
}

impl From<&Finding> for ReviewFindingStatus {
    fn from(finding: &Finding) -> Self {
        let statement = |it: &Statement| (it.part.name().to_owned(), it.says.clone());
        Self {
            code: finding.code.name().to_owned(),
            severity: finding.severity.as_str().to_owned(),
            what: finding.what.clone(),
            lines: finding.lines.clone(),
            why: finding.why.iter().map(statement).collect(),
            remedy: finding.remedy.clone(),
        }
    }
}

/// A feed of the policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeedStatus {
    /// The operator's name for it.
    pub name: String,
    /// Line of the policy file that names its file.
    pub line: u32,
    /// Its prefixes; `null` if the file was not there.
    pub prefixes: Option<u64>,
    /// Age of the file; `null` if the file is not the one that was read, or has none.
    pub age_days: Option<u64>,
    /// Age from which it counts as old.
    pub max_age_days: u64,
}

/// Services of a [`LossStatus`]: more are a port scan.
const MAX_SERVICES: usize = 64;

//! Audits a policy on real traffic: the answer to "what breaks when I switch the filter on?"
//!
//! [`Audit`] is fed with packets and their verdicts, any number of them, and takes constant memory. Its [`Report`] says
//! how much passes and how much is dropped, by reason and by rule; which services would be cut off, by name; and the
//! `[[allow]]` entries that would keep them, ready for the policy file.
//!
//! ```text
//!   verdict, packet ──► by action and reason   packets, bytes (exact), flows (sketch)
//!                  ├──► by rule                packets, bytes (exact)
//!                  └──► dropped as media or hairpin:
//!                       RDP Shortpath ─► session hosts
//!                       service ─► destinations   told by ports and TCP flags, bounded tables
//!                                                       │
//!                            CompiledPolicy ──► Report ◄┘ suggestions
//! ```
//!
//! It judges nothing, reads no clock and looks no deeper than the first bytes behind the ports.

mod compare;
mod conclude;
mod cut_off;
mod hash;
pub mod quality;
mod recognized;
mod report;
mod service;
mod shortpath;
mod sight;
mod sketch;
mod strangers;
mod suggest;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod variant;

pub use compare::{Comparison, Kept, KeptReport};
pub use report::{
    CutService, Destination, Estimate, Losses, MediaTraffic, Nature, ReasonTraffic, Report,
    RuleTraffic, ShortpathHost, StrangerTraffic, Suggestion, Tally,
};
pub use service::{Role, Scope};

use crate::filter::{CompiledPolicy, RuleTable};
use crate::packet::media::Recognized;
use crate::packet::{Fragment, Malformed, PacketView, Protocol, Transport};
use crate::verdict::{Action, DecidedBy, Reason, RuleId, RuleKind, Verdict};
use cut_off::CutOff;
use hash::flow_hash;
use recognized::RecognizedMedia;
use shortpath::Shortpath;
use sketch::{Sketch, memory_of};
use strangers::Strangers;
use suggest::ClientDestinations;

/// Counters that are kept while packets pass.
#[derive(Debug)]
pub struct Audit {
    /// By reason and action.
    counts: Vec<[Counts; ACTIONS]>,
    /// By position in the rule table.
    rules: Vec<Tally>,
    media: RecognizedMedia,
    shortpath: Shortpath,
    cut_off: CutOff,
    strangers: Strangers,
    skipped: u64,
    missed: u64,
    fragments: u64,
    tails: u64,
}

/// The traffic of one reason and action.
#[derive(Debug)]
struct Counts {
    traffic: Tally,
    flows: Sketch,
}

impl Counts {
    fn new() -> Self {
        Self {
            traffic: Tally::default(),
            flows: Sketch::new(FLOWS_OF_REASON),
        }
    }
}

impl Audit {
    /// Most bytes that an audit takes, whatever the traffic, beside 16 for each rule of the policy.
    ///
    /// Two thirds of it are sketches of services: all of it is taken only where a thousand services would be cut off.
    pub const MEMORY_MAX: usize =
        REASONS * ACTIONS * (size_of::<Counts>() + memory_of(FLOWS_OF_REASON))
            + cut_off::MEMORY_MAX
            + RecognizedMedia::MEMORY_MAX
            + Shortpath::MEMORY_MAX
            + Strangers::MEMORY_MAX;

    /// An audit of nothing yet.
    pub fn new() -> Self {
        let counts = || [Action::Forward, Action::Drop].map(|_| Counts::new());
        Self {
            counts: Reason::ALL.iter().map(|_| counts()).collect(),
            rules: Vec::new(),
            media: RecognizedMedia::default(),
            shortpath: Shortpath::default(),
            cut_off: CutOff::new(),
            strangers: Strangers::default(),
            skipped: 0,
            missed: 0,
            fragments: 0,
            tails: 0,
        }
    }

    /// Counts one packet, as it was parsed, and the verdict it got.
    ///
    /// `length_on_wire` counts for a packet whose header is not in order; any other knows its length.
    pub fn record(
        &mut self,
        verdict: Verdict,
        packet: Result<PacketView<'_>, Malformed>,
        length_on_wire: usize,
    ) {
        let length = packet.map_or(length_on_wire, |packet| packet.length());
        if let Some(rule) = verdict.rule {
            self.count_rule(rule, length);
        }
        let counts = &mut self.counts[verdict.reason as usize][verdict.action as usize];
        counts.traffic.count(length);
        let Ok(packet) = packet else {
            return;
        };
        let flow = flow_hash(&packet);
        if let Some(flow) = flow {
            counts.flows.insert(flow);
        }
        match packet.fragment() {
            Fragment::Whole => {}
            Fragment::First { .. } => self.fragments += 1,
            Fragment::NonFirst { .. } => self.tails += 1,
        }
        if let Transport::Ports {
            protocol: Protocol::Tcp,
            destination: port,
            ..
        } = packet.transport()
            && port < 1_024
            && WINDOWS_SERVER_PORTS.contains(&port)
        {
            self.cut_off.note_windows_server(&packet);
        }
        let scope = match verdict.reason.decided_by() {
            DecidedBy::Corporate => Scope::Corporate,
            DecidedBy::Client => Scope::Client,
            DecidedBy::Source => return self.strangers.record(packet.addresses(), length),
            DecidedBy::Header
            | DecidedBy::Public
            | DecidedBy::Server
            | DecidedBy::Allow
            | DecidedBy::Nothing => return,
        };
        self.shortpath.record(scope, &packet);
        match verdict.media {
            Some(Recognized { evidence, .. }) => {
                let to = packet.addresses().destination();
                self.media.record(evidence, scope, to, length);
            }
            None => self.cut_off.record(scope, &packet, flow),
        }
    }

    /// Counts a frame that holds no IP packet.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// Counts frames that were lost before anybody could judge them.
    pub fn miss(&mut self, frames: u64) {
        self.missed += frames;
    }

    /// Bytes it takes.
    pub fn memory_bytes(&self) -> usize {
        let counts = self.counts.iter().flatten();
        let sketches: usize = counts
            .map(|counts| size_of::<Counts>() + counts.flows.memory_bytes())
            .sum();
        sketches
            + self.rules.capacity() * size_of::<Tally>()
            + self.cut_off.memory_bytes()
            + self.media.memory_bytes()
            + self.shortpath.memory_bytes()
            + self.strangers.memory_bytes()
    }

    /// Returns the report; `policy` is the one that gave the verdicts.
    pub fn report(&self, policy: &CompiledPolicy) -> Report {
        let mut report = Report {
            judged: Tally::default(),
            forwarded: Tally::default(),
            dropped: Tally::default(),
            skipped: self.skipped,
            missed: self.missed,
            fragments: self.fragments,
            tails: self.tails,
            reasons: Vec::new(),
            rules: self.rule_traffic(policy),
            media: self.media.report(),
            shortpath: self.shortpath.report(),
            strangers: self.strangers(policy),
            cut_off: Vec::new(),
            scattered: self.cut_off.scattered,
            without_ports: self.cut_off.without_ports,
            suggestions: Vec::new(),
        };
        for action in [Action::Drop, Action::Forward] {
            for reason in Reason::ALL {
                let counts = &self.counts[reason as usize][action as usize];
                if counts.traffic.packets == 0 {
                    continue;
                }
                report.judged += counts.traffic;
                match action {
                    Action::Forward => report.forwarded += counts.traffic,
                    Action::Drop => report.dropped += counts.traffic,
                }
                report.reasons.push(ReasonTraffic {
                    action,
                    reason,
                    traffic: counts.traffic,
                    flows: counts.flows.estimate(),
                });
            }
        }
        for conclusion in conclude::conclude(&self.cut_off) {
            report.suggestions.extend(suggest::suggest(
                &conclusion,
                policy.rules(),
                ClientDestinations::AsAddresses,
                &report.suggestions,
            ));
            report.cut_off.push(conclusion.service);
        }
        let shortpath = self.shortpath.suggest(policy.rules(), &report.suggestions);
        report.suggestions.extend(shortpath);
        report
    }

    /// Returns what a policy with these `rules` cuts off, without an address of a client.
    pub fn losses(&self, rules: &RuleTable) -> Losses {
        let mut suggestions = Vec::new();
        let conclusions = conclude::conclude(&self.cut_off).into_iter();
        let services = conclusions.map(|conclusion| {
            let clients = ClientDestinations::AsWord;
            let allow = suggest::suggest(&conclusion, rules, clients, &suggestions);
            suggestions.extend(allow.clone());
            let mut service = conclusion.service;
            if service.scope == Scope::Client {
                service.top.clear();
            }
            (service, allow)
        });
        Losses {
            services: services.collect(),
            shortpath: self.shortpath.suggest_corporate(rules, &suggestions),
        }
    }

    fn strangers(&self, policy: &CompiledPolicy) -> Vec<StrangerTraffic> {
        let clients = policy.policy().vpn.client_addresses();
        let sources = self.strangers.report(|to| clients.overlaps(to)).into_iter();
        sources
            .map(|(from, traffic)| StrangerTraffic { from, traffic })
            .collect()
    }

    #[inline]
    fn count_rule(&mut self, rule: RuleId, length: usize) {
        if rule.index() >= self.rules.len() {
            // As often as a rule of a higher number is the first of its kind to decide.
            self.rules.resize(rule.index() + 1, Tally::default());
        }
        self.rules[rule.index()].count(length);
    }

    fn rule_traffic(&self, policy: &CompiledPolicy) -> Vec<RuleTraffic> {
        let counted = policy.rules().iter().zip(&self.rules);
        counted
            .filter(|(rule, traffic)| rule.kind != RuleKind::Media && traffic.packets > 0)
            .map(|(rule, &traffic)| RuleTraffic {
                kind: rule.kind,
                name: rule.name.clone(),
                line: rule.line,
                traffic,
            })
            .collect()
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self::new()
    }
}

/// Flows of a reason that its estimate rests on: exact up to 4,096, then within about 2 %.
const FLOWS_OF_REASON: usize = 2_048;

const REASONS: usize = Reason::ALL.len();
const ACTIONS: usize = 2;

/// TCP ports that a client talks to before it calls Windows RPC at the same server: Kerberos, the endpoint mapper that
/// tells the dynamic port, LDAP, SMB.
const WINDOWS_SERVER_PORTS: [u16; 4] = [88, 135, 389, 445];

// An audit beside a gateway must not be what uses up its memory.
const _: () = assert!(Audit::MEMORY_MAX < 24 << 20);

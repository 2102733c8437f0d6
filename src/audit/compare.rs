//! [`Kept`] and [`Comparison`]: the same traffic under other values of `media.match`.

use super::report::{CutService, Estimate, Nature, Tally};
use super::variant::Variant;
use super::{Audit, Report};
use crate::filter::{CompileError, CompiledPolicy};
use crate::packet::Received;
use crate::policy::MediaMatch;
use crate::verdict::{Action, Verdict};

/// Traffic that a policy lets live because it asks for evidence of media: what `match = "ports"` would drop, and the
/// media in it that has no connectivity checks.
#[derive(Debug)]
pub struct Kept {
    by_ports: Variant,
    audit: Audit,
    /// `None` where the policy takes all media.
    by_media: Option<Variant>,
    media: Tally,
}

/// The traffic that lives because of `media.match`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(serde::Serialize))]
pub struct KeptReport {
    /// Packets that pass, and that `match = "ports"` would drop.
    #[cfg_attr(feature = "gateway", serde(flatten))]
    pub traffic: Tally,
    /// In how many flows.
    pub flows: Estimate,
    /// The services among it, the most packets first.
    pub services: Vec<CutService>,
    /// The part of it that is media without connectivity checks: `match = "media"` would drop it.
    pub media: Tally,
}

impl Kept {
    /// Compares `policy` with its variants; `None` if it blocks by ports alone.
    ///
    /// # Errors
    /// [`CompileError`] never, for a policy that was compiled before.
    pub fn new(policy: &CompiledPolicy) -> Result<Option<Self>, CompileError> {
        let by_media = match policy.policy().media.recognition {
            MediaMatch::Ports => return Ok(None),
            MediaMatch::Media => None,
            MediaMatch::Ice | MediaMatch::IceMicrosoft => {
                Some(Variant::new(policy, MediaMatch::Media)?)
            }
        };
        Ok(Some(Self {
            by_ports: Variant::new(policy, MediaMatch::Ports)?,
            audit: Audit::new(),
            by_media,
            media: Tally::default(),
        }))
    }

    /// Counts one packet, and the verdict that the policy itself gave it.
    pub fn record(&mut self, verdict: Verdict, packet: Received<'_>) {
        let by_ports = self.by_ports.judge(packet);
        // What is dropped may be the start of a flow, too.
        let by_media = self.by_media.as_mut().map(|variant| variant.judge(packet));
        if verdict.action == Action::Drop || by_ports.action == Action::Forward {
            return;
        }
        self.audit
            .record(by_ports, packet.parse(), packet.length_on_wire);
        if by_media.is_some_and(|verdict| verdict.action == Action::Drop) {
            self.media.count(packet.length_on_wire);
        }
    }

    /// Returns the report.
    pub fn report(&self) -> KeptReport {
        let mut by_ports = self.audit.report(self.by_ports.policy());
        by_ports.cut_off.retain(|it| it.nature == Nature::Service);
        let flows = by_ports.reasons.iter().map(|it| it.flows);
        let flows = flows.fold(Estimate::exactly(0), |sum, it| Estimate {
            count: sum.count + it.count,
            exact: sum.exact && it.exact,
        });
        KeptReport {
            traffic: by_ports.dropped,
            flows,
            services: by_ports.cut_off,
            media: self.media,
        }
    }
}

/// Audits of one policy under every value of `media.match`.
#[derive(Debug)]
pub struct Comparison(Vec<(MediaMatch, Variant, Audit)>);

impl Comparison {
    /// Compares the variants of `policy`.
    ///
    /// # Errors
    /// [`CompileError`] never, for a policy that was compiled before.
    pub fn new(policy: &CompiledPolicy) -> Result<Self, CompileError> {
        let variants =
            MediaMatch::all().map(|it| Ok((it, Variant::new(policy, it)?, Audit::new())));
        variants.collect::<Result<_, _>>().map(Self)
    }

    /// Judges and counts one packet by each.
    pub fn record(&mut self, packet: Received<'_>) {
        for (_, variant, audit) in &mut self.0 {
            let verdict = variant.judge(packet);
            audit.record(verdict, packet.parse(), packet.length_on_wire);
        }
    }

    /// Returns a report for each value, in the order of the policy's words.
    pub fn reports(&self) -> Vec<(MediaMatch, Report)> {
        let variants = self.0.iter();
        let reports = variants.map(|(it, variant, audit)| (*it, audit.report(variant.policy())));
        reports.collect()
    }
}

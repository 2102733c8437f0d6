//! The state of a running gateway, as it is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::Gateway;
use crate::gateway::divert::{Divert, DivertPlan};
use crate::gateway::report::metrics::{Questions, Readiness};
use crate::gateway::report::page::PageQuestions;
use crate::gateway::report::series::{Report, Snapshot};
use crate::gateway::report::status::{
    DeviceStatus, DiversionStatus, DnsStatus, EnforcementStatus, EvidenceStatus, FindingStatus,
    FleetStatus, FlowsStatus, LateStatus, LossStatus, MediaStatus, QualityStatus, RejectionStatus,
    RuleStatus, Status, VerdictStatus,
};
use crate::packet::Traffic;
use crate::verdict::{Action, Reason};

impl<D: Divert> Gateway<D> {
    /// Answers requests to the metrics endpoint.
    pub(super) async fn answer(&self, questions: Questions) {
        let readiness = self.readiness();
        let snapshot = if questions.want_numbers() {
            Some(Report::Gateway(Arc::new(self.snapshot().await)))
        } else {
            None
        };
        questions.answer(&readiness, snapshot);
    }

    /// Answers requests of the status page.
    pub(super) async fn answer_page(&self, questions: PageQuestions) {
        questions.answer(self.snapshot().await);
    }

    async fn snapshot(&self) -> Snapshot {
        let readiness = self.readiness();
        Snapshot {
            status: self.status().await,
            ready: matches!(readiness, Readiness::Ready | Readiness::NotEnforced(_)),
        }
    }

    fn readiness(&self) -> Readiness {
        let ready = self.diverting
            && !self.bypassed
            && !self.self_tests.have_failed()
            && self.workers.all_live()
            && self.watchdog.all_live();
        match (self.health.errors(), self.published.enforcement().gap()) {
            _ if !ready => Readiness::NotReady,
            (Some(errors), _) => Readiness::Hindered(errors),
            (None, Some(gap)) => Readiness::NotEnforced(format!("traffic is judged, but {gap}\n")),
            (None, None) => Readiness::Ready,
        }
    }

    /// Collects the state of the gateway, with every rule of all policies so far, idle ones included.
    pub(super) async fn status(&self) -> Status {
        let summary = self.divert.plan().summary();
        let present = self.netlink.interfaces().await.unwrap_or_default();
        let verdicts = self.verdicts();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            policy: self.name.clone(),
            files: self.in_force.clone(),
            generation: self.published.generation().0,
            fleet: self.fleet(),
            reloads: self.reloads.clone(),
            not_ready: self.readiness().reason(),
            enforcement: self.enforcement(),
            diversion: DiversionStatus {
                kind: D::NAME.to_owned(),
                bypassed: self.bypassed,
                unread_packets: self.divert.unread().packets,
                late: self.divert.late().map(LateStatus::from),
                flows: self.divert.flows().map(FlowsStatus::from),
                self_test: self.self_tests.last().cloned(),
                ..DiversionStatus::new(&summary, &present, &self.repairs)
            },
            device: DeviceStatus {
                name: summary.device.clone(),
                workers: self.workers.count(),
                judged: self.workers.judged(),
                io_uring: self.workers.are_batching(),
                overload_drops: self.netlink.dropped(&summary.device).await.ok(),
                failed_writes: self.workers.failed_writes(),
            },
            verdicts: verdicts.into_iter().map(VerdictStatus::from).collect(),
            rules: self.rules(),
            evicted_fragments: self.workers.evicted_fragments(),
            health: self
                .health
                .findings()
                .iter()
                .map(FindingStatus::from)
                .collect(),
            health_checks: self.health.checks(),
            media: self.media_status(),
            rejections: RejectionStatus::of(self.published.rejector(), &self.workers),
            drop_log: self.drops.log_status(),
            drop_capture: self.drops.capture_status(),
            drop_table: self.drops.table_status(false),
            traces: self.published.traces().count(),
            losses: self.losses(),
            pushes: self.pusher.status(),
            review: self.review.status(self.published.generation()),
            dns: self
                .dns
                .as_ref()
                .map(|dns| DnsStatus::new(dns, &self.queries)),
        }
    }

    /// The release of the fleet that is in force; `None` without an agent.
    fn fleet(&self) -> Option<FleetStatus> {
        let state = self.source.fleet()?;
        // The first is the policy file; behind it are those of feeds.
        let in_force = self.in_force.first().and_then(|it| it.sha256.as_ref());
        let is_in_force = in_force == Some(&state.file_sha256);
        Some(FleetStatus::new(state, is_in_force, SystemTime::now()))
    }

    /// The clients for whom the policy takes effect, and the trial, if there is one.
    fn enforcement(&self) -> EnforcementStatus {
        let current = self.published.current();
        let file = &current.policy().policy().gateway.enforcement;
        let trial = self.trial.status(Instant::now(), file);
        EnforcementStatus::new(current.enforcement(), self.workers.spared(), trial)
    }

    /// The rules of the policies so far, with the lines of those that are in force.
    fn rules(&self) -> Vec<RuleStatus> {
        let totals = self.published.rule_totals().into_iter();
        let mut rules: Vec<RuleStatus> = totals.map(RuleStatus::from).collect();
        let enforced = self.published.current();
        let in_force = enforced.policy().rules().iter();
        let lines: HashMap<(&str, &str), u32> = in_force
            .filter_map(|rule| Some(((rule.kind.name(), rule.name.as_str()), rule.line?)))
            .collect();
        for rule in &mut rules {
            rule.line = lines.get(&(&*rule.kind, &*rule.name)).copied();
        }
        rules
    }

    /// The services that the policy in force cuts off; what an earlier one did is over.
    fn losses(&self) -> Option<LossStatus> {
        let report = self.drops.losses()?;
        let is_current = report.generation == self.published.generation();
        is_current.then(|| LossStatus::new(&report))
    }

    /// The traffic so far by its verdicts, those by which the kernel has forwarded it included.
    pub(super) fn verdicts(&self) -> BTreeMap<(Reason, Action), Traffic> {
        self.count_passed(self.divert.passed());
        let mut verdicts = self.workers.verdicts();
        for (reason, action, traffic) in self.passed.read() {
            if traffic.packets > 0 {
                *verdicts.entry((reason, action)).or_default() += traffic;
            }
        }
        verdicts
    }

    /// `None` under a policy that blocks by ports alone.
    fn media_status(&self) -> Option<MediaStatus> {
        let recognition = self.published.media_match();
        recognition.profile()?;
        let evidence = self.workers.recognized().into_iter();
        Some(MediaStatus {
            r#match: recognition.word().to_owned(),
            flows: self.workers.flows(),
            evicted_flows: self.workers.evicted_flows(),
            evidence: evidence.map(EvidenceStatus::from).collect(),
            quality: QualityStatus::of(&self.workers),
        })
    }
}

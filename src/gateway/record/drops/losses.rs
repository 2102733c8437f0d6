//! [`LossReporter`]: the services that the policy in force cuts off, told by samples of dropped packets.
//!
//! The thread that writes samples feeds them to an audit, which takes bounded memory, and publishes its conclusions once a
//! second, so that whoever asks for them waits for nothing. The audit begins anew with each policy: what a later one lets
//! pass is no longer cut off. Its conclusions have no address of a client.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::sample::Sample;
use crate::audit::{Audit, Losses};
use crate::filter::{Generation, RuleTable};

/// The services that a policy cuts off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossReport {
    /// The policy.
    pub generation: Generation,
    /// Packets that were examined: dropped ones, or those that would be if the policy were enforced.
    pub examined: u64,
    /// The services.
    pub losses: Losses,
}

/// The latest report; `None` before the first packet. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct LatestLosses(Arc<ArcSwapOption<LossReport>>);

impl LatestLosses {
    pub(super) fn get(&self) -> Option<Arc<LossReport>> {
        self.0.load_full()
    }
}

/// Examines samples, on the thread that writes them.
#[derive(Debug)]
pub(super) struct LossReporter {
    audit: Audit,
    generation: Generation,
    rules: Option<RuleTable>,
    examined: u64,
    has_news: bool,
    latest: LatestLosses,
}

impl LossReporter {
    pub(super) fn new(latest: LatestLosses) -> Self {
        Self {
            audit: Audit::new(),
            generation: Generation(0),
            rules: None,
            examined: 0,
            has_news: false,
            latest,
        }
    }

    /// Takes note of a sample that is to be examined.
    pub(super) fn examine(&mut self, sample: &Sample) {
        let Some(by) = sample.packet.by.as_ref().filter(|_| sample.is_examined) else {
            return;
        };
        if by.generation < self.generation {
            // A worker that had not loaded the later policy yet.
            return;
        }
        if by.generation > self.generation {
            self.audit = Audit::new();
            self.generation = by.generation;
            self.rules = Some(by.rules.clone());
            self.examined = 0;
        }
        let packet = sample.packet.received();
        self.audit
            .record(sample.packet.verdict, packet.parse(), sample.packet.length);
        self.examined += 1;
        self.has_news = true;
    }

    /// Publishes the conclusions, if there is anything to add to the last ones.
    pub(super) fn publish(&mut self) {
        let Some(rules) = self.rules.as_ref().filter(|_| self.has_news) else {
            return;
        };
        self.has_news = false;
        let report = LossReport {
            generation: self.generation,
            examined: self.examined,
            losses: self.audit.losses(rules),
        };
        self.latest.0.store(Some(Arc::new(report)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DropOptions, Suppressed, samples};
    use super::*;
    use crate::filter::{Capacity, CompiledPolicy, Judge};
    use crate::gateway::host::sample::{compiled, datagram};
    use crate::gateway::record::PolicyNames;
    use crate::packet::Received;
    use crate::verdict::{Reason, Verdict};
    use std::time::Duration;

    fn rdp(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ipv4(source, destination, 64)
            .tcp(50_000, 3_389, 1, 1_000)
            .syn()
            .write(&mut packet, &[])
            .expect("room");
        packet
    }

    /// Has `policy` judge the packets, and the reporter examine what is dropped.
    fn examine(reporter: &mut LossReporter, policy: &CompiledPolicy, packets: &[Vec<u8>]) {
        let reader = samples(&DropOptions {
            examines: true,
            ..DropOptions::default()
        });
        let (writer, names) = (reader.writer(), Arc::new(PolicyNames::of(policy)));
        let mut judge = Judge::new(Capacity::of(16));
        for packet in packets {
            let received = [Received::whole(packet, Duration::ZERO)];
            let mut verdicts = [Verdict::drop(Reason::Malformed)];
            judge.judge(policy, &received, &mut verdicts);
            writer.note(&received, &verdicts, &names, &mut Suppressed::default());
        }
        while let Some(sample) = reader.next() {
            reporter.examine(&sample);
            reader.give_back(sample);
        }
        reporter.publish();
    }

    #[test]
    fn a_service_is_told_with_its_entry_and_without_clients() {
        let latest = LatestLosses::default();
        let mut reporter = LossReporter::new(latest.clone());
        assert_eq!(latest.get(), None);
        let policy = compiled("", 2);
        let packets = [
            rdp([172, 16, 1, 10], [10, 20, 0, 7]),
            rdp([172, 16, 1, 10], [172, 16, 1, 11]),
            // Forwarded.
            datagram([10, 20, 0, 7], 53, 10),
        ];
        examine(&mut reporter, &policy, &packets);
        let report = latest.get().expect("it is published");
        assert_eq!((report.generation, report.examined), (Generation(2), 2));
        let entries: Vec<&str> = report
            .losses
            .services
            .iter()
            .filter_map(|(_, allow)| Some(allow.as_ref()?.toml.as_str()))
            .collect();
        let [corporate, clients] = entries[..] else {
            panic!("{entries:#?}");
        };
        assert!(corporate.contains("to = [\"10.20.0.7\"]"), "{corporate}");
        assert!(clients.contains("to = [\"clients\"]"), "{clients}");
        let told = format!("{report:?}");
        assert!(!told.contains("172.16."), "{told}");
    }

    #[test]
    fn a_later_policy_begins_anew_and_a_straggler_of_an_earlier_one_does_not_count() {
        let latest = LatestLosses::default();
        let mut reporter = LossReporter::new(latest.clone());
        let packet = rdp([172, 16, 1, 10], [10, 20, 0, 7]);
        let (first, second) = (compiled("", 1), compiled("", 2));
        examine(&mut reporter, &first, &[packet.clone(), packet.clone()]);
        examine(&mut reporter, &second, std::slice::from_ref(&packet));
        examine(&mut reporter, &first, std::slice::from_ref(&packet));
        let report = latest.get().expect("it is published");
        assert_eq!((report.generation, report.examined), (Generation(2), 1));
    }
}

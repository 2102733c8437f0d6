//! [`Rates`]: how much the counters of a running gateway grow in a second, from two of its statuses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::gateway::report::status::Status;
use crate::gateway::tun::publish::OTHERS;

/// A counter of a status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Counter {
    /// Everything that was judged, by action.
    Action(String),
    /// By action and reason.
    Verdict(String, String),
    /// By the kind and name of the rule.
    Rule(String, String),
    /// By evidence of media and the packet that showed it.
    Evidence(String, String),
    /// By destination (`None` for clients whose addresses are not told), protocol, port, and kind of media.
    Destination(Option<IpAddr>, Box<Counter>),
    /// By protocol, port, and kind of media.
    Service(String, Option<u16>, Option<String>),
    /// By the number of a client.
    Client(u64),
}

impl Counter {
    /// True if it only ever grows while the gateway runs: tables of fixed size replace their keys.
    fn never_shrinks(&self) -> bool {
        match self {
            Self::Action(_) | Self::Verdict(..) | Self::Evidence(..) => true,
            // Rules that a policy has lost are summed under another name after a while.
            Self::Rule(..) | Self::Destination(..) | Self::Service(..) | Self::Client(_) => false,
        }
    }
}

/// Packets and bytes: in all, or in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Amount {
    pub(super) packets: f64,
    /// 0 where only packets are counted.
    pub(super) bytes: f64,
}

/// Growth of the counters in a second.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Rates(BTreeMap<Counter, Amount>);

/// The outcome of a comparison of two statuses.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Compared {
    /// The later one is of the same process.
    Grown(Rates),
    /// Another process counts: the gateway has restarted, so there are no rates.
    Restarted,
}

impl Rates {
    /// Compares two statuses, of which `after` was told `elapsed` later.
    pub(super) fn between(before: &Status, after: &Status, elapsed: Duration) -> Compared {
        let (old, new) = (counters(before), counters(after));
        let has_shrunk = |(counter, amount): (&Counter, &Amount)| {
            let new = new.get(counter).copied().unwrap_or_default();
            counter.never_shrinks() && new.packets < amount.packets
        };
        if before.pid != after.pid
            || before.uptime_seconds > after.uptime_seconds
            || old.iter().any(has_shrunk)
        {
            return Compared::Restarted;
        }
        let is_reloaded = before.generation != after.generation;
        let rates = new.into_iter().filter_map(|(counter, amount)| {
            // What it has taken over from rules of an earlier policy was not judged just now.
            let has_inherited = matches!(&counter, Counter::Rule(_, name) if name == OTHERS);
            if is_reloaded && has_inherited {
                return None;
            }
            let old = old.get(&counter).copied().unwrap_or_default();
            let per_second =
                |new: f64, old: f64| (new - old).max(0.0) / elapsed.as_secs_f64().max(MIN_SECONDS);
            let rate = Amount {
                packets: per_second(amount.packets, old.packets),
                bytes: per_second(amount.bytes, old.bytes),
            };
            Some((counter, rate))
        });
        Compared::Grown(Self(rates.collect()))
    }

    /// The rate of `counter`; 0 for one that is not there.
    pub(super) fn of(&self, counter: &Counter) -> Amount {
        self.0.get(counter).copied().unwrap_or_default()
    }

    /// True if `counter` is there.
    pub(super) fn has(&self, counter: &Counter) -> bool {
        self.0.contains_key(counter)
    }

    /// All rates.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Counter, Amount)> {
        self.0.iter().map(|(counter, amount)| (counter, *amount))
    }
}

/// The counters of `status`.
pub(super) fn counters(status: &Status) -> BTreeMap<Counter, Amount> {
    let mut counters = BTreeMap::new();
    let mut add = |counter, packets: u64, bytes: u64| {
        let sum: &mut Amount = counters.entry(counter).or_default();
        sum.packets += packets as f64;
        sum.bytes += bytes as f64;
    };
    for it in &status.verdicts {
        let counter = Counter::Verdict(it.action.clone(), it.reason.clone());
        add(counter, it.packets, it.bytes);
        add(Counter::Action(it.action.clone()), it.packets, it.bytes);
    }
    for it in &status.rules {
        let counter = Counter::Rule(it.kind.clone(), it.name.clone());
        add(counter, it.packets, it.bytes);
    }
    for it in status.media.iter().flat_map(|media| &media.evidence) {
        let counter = Counter::Evidence(it.evidence.clone(), it.by.clone());
        add(counter, it.packets, it.bytes);
    }
    if let Some(table) = &status.drop_table {
        let service = |it: &crate::gateway::record::drops::ServiceStatus| {
            Counter::Service(it.protocol.clone(), it.port, it.media.clone())
        };
        for it in &table.destinations {
            let service = Box::new(service(&it.service));
            let counter = Counter::Destination(it.destination, service);
            add(counter, it.service.packets, 0);
        }
        for it in &table.services {
            add(service(it), it.packets, 0);
        }
        for it in &table.clients {
            add(Counter::Client(it.number), it.packets, 0);
        }
    }
    counters
}

/// No interval between two statuses is shorter.
const MIN_SECONDS: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::status;

    const SECOND: Duration = Duration::from_secs(1);

    #[track_caller]
    fn rates(before: &Status, after: &Status, elapsed: Duration) -> Rates {
        match Rates::between(before, after, elapsed) {
            Compared::Grown(rates) => rates,
            Compared::Restarted => panic!("it is the same process"),
        }
    }

    fn media() -> Counter {
        Counter::Verdict("drop".to_owned(), "media".to_owned())
    }

    #[test]
    fn a_rate_is_what_a_counter_has_grown_by_in_a_second() {
        let before = status();
        let mut after = before.clone();
        after.verdicts[0].packets += 30;
        after.verdicts[0].bytes += 3_000;
        let rate = rates(&before, &after, 2 * SECOND).of(&media());
        assert_eq!((rate.packets, rate.bytes), (15.0, 1_500.0));
        let all = rates(&before, &after, SECOND).of(&Counter::Action("drop".to_owned()));
        assert_eq!(all.packets, 30.0);
        let same = rates(&before, &before, SECOND);
        assert!(same.iter().all(|(_, amount)| amount == Amount::default()));
    }

    #[test]
    fn a_reason_that_occurs_for_the_first_time_counts_from_nothing() {
        let after = status();
        let mut before = after.clone();
        before.verdicts.remove(0);
        let rate = rates(&before, &after, SECOND).of(&media());
        assert_eq!(rate.packets, after.verdicts[0].packets as f64);
    }

    #[test]
    fn a_counter_that_went_backwards_is_a_restart() {
        let before = status();
        let mut after = before.clone();
        after.verdicts[0].packets -= 1;
        let compared = Rates::between(&before, &after, SECOND);
        assert_eq!(compared, Compared::Restarted);
        let mut after = before.clone();
        after.pid += 1;
        let compared = Rates::between(&before, &after, SECOND);
        assert_eq!(compared, Compared::Restarted);
    }

    #[test]
    fn a_key_that_left_a_bounded_table_is_no_restart() {
        let before = status();
        let mut after = before.clone();
        let table = after.drop_table.as_mut().expect("it has one");
        table.destinations.remove(0);
        table.services[0].packets = 1;
        let service = Counter::Service("udp".to_owned(), None, Some("stun".to_owned()));
        assert_eq!(rates(&before, &after, SECOND).of(&service).packets, 0.0);
    }

    #[test]
    fn what_rules_of_earlier_policies_come_to_is_no_rate() {
        let before = status();
        let mut after = before.clone();
        after.generation += 1;
        after.rules[1].name = OTHERS.to_owned();
        let others = Counter::Rule(after.rules[1].kind.clone(), OTHERS.to_owned());
        assert_eq!(rates(&before, &after, SECOND).of(&others).packets, 0.0);
    }
}

//! [`Limiter`]: limits the rate of answers, to each client and in total.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;

/// A rate, and the number that may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// Time from one to the next.
    interval: Duration,
    /// At once, at most.
    burst: u32,
}

impl Rate {
    /// To one client: more than a person who tries a service again needs.
    pub(super) const OF_CLIENT: Self = Self {
        interval: Duration::from_millis(50),
        burst: 20,
    };
    /// In total: `net.ipv4.icmp_msgs_per_sec` of Linux.
    pub(super) const IN_TOTAL: Self = Self {
        interval: Duration::from_millis(1),
        burst: 100,
    };
}

/// Admits answers by the generic cell rate algorithm; workers share it without waiting.
///
/// Clients whose addresses have the same hash share a rate: memory is bounded, and nobody takes another's place. The hash is
/// keyed at the start, so no client can choose with whom it shares.
#[derive(Debug)]
pub(super) struct Limiter {
    clients: Box<[Due; CLIENTS]>,
    total: Due,
    hash: RandomState,
}

/// The moment at which the next one is due if they come evenly, in nanoseconds.
#[derive(Debug, Default)]
struct Due(AtomicU64);

impl Limiter {
    pub(super) fn new() -> Self {
        Self {
            clients: Box::new(std::array::from_fn(|_| Due::default())),
            total: Due::default(),
            hash: RandomState::default(),
        }
    }

    /// Returns `true`, and counts the answer, if `client` may get one at `now`.
    pub(super) fn admits(&self, client: IpAddr, now: Duration) -> bool {
        let place = self.hash.hash_one(client) as usize % CLIENTS;
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.clients[place].admits(Rate::OF_CLIENT, now) && self.total.admits(Rate::IN_TOTAL, now)
    }
}

impl Due {
    fn admits(&self, rate: Rate, now: u64) -> bool {
        let interval = rate.interval.as_nanos() as u64;
        let room = interval * u64::from(rate.burst);
        let next = |due: u64| {
            let from = due.max(now);
            (from - now + interval <= room).then_some(from + interval)
        };
        let updated = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        updated.is_ok()
    }
}

/// Clients with rates of their own: as many as a large concentrator has, in 64 KiB.
const CLIENTS: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn client(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xac10_0000 + number).into()
    }

    fn admitted(limiter: &Limiter, count: u32, number: impl Fn(u32) -> u32, at: Duration) -> usize {
        let admitted = |it: &u32| limiter.admits(client(number(*it)), at);
        (0..count).filter(admitted).count()
    }

    #[test]
    fn a_client_gets_a_burst_and_then_twenty_a_second() {
        let limiter = Limiter::new();
        let at = |milliseconds| admitted(&limiter, 100, |_| 1, Duration::from_millis(milliseconds));
        assert_eq!(at(0), 20);
        assert_eq!(at(49), 0);
        assert_eq!(at(50), 1);
        assert_eq!(at(550), 10);
        assert_eq!(at(60_000), 20);
    }

    #[test]
    fn all_together_get_a_burst_and_then_a_thousand_a_second() {
        let limiter = Limiter::new();
        let at = |milliseconds| {
            admitted(
                &limiter,
                10_000,
                |it| it,
                Duration::from_millis(milliseconds),
            )
        };
        assert_eq!(at(0), 100);
        assert_eq!(at(50), 50);
        assert_eq!(at(60_000), 100);
    }

    #[test]
    fn one_that_floods_leaves_the_others_theirs() {
        let limiter = Limiter::new();
        assert_eq!(admitted(&limiter, 10_000, |_| 1, Duration::ZERO), 20);
        assert!(limiter.admits(client(2), Duration::ZERO));
    }
}

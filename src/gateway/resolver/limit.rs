//! [`Limiter`]: limits the rate of queries of each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Lets each client ask a number of queries a second, in bursts of as many.
///
/// It keeps one moment a client (the generic cell rate algorithm): when the client's next query would be due if it asked
/// evenly. With more clients than it remembers, those that it does not know are let through.
#[derive(Debug)]
pub(super) struct Limiter {
    interval: Duration,
    due: HashMap<IpAddr, Instant>,
    tidied: Instant,
}

impl Limiter {
    /// Creates a limiter that lets every client ask `per_second` queries.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            interval: BURST / per_second.max(1),
            due: HashMap::new(),
            tidied: now,
        }
    }

    /// Returns `true`, and counts the query, if `client` may ask one.
    pub(super) fn admits(&mut self, client: IpAddr, now: Instant) -> bool {
        if self.due.len() >= MAX_CLIENTS && !self.due.contains_key(&client) {
            if now.saturating_duration_since(self.tidied) < BURST {
                return true;
            }
            self.tidied = now;
            self.due.retain(|_, due| *due > now);
        }
        let due = self.due.entry(client).or_insert(now);
        let from = (*due).max(now);
        if from.saturating_duration_since(now) + self.interval > BURST {
            return false;
        }
        *due = from + self.interval;
        true
    }

    /// Counts `queries` that `client` did not ask, but that its question has cost: it waits until they would be due, for
    /// [`MAX_DEBT`] at most.
    pub(super) fn charge(&mut self, client: IpAddr, queries: u32, now: Instant) {
        if let Some(due) = self.due.get_mut(&client) {
            let later = (*due).max(now) + self.interval.saturating_mul(queries);
            *due = later.min(now + MAX_DEBT);
        }
    }
}

/// Size of a burst, as the time in which as many queries are due.
const BURST: Duration = Duration::from_secs(1);
/// The longest time for which a client waits because of what its questions have cost.
const MAX_DEBT: Duration = Duration::from_secs(5);
/// Clients that are remembered: more than a concentrator has, and a few megabytes.
const MAX_CLIENTS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 1, 10));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 1, 11));

    #[test]
    fn a_client_has_its_share_of_every_second_and_takes_from_nobody_elses() {
        let start = Instant::now();
        let mut limiter = Limiter::new(10, start);
        let mut admitted = |client, at: Duration| limiter.admits(client, start + at);
        let burst = (0..20).filter(|_| admitted(CLIENT, Duration::ZERO)).count();
        assert_eq!(burst, 10);
        assert!(admitted(OTHER, Duration::ZERO));
        assert!(!admitted(CLIENT, Duration::from_millis(50)));
        assert!(admitted(CLIENT, Duration::from_millis(100)));
        assert!(!admitted(CLIENT, Duration::from_millis(100)));
        let burst = (0..20).filter(|_| admitted(CLIENT, Duration::from_secs(60)));
        assert_eq!(burst.count(), 10);
    }

    #[test]
    fn a_client_pays_for_what_its_question_has_cost() {
        let start = Instant::now();
        let mut limiter = Limiter::new(10, start);
        assert!(limiter.admits(CLIENT, start));
        assert!(limiter.admits(OTHER, start));
        limiter.charge(CLIENT, 20, start);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(limiter.admits(OTHER, at(200)));
        // Due after 2.1 s, and a burst is a second.
        assert!(!limiter.admits(CLIENT, at(1_100)));
        assert!(limiter.admits(CLIENT, at(1_200)));
        let later = start + Duration::from_secs(10);
        limiter.charge(CLIENT, u32::MAX, later);
        assert!(!limiter.admits(CLIENT, later + Duration::from_secs(3)));
        assert!(limiter.admits(CLIENT, later + MAX_DEBT));
    }

    #[test]
    fn it_forgets_clients_that_ask_nothing_before_it_grows_beyond_its_bound() {
        let start = Instant::now();
        let mut limiter = Limiter::new(10, start);
        for number in 0..2 * MAX_CLIENTS as u32 {
            assert!(limiter.admits(Ipv4Addr::from_bits(number).into(), start));
        }
        assert_eq!(limiter.due.len(), MAX_CLIENTS);
        assert!(limiter.admits(CLIENT, start + Duration::from_secs(2)));
        assert_eq!(limiter.due.len(), 1);
    }
}

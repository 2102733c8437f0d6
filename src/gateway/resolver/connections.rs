//! [`Connections`]: the open connections, with eviction of the one idle for longest when there are too many.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::counters::DnsCounters;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Connections {
    open: RefCell<BTreeMap<u64, Open>>,
    next: Cell<u64>,
    most: usize,
    counters: Arc<DnsCounters>,
}

#[derive(Debug)]
struct Open {
    client: IpAddr,
    last_query: Rc<Cell<Instant>>,
    evicted: Rc<Notify>,
}

/// One of them; it counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    connections: Rc<Connections>,
    number: u64,
    /// Time of the last whole query.
    pub(super) last_query: Rc<Cell<Instant>>,
    /// Signals the connection to close and make room.
    pub(super) evicted: Rc<Notify>,
}

impl Connections {
    /// Room for `most` connections.
    pub(super) fn new(most: usize, counters: Arc<DnsCounters>) -> Rc<Self> {
        Rc::new(Self {
            open: RefCell::default(),
            next: Cell::new(0),
            most,
            counters,
        })
    }

    /// Takes in a connection of `client`; the one that is idle for longest is told to give way where there are too many:
    /// of the same client, where it has its share.
    pub(super) fn admit(self: &Rc<Self>, client: IpAddr, now: Instant) -> Admitted {
        let mut open = self.open.borrow_mut();
        let of_client = open.values().filter(|it| it.client == client).count();
        let is_candidate = |it: &Open| of_client < MAX_OF_CLIENT || it.client == client;
        if of_client >= MAX_OF_CLIENT || open.len() >= self.most {
            let candidates = open.iter().filter(|(_, it)| is_candidate(it));
            let idlest = candidates.min_by_key(|(_, it)| it.last_query.get());
            if let Some(number) = idlest.map(|(number, _)| *number)
                && let Some(idlest) = open.remove(&number)
            {
                idlest.evicted.notify_one();
                self.counters.add_evicted();
            }
        }
        let number = self.next.get();
        self.next.set(number + 1);
        let last_query = Rc::new(Cell::new(now));
        let evicted = Rc::new(Notify::new());
        let entry = Open {
            client,
            last_query: Rc::clone(&last_query),
            evicted: Rc::clone(&evicted),
        };
        open.insert(number, entry);
        Admitted {
            connections: Rc::clone(self),
            number,
            last_query,
            evicted,
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.number);
    }
}

/// Connections of one client: many programs may ask at once, and one client must not take everybody's.
const MAX_OF_CLIENT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::time::timeout;

    fn client(number: u8) -> IpAddr {
        Ipv4Addr::new(172, 16, 1, number).into()
    }

    async fn must_go(admitted: &Admitted) -> bool {
        // Notified before: it is there at once.
        timeout(Duration::ZERO, admitted.evicted.notified())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn the_one_idle_for_longest_gives_way() {
        let start = Instant::now();
        let counters = Arc::new(DnsCounters::default());
        let connections = Connections::new(2, Arc::clone(&counters));
        let first = connections.admit(client(1), start);
        let second = connections.admit(client(2), start);
        first.last_query.set(start + Duration::from_secs(1));
        let third = connections.admit(client(3), start + Duration::from_secs(2));
        assert!(must_go(&second).await);
        assert!(!must_go(&first).await && !must_go(&third).await);
        // One that has closed leaves room.
        drop(first);
        let fourth = connections.admit(client(4), start);
        assert!(!must_go(&third).await && !must_go(&fourth).await);
        assert_eq!(counters.evicted(), 1);
    }

    #[tokio::test]
    async fn a_client_with_its_share_takes_from_itself() {
        let start = Instant::now();
        let connections = Connections::new(1_000, Arc::default());
        let other = connections.admit(client(1), start);
        let of_client: Vec<_> = (0..=MAX_OF_CLIENT as u64)
            .map(|number| connections.admit(client(2), start + Duration::from_secs(number + 1)))
            .collect();
        assert!(must_go(&of_client[0]).await);
        assert!(!must_go(&of_client[1]).await && !must_go(&other).await);
    }
}

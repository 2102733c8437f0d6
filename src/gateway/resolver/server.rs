//! [`DnsServer`]: a thread that answers VPN clients.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, oneshot};
use tracing::info;

use super::addresses::{BoundAddresses, NoAddress};
use super::connections::Connections;
use super::core::{Core, Shared};
use super::counters::DnsCounters;
use super::forward::Forwarder;
use super::log::{QueryLog, QuerySink};
use super::questions::Questions;
use super::screener::Screener;
use super::socket::Listening;
use super::threads::ServerThreads;
use super::{tcp, udp};
use crate::dns::{self, Prepared, Query, Upstream};
use crate::plan::Zones;
use crate::policy::{Enforcement, Policy};

/// A running DNS server.
#[derive(Debug)]
pub struct DnsServer {
    published: Arc<ArcSwap<Names>>,
    /// Those of each thread.
    counters: Vec<Arc<DnsCounters>>,
    listen: Vec<SocketAddr>,
    threads: ServerThreads,
}

/// Enforcement of the policy for a client (`gateway.enforce`, `gateway.pilot`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It is.
    Enforced,
    /// It is not: no name is hidden.
    Spared,
}

/// The part of a policy that a DNS server follows.
#[derive(Debug)]
pub(super) struct Names {
    zones: Zones,
    /// For clients for whom the policy is not enforced, where there are any.
    spared_zones: Option<Zones>,
    enforcement: Enforcement,
    clients: Vec<IpNet>,
    pub(super) upstreams: Vec<SocketAddr>,
    pub(super) queries_per_second: u32,
    pub(super) cache_entries: u32,
    /// The sender of queries to the log, if there is one.
    pub(super) log: Option<QuerySink>,
}

impl Names {
    pub(super) fn of(policy: &Policy, enforcement: &Enforcement, log: Option<&QueryLog>) -> Self {
        let clients = policy.dns_clients().iter();
        let upstreams = policy.dns_upstreams();
        Self {
            zones: Zones::of(policy),
            spared_zones: (!enforcement.is_whole()).then(|| Zones::hiding_nothing(policy)),
            enforcement: enforcement.clone(),
            clients: clients.map(|prefix| prefix.value).collect(),
            upstreams: upstreams.iter().map(|address| address.value).collect(),
            queries_per_second: policy.dns.queries_per_second,
            cache_entries: policy.dns.cache_entries,
            log: log.and_then(QueryLog::sink),
        }
    }

    /// Returns whether the policy is enforced for `client`.
    pub(super) fn treatment(&self, client: IpAddr) -> Treatment {
        match self.enforcement.is_for(client.to_canonical()) {
            true => Treatment::Enforced,
            false => Treatment::Spared,
        }
    }

    /// Returns the zones of clients who are treated so.
    pub(super) fn zones(&self, treatment: Treatment) -> &Zones {
        match (treatment, &self.spared_zones) {
            (Treatment::Spared, Some(zones)) => zones,
            _ => &self.zones,
        }
    }

    /// Screens `message`, the answer to `asked`, for clients who are treated so; `None` if it is of no use.
    pub(super) fn screen(
        &self,
        message: &[u8],
        asked: &Upstream,
        treatment: Treatment,
    ) -> Option<Prepared> {
        let zones = self.zones(treatment);
        let screened = match treatment {
            Treatment::Enforced => dns::screen(message, asked, zones),
            Treatment::Spared => dns::screen_spared(message, asked, zones, &self.zones),
        };
        screened.ok()
    }

    /// Returns `true` if the name of `query` is hidden from clients for whom the policy is enforced, but not from `client`.
    pub(super) fn spares(&self, client: IpAddr, query: &Query<'_>) -> bool {
        let treatment = self.treatment(client);
        treatment == Treatment::Spared
            && dns::is_hidden(query, &self.zones)
            && !dns::is_hidden(query, self.zones(treatment))
    }

    /// Returns `true` if `client` is served.
    pub(super) fn serves(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.clients.iter().any(|prefix| prefix.contains(&client))
    }
}

/// The reason why a DNS server did not start.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// It cannot listen at an address.
    #[error(transparent)]
    Listen(#[from] NoAddress),
    /// Its thread cannot be started.
    #[error("cannot start the DNS server: {0}")]
    System(#[from] io::Error),
}

impl DnsServer {
    /// Starts a server at `bound`, the addresses of `policy`, which reports to `log`.
    ///
    /// # Errors
    /// The system has no thread or descriptor left.
    pub fn start(
        bound: BoundAddresses,
        policy: &Policy,
        enforcement: &Enforcement,
        log: &QueryLog,
    ) -> io::Result<Self> {
        let BoundAddresses {
            listen,
            sockets,
            limits,
        } = bound;
        let names = Names::of(policy, enforcement, Some(log));
        let published = Arc::new(ArcSwap::from_pointee(names));
        let shared = Shared {
            published: Arc::clone(&published),
            questions: Arc::new(Questions::new(limits.questions)),
            threads: sockets.len(),
        };
        let upstream_sockets = Arc::new(Semaphore::new(limits.questions));
        let (screener, screening) = Screener::new();
        let mut threads = ServerThreads::default();
        threads.start("dns-large".to_owned(), |stopped| screening.go(stopped))?;
        let mut counters = Vec::new();
        for (number, sockets) in sockets.into_iter().enumerate() {
            let counted = Arc::new(DnsCounters::default());
            counters.push(Arc::clone(&counted));
            let work = Work {
                sockets,
                shared: shared.clone(),
                upstream_sockets: Arc::clone(&upstream_sockets),
                screener: screener.clone(),
                connections: limits.connections / shared.threads,
                counters: counted,
            };
            let name = match number {
                0 => "dns".to_owned(),
                _ => format!("dns-{number}"),
            };
            threads.start(name, |stopped| work.go(stopped))?;
        }
        for address in &listen {
            info!("DNS queries are answered at {address}");
        }
        if shared.threads > 1 {
            info!(
                "{} threads answer them, each its own clients",
                shared.threads
            );
        }
        Ok(Self {
            published,
            counters,
            listen,
            threads,
        })
    }

    /// Has all later answers given by `policy`, which takes effect for these clients, and changes the log to `log`; the addresses
    /// stay as they are.
    pub fn publish(&self, policy: &Policy, enforcement: &Enforcement, log: &QueryLog) {
        let names = Names::of(policy, enforcement, Some(log));
        self.published.store(Arc::new(names));
    }

    /// Returns the addresses of its listeners.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Returns the number of threads that answer.
    pub fn threads(&self) -> usize {
        self.counters.len()
    }

    /// Returns the sums of the counters of all threads.
    pub fn counters(&self) -> DnsCounters {
        DnsCounters::sum(self.counters.iter().map(Arc::as_ref))
    }

    /// Waits until the server ends by itself, and returns the reason; for ever where there is no server.
    pub async fn ended(server: &mut Option<Self>) -> String {
        match server {
            Some(server) => server.threads.ended().await,
            None => std::future::pending().await,
        }
    }
}

/// The state handed to a thread.
struct Work {
    sockets: Vec<Listening>,
    shared: Shared,
    /// Permits for sockets to upstreams, of all threads.
    upstream_sockets: Arc<Semaphore>,
    screener: Screener,
    /// The connections that it may have.
    connections: usize,
    counters: Arc<DnsCounters>,
}

impl Work {
    /// Answers until it receives the signal to stop.
    async fn go(self, stopped: oneshot::Receiver<()>) -> io::Result<()> {
        let connections = Connections::new(self.connections, Arc::clone(&self.counters));
        let core = Core::new(self.shared, self.counters);
        let core = Rc::new(RefCell::new(core));
        let forwarder = Rc::new(Forwarder::new(self.upstream_sockets, self.screener));
        let mut receivers = tokio::task::JoinSet::new();
        for listening in self.sockets {
            let socket = Rc::new(UdpSocket::from_std(listening.datagrams)?);
            let listener = TcpListener::from_std(listening.connections)?;
            receivers.spawn_local(udp::serve(socket, Rc::clone(&core), Rc::clone(&forwarder)));
            let accepting = tcp::serve(
                listener,
                Rc::clone(&core),
                Rc::clone(&forwarder),
                Rc::clone(&connections),
            );
            tokio::task::spawn_local(accepting);
        }
        tokio::select! {
            // Stopped, or the sender has gone.
            _ = stopped => Ok(()),
            Some(ended) = receivers.join_next() => Err(ended.unwrap_or_else(io::Error::other)),
        }
    }
}

//! [`DnsServer`]: a thread that answers VPN clients.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tracing::info;

use super::connections::Connections;
use super::core::Core;
use super::counters::DnsCounters;
use super::forward::Forwarder;
use super::log::{QueryLog, QuerySink};
use super::socket::Listening;
use super::{tcp, udp};
use crate::dns::{self, Prepared, Query, Upstream};
use crate::gateway::host::rights::Role;
use crate::plan::Zones;
use crate::policy::{Enforcement, Policy};
use crate::verify::Finding;

/// A running DNS server.
#[derive(Debug)]
pub struct DnsServer {
    published: Arc<ArcSwap<Names>>,
    counters: Arc<DnsCounters>,
    listen: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<String>,
    thread: Option<JoinHandle<()>>,
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

/// The reason why a DNS server cannot listen at an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot answer DNS queries at {address}: {why}; {remedy}: [dns] listen = [...]")]
pub struct NoAddress {
    address: SocketAddr,
    /// The system's error, or the conflict that would follow.
    why: String,
    remedy: &'static str,
}

impl From<NoAddress> for Finding {
    fn from(error: NoAddress) -> Self {
        let NoAddress {
            address,
            why,
            remedy,
        } = error;
        Self::host_error(
            format!("cannot answer DNS queries at {address}: {why}"),
            format!("{remedy}: [dns] listen = [...]"),
        )
    }
}

/// The addresses of a server that has yet to start: what takes a privilege is done.
#[derive(Debug)]
pub struct BoundAddresses {
    listen: Vec<SocketAddr>,
    sockets: Vec<Listening>,
}

impl BoundAddresses {
    /// Listens at the addresses that `policy` names; `None` if it names none.
    ///
    /// # Errors
    /// [`NoAddress`].
    pub fn of(policy: &Policy) -> Result<Option<Self>, NoAddress> {
        let listen = listen_addresses(policy);
        if listen.is_empty() {
            return Ok(None);
        }
        let sockets = listen.iter().map(|address| take_address(*address));
        let sockets = sockets.collect::<Result<_, _>>()?;
        Ok(Some(Self { listen, sockets }))
    }
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
        let BoundAddresses { listen, sockets } = bound;
        let names = Names::of(policy, enforcement, Some(log));
        let published = Arc::new(ArcSwap::from_pointee(names));
        let counters = Arc::new(DnsCounters::default());
        let (stop, stopped) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = Work {
            sockets,
            published: Arc::clone(&published),
            counters: Arc::clone(&counters),
        };
        let thread = std::thread::Builder::new()
            .name("dns".to_owned())
            .spawn(move || {
                // It only moves bytes between sockets that are open, and opens new ones without a privilege.
                Role::Names.begin();
                let local = LocalSet::new();
                let ended = runtime.block_on(local.run_until(work.go(stopped)));
                if let Err(error) = ended {
                    // Nobody receives any more if the server is being stopped.
                    _ = tell.send(error.to_string());
                }
            })?;
        for address in &listen {
            info!("DNS queries are answered at {address}");
        }
        Ok(Self {
            published,
            counters,
            listen,
            stop: Some(stop),
            ended,
            thread: Some(thread),
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

    /// Returns the counters of queries by outcome.
    pub fn counters(&self) -> &DnsCounters {
        &self.counters
    }

    /// Waits until the server ends by itself, and returns the reason; for ever where there is no server.
    pub async fn ended(server: &mut Option<Self>) -> String {
        match server {
            Some(server) => match (&mut server.ended).await {
                Ok(why) => why,
                // The sender has gone with the thread's stack.
                Err(_) => "its thread panicked".to_owned(),
            },
            None => std::future::pending().await,
        }
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // `ended` has reported a panic.
            _ = thread.join();
        }
    }
}

/// Returns the addresses at which `policy` wants queries answered, each once.
pub(in crate::gateway) fn listen_addresses(policy: &Policy) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for address in &policy.dns.listen {
        if !addresses.contains(&address.value) {
            addresses.push(address.value);
        }
    }
    addresses
}

/// Checks that a server for `policy` can bind its addresses, and keeps none.
pub(in crate::gateway) fn try_addresses(policy: &Policy) -> Vec<NoAddress> {
    let addresses = listen_addresses(policy).into_iter();
    addresses
        .filter_map(|address| take_address(address).err())
        .collect()
}

fn take_address(address: SocketAddr) -> Result<Listening, NoAddress> {
    if address.ip().is_unspecified() {
        return Err(NoAddress {
            address,
            why: "answers have to leave from the address that was asked".to_owned(),
            remedy: "name the addresses that clients ask, e.g. the one in the tunnel",
        });
    }
    Listening::at(address).map_err(|source| {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program answers there: stop it, or name another address or port"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 take CAP_NET_BIND_SERVICE (the systemd unit says how): name a higher one, or grant it"
            }
            _ => "name another address",
        };
        NoAddress {
            address,
            why: source.to_string(),
            remedy,
        }
    })
}

/// The state handed to the thread.
struct Work {
    sockets: Vec<Listening>,
    published: Arc<ArcSwap<Names>>,
    counters: Arc<DnsCounters>,
}

impl Work {
    /// Answers until it receives the signal to stop.
    async fn go(self, stopped: oneshot::Receiver<()>) -> io::Result<()> {
        let limits = DescriptorLimits::find();
        let connections = Connections::new(limits.connections, Arc::clone(&self.counters));
        let core = Core::new(self.published, self.counters, limits.questions);
        let core = Rc::new(RefCell::new(core));
        let forwarder = Rc::new(Forwarder::new(limits.questions));
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

/// The limits on sockets and connections open at a time.
struct DescriptorLimits {
    questions: usize,
    connections: usize,
}

impl DescriptorLimits {
    /// Raises the limit on descriptors as far as the process may, and shares it out.
    fn find() -> Self {
        let descriptors = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((soft, hard)) => {
                let wanted = hard.min(DESCRIPTORS);
                if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
                    wanted
                } else {
                    soft
                }
            }
            Err(_) => MIN_DESCRIPTORS,
        };
        let descriptors = usize::try_from(descriptors.min(DESCRIPTORS)).unwrap_or(0);
        Self {
            questions: (descriptors / 2).min(2_048),
            connections: (descriptors / 4).min(1_024),
        }
    }
}

/// Descriptors that the server can make use of.
const DESCRIPTORS: u64 = 8_192;
/// Descriptors that every process has.
const MIN_DESCRIPTORS: u64 = 256;

//! The live gateway, from its start to its end.
//!
//! ```text
//!  start   lock ─▶ checks ─▶ control socket, metrics ─▶ device ─▶ rights ─▶ workers ─▶ routes, rules, marks ─▶ ready
//!  reload  read ─▶ compile ─▶ routes, rules, marks ─▶ publish        (a mistake ends it at once, and changes nothing)
//!  stop    marks ─▶ workers end with what was queued ─▶ rules, routes ─▶ device
//! ```

pub mod live;
mod options;
pub mod preflight;
pub mod resolver_alone;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use self::options::{control_path, cpus, metrics_address, needs_restart, workers_wanted};
use self::preflight::{Finding, Severity};
use crate::filter::{CompiledPolicy, Generation};
use crate::gateway::divert::nftables::Diversion;
use crate::gateway::divert::nftables::install::{DivertError, Installation, remove_all};
use crate::gateway::divert::nftables::route::{LinkChange, LinkChanges, Netlink};
use crate::gateway::host::lock::{HostLock, LockError};
use crate::gateway::host::rights::{Needs, Rights};
use crate::gateway::host::service::{Notice, ServiceManager};
use crate::gateway::host::watch::{FileWatch, fingerprint};
use crate::gateway::record::drops::{CaptureOptions, DropOptions, Drops};
use crate::gateway::report::control::{self, ControlSocket};
use crate::gateway::report::metrics::{MetricsServer, Questions, Serving};
use crate::gateway::report::series::{Snapshot, Told};
use crate::gateway::report::status::{
    DeviceStatus, DiversionStatus, DnsStatus, Reloads, RuleStatus, Status, VerdictStatus,
};
use crate::gateway::resolver::{self, DnsError, DnsServer, QueryLog, QueryLogOptions};
use crate::gateway::tun::TunDevice;
use crate::gateway::tun::publish::Published;
use crate::gateway::tun::schedule::Schedule;
use crate::gateway::tun::watchdog::Watchdog;
use crate::gateway::tun::workers::Workers;
use crate::policy::{FailMode, GatewayOptions, Policy};

/// Where policies come from.
pub trait PolicySource {
    /// The policy as it reads at the moment.
    ///
    /// # Errors
    /// What is wrong with it, for the log.
    fn load(&self, generation: Generation) -> Result<CompiledPolicy, String>;

    /// The files that it is made of.
    fn files(&self) -> Vec<PathBuf>;

    /// Its name, for messages.
    fn name(&self) -> String;
}

/// Why a gateway did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is one already.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Something would break it.
    #[error("{0} in the way; `offramp run --dry-run` lists what it would do")]
    Findings(String),
    /// The policy cannot be used.
    #[error("{0}")]
    Policy(String),
    /// The kernel refuses its part.
    #[error(transparent)]
    Divert(#[from] DivertError),
    /// The filter's device cannot be made.
    #[error("cannot make the device {device}: {source}")]
    Device {
        /// Its name.
        device: String,
        /// What the system says.
        source: io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot listen on {}: {source}; name another place: [gateway] control = \"...\"", path.display())]
    Control {
        /// Where it was to be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The metrics endpoint cannot be served.
    #[error(
        "cannot serve metrics at {address}: {source}; name another address, or leave it out: [gateway] metrics = \"...\""
    )]
    Metrics {
        /// Where it was to be.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Names cannot be answered.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// Names are not answered any more.
    #[error("DNS queries are not answered any more: {0}")]
    DnsEnded(String),
    /// The system has no thread, signal or socket for us.
    #[error("cannot {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// A worker came to its end before it was told to.
    #[error("traffic is not judged any more: {0}")]
    Worker(String),
}

/// Runs a gateway by the policy of `source` until it is told to stop (SIGTERM, SIGINT); what is dropped goes to `capture`.
///
/// # Errors
/// [`RunError`]; the kernel is then left as the policy's fail mode wants it.
pub fn run(source: &dyn PolicySource, capture: Option<CaptureOptions>) -> Result<(), RunError> {
    in_runtime(async {
        let lock = HostLock::take()?;
        let netlink = connect()?;
        // What is written from here on is a change.
        let read = fingerprint(&source.files());
        let first = source.load(Generation(1)).map_err(RunError::Policy)?;
        let diversion = Diversion::of(first.policy());
        report(&preflight::check(first.policy(), &diversion, &netlink).await)?;
        let mut gateway = Gateway::start(source, first, read, diversion, netlink, capture).await?;
        let ended = gateway.serve(source).await;
        let stopped = gateway.stop(&ended).await;
        drop(lock);
        ended.and(stopped)
    })
}

/// What [`run`] would find and do, without doing it.
///
/// # Errors
/// [`RunError::System`].
pub fn rehearse(policy: &Policy) -> Result<(Vec<Finding>, Diversion), RunError> {
    in_runtime(async {
        let netlink = connect()?;
        let diversion = Diversion::of(policy);
        let findings = match HostLock::take() {
            Ok(_lock) => preflight::check(policy, &diversion, &netlink).await,
            // The device and whatever else it has is no obstacle, but it.
            Err(held) => vec![Finding::running(&held)],
        };
        Ok((findings, diversion))
    })
}

/// Removes what a killed gateway left in the kernel.
///
/// # Errors
/// [`RunError::Lock`] while one runs; [`RunError::Divert`].
pub fn clean_up() -> Result<(), RunError> {
    in_runtime(async {
        let _lock = HostLock::take()?;
        remove_all(&connect()?).await?;
        Ok(())
    })
}

/// Does `work` on this thread, with timers, signals and sockets to wait for.
fn in_runtime<T>(work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::System {
            what: "start the control thread",
            source,
        })?;
    let done = runtime.block_on(work);
    // A program that hangs is left to itself.
    runtime.shutdown_background();
    done
}

fn connect() -> Result<Netlink, RunError> {
    Netlink::new().map_err(|source| RunError::System {
        what: "speak to the kernel about routes (rtnetlink)",
        source,
    })
}

/// Logs what stands in the way; an error where it does.
fn report(findings: &[Finding]) -> Result<(), RunError> {
    let mut errors = 0;
    for finding in findings {
        let (what, advice) = (&finding.what, &finding.advice);
        match finding.severity {
            Severity::Error => {
                errors += 1;
                error!("{what}; {advice}");
            }
            Severity::Warning => warn!("{what}; {advice}"),
        }
    }
    match errors {
        0 => Ok(()),
        1 => Err(RunError::Findings("1 thing stands".to_owned())),
        count => Err(RunError::Findings(format!("{count} things stand"))),
    }
}

/// A gateway that runs.
struct Gateway {
    installation: Installation,
    netlink: Netlink,
    published: Arc<Published>,
    workers: Workers,
    watchdog: Watchdog,
    manager: Arc<ServiceManager>,
    rights: Rights,
    drops: Drops,
    control: ControlSocket,
    metrics: Option<MetricsServer>,
    dns: Option<DnsServer>,
    queries: QueryLog,
    signals: Signals,
    watch: FileWatch,
    links: LinkChanges,
    /// Whether the interfaces that matter are on, as far as was told.
    known_links: HashMap<String, bool>,
    /// `[gateway]` as it was at the start.
    options: GatewayOptions,
    /// The device is on, and the routes lead to it.
    diverting: bool,
    /// Of the files as they were last read.
    fingerprint: u64,
    reloads: Reloads,
    name: String,
    started: Instant,
}

/// The signals that are listened to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

impl Gateway {
    async fn start(
        source: &dyn PolicySource,
        first: CompiledPolicy,
        fingerprint: u64,
        diversion: Diversion,
        netlink: Netlink,
        capture: Option<CaptureOptions>,
    ) -> Result<Self, RunError> {
        let system = |what| move |source| RunError::System { what, source };
        let signals = Signals::new().map_err(system("listen for signals"))?;
        let manager = Arc::new(ServiceManager::of_environment());
        let control = listen(&first.policy().gateway)?;
        let metrics = serve_metrics(&first.policy().gateway).await?;
        // Its log is a thread's, and those begin later.
        let dns = DnsServer::start(first.policy(), None)?;

        let options = first.policy().gateway.clone();
        let count = workers_wanted(&options);
        let device =
            TunDevice::create(&diversion.device, count).map_err(|source| RunError::Device {
                device: diversion.device.clone(),
                source,
            })?;
        // What it takes is given up next.
        let schedule = Schedule::new(options.realtime, cpus(&options));
        let files = source.files();
        let mut written = DropOptions::new(&options, capture.as_ref()).folders();
        let query_log = QueryLogOptions::of(first.policy());
        let folder = query_log.as_ref().and_then(|log| log.place.folder());
        written.extend(folder.map(Path::to_owned));
        let rights = Rights::limit_to(Needs {
            files: &files,
            written: &written,
            control: control_path(&first.policy().gateway),
            device: &diversion.device,
        });
        // Threads begin here: the file watch has one, too.
        let watch = FileWatch::new(&files)
            .map_err(io::Error::other)
            .map_err(system("watch the policy file"))?;
        let drops = Drops::start(&options, capture);
        let queries = QueryLog::start(first.policy());
        if let Some(dns) = &dns {
            dns.publish(first.policy(), &queries);
        }
        let noting = drops.noting(&first);
        let published = Arc::new(Published::new(first, noting, count));
        let queues = device.into_queues();
        let workers = Workers::start(queues, &diversion.device, &published, &schedule)
            .map_err(system("start the workers"))?;
        let installation = Installation::install(netlink.clone(), diversion).await?;
        let watchdog = Watchdog::start(workers.io(), Arc::clone(&manager));
        // From here on, so that the birth of the device is no news.
        let links = LinkChanges::new().map_err(system("hear of interfaces"))?;
        let present = netlink.interfaces().await.unwrap_or_default();
        let diversion = installation.diversion();
        let watched = diversion.interfaces.iter().chain([&diversion.device]);
        let known_links = watched.map(|name| (name.clone(), present.contains(name)));
        let known_links = known_links.collect();

        info!(
            generation = published.generation().0,
            device = installation.diversion().device,
            workers = count,
            "ready: {} is in force",
            source.name()
        );
        let gateway = Self {
            installation,
            netlink,
            published,
            workers,
            watchdog,
            manager,
            rights,
            drops,
            control,
            metrics,
            dns,
            queries,
            signals,
            watch,
            links,
            known_links,
            options,
            diverting: true,
            fingerprint,
            reloads: Reloads::default(),
            name: source.name(),
            started: Instant::now(),
        };
        gateway.tell_ready();
        Ok(gateway)
    }

    /// Tells the service manager that traffic is judged, and by what.
    fn tell_ready(&self) {
        let mut status = format!(
            "judging by {}, generation {}",
            self.name,
            self.published.generation().0
        );
        if self.reloads.last_error.is_some() {
            status.push_str("; what the file says now is refused");
        }
        self.manager.tell(Notice::Ready { status: &status });
    }

    /// Serves until it is told to stop, or a worker ends.
    async fn serve(&mut self, source: &dyn PolicySource) -> Result<(), RunError> {
        let mut reconcile = tokio::time::interval(RECONCILE_INTERVAL);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The policy may have been written while everything was set up.
        self.reload(source, Occasion::FileChange).await;
        loop {
            tokio::select! {
                _ = reconcile.tick() => self.reconcile().await,
                _ = self.signals.terminate.recv() => break,
                _ = self.signals.interrupt.recv() => break,
                _ = self.signals.hang_up.recv() => self.reload(source, Occasion::Signal).await,
                () = self.watch.changed() => self.reload(source, Occasion::FileChange).await,
                change = self.links.next() => self.follow(change).await,
                stream = self.control.accept() => {
                    let mut status = self.status().await;
                    status.rules.retain(|rule| rule.packets > 0);
                    tokio::spawn(control::tell(stream, status));
                }
                questions = MetricsServer::asked(&mut self.metrics) => self.answer(questions).await,
                why = self.workers.ended() => return Err(RunError::Worker(why)),
                why = DnsServer::ended(&mut self.dns) => return Err(RunError::DnsEnded(why)),
            }
        }
        info!("stopping");
        self.manager.tell(Notice::Stopping);
        Ok(())
    }

    /// Brings back what somebody else has taken out of the kernel.
    async fn reconcile(&mut self) {
        let device = &self.installation.diversion().device;
        if self.known_links.get(device) == Some(&false) {
            // Nothing leads to a device that is off, and that was said.
            return;
        }
        let repaired = self.installation.repair().await;
        let before = std::mem::replace(&mut self.diverting, repaired.is_ok());
        match repaired {
            Ok(None) if before => {}
            Ok(None) => info!("traffic is diverted as it should be again"),
            Ok(Some(missing)) => error!(
                "somebody has removed {missing} of the diversion; it is back, and meanwhile traffic was not judged"
            ),
            // Said once: every few seconds there is another try.
            Err(error) if before => {
                error!("cannot see to it that traffic is diverted as it should be: {error}");
            }
            Err(error) => debug!("still not: {error}"),
        }
    }

    /// Keeps the diversion whole when interfaces come and go.
    async fn follow(&mut self, change: LinkChange) {
        let (name, is_on) = match change {
            LinkChange::Overrun => return self.reconcile().await,
            LinkChange::Up(name) => (name, true),
            LinkChange::Down(name) | LinkChange::Gone(name) => (name, false),
        };
        let diversion = self.installation.diversion();
        let is_ours = name == diversion.device;
        if !is_ours && !diversion.interfaces.contains(&name) {
            return;
        }
        // The kernel tells of much that is no change of this kind.
        let before = self.known_links.insert(name.clone(), is_on);
        if before.is_none_or(|before| before == is_on) {
            return;
        }
        match (is_ours, is_on) {
            // Its routes went when it was off.
            (true, true) => {
                let repaired = self.installation.repair().await;
                self.diverting = repaired.is_ok();
                match repaired {
                    Ok(_) => {
                        info!("{name} is on again: traffic is judged");
                        self.tell_ready();
                    }
                    Err(error) => error!("traffic is not diverted as it should be: {error}"),
                }
            }
            (true, false) => {
                self.diverting = false;
                let meanwhile = match diversion.on_failure {
                    FailMode::Open => "traffic passes and is not judged",
                    FailMode::Closed => "what is diverted is stopped",
                };
                error!("{name} is off: {meanwhile} until it is on (`ip link set {name} up`)");
                let status = format!("{name} is off: {meanwhile}");
                self.manager.tell(Notice::Status(&status));
            }
            (false, true) => info!("interface {name} is there: what enters from it is judged"),
            (false, false) => warn!("interface {name} is gone or off: nothing enters from it"),
        }
    }

    async fn reload(&mut self, source: &dyn PolicySource, occasion: Occasion) {
        let files = source.files();
        let read = fingerprint(&files);
        if occasion == Occasion::FileChange && read == self.fingerprint {
            return;
        }
        self.fingerprint = read;
        self.manager.tell(Notice::Reloading);
        self.watch.follow(&files);
        let before = self.published.generation();
        match self.exchange(source, Generation(before.0 + 1)).await {
            Ok(()) => {
                self.reloads.taken += 1;
                self.reloads.last_error = None;
                info!(
                    generation = before.0 + 1,
                    "reloaded: {} is in force",
                    source.name()
                );
            }
            Err(mut why) => {
                if let Some(file) = self.rights.out_of_reach(&files) {
                    why = format!(
                        "{}\n{} is in none of the folders that can be read since the start; restart offramp to have it \
                         read from there",
                        why.trim_end(),
                        file.display()
                    );
                }
                error!(
                    "reload refused, generation {} stays in force: {}",
                    before.0,
                    why.trim_end()
                );
                self.reloads.refused += 1;
                self.reloads.last_error = Some(why);
            }
        }
        self.tell_ready();
    }

    /// Puts the policy as it reads at the moment into force.
    async fn exchange(
        &mut self,
        source: &dyn PolicySource,
        generation: Generation,
    ) -> Result<(), String> {
        let policy = source.load(generation)?;
        let wanted = Diversion::of(policy.policy());
        if wanted.interfaces.is_empty() {
            return Err("it names no interface of the VPN (vpn.interfaces)".to_owned());
        }
        let findings = preflight::check_change(policy.policy(), &wanted, &self.netlink).await;
        report(&findings).map_err(|_| {
            let errors = findings.iter().filter(|it| it.severity == Severity::Error);
            let errors: Vec<String> = errors
                .map(|it| format!("{}; {}", it.what, it.advice))
                .collect();
            errors.join("\n")
        })?;
        let running = self.installation.diversion();
        for key in needs_restart(running, &wanted, &policy.policy().gateway, &self.options) {
            warn!("{key} takes effect at the next start of offramp");
        }
        let changed = self.installation.change(wanted).await;
        changed.map_err(|error| error.to_string())?;
        let answered_at = self.dns.as_ref().map_or(&[][..], DnsServer::listen);
        if resolver::listen_addresses(policy.policy()) != answered_at {
            warn!("dns.listen takes effect at the next start of offramp");
        }
        self.queries.change(policy.policy()).await;
        if let Some(dns) = &self.dns {
            dns.publish(policy.policy(), &self.queries);
        }
        self.drops.change(&policy.policy().gateway).await;
        let noting = self.drops.noting(&policy);
        self.published.publish(policy, noting);
        Ok(())
    }

    /// Tells guests of the metrics endpoint what they ask.
    async fn answer(&self, questions: Questions) {
        let ready = self.diverting && self.workers.all_live() && self.watchdog.all_live();
        let snapshot = if questions.want_numbers() {
            let status = self.status().await;
            Some(Told::Gateway(Arc::new(Snapshot { status, ready })))
        } else {
            None
        };
        questions.answer(ready, snapshot);
    }

    /// What there is to tell, with every rule of the policies so far, also those that decided nothing.
    async fn status(&self) -> Status {
        let diversion = self.installation.diversion();
        let present = self.netlink.interfaces().await.unwrap_or_default();
        let verdicts = self.workers.verdicts().into_iter();
        let rules = self.published.rule_totals().into_iter();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            policy: self.name.clone(),
            generation: self.published.generation().0,
            reloads: self.reloads.clone(),
            diversion: DiversionStatus::new(diversion, &present),
            device: DeviceStatus {
                name: diversion.device.clone(),
                workers: self.workers.count(),
                judged: self.workers.judged(),
                io_uring: self.workers.are_batching(),
                overload_drops: self.netlink.dropped(&diversion.device).await.ok(),
                failed_writes: self.workers.failed_writes(),
            },
            verdicts: verdicts.map(VerdictStatus::from).collect(),
            rules: rules.map(RuleStatus::from).collect(),
            evicted_fragments: self.workers.evicted_fragments(),
            drop_log: self.drops.log_status(),
            drop_capture: self.drops.capture_status(),
            dns: self
                .dns
                .as_ref()
                .map(|dns| DnsStatus::new(dns, &self.queries)),
        }
    }

    /// Ends the gateway: in order, or as its fail mode wants it where it failed.
    async fn stop(mut self, ended: &Result<(), RunError>) -> Result<(), RunError> {
        if ended.is_err() {
            self.workers.stop();
            let abandoned = self.installation.abandon().await;
            self.drops.stop().await;
            self.queries.stop().await;
            return Ok(abandoned?);
        }
        let stopped = self.installation.stop().await;
        self.workers.stop();
        self.workers.join();
        let removed = self.installation.remove().await;
        self.drops.stop().await;
        self.queries.stop().await;
        stopped.and(removed)?;
        info!("stopped: everything that was added to the kernel is removed");
        Ok(())
    }
}

/// What a reload comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// Somebody wants it, whatever the files say.
    Signal,
    /// A file may read differently.
    FileChange,
}

fn listen(gateway: &GatewayOptions) -> Result<ControlSocket, RunError> {
    let path = control_path(gateway);
    ControlSocket::listen(path).map_err(|source| RunError::Control {
        path: path.to_owned(),
        source,
    })
}

async fn serve_metrics(gateway: &GatewayOptions) -> Result<Option<MetricsServer>, RunError> {
    let Some(address) = metrics_address(gateway) else {
        return Ok(None);
    };
    let served = MetricsServer::start(address, Serving::Traffic).await;
    served
        .map(Some)
        .map_err(|source| RunError::Metrics { address, source })
}

/// How often to look whether the kernel's part is as it was left: `nft` costs milliseconds.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(5);

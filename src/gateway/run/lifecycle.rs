//! [`Gateway`]: a running gateway, its control loop, and the order in which it starts and stops.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use self::traces::TraceTasks;
use super::difference::{Tried, Waiting};
use super::health::{CHECK_INTERVAL, Health};
use super::loader::{Loader, ReloadTrigger};
use super::options::{control_path, cpus, metrics_address, page_address, workers_wanted};
use super::recheck::Recheck;
use super::review::Review;
use super::trial::{Trial, beginning};
use super::{First, Inputs, RunError, absence};
use crate::gateway::divert::netlink::{LinkChange, LinkChanges, Netlink};
use crate::gateway::divert::{Divert, DivertPlan};
use crate::gateway::host::addresses::OwnAddresses;
use crate::gateway::host::last_good::LastGood;
use crate::gateway::host::rights::{Needs, Rights};
use crate::gateway::host::service::{Notice, ServiceManager};
use crate::gateway::host::source::PolicySource;
use crate::gateway::host::watch::FileWatch;
use crate::gateway::push::{self, Pusher};
use crate::gateway::record::drops::{DropOptions, Drops};
use crate::gateway::reject::{LinkSocket, Rejector};
use crate::gateway::report::control::ControlSocket;
use crate::gateway::report::metrics::{MetricsServer, Serving};
use crate::gateway::report::page::{PageListener, PageServer};
use crate::gateway::report::status::{FileStatus, Reloads, Repairs};
use crate::gateway::resolver::{BoundAddresses, DnsError, DnsServer, QueryLog, QueryLogOptions};
use crate::gateway::tun::TunDevice;
use crate::gateway::tun::counters::VerdictCounters;
use crate::gateway::tun::publish::Published;
use crate::gateway::tun::schedule::Schedule;
use crate::gateway::tun::watchdog::Watchdog;
use crate::gateway::tun::workers::Workers;
use crate::packet::Traffic;
use crate::policy::{FailMode, GatewayOptions};
use crate::verdict::Verdict;

mod conditions;
mod requests;
mod selftest;
mod status;
mod traces;

pub(super) use self::selftest::Extent;
use self::selftest::SelfTests;

/// A running gateway.
pub(super) struct Gateway<D: Divert> {
    pub(super) divert: D,
    pub(super) netlink: Netlink,
    pub(super) published: Arc<Published>,
    workers: Workers,
    /// The verdicts by which the kernel has forwarded traffic.
    passed: VerdictCounters,
    watchdog: Watchdog,
    manager: Arc<ServiceManager>,
    pub(super) rights: Rights,
    pub(super) drops: Drops,
    control: ControlSocket,
    traces: TraceTasks,
    metrics: Option<MetricsServer>,
    page: Option<PageServer>,
    /// The review of the policy in force, if there is a page to show it.
    review: Review,
    pub(super) source: Arc<dyn PolicySource>,
    pub(super) dns: Option<DnsServer>,
    pub(super) queries: QueryLog,
    pub(super) pusher: Pusher,
    signals: Signals,
    pub(super) watch: FileWatch,
    links: LinkChanges,
    pub(super) own: OwnAddresses,
    /// The last state that the kernel reported of each relevant interface: true if it is up.
    known_links: HashMap<String, bool>,
    /// `[gateway]` as it was at the start.
    pub(super) options: GatewayOptions,
    /// True if the device is up and the routes lead to it.
    diverting: bool,
    /// True if everything passes by command.
    bypassed: bool,
    /// True if nothing is diverted, because a firewall would let pass behind the filter what it stops without.
    aside: bool,
    self_tests: SelfTests,
    pub(super) health: Health,
    pub(super) loader: Loader,
    recheck: Recheck,
    /// The files of the policy in force; none of the last good one, if that was taken at the start.
    pub(super) in_force: Vec<FileStatus>,
    pub(super) reloads: Reloads,
    repairs: Repairs,
    pub(super) name: String,
    started: Instant,
    pub(super) last_good: Option<LastGood>,
    pub(super) trial: Trial,
    /// Clients of the control socket that wait for reloads.
    pub(super) waiting: Waiting,
    /// Reloads that are being tried.
    pub(super) tried: JoinSet<Tried>,
}

/// The signals that the gateway handles.
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

impl<D: Divert> Gateway<D> {
    pub(super) async fn start(
        inputs: Inputs,
        first: First,
        plan: D::Plan,
        netlink: Netlink,
    ) -> Result<Self, RunError> {
        let Inputs {
            source,
            last_good,
            capture,
            trial: duration,
        } = inputs;
        let First {
            policy: first,
            files,
            fingerprint,
            refused,
        } = first;
        let system = |what| move |source| RunError::System { what, source };
        let mut trial = Trial::default();
        if let Some(duration) = duration {
            trial.begin(Instant::now(), duration);
        }
        let enforcement = trial.effect(&first.policy().gateway.enforcement);
        let summary = plan.summary();
        let signals = Signals::new().map_err(system("listen for signals"))?;
        let manager = Arc::new(ServiceManager::of_environment());
        let control = listen(&first.policy().gateway)?;
        let metrics = serve_metrics(&first.policy().gateway).await?;
        let page = listen_for_page(&first.policy().gateway).await?;
        let names = BoundAddresses::of(first.policy()).map_err(DnsError::from)?;

        let options = first.policy().gateway.clone();
        let count = workers_wanted(&options);
        let device = TunDevice::create(&summary.device, count, D::FRAMING).map_err(|source| {
            RunError::Device {
                device: summary.device.clone(),
                source,
            }
        })?;
        let prepared = D::prepare(&plan, &device).map_err(RunError::divert)?;
        // So do answers, which the policy may ask for at a reload.
        let link_socket = LinkSocket::open().ok();
        // Real-time scheduling needs rights that the gateway drops next.
        let schedule = Schedule::new(options.realtime, cpus(&options));
        let mut written = DropOptions::new(&options, capture.as_ref()).folders();
        let query_log = QueryLogOptions::of(first.policy());
        let folder = query_log.as_ref().and_then(|log| log.place.folder());
        written.extend(folder.map(Path::to_owned));
        written.extend(push::folders(first.policy()));
        if options.on_failure == FailMode::Closed {
            written.extend(D::written());
        }
        written.extend(last_good.iter().map(|it| it.folder().to_owned()));
        let settings = D::SETTINGS.iter().map(|it| it.path(&summary.device));
        let rights = Rights::limit_to(Needs {
            files: &files,
            written: &written,
            control: Some(control_path(&first.policy().gateway)),
            settings: &settings.collect::<Vec<_>>(),
            programs: &D::programs(),
            capabilities: &D::capabilities(),
            work: &|| D::check_rights().map_err(|error| error.to_string()),
        });
        // Threads start here: the file watch has one, too.
        let watch = FileWatch::new(&files)
            .map_err(io::Error::other)
            .map_err(system("watch the policy file"))?;
        let drops = Drops::start(&options, capture);
        let queries = QueryLog::start(first.policy());
        let dns = names.map(|it| DnsServer::start(it, first.policy(), &enforcement, &queries));
        let dns = dns.transpose().map_err(DnsError::from)?;
        let own = OwnAddresses::new(first.own());
        let rejector = link_socket.map(|socket| Rejector::start(socket, D::FRAMING));
        let rejector = rejector.transpose();
        let rejector = rejector.map_err(system("start the thread that answers clients"))?;
        let published = Published::new(first, drops.writer(), count).with_rejector(rejector);
        published.enforce(enforcement);
        let published = Arc::new(published);
        let page = page.map(|page| page.serve(Arc::clone(&published)));
        let queues = device.into_queues();
        let feedback = D::feedback(&prepared);
        let workers = Workers::start(queues, &summary.device, &published, &schedule, &feedback);
        let workers = workers.map_err(system("start the workers"))?;
        check_memory().map_err(system("keep memory for reloads"))?;
        let divert = D::install(netlink.clone(), plan, prepared).await;
        let divert = divert.map_err(RunError::divert)?;
        let watchdog = Watchdog::start(workers.io(), Arc::clone(&manager));
        // Subscribed only now, so that the creation of the device is not reported as a change.
        let links = LinkChanges::new().map_err(system("hear of interfaces"))?;
        let present = netlink.interfaces().await.unwrap_or_default();
        let watched = summary.interfaces.iter().chain([&summary.device]);
        let known_links = watched.map(|name| (name.clone(), present.contains(name)));
        let known_links = known_links.collect();

        info!(
            generation = published.generation().0,
            diversion = D::NAME,
            device = summary.device,
            workers = count,
            "ready: {}{} is in force",
            if refused.is_some() {
                "the last good "
            } else {
                ""
            },
            source.name()
        );
        let pusher = Pusher::start(published.current());
        let loader = Loader::new(
            Arc::clone(&source),
            Arc::clone(&manager),
            files.clone(),
            fingerprint.clone(),
        );
        let in_force = match &refused {
            None => FileStatus::of(&files, &fingerprint),
            Some(_) => Vec::new(),
        };
        let name = source.name();
        let gateway = Self {
            divert,
            netlink,
            published,
            workers,
            passed: VerdictCounters::default(),
            watchdog,
            manager,
            rights,
            drops,
            control,
            traces: TraceTasks::new(),
            metrics,
            page,
            review: Review::default(),
            source,
            dns,
            queries,
            pusher,
            signals,
            watch,
            links,
            own,
            known_links,
            options,
            diverting: true,
            bypassed: false,
            aside: false,
            self_tests: SelfTests::default(),
            health: Health::default(),
            loader,
            recheck: Recheck::default(),
            in_force,
            reloads: Reloads {
                refused: refused.is_some().into(),
                last_error: refused,
                ..Reloads::default()
            },
            repairs: Repairs::default(),
            name,
            started: Instant::now(),
            last_good,
            trial,
            waiting: Waiting::default(),
            tried: JoinSet::new(),
        };
        if gateway.reloads.last_error.is_none() {
            gateway.keep(files, fingerprint);
        }
        if let Some(duration) = duration {
            warn!("{}", beginning(duration));
        }
        gateway.warn_of_gap();
        gateway.offer_routes();
        gateway.report_ready();
        Ok(gateway)
    }

    /// Tells the service manager that the gateway is ready, and which policy it judges by.
    pub(super) fn report_ready(&self) {
        let mut status = format!(
            "judging by {}, generation {}",
            self.name,
            self.published.generation().0
        );
        if let Some(gap) = self.published.enforcement().gap() {
            status.push_str(&format!("; {gap}"));
        }
        if self.trial.next().is_some() {
            status.push_str("; enforced for a limited time");
        }
        if self.reloads.last_error.is_some() {
            status.push_str("; what the file says now is refused");
        }
        self.manager.tell(Notice::Ready { status: &status });
    }

    /// Logs it if the policy in force does not take effect for every client.
    pub(super) fn warn_of_gap(&self) {
        if let Some(gap) = self.published.enforcement().gap() {
            warn!(
                "{gap}: what would be dropped, answered or hidden otherwise is counted and logged, and passes"
            );
        }
    }

    /// Has the routes of the policy in force pushed, if it is enforced for everybody, and not for a limited time.
    pub(super) fn offer_routes(&self) {
        let held = match (self.published.enforcement().gap(), self.trial.next()) {
            (Some(gap), _) => Some(gap),
            (None, Some(_)) => Some(
                "the policy is enforced for a limited time: `offramp keep` has its routes pushed"
                    .to_owned(),
            ),
            (None, None) => None,
        };
        self.pusher.offer(self.published.current(), held);
    }

    /// Serves until SIGTERM or SIGINT, or until a worker ends.
    pub(super) async fn serve(&mut self) -> Result<(), RunError> {
        let mut reconcile = tokio::time::interval(RECONCILE_INTERVAL);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.test_itself(Extent::Brief).await;
        // The policy, and the addresses of the host, may have changed during the start.
        self.ask_for_policy(ReloadTrigger::FileChange);
        self.own.note();
        loop {
            if let Some(what) = self.health.absence()
                && absence::ends(&self.published.current().policy().policy().gateway)
            {
                return Err(RunError::NoInterfaces(what.to_owned()));
            }
            if self.page.is_some() {
                self.review.begin(&self.source, self.published.current());
            }
            tokio::select! {
                _ = reconcile.tick() => self.reconcile().await,
                _ = check.tick() => self.look().await,
                () = self.health.looked() => self.conclude_look().await,
                _ = self.signals.terminate.recv() => break,
                _ = self.signals.interrupt.recv() => break,
                _ = self.signals.hang_up.recv() => self.ask_for_policy(ReloadTrigger::Signal),
                () = self.watch.changed() => self.ask_for_policy(ReloadTrigger::FileChange),
                loaded = self.loader.loaded() => self.take(loaded).await,
                (change, heard) = self.links.next() => self.follow(change, heard).await,
                () = self.own.settled() => self.compare_addresses(),
                asked = self.control.asked() => self.obey(asked).await,
                () = self.trial.due() => self.advance_trial(),
                Some(tried) = self.tried.join_next() => self.conclude_try(tried).await,
                questions = MetricsServer::asked(&mut self.metrics) => self.answer(questions).await,
                questions = PageServer::asked(&mut self.page) => self.answer_page(questions).await,
                () = self.review.done() => {}
                why = self.workers.ended() => return Err(RunError::Worker(why)),
                why = DnsServer::ended(&mut self.dns) => return Err(RunError::DnsEnded(why)),
            }
        }
        info!("stopping");
        self.manager.tell(Notice::Stopping);
        Ok(())
    }

    /// Tests the diversion, and restores the parts of it that another program has changed in the kernel.
    async fn reconcile(&mut self) {
        if self.bypassed {
            return;
        }
        if self.self_tests.are_due(D::SELF_TEST_PAUSE) {
            self.test_itself(Extent::Brief).await;
        }
        let device = self.divert.plan().summary().device;
        if self.known_links.get(&device) == Some(&false) {
            // No route can lead to a device that is down; that was logged already.
            return;
        }
        let repaired = self.divert.repair().await;
        let before = std::mem::replace(&mut self.diverting, repaired.is_ok());
        match repaired {
            Ok(None) if before => {}
            Ok(None) => info!("the diversion is restored"),
            Ok(Some(missing)) => {
                error!(
                    "another program has removed or changed {missing} of the diversion; offramp has restored it, and \
                     meanwhile traffic was not judged as it should be"
                );
                self.repairs.count += 1;
                self.repairs.last = Some(missing);
            }
            // Logged once, though it is retried every few seconds.
            Err(error) if before => error!("cannot restore the diversion: {error}"),
            Err(error) => debug!("still cannot restore the diversion: {error}"),
        }
    }

    /// Counts traffic that the kernel has forwarded by verdicts of the policy in force.
    pub(super) fn count_passed(&self, passed: Vec<(Verdict, Traffic)>) {
        self.published.count_passed(&self.passed, passed);
    }

    /// Has the policy loaded again if the host has other addresses than it was compiled for.
    fn compare_addresses(&mut self) {
        if self.own.differ() {
            info!("the addresses of this host have changed: loading the policy again");
            self.ask_for_policy(ReloadTrigger::Addresses);
        }
    }

    /// Keeps the diversion complete when interfaces come and go.
    async fn follow(&mut self, change: LinkChange, heard: Instant) {
        let link = match change {
            LinkChange::Addresses => return self.own.note(),
            LinkChange::Overrun => None,
            LinkChange::Up(name) => Some((name, true)),
            LinkChange::Down(name) | LinkChange::Gone(name) => Some((name, false)),
        };
        if let Err(error) = self.divert.follow(heard).await {
            error!("cannot update the diversion: {error}");
        }
        let Some((name, is_on)) = link else {
            // Any change may be among those that were not reported.
            self.own.note();
            return self.reconcile().await;
        };
        let summary = self.divert.plan().summary();
        let is_ours = name == summary.device;
        if !is_ours && !summary.interfaces.contains(&name) {
            return;
        }
        // The kernel also reports changes that are irrelevant here.
        let before = self.known_links.insert(name.clone(), is_on);
        if before.is_none_or(|before| before == is_on) {
            return;
        }
        match (is_ours, is_on) {
            // The kernel removed its routes when it went down.
            (true, true) => {
                let repaired = self.divert.repair().await;
                self.diverting = repaired.is_ok();
                match repaired {
                    Ok(_) => {
                        info!("{name} is on again: traffic is judged");
                        self.report_ready();
                    }
                    Err(error) => error!("cannot update the diversion: {error}"),
                }
            }
            (true, false) => {
                self.diverting = false;
                let meanwhile = match summary.on_failure {
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

    /// Stops the gateway: cleanly, or, after a failure, as its fail mode specifies.
    pub(super) async fn stop(mut self, ended: &Result<(), RunError>) -> Result<(), RunError> {
        self.traces.stop().await;
        if ended.is_err() {
            self.workers.stop();
            let abandoned = self.divert.abandon().await;
            self.drops.stop().await;
            self.queries.stop().await;
            return abandoned.map_err(RunError::divert);
        }
        let stopped = self.divert.stop().await;
        self.workers.stop();
        self.workers.join();
        let removed = self.divert.remove().await;
        self.drops.stop().await;
        self.queries.stop().await;
        stopped.and(removed).map_err(RunError::divert)?;
        info!("stopped: everything that was added to the kernel is removed");
        Ok(())
    }
}

fn listen(gateway: &GatewayOptions) -> Result<ControlSocket, RunError> {
    let path = control_path(gateway);
    ControlSocket::listen(path).map_err(|source| RunError::Control {
        path: path.to_owned(),
        source,
    })
}

/// Checks that what checks and reloads take is left: without it, a gateway that is ready would end at the first of them.
fn check_memory() -> io::Result<()> {
    let mut reserve = Vec::<u8>::new();
    let reserved = reserve.try_reserve_exact(RESERVE);
    reserved.map_err(|_| io::ErrorKind::OutOfMemory.into())
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

async fn listen_for_page(gateway: &GatewayOptions) -> Result<Option<PageListener>, RunError> {
    let Some(address) = page_address(gateway) else {
        return Ok(None);
    };
    let listening = PageListener::bind(address).await;
    listening
        .map(Some)
        .map_err(|source| RunError::Page { address, source })
}

/// Memory that must be left at a start, in bytes.
const RESERVE: usize = 16 << 20;

/// Interval between comparisons of the kernel's state with what was installed: listing it takes milliseconds.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(5);

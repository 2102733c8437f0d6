//! A DNS server without the rest of the gateway: `offramp dns`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::health::CHECK_INTERVAL;
use super::loader::{Loader, ReloadTrigger};
use super::recheck::Recheck;
use crate::filter::Generation;
use crate::gateway::host::rights::{Needs, Rights};
use crate::gateway::host::service::ServiceManager;
use crate::gateway::host::source::{LoadError, PolicySource};
use crate::gateway::host::watch::{FileWatch, fingerprint};
use crate::gateway::report::metrics::{MetricsServer, Readiness, Serving};
use crate::gateway::report::series::{NamesSnapshot, Report};
use crate::gateway::report::status::{DnsStatus, Reloads};
use crate::gateway::resolver::{BoundAddresses, DnsError, DnsServer, listen_addresses};
use crate::gateway::resolver::{QueryLog, QueryLogOptions};
use crate::policy::{Enforcement, Policy};

/// The reason why a stand-alone DNS server did not start, or ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum AloneError {
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] LoadError),
    /// The policy sets no listen address.
    #[error(
        "the policy names no address to answer at; add one, e.g. [dns] listen = [\"172.16.1.1:53\"]"
    )]
    NoAddress,
    /// The server cannot be started.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The metrics endpoint cannot be served.
    #[error(
        "cannot serve metrics at {address}: {source}; name another address: --metrics ADDRESS:PORT"
    )]
    Metrics {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused a signal handler or file watch.
    #[error("cannot {what}: {source}")]
    System {
        /// The operation that failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The server ended without being asked to.
    #[error("DNS queries are not answered any more: {0}")]
    Ended(String),
}

/// Answers DNS queries by the policy of `source` until SIGTERM or SIGINT, and serves metrics at `metrics`.
///
/// # Errors
/// [`AloneError`].
pub fn serve_alone(
    source: Arc<dyn PolicySource>,
    metrics: Option<SocketAddr>,
) -> Result<(), AloneError> {
    let system = |what| move |source| AloneError::System { what, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the control thread"))?;
    let served = runtime.block_on(serve(source, metrics));
    runtime.shutdown_background();
    served
}

async fn serve(
    source: Arc<dyn PolicySource>,
    metrics: Option<SocketAddr>,
) -> Result<(), AloneError> {
    let system = |what| move |source| AloneError::System { what, source };
    let listen = |kind| signal(kind).map_err(system("listen for signals"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let files = source.files().map_err(system("read the policy"))?;
    // A file written after this point counts as changed.
    let read = fingerprint(&files).map_err(system("read the policy"))?;
    let mut generation = Generation(1);
    let first = source.load(generation)?;
    let mut enforcement = first.policy().gateway.enforcement.clone();
    let bound = BoundAddresses::of(first.policy()).map_err(DnsError::from)?;
    let bound = bound.ok_or(AloneError::NoAddress)?;
    let mut metrics = match metrics {
        Some(address) => {
            let served = MetricsServer::start(address, Serving::Names).await;
            Some(served.map_err(|source| AloneError::Metrics { address, source })?)
        }
        None => None,
    };
    let rights = limit_rights(first.policy(), &files);
    let mut watch = FileWatch::new(&files)
        .map_err(io::Error::other)
        .map_err(system("watch the policy file"))?;
    let mut log = QueryLog::start(first.policy());
    let server = DnsServer::start(bound, first.policy(), &enforcement, &log);
    let mut server = Some(server.map_err(DnsError::from)?);
    warn_of_gap(&enforcement);
    let mut reloads = Reloads::default();
    let manager = Arc::new(ServiceManager::silent());
    let mut loader = Loader::new(Arc::clone(&source), manager, files, read);
    // The policy may have changed before its folder was watched.
    loader.ask(ReloadTrigger::FileChange, Generation(generation.0 + 1));
    let mut recheck = Recheck::default();
    let mut look = tokio::time::interval(CHECK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = Generation(generation.0 + 1);
        let loaded = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                loader.ask(ReloadTrigger::Signal, next);
                continue;
            }
            () = watch.changed() => {
                loader.ask(ReloadTrigger::FileChange, next);
                continue;
            }
            _ = look.tick() => {
                if recheck.is_due(loader.files()) {
                    loader.ask(ReloadTrigger::FileChange, next);
                }
                continue;
            }
            loaded = loader.loaded() => loaded,
            questions = MetricsServer::asked(&mut metrics) => {
                let snapshot = server.as_ref().map(|server| NamesSnapshot {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    dns: DnsStatus::new(server, &log),
                    generation: generation.0,
                    reloads: reloads.clone(),
                });
                let readiness = match enforcement.gap() {
                    Some(gap) => Readiness::NotEnforced(format!("names are answered, but {gap}\n")),
                    None => Readiness::Ready,
                };
                questions.answer(&readiness, snapshot.map(|it| Report::Names(Arc::new(it))));
                continue;
            }
            why = DnsServer::ended(&mut server) => return Err(AloneError::Ended(why)),
        };
        let policy = match loaded {
            Ok(loaded) => {
                watch.follow(&loaded.files);
                let explain = |why: LoadError| rights.explain(why.to_string(), &loaded.files);
                loaded.policy.map(|it| it.map_err(explain))
            }
            Err(panic) => Some(Err(format!("loading it failed: {panic}"))),
        };
        match (policy, &server) {
            (Some(Ok(policy)), Some(server)) => {
                generation = next;
                reloads.taken += 1;
                reloads.last_error = None;
                if listen_addresses(policy.policy()) != server.listen() {
                    warn!("dns.listen takes effect at the next start of offramp");
                }
                log.change(policy.policy()).await;
                enforcement = policy.policy().gateway.enforcement.clone();
                server.publish(policy.policy(), &enforcement, &log);
                info!(
                    generation = generation.0,
                    "reloaded: {} is in force",
                    source.name()
                );
                warn_of_gap(&enforcement);
            }
            (Some(Err(why)), _) => {
                error!(
                    "reload refused, generation {} stays in force: {}",
                    generation.0,
                    why.trim_end()
                );
                reloads.refused += 1;
                reloads.last_error = Some(why);
            }
            (Some(Ok(_)) | None, _) => {}
        }
        loader.go_on(Generation(generation.0 + 1));
    }
    info!("stopping");
    drop(server);
    log.stop().await;
    Ok(())
}

/// Gives up every privilege but reading `files` again and writing the log: the sockets are open.
fn limit_rights(policy: &Policy, files: &[PathBuf]) -> Rights {
    let log = QueryLogOptions::of(policy);
    let written = log.as_ref().and_then(|log| log.place.folder());
    Rights::limit_to(Needs {
        files,
        written: &written.map(Path::to_owned).into_iter().collect::<Vec<_>>(),
        control: None,
        settings: &[],
        programs: &[],
        capabilities: &[],
        work: &|| Ok(()),
    })
}

/// Logs it if names are not hidden from every client.
fn warn_of_gap(enforcement: &Enforcement) {
    if let Some(gap) = enforcement.gap() {
        warn!("{gap}: names that would be hidden otherwise are forwarded");
    }
}

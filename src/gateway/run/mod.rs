//! The live gateway, from its start to its end.
//!
//! ```text
//!  start   lock ─▶ checks ─▶ control socket, metrics, page ─▶ device ─▶ rights ─▶ workers ─▶ diversion ─▶ ready
//!  reload  read, compile (on a thread of its own) ─▶ checks ─▶ diversion ─▶ publish   (a mistake ends it, and changes nothing)
//!  stop    diversion ends ─▶ workers end with what was queued ─▶ routes, rules ─▶ device
//! ```
//!
//! `lifecycle` is the running gateway, `loader` reads policies on a thread of its own, `preflight` checks the host for
//! conditions that would break it, `pools` whether the policy has the VPN's clients, `health` asks for them again while it runs, `review` asks whether
//! the policy's outlets agree, `trial` is enforcement for a limited time, `difference` tells what a reload changes, `live` compares a running host with its policy, and `resolver_alone` is the DNS
//! server without the rest.

mod difference;
mod error;
mod health;
mod lifecycle;
pub mod live;
mod loader;
mod options;
mod pools;
pub mod preflight;
mod reload;
pub mod resolver_alone;
mod review;
mod trial;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

pub use error::RunError;
pub use preflight::service::check as as_service;

use self::lifecycle::Gateway;
use self::loader::load_with_digest;
use super::divert::netlink::Netlink;
use super::divert::{Divert, DivertPlan, ebpf, nftables};
use super::host::last_good::LastGood;
use super::host::lock::HostLock;
use super::host::source::PolicySource;
use super::host::watch::fingerprint;
use super::record::drops::CaptureOptions;
use crate::filter::{CompiledPolicy, Generation};
use crate::policy::{DiversionChoice, Severity};
use crate::verify::Finding;

/// A way of diverting, chosen for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Ebpf,
    Nftables,
}

/// The policies of a gateway, and where dropped packets go.
pub struct Inputs {
    /// The policy file.
    pub source: Arc<dyn PolicySource>,
    /// The copy of the policy that was in force last, for a start at which the file is refused.
    pub last_good: Option<LastGood>,
    /// Captures dropped packets.
    pub capture: Option<CaptureOptions>,
    /// The time for which the policy is enforced, unless it is kept; `None` if the file alone counts.
    pub trial: Option<Duration>,
}

/// The policy that a gateway starts with.
struct First {
    policy: CompiledPolicy,
    /// The files that it is made of.
    files: Vec<PathBuf>,
    /// Fingerprint of the policy's files as they were read.
    fingerprint: u64,
    /// Why the policy file is refused: then this is the last good one.
    refused: Option<String>,
    /// Digest of the policy's text, if it is that of the file.
    digest: Option<String>,
}

/// Runs a gateway until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`]; the kernel is then left as the policy's fail mode specifies.
pub fn run(inputs: Inputs) -> Result<(), RunError> {
    let system = |what| move |source| RunError::System { what, source };
    in_runtime(async {
        let lock = HostLock::take()?;
        // A file written after this point counts as changed.
        let files = inputs.source.files().map_err(system("read the policy"))?;
        let fingerprint = fingerprint(&files).map_err(system("read the policy"))?;
        let (policy, refused, digest) = first_policy(&inputs)?;
        let choice = choose(&policy);
        let first = First {
            policy,
            files,
            fingerprint,
            refused,
            digest,
        };
        let ended = match choice {
            Choice::Ebpf => run_with::<ebpf::Installation>(inputs, first).await,
            Choice::Nftables => run_with::<nftables::Installation>(inputs, first).await,
        };
        drop(lock);
        ended
    })
}

/// The policy to start with, the reason why that of the source is refused, and the digest of the text.
type FirstPolicy = (CompiledPolicy, Option<String>, Option<String>);

/// Loads the policy to start with: the one of the source, or the last good one and the reason why the source's is refused.
fn first_policy(inputs: &Inputs) -> Result<FirstPolicy, RunError> {
    let (loaded, digest) = load_with_digest(&*inputs.source, Generation(1));
    let why = match loaded {
        Ok(policy) => return Ok((policy, None, digest)),
        Err(why) => why,
    };
    let name = inputs.source.name();
    match inputs.last_good.as_ref().and_then(LastGood::load) {
        None => Err(why.into()),
        Some(Err(error)) => {
            warn!("the last good policy cannot be used either: {error}");
            Err(why.into())
        }
        Some(Ok(policy)) => {
            let why = why.to_string();
            error!(
                "{name} is refused, and the policy that was in force last is taken instead: {}",
                why.trim_end()
            );
            Ok((policy, Some(why), None))
        }
    }
}

/// Chooses the diversion that the policy asks for, or the best one that the kernel and the rights of this process allow.
fn choose(policy: &CompiledPolicy) -> Choice {
    match policy.policy().gateway.diversion {
        DiversionChoice::Ebpf => Choice::Ebpf,
        DiversionChoice::Nftables => Choice::Nftables,
        DiversionChoice::Auto => match ebpf::try_out(policy.policy().gateway.on_failure) {
            Ok(()) => Choice::Ebpf,
            Err(error) => {
                info!("diversion by nftables, since eBPF cannot be used here: {error}");
                Choice::Nftables
            }
        },
    }
}

async fn run_with<D: Divert>(inputs: Inputs, first: First) -> Result<(), RunError> {
    let netlink = connect()?;
    let plan = D::Plan::of(&first.policy);
    let findings = preflight::check::<D>(&first.policy, &plan, &netlink).await;
    report(&findings)?;
    let mut gateway = Gateway::<D>::start(inputs, first, plan, netlink).await?;
    gateway.health.note_logged(findings);
    let ended = gateway.serve().await;
    let stopped = gateway.stop(&ended).await;
    ended.and(stopped)
}

/// The outcome of [`rehearse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// Conditions that would prevent a start.
    pub findings: Vec<Finding>,
    /// The diversion, as the equivalent shell commands.
    pub commands: String,
}

/// Reports the findings and actions of [`run`] without changing anything.
///
/// # Errors
/// [`RunError::System`].
pub fn rehearse(policy: &CompiledPolicy) -> Result<Rehearsal, RunError> {
    in_runtime(async {
        match choose(policy) {
            Choice::Ebpf => rehearse_with::<ebpf::Installation>(policy).await,
            Choice::Nftables => rehearse_with::<nftables::Installation>(policy).await,
        }
    })
}

async fn rehearse_with<D: Divert>(policy: &CompiledPolicy) -> Result<Rehearsal, RunError> {
    let netlink = connect()?;
    let plan = D::Plan::of(policy);
    let findings = match HostLock::take() {
        Ok(_lock) => preflight::check::<D>(policy, &plan, &netlink).await,
        // The running gateway's own device and files are not findings of their own.
        Err(held) => vec![Finding::host_error(
            held.to_string(),
            "send it SIGHUP to load a changed policy",
        )],
    };
    Ok(Rehearsal {
        findings,
        commands: plan.to_string(),
    })
}

/// Removes what a killed gateway left in the kernel.
///
/// # Errors
/// [`RunError::Lock`] while a gateway runs; [`RunError::Divert`].
pub fn clean_up() -> Result<(), RunError> {
    in_runtime(async {
        let _lock = HostLock::take()?;
        let netlink = connect()?;
        // Both are tried, even if one fails.
        let programs = ebpf::Installation::remove_leftovers(&netlink).await;
        let marks = nftables::Installation::remove_leftovers(&netlink).await;
        programs.map_err(RunError::divert)?;
        marks.map_err(RunError::divert)
    })
}

/// Runs `work` on this thread in a runtime with timers, signals and sockets.
fn in_runtime<T>(work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::System {
            what: "start the control thread",
            source,
        })?;
    let done = runtime.block_on(work);
    // Does not wait for a child program that hangs.
    runtime.shutdown_background();
    done
}

fn connect() -> Result<Netlink, RunError> {
    Netlink::new().map_err(|source| RunError::System {
        what: "open a netlink socket for routes (rtnetlink)",
        source,
    })
}

/// Logs findings; returns an error if one of them keeps the gateway from starting.
fn report(findings: &[Finding]) -> Result<(), RunError> {
    let mut errors = 0;
    for finding in findings {
        let (what, remedy) = (&finding.what, &finding.remedy);
        match finding.severity {
            Severity::Error => {
                errors += 1;
                error!("{what}; {remedy}");
            }
            Severity::Warning => warn!("{what}; {remedy}"),
        }
    }
    match errors {
        0 => Ok(()),
        1 => Err(RunError::Findings("1 thing stands".to_owned())),
        count => Err(RunError::Findings(format!("{count} things stand"))),
    }
}

//! The task that pushes: waits for policies, keeps the pace, and tries again what failed.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::watch::Receiver;
use tracing::{error, info};

use super::content::{Planned, Step, steps};
use super::management::{self, Failure};
use super::pace::Pace;
use super::shared::{PushState, Shared};
use super::{Offer, file};
use crate::gateway::tun::publish::Enforced;
use crate::policy::{PushKind, PushTarget};

/// Pushes what is offered, until the other end is gone.
pub(super) async fn serve(mut offered: Receiver<Offer>, shared: Arc<Shared>, mut pace: Pace) {
    let first = Arc::clone(&offered.borrow_and_update().policy);
    let begun = begin(Arc::clone(&first), Arc::clone(&shared)).await;
    let mut before = first;
    // Where the start has left nothing to do, a reload is waited for.
    let mut again = begun;
    loop {
        if !again && offered.changed().await.is_err() {
            return;
        }
        let offer = offered.borrow_and_update().clone();
        let planned = plan(&offer.policy, &before, &shared).await;
        before = Arc::clone(&offer.policy);
        if note(&planned, &offer, &shared) {
            let due = pace.next(Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {
                    pace.note(Instant::now());
                    again = push(planned, &offer, &shared).await;
                }
                // The latest counts.
                changed = offered.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    offered.mark_changed();
                    again = false;
                }
            }
        } else {
            again = false;
        }
    }
}

/// Takes on the targets of the first policy; returns `true` if there is something to push, which can only be a file.
async fn begin(first: Arc<Enforced>, shared: Arc<Shared>) -> bool {
    let has_targets = tokio::task::spawn_blocking(move || {
        let policy = first.policy().policy();
        shared.follow(policy, policy);
        !policy.routes.push.is_empty()
    });
    has_targets.await.unwrap_or(false)
}

/// Plans the pushes of a policy, on a thread of its own: plans of many prefixes take long.
async fn plan(
    policy: &Arc<Enforced>,
    before: &Arc<Enforced>,
    shared: &Arc<Shared>,
) -> Vec<Planned> {
    let (policy, before, shared) = (Arc::clone(policy), Arc::clone(before), Arc::clone(shared));
    let planned = tokio::task::spawn_blocking(move || {
        let policy = policy.policy().policy();
        // A server that is named for the first time has the routes from before, whatever becomes of this push.
        shared.follow(policy, before.policy().policy());
        if policy.routes.push.is_empty() {
            return Vec::new();
        }
        steps(policy, &shared.known())
    });
    match planned.await {
        Ok(planned) => planned,
        Err(panic) => {
            error!("the routes to push could not be planned: {panic}");
            Vec::new()
        }
    }
}

/// Takes note of what is planned; returns `true` if something is to be pushed.
fn note(planned: &[Planned], offer: &Offer, shared: &Shared) -> bool {
    let mut has_steps = false;
    for (target, step) in planned {
        match (step, &offer.held) {
            (Ok(None), _) => shared.change(target, |it| it.set_unchanged()),
            (Ok(Some(_)), Some(why)) => {
                shared.change(target, |it| it.set(PushState::Held, why));
            }
            (Ok(Some(_)), None) => {
                has_steps = true;
                shared.change(target, |it| {
                    // What has failed stays so until it is tried again.
                    if it.state != PushState::Failed {
                        it.set(PushState::Waiting, "at most one push a minute is made");
                    }
                });
            }
            (Err(why), _) => conclude(target, offer, Err(why), shared),
        }
    }
    has_steps
}

/// Pushes; returns `true` if something failed that may succeed later.
async fn push(planned: Vec<Planned>, offer: &Offer, shared: &Shared) -> bool {
    let mut again = false;
    for (target, step) in planned {
        let Ok(Some(step)) = step else {
            continue;
        };
        match take(&target, step, shared).await {
            Ok(done) => conclude(&target, offer, Ok(&done), shared),
            Err(failure) => {
                again |= failure.is_temporary;
                conclude(&target, offer, Err(&failure.why), shared);
            }
        }
    }
    again
}

/// Takes a step.
async fn take(target: &PushTarget, step: Step, shared: &Shared) -> Result<String, Failure> {
    match step {
        Step::Command {
            socket,
            command,
            options,
        } => {
            let done = management::push(&socket, &command).await?;
            shared.know(target, options);
            Ok(done)
        }
        Step::File { path, text } => {
            let written = tokio::task::spawn_blocking(move || file::replace(&path, &text));
            let written = written.await.map_err(|panic| panic.to_string());
            match written.and_then(|it| it) {
                Ok(()) => Ok(read_when(target.kind).to_owned()),
                Err(why) => Err(Failure {
                    why,
                    is_temporary: true,
                }),
            }
        }
    }
}

/// Says when clients get what a file has.
fn read_when(kind: PushKind) -> &'static str {
    match kind {
        PushKind::Openvpn | PushKind::OpenvpnCcd => {
            "written: clients get the routes when they connect again"
        }
        PushKind::Ocserv => {
            "written: clients get the routes when they log in again; no reload is needed, and none changes a session"
        }
        PushKind::Wireguard => "written: clients have to fetch the file",
    }
}

/// Logs the result of a push, where it is another one than before, and takes note of it.
fn conclude(target: &PushTarget, offer: &Offer, result: Result<&str, &str>, shared: &Shared) {
    let generation = offer.policy.policy().generation().0;
    shared.change(target, |status| {
        match result {
            Ok(words) => info!(generation, "routes pushed to {target}: {words}"),
            Err(why) if status.state == PushState::Failed && status.result == why => {}
            Err(why) => error!(generation, "routes are not pushed to {target}: {why}"),
        }
        status.note(SystemTime::now(), generation, result);
    });
}

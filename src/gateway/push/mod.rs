//! Pushes: gives the routes of the policy to VPN servers when a reload changes them (`routes.push`).
//!
//! ```text
//!  control   offer ─────────── offer, offer ───────────────── status, dry run
//!              │                  │ the latest counts              ▲
//!  task        └─▶ plan, compare ─▶ push ── a minute ─▶ push ──────┘ log
//!                    │                └ OpenVPN: its management socket, within seconds
//!                    └ a thread        └ files: replaced as a whole
//! ```
//!
//! No packet waits for it: a task of its own talks to the servers, each within a time limit, at most once a minute, and with the
//! latest routes. A server has the routes of the policy that the gateway was started with, as far as this module
//! knows; a file has what it holds.
//!
//! | target | has the routes |
//! |---|---|
//! | `management` | clients that are connected to an OpenVPN server, at once |
//! | `file` | clients of OpenVPN and ocserv at their next connection; clients of WireGuard that fetch the file |

mod content;
mod file;
mod management;
mod pace;
mod shared;
mod task;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::file::folders;
use self::pace::Pace;
use self::shared::Shared;
pub use self::shared::{PushState, PushStatus};
use crate::gateway::tun::publish::Enforced;
use crate::policy::Policy;

/// Gives routes to the targets of `routes.push`; ends when it is dropped.
#[derive(Debug)]
pub struct Pusher {
    offers: watch::Sender<Offer>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// The policy whose routes are to be pushed.
#[derive(Debug, Clone)]
struct Offer {
    policy: Arc<Enforced>,
    /// Why nothing is pushed at the moment.
    held: Option<String>,
}

impl Pusher {
    /// Starts the task, in the runtime of the caller. The servers are taken to have the routes of `first`.
    pub fn start(first: Arc<Enforced>) -> Self {
        Self::with_interval(first, INTERVAL)
    }

    fn with_interval(first: Arc<Enforced>, interval: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let (offers, offered) = watch::channel(Offer {
            policy: first,
            held: None,
        });
        let task = task::serve(offered, Arc::clone(&shared), Pace::new(interval));
        let task = tokio::spawn(task);
        Self {
            offers,
            shared,
            task,
        }
    }

    /// Has the routes of `policy` pushed where they differ from the last ones, unless they are held back for a reason.
    pub fn offer(&self, policy: Arc<Enforced>, held: Option<String>) {
        self.offers.send_replace(Offer { policy, held });
    }

    /// The targets of the policy, with the last push to each.
    pub fn status(&self) -> Vec<PushStatus> {
        self.shared.statuses()
    }

    /// Returns a preview of pushes, for a thread that may wait.
    pub fn preview(&self) -> Preview {
        let offer = self.offers.borrow();
        Preview {
            shared: Arc::clone(&self.shared),
            current: Arc::clone(&offer.policy),
            held: offer.held.clone(),
        }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells what a policy would have pushed.
#[derive(Debug)]
pub struct Preview {
    shared: Arc<Shared>,
    current: Arc<Enforced>,
    held: Option<String>,
}

impl Preview {
    /// The pushes that follow from `policy`, a line each; reads files.
    pub fn of(&self, policy: &Policy) -> Vec<String> {
        if policy.routes.push.is_empty() {
            return Vec::new();
        }
        let mut known = self.shared.known();
        content::add_servers(&mut known, policy, self.current.policy().policy());
        let steps = content::steps(policy, &known);
        let lines = steps.into_iter().filter_map(|(target, step)| {
            let words = match step {
                Ok(None) => return None,
                Ok(Some(step)) => step.to_string(),
                Err(why) => format!("cannot be pushed: {why}"),
            };
            Some(format!("{target}: {words}"))
        });
        let mut lines: Vec<String> = lines.collect();
        if let (Some(why), false) = (&self.held, lines.is_empty()) {
            lines.push(format!("nothing is pushed until then: {why}"));
        }
        lines
    }
}

/// Time between two pushes: clients change their routes at each.
const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;

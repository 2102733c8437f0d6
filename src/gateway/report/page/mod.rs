//! [`PageServer`]: the status page at `gateway.page`, for browsers.
//!
//! ```text
//!  GET /         the page, whole; with ?from=…&to=… it also explains that packet     200
//!  GET /events   server-sent events: the parts of the page that have changed         200, 503 beyond a few at a time
//!
//!  Status ──▶ view ──▶ Parts ──▶ page        explain (filter) ──▶ ask ──▶ page
//!                        └─ every 2 s, while somebody looks ─▶ events
//! ```
//!
//! **What it shows.** The page is a view of [`Status`](super::status::Status), the value that `offramp status --json` prints:
//! its reader learns nothing else from it. So there is no address of a client, and no text of the policy; of rules it has
//! their names, their lines and their counters, of findings what `status` says of them. Lines are links from a finding to the
//! rule that stands there. The form to explain a packet is the one thing beyond: it tells which entry of the policy decides about
//! a packet whose addresses the reader brings, as `offramp explain` tells whoever can read the policy file. The page has no
//! login, so its listener belongs at a loopback address; `check` warns of any other.
//!
//! **What it accepts.** GET and HEAD, nothing else; a Host that is the listener's own address or `localhost`, so that no website
//! can read the page by a name of its own that resolves to this host (DNS rebinding); a head of 8 KiB, and ten seconds for a connection.
//! Connections, streams and questions at a time are bounded. Style and script stand in the page, under a nonce; the
//! content security policy lets the browser load nothing else, and the page works without the script.
//!
//! It runs on the control thread, a task for each connection, and asks the control loop as the metrics endpoint does.
//! Questions about packets are answered on a thread of their own, one at a time.

mod ask;
mod body;
mod headers;
mod hosts;
mod server;
mod view;

pub use server::{PageListener, PageQuestions, PageServer};

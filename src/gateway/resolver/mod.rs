//! The pin-point DNS server: answers VPN clients by the policy, from the cache, or by the company's servers.
//!
//! ```text
//!  client ──UDP──▶ udp: 32 datagrams a call ─┐            ┌─ the policy's answer ──▶ client
//!  client ──TCP──▶ tcp: a task a connection ─┴▶ Core::take┼─ the cache's answer ───▶ client
//!                                                         └─ forward: one question for all who wait for the same
//!                                                              │ own socket and id for each attempt
//!                                         Core::finish ◀───────┘ first server that knows
//!                                            │ screen, by the policy of this moment
//!                                            └─▶ all who wait
//! ```
//!
//! A thread for each of up to four processors does all of this, with sockets, cache and limits of its own and one single-threaded
//! runtime: no locks, and nothing here can hold up the gateway's control. The kernel leads a client to the thread of its address,
//! whichever port and protocol it uses (`steering`), so that the limits of a client are those of one thread. Threads have in common the
//! policy, the number of questions on their way to upstreams (`questions`), the sockets for them, and the rate of the log.
//! A name that clients of two threads ask for is asked for twice.
//!
//! Answers of the policy and of the cache are given in the receiving loop, without a task; they depend on no upstream. A reload
//! replaces the policy atomically, and every answer is made by one policy, which is the one in force when it is given: a query that
//! waits while the policy is reloaded is answered by the new one.
//!
//! hickory-server was measured against this first. It is as fast as dnsmasq, but it starts a task for each datagram
//! without a bound, accepts connections without a bound, and encodes each forwarded message anew.
//!
//! If `dns.query_log` is set, the server hands samples of the queries to a thread that writes them to a log (`log`).
//!
//! | bound, of all threads | |
//! |---|---|
//! | threads | as many as processors, 4 at most, and one for each 256 descriptors |
//! | queries of a client | `dns.queries_per_second`, in bursts of as many; beyond, no answer |
//! | large answers | each 4 KiB cost the client that asked one of its queries; those of 1 KiB and more are read by a thread of their own (`screener`), one at a time; 16 KiB if records must be taken out |
//! | answers kept | `dns.cache_entries`, of 4 KiB at most; a thread has its part |
//! | questions on their way to upstreams, sockets for them | half of the descriptors of the process, 2,048 at most; an eighth of them for one client |
//! | who waits for the same answer | 64, beyond: `SERVFAIL` |
//! | connections | a quarter of the descriptors, 1,024 at most, of which a thread has its part, 32 of a client; the one idle for longest gives way |
//! | questions of a connection that wait | 32; beyond, it is not read |
//! | a connection without a whole question, or that does not read | 10 seconds |
//! | lines of the query log | `dns.query_log_rate` a second for each outcome, 1,024 that wait to be written; files of 8 MiB, four at most |
//! | time for an answer | 3.5 seconds, then `SERVFAIL`, which is kept for a second |

mod addresses;
mod cache;
mod connections;
mod core;
mod counters;
mod forward;
mod limit;
mod log;
pub(in crate::gateway) mod probe;
mod questions;
mod screener;
mod server;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod simulated;
mod socket;
mod steering;
mod tcp;
mod threads;
mod udp;

pub use addresses::{BoundAddresses, NoAddress};
pub(in crate::gateway) use addresses::{listen_addresses, try_addresses};
pub use counters::{DnsCounters, Histogram, Outcome};
pub use log::{QueryLog, QueryLogOptions};
pub use server::{DnsError, DnsServer};

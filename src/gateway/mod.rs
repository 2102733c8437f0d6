//! The live sidecar: the only floor with interfaces, threads and clocks, a room each.
//!
//! ```text
//!                      ┌──────────────────── run: start, control loop, reload, stop ───────────────────┐
//!                      │ preflight        loader        live (verify --live)        resolver_alone     │
//!                      └─┬──────────────────┬──────────────────┬────────────────────┬──────────────────┘
//!                        ▼                  ▼                  ▼                    ▼
//!  kernel ◀── divert: Divert         tun: device, queues,   resolver: DNS      report: one snapshot
//!             netlink, nftables      workers, Published     for clients        ▶ socket, Prometheus, page
//!                        │                  │ dropped packets  │ queries            │
//!                        │                  └───▶ record: logs and captures ◀───────┘
//!                        ▼                                     ▼
//!             host: policy source, feeds, file watch, lock, rights, service manager
//! ```
//!
//! | room | has |
//! |---|---|
//! | [`run`] | a gateway from its start to its end; it knows a diversion by the trait [`divert::Divert`] only |
//! | [`divert`] | the ways of leading packets to the filter, of which `nftables` is one |
//! | [`tun`] | the filter's device, and the worker threads that read its queues; it is a tun or a tap |
//! | [`resolver`] | the DNS server that VPN clients use |
//! | [`report`] | status, as JSON on a socket, as series for Prometheus and as a page for browsers |
//! | [`record`] | logs of dropped packets and of queries, and captures; bounded files |
//! | [`reject`] | answers to clients whose packets are dropped |
//! | [`push`] | routes for VPN servers, when a reload changes them |
//! | [`fleet`] | releases of a policy for many gateways: the stores, the agent that follows one, publishing |
//! | [`host`] | the host that the gateway runs on: files, feeds, rights, lock, service manager |
//! | [`interface`] | a live interface as a backend, passively, for `observe` |
//! | `sys` | the calls that the compiler cannot check: all `unsafe` of the crate |
//! | `machine` (feature `fuzzing`, and tests) | a gateway in memory to which everything happens, beside a model of it |
//! | [`testbed`] | sites of network namespaces, for the demo and for benchmarks |
//!
//! Packets take the path of `datapath`: a backend receives batches, and a worker has them judged by the published
//! policy. Control is one task of a single-threaded tokio runtime; workers are plain threads that share the published
//! policy and counters with it.

pub mod divert;
pub mod fleet;
pub mod host;
pub mod interface;
#[cfg(any(test, feature = "fuzzing"))]
pub mod machine;
pub mod push;
pub mod record;
pub mod reject;
pub mod report;
pub mod resolver;
pub mod run;
mod sys;
pub mod testbed;
pub mod tun;

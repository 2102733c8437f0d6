//! Where packets come from and go to: the only floor with files, interfaces, threads and clocks.
//!
//! ```text
//!              ┌───────────────── worker::run ─────────────────┐
//!   Backend ──▶│ batch of packets ──▶ Judgement ──▶ verdicts   │──▶ Backend
//!   tun        └───────────────────────▲───────────────────────┘    writes back, records
//!   capture                            │ load, once a batch
//!   interface                      Published ◀── reload ── control: signals, files, `status`, metrics
//!   memory                                                    │
//!                                  Installation ◀─────────────┘
//!                                  marks, rules and routes of the kernel
//! ```
//!
//! `drops` writes down what was dropped, for the operator who asks for it; `record` is where such things are written.
//! `feeds` reads the files that a policy's `[[feed]]` entries name, `fetch` gets them from their publishers.
//!
//! A [`Backend`] moves batches between a worker and the world; the worker and the judgement are the same for all of them.
//! [`run`] is the live gateway: one thread for each queue of its tun device, and one for control, which is all that is
//! asynchronous here.

pub mod divert;
pub mod host;
pub mod interface;
pub mod record;
pub mod report;
pub mod resolver;
pub mod run;
pub mod testbed;
pub mod tun;

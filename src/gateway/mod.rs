//! Where packets come from and go to: the only floor with files, interfaces, threads and clocks.
//!
//! ```text
//!              ┌───────────────── worker::run ─────────────────┐
//!   Backend ──▶│ batch of packets ──▶ Judge ──▶ verdicts       │──▶ Backend
//!   capture    └──────────────────────────────────────────────┘    records, forwards
//!   interface
//!   memory
//! ```
//!
//! `feeds` reads the files that a policy's `[[feed]]` entries name, `fetch` gets them from their publishers.
//!
//! A [`Backend`] moves batches between a worker and the world; the worker and the judgement are the same for all of them.

pub mod atomic;
pub mod backend;
pub mod capture;
pub mod feeds;
pub mod fetch;
pub mod interface;
pub mod memory;
pub mod worker;

pub use backend::{Backend, BackendError, FrameSink, Outcome};

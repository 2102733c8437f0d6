//! The way of packets through the filter: a [`Backend`] brings them, a worker has them judged, the backend deals with them.
//!
//! ```text
//!              ┌───────────────── worker::run ─────────────────┐
//!   Backend ──▶│ batch of packets ──▶ Judgement ──▶ verdicts   │──▶ Backend
//!   capture    └───────────────────────────────────────────────┘    writes back, records
//!   memory
//!   tun, interface (gateway)
//! ```
//!
//! The worker and the judgement are the same for every backend: replay, benchmarks, tests and the live gateway run this code.

mod backend;
mod capture;
mod memory;
pub mod worker;

pub use backend::{Backend, BackendError, FrameSink, Judgement, Outcome, Progress, judge_frames};
pub use capture::CaptureBackend;
pub use memory::MemoryBackend;

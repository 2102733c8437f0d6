//! The path of packets: a [`Backend`] receives them, a worker has them judged, and the backend forwards or drops them.
//!
//! ```text
//!              ┌───────────────── worker::run ─────────────────┐
//!   Backend ──▶│ batch of packets ──▶ Judgement ──▶ verdicts   │──▶ Backend
//!   capture    └───────────────────────────────────────────────┘    writes back, records
//!   memory
//!   tun, interface (gateway)
//!   Recorded, Faulty: round any of them
//! ```
//!
//! The worker and the judgement are the same for every backend: replay, benchmarks, tests and the live gateway run this
//! code.

mod backend;
mod capture;
mod faults;
mod memory;
mod record;
#[cfg(test)]
mod tests;
pub mod worker;

pub use backend::{Backend, BackendError, FrameSink, Judgement, Outcome, Progress, judge_frames};
pub use capture::CaptureBackend;
pub use faults::{FaultRates, Faulty, REORDER_DISTANCE};
pub use memory::MemoryBackend;
pub use record::Recorded;

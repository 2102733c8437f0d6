//! The filter's tun device and the threads that judge the packets routed to it.
//!
//! ```text
//!  TunDevice ─▶ TunQueues ─▶ worker thread: TunBackend ─▶ Live (a judgement by what is Published) ─▶ TunBackend
//! ```

pub mod counters;
mod device;
mod feedback;
pub mod publish;
pub mod quality;
pub mod queue;
pub mod schedule;
mod turns;
pub mod watchdog;
pub mod workers;

pub use device::{
    CLONE_DEVICE, DeviceWriter, IDLE_LIMIT, StopSignal, TunBackend, TunDevice, TunQueues,
    make_plain_device, try_open,
};
pub use feedback::{ArrivedProbe, ClearFlows, Feedback, NoteLayout};
pub(in crate::gateway) use feedback::{ProbeHeader, ProbeId};

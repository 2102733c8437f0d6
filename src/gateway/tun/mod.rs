//! The filter's tun device and the threads that judge the packets routed to it.
//!
//! ```text
//!  TunDevice ─▶ TunQueue ─▶ worker thread: TunBackend ─▶ Live (a judgement by what is Published) ─▶ TunBackend
//! ```

mod acknowledge;
pub mod counters;
mod device;
pub mod publish;
pub mod queue;
pub mod schedule;
pub mod watchdog;
pub mod workers;

pub use acknowledge::{Acknowledgements, NoteLayout};
pub use device::{
    CLONE_DEVICE, IDLE_LIMIT, StopSignal, TunBackend, TunDevice, TunQueue, make_plain_device,
    try_open,
};

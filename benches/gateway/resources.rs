//! What `offramp run` takes for itself: processor time while nothing happens, memory before and after a flood of packets.

use std::thread;
use std::time::Duration;

use crate::bed::Bed;
use crate::meter::{process_time, resident};
use crate::traffic::{Kind, Pace, Traffic};
use crate::variants::{Peer, Variant};

/// What it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resources {
    /// The part of one processor that it has while nothing arrives, from 0 to 1.
    pub(crate) idle: f64,
    /// Memory after a first second of small packets, and after more of them, in KiB.
    pub(crate) resident: (u64, u64),
}

/// Starts it, leaves it alone, then sends it small packets of many flows.
pub(crate) fn measure(bed: &Bed, traffic: &Traffic<'_>) -> Resources {
    let running = Variant::short(Peer::All).start(bed, None);
    let process = running.process().expect("offramp is a process");
    let before = process_time(process);
    thread::sleep(IDLE);
    let idle = process_time(process).saturating_sub(before);
    let flood = |turn| {
        let warm_up = Duration::ZERO;
        traffic.turn(Kind::UdpMixed, Pace { warm_up, turn }, Some(process));
        resident(process)
    };
    let resident = (flood(FIRST), flood(MORE));
    running.stop();
    Resources {
        idle: idle.as_secs_f64() / IDLE.as_secs_f64(),
        resident,
    }
}

/// Longer than the five seconds after which it looks whether everything is still in place.
const IDLE: Duration = Duration::from_secs(6);
/// The first packets: buffers are touched for the first time.
const FIRST: Duration = Duration::from_secs(1);
/// The others.
const MORE: Duration = Duration::from_secs(4);

//! The resources of `offramp run`: processor time while idle, memory before and after a flood of packets.

use std::thread;
use std::time::Duration;

use crate::bed::Bed;
use crate::meter::{process_time, resident};
use crate::traffic::{Kind, Pace, Traffic};
use crate::variants::{Peer, Variant};

/// The resources used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resources {
    /// The share of one processor used while no packets arrive, from 0 to 1.
    pub(crate) idle: f64,
    /// Memory in KiB after a first second of small packets, and after more of them.
    pub(crate) resident: (u64, u64),
}

/// Starts the gateway, leaves it idle, then sends it small packets of many flows.
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

/// Longer than the five seconds between two checks of the diversion.
const IDLE: Duration = Duration::from_secs(6);
/// The warm-up, in which buffers are touched for the first time.
const FIRST: Duration = Duration::from_secs(1);
/// The flood.
const MORE: Duration = Duration::from_secs(4);

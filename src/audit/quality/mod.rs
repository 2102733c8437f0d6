//! [`Quality`]: how well the RTP streams of a capture came through, and whether they would still take the tunnel.
//!
//! ```text
//!   packet ──▶ RtpTable ──▶ ended streams ──▶ QualityReport
//!     │                                         streams   one by one
//!     └──▶ verdict of the policy,               groups    by client pool, direction and kind of peer
//!          verdict with match = "ice"           calls     streams between two hosts at one time
//! ```
//!
//! Every stream is measured, whatever the policy makes of it: a capture shows traffic as it was without the policy. A stream
//! takes the tunnel if its last packet is forwarded: recognition may need the first ones.

mod ends;
mod report;
#[cfg(test)]
mod tests;

use crate::filter::{CompileError, CompiledPolicy};
use crate::packet::Received;
use crate::packet::media::Segment;
use crate::packet::media::quality::{MeasuredStream, RtpTable};
use crate::policy::MediaMatch;
use crate::verdict::{Action, Verdict};

use super::variant::Variant;

pub use ends::{Direction, Ends, Peer};
pub use report::{CallReport, QualityReport, StreamGroup, StreamReport};

/// Measures the RTP streams of judged traffic, in bounded memory.
#[derive(Debug)]
pub struct Quality {
    table: RtpTable<Fate>,
    ended: Vec<MeasuredStream<Fate>>,
    /// Streams that ended when there was no room for them in `ended`.
    unlisted: u64,
    /// `None` where the policy itself is that.
    by_ice: Option<Variant>,
}

/// The path that a stream would take, by its last packet.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    tunnels: bool,
    tunnels_with_ice: bool,
}

impl Quality {
    /// Streams at the same time; about 3 MiB.
    pub const MAX_CONCURRENT: usize = 8_192;
    /// Streams that are listed and summed, about 6 MiB; those that end later are only counted.
    pub const MAX_STREAMS: usize = 16_384;

    /// Measures the streams of traffic that `policy` judges.
    ///
    /// # Errors
    /// [`CompileError`] never, for a policy that was compiled before.
    pub fn new(policy: &CompiledPolicy) -> Result<Self, CompileError> {
        let by_ice = match policy.policy().media.recognition {
            MediaMatch::Ice => None,
            MediaMatch::Ports | MediaMatch::IceMicrosoft | MediaMatch::Media => {
                Some(Variant::new(policy, MediaMatch::Ice)?)
            }
        };
        Ok(Self {
            table: RtpTable::new(Self::MAX_CONCURRENT),
            ended: Vec::new(),
            unlisted: 0,
            by_ice,
        })
    }

    /// Measures one packet, which the policy gave `verdict`.
    pub fn record(&mut self, verdict: Verdict, packet: Received<'_>) {
        let Ok(view) = packet.parse() else {
            return;
        };
        let Some((flow, segment @ Segment::Udp { .. })) = Segment::of(&view) else {
            return;
        };
        let tunnels = verdict.action == Action::Forward;
        // Connectivity checks tell what becomes of a stream, too.
        let by_ice = self.by_ice.as_mut().map(|variant| variant.judge(packet));
        let fate = Fate {
            tunnels,
            tunnels_with_ice: by_ice.map_or(tunnels, |it| it.action == Action::Forward),
        };
        let (list, unlisted) = (&mut self.ended, &mut self.unlisted);
        let ended = |stream: &MeasuredStream<Fate>| keep(list, unlisted, stream);
        self.table.record(&flow, segment, packet.at, fate, ended);
    }

    /// Returns the report; `policy` is the one that gave the verdicts. Streams that are under way end with it.
    pub fn report(&mut self, policy: &CompiledPolicy) -> QualityReport {
        let (list, unlisted) = (&mut self.ended, &mut self.unlisted);
        self.table.finish(|stream| keep(list, unlisted, stream));
        let streams = self.ended.iter();
        let streams = streams.map(|stream| StreamReport::new(stream, policy.policy()));
        QualityReport::new(
            streams.collect(),
            self.table.evicted(),
            self.unlisted,
            policy.policy().media.recognition,
        )
    }
}

fn keep(list: &mut Vec<MeasuredStream<Fate>>, unlisted: &mut u64, stream: &MeasuredStream<Fate>) {
    if list.len() < Quality::MAX_STREAMS {
        list.push(*stream);
    } else {
        *unlisted += 1;
    }
}

//! [`Backend`]: what moves packets between a worker and the world.

use std::io;

use crate::capture::{CaptureError, CapturedFrame, LinkPayload, NotIp, ip_packet};
use crate::filter::Judge;
use crate::packet::{Received, Traffic};
use crate::verdict::{Reason, Verdict};

/// Moves batches of packets between a worker and the world.
pub trait Backend {
    /// Receives a batch, has it judged, and deals with each packet as its verdict says.
    ///
    /// [`Judgement::judge`] is called once, with at most [`Judge::BATCH`] packets, or not at all where there was nothing to
    /// judge. Returns whether there may be more.
    ///
    /// # Errors
    /// [`BackendError`] when packets cannot be received or recorded.
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError>;
}

/// Judges batches of packets: a policy and what is to be remembered between packets.
pub trait Judgement {
    /// Fills in the verdict of each of `packets`; the slices are equally long.
    fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]);

    /// Counts a verdict of the batch that was judged last, once for each packet and in their order; backends that only record
    /// do not count.
    fn count(&mut self, _verdict: Verdict, _traffic: Traffic) {}
}

/// Whether a backend may have more packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It may.
    More,
    /// It has come to its end.
    End,
}

/// Why a backend cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The capture cannot be read on.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The interface cannot be read.
    #[error("cannot receive from {interface}: {source}")]
    Interface {
        /// Its name.
        interface: String,
        /// What the system says.
        source: io::Error,
    },
    /// The interface was removed while packets were read from it.
    #[error("the interface {interface} was removed")]
    Removed {
        /// Its name.
        interface: String,
    },
    /// What was decided cannot be written down.
    #[error(transparent)]
    Sink(io::Error),
}

/// What became of a frame.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It holds no IP packet.
    Skipped(NotIp),
    /// Its IP packet got a verdict.
    Judged(Received<'a>, Verdict),
}

/// Takes note of judged frames.
pub trait FrameSink {
    /// Notes what became of `frame`; frames come in their order.
    ///
    /// # Errors
    /// When it cannot be written down; the backend then stops.
    fn note(&mut self, frame: &CapturedFrame<'_>, outcome: Outcome<'_>) -> io::Result<()>;
}

/// Has the IP packets of at most [`Judge::BATCH`] frames judged in one go, and tells `sink` what became of each frame.
pub fn judge_frames<'a>(
    frames: impl Iterator<Item = CapturedFrame<'a>> + Clone,
    judgement: &mut impl Judgement,
    sink: &mut impl FrameSink,
) -> io::Result<()> {
    let mut packets = [Received::whole(&[], std::time::Duration::ZERO); Judge::BATCH];
    let mut count = 0;
    for frame in frames.clone().take(Judge::BATCH) {
        if let LinkPayload::Ip { packet, offset } = ip_packet(frame.link_type, frame.bytes) {
            packets[count] = Received {
                bytes: packet,
                length_on_wire: (frame.original_length as usize).saturating_sub(offset),
                at: frame.timestamp,
            };
            count += 1;
        }
    }
    let mut verdicts = [Verdict::drop(Reason::Malformed); Judge::BATCH];
    judgement.judge(&packets[..count], &mut verdicts[..count]);

    let mut judged = packets.iter().zip(&verdicts);
    for frame in frames {
        let outcome = match ip_packet(frame.link_type, frame.bytes) {
            LinkPayload::NotIp { what } => Outcome::Skipped(what),
            LinkPayload::Ip { .. } => match judged.next() {
                Some((packet, verdict)) => Outcome::Judged(*packet, *verdict),
                None => break,
            },
        };
        sink.note(&frame, outcome)?;
    }
    Ok(())
}

//! [`Backend`]: moves packets between a worker and a device, file or buffer.

use std::io;

use crate::capture::{CaptureError, CapturedFrame, LinkPayload, NotIp, ip_packet};
use crate::filter::Judge;
use crate::packet::{Received, Traffic};
use crate::verdict::{Reason, Verdict};

/// Moves batches of packets between a worker and a device, file or buffer.
pub trait Backend {
    /// Receives a batch, has it judged, and forwards or drops each packet by its verdict.
    ///
    /// Calls [`Judgement::judge`] once, with at most [`Judge::BATCH`] packets, or not at all if there was nothing to
    /// judge. The result tells if there may be more packets.
    ///
    /// # Errors
    /// [`BackendError`] when packets cannot be received or recorded.
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError>;
}

/// Judges batches of packets: a policy, and the state kept between packets.
pub trait Judgement {
    /// Fills in the verdict of each of `packets`; the slices are equally long.
    fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]);

    /// Judges a packet of a self-test, which is no traffic: it is neither counted nor logged.
    fn judge_probe(&mut self, packet: Received<'_>) -> Verdict {
        let mut verdicts = [Verdict::drop(Reason::Malformed)];
        self.judge(&[packet], &mut verdicts);
        let [verdict] = verdicts;
        verdict
    }

    /// Counts a verdict of the batch that was judged last, once for each packet and in their order; backends that only
    /// record do not count.
    fn count(&mut self, _verdict: Verdict, _traffic: Traffic) {}

    /// Returns `true` if `packet` of the batch, whose verdict is "drop", is to be forwarded all the same, and takes note of it.
    fn spares(&mut self, _packet: Received<'_>, _traffic: Traffic) -> bool {
        false
    }

    /// Takes note that `packet` of the batch was dropped; `frame` is the same behind the headers of its device.
    fn dropped(&mut self, _verdict: Verdict, _packet: Received<'_>, _frame: &[u8]) {}
}

/// The state of a backend after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There may be more packets.
    More,
    /// There are no more packets.
    End,
}

/// The reason why a backend cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The rest of the capture cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The interface cannot be read.
    #[error("cannot receive from {interface}: {source}")]
    Interface {
        /// The interface's name.
        interface: String,
        /// The system's error.
        source: io::Error,
    },
    /// The interface was removed while packets were read from it.
    #[error("the interface {interface} was removed")]
    Removed {
        /// The interface's name.
        interface: String,
    },
    /// The sink failed to record a frame.
    #[error(transparent)]
    Sink(io::Error),
}

/// The outcome of a frame.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It holds no IP packet.
    Skipped(NotIp),
    /// Its IP packet got a verdict.
    Judged(Received<'a>, Verdict),
}

/// Records judged frames.
pub trait FrameSink {
    /// Records the outcome of `frame`; frames come in order.
    ///
    /// # Errors
    /// When the frame cannot be recorded; the backend then stops.
    fn note(&mut self, frame: &CapturedFrame<'_>, outcome: Outcome<'_>) -> io::Result<()>;
}

/// Has the IP packets of at most [`Judge::BATCH`] frames judged as one batch, and reports each frame's outcome to
/// `sink`.
pub fn judge_frames<'a>(
    frames: impl Iterator<Item = CapturedFrame<'a>> + Clone,
    judgement: &mut impl Judgement,
    sink: &mut impl FrameSink,
) -> io::Result<()> {
    let mut packets = [Received::whole(&[], std::time::Duration::ZERO); Judge::BATCH];
    let mut count = 0;
    for frame in frames.clone().take(Judge::BATCH) {
        if let LinkPayload::Ip { packet, offset } = ip_packet(frame.link_type, frame.bytes) {
            let length = (frame.original_length as usize).saturating_sub(offset);
            packets[count] = Received::captured(packet, length, frame.timestamp);
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

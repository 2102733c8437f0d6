//! [`Recorded`]: a decorator that also writes a backend's packets to a capture, each with its verdict as a comment.

use std::io::{self, Write};

use super::backend::{Backend, BackendError, Judgement, Progress};
use crate::capture::{CapturedFrame, LinkType, PcapngWriter};
use crate::packet::{Received, Traffic};
use crate::verdict::Verdict;

/// Writes the packets that another backend receives to a capture: raw IP packets in order, with verdicts as comments.
#[derive(Debug)]
pub struct Recorded<B, W: Write> {
    inner: B,
    writer: PcapngWriter<W>,
}

impl<B, W: Write> Recorded<B, W> {
    /// Records the packets that `inner` receives to `output`.
    ///
    /// # Errors
    /// When the beginning of the capture cannot be written.
    pub fn new(inner: B, output: W) -> io::Result<Self> {
        let writer = PcapngWriter::new(output)?;
        Ok(Self { inner, writer })
    }

    /// Finishes the capture, and returns the backend and the output.
    ///
    /// # Errors
    /// When the end of the capture cannot be written.
    pub fn finish(self) -> io::Result<(B, W)> {
        Ok((self.inner, self.writer.finish()?))
    }
}

impl<B: Backend, W: Write> Backend for Recorded<B, W> {
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError> {
        let mut recording = Recording {
            judgement,
            writer: &mut self.writer,
            written: Ok(()),
        };
        let progress = self.inner.exchange(&mut recording)?;
        // The inner backend has handled the batch in any case; the capture ends here.
        recording.written.map_err(BackendError::Sink)?;
        Ok(progress)
    }
}

struct Recording<'a, J, W: Write> {
    judgement: &'a mut J,
    writer: &'a mut PcapngWriter<W>,
    written: io::Result<()>,
}

impl<J: Judgement, W: Write> Judgement for Recording<'_, J, W> {
    fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]) {
        self.judgement.judge(packets, verdicts);
        let mut judged = packets.iter().zip(verdicts.iter());
        self.written = judged.try_for_each(|(packet, verdict)| {
            let frame = CapturedFrame {
                number: 0,
                link_type: LinkType::RAW,
                timestamp: packet.at,
                bytes: packet.bytes,
                original_length: u32::try_from(packet.length_on_wire).unwrap_or(u32::MAX),
            };
            self.writer.write_frame(&frame, Some(&verdict.to_string()))
        });
    }

    fn count(&mut self, verdict: Verdict, traffic: Traffic) {
        self.judgement.count(verdict, traffic);
    }
}

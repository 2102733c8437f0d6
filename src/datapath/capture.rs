//! [`CaptureBackend`]: reads packets from a capture file.

use std::io::Read;

use super::backend::{Backend, BackendError, FrameSink, Judgement, Progress, judge_frames};
use crate::capture::CaptureReader;
use crate::filter::Judge;

/// Reads packets from a capture, and passes every frame to the sink.
#[derive(Debug)]
pub struct CaptureBackend<R, Sink> {
    reader: CaptureReader<R>,
    sink: Sink,
}

impl<R: Read, Sink: FrameSink> CaptureBackend<R, Sink> {
    /// Reads frames from `reader` and reports the outcome of each to `sink`.
    pub fn new(reader: CaptureReader<R>, sink: Sink) -> Self {
        Self { reader, sink }
    }

    /// Returns the sink.
    pub fn into_sink(self) -> Sink {
        self.sink
    }
}

impl<R: Read, Sink: FrameSink> Backend for CaptureBackend<R, Sink> {
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError> {
        let batch = self.reader.next_batch(Judge::BATCH)?;
        if batch.is_empty() {
            return Ok(Progress::End);
        }
        judge_frames(batch.into_iter(), judgement, &mut self.sink).map_err(BackendError::Sink)?;
        Ok(Progress::More)
    }
}

//! [`Acknowledgements`]: tell the kernel which workers read what was led to them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwapOption;

use crate::gateway::sys::memory::SharedMemory;

/// Where the workers note that they have read their queues, if the diversion asks for it; clones share it.
///
/// A program in the kernel notes when the oldest packet that a worker has not read was diverted. A worker that does not
/// erase the note in time counts as hung.
#[derive(Debug, Clone, Default)]
pub struct Acknowledgements {
    notes: Arc<ArcSwapOption<SharedMemory>>,
}

/// The word of the first worker, and the words from one worker to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoteLayout;

impl NoteLayout {
    /// The word of the first worker.
    pub const FIRST: usize = 8;
    /// Words from one worker to the next.
    pub const STRIDE: usize = 8;
}

impl Acknowledgements {
    /// Has the workers write to `memory`.
    pub(in crate::gateway) fn go_to(&self, memory: Arc<SharedMemory>) {
        self.notes.store(Some(memory));
    }

    /// Notes that `worker` has read everything that was led to it before this call began.
    pub fn read_by(&self, worker: usize) {
        let notes = self.notes.load();
        let note = notes.as_ref().and_then(|notes| {
            let at = NoteLayout::FIRST + NoteLayout::STRIDE * worker;
            notes.words().get(at)
        });
        if let Some(note) = note {
            note.store(0, Ordering::Relaxed);
        }
    }
}

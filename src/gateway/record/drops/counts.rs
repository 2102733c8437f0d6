//! [`Counts`]: the numbers of records written and lost.

use crate::gateway::record::OutletCounts;

/// Of the log and of the capture.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) log: OutletCounts,
    pub(super) capture: OutletCounts,
}

impl Counts {
    /// Whatever failed belongs to the past.
    pub(super) fn forget_errors(&self) {
        self.log.set_error(None);
        self.capture.set_error(None);
    }
}

//! [`Counts`]: the numbers of records written and lost.

use crate::gateway::record::OutletCounts;

/// The counters of the log and of the capture.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) log: OutletCounts,
    pub(super) capture: OutletCounts,
}

impl Counts {
    /// Clears the errors of a recorder that has ended.
    pub(super) fn forget_errors(&self) {
        self.log.set_error(None);
        self.capture.set_error(None);
    }
}

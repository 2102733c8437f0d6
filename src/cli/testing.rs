//! The status of a gateway, for tests of what shows one.

use crate::gateway::report::status::Status;

/// Returns the status of a gateway that has judged traffic for an hour.
pub(super) fn status() -> Status {
    serde_json::from_str(include_str!("testing/status.json")).expect("it is a status")
}

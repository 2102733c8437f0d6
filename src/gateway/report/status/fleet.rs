//! The part of the status that is about a fleet: the release that is in force, and the agent's last contact with the store.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::gateway::host::fleet_state::FleetState;

/// A gateway's place in its fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The release in force; `null` if the policy in force is none, or an earlier one than the agent has written.
    pub release: Option<ReleaseStatus>,
    /// Seconds since the store answered the agent; `null` if it never did.
    pub last_contact_seconds: Option<u64>,
}

/// A release of a fleet's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStatus {
    /// Its serial.
    pub serial: u64,
    /// Digest of its policy, SHA-256.
    pub sha256: String,
    /// The channel that it came by.
    pub channel: String,
    /// The time when the agent wrote it (RFC 3339).
    pub since: String,
    /// The time from which it counts as old (RFC 3339), if there is one.
    pub expires: Option<String>,
}

impl FleetStatus {
    /// Describes `state`, whose policy is in force or not.
    pub fn new(state: FleetState, is_in_force: bool, now: SystemTime) -> Self {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            last_contact_seconds: state.contact.map(|at| seconds.saturating_sub(at)),
            release: (is_in_force && state.serial > 0).then_some(ReleaseStatus {
                serial: state.serial,
                sha256: state.sha256,
                channel: state.channel,
                since: state.since,
                expires: state.expires,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_release_is_told_only_while_it_is_in_force() {
        let state = FleetState {
            serial: 41,
            contact: Some(1_000),
            ..FleetState::default()
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_060);
        let status = FleetStatus::new(state.clone(), true, now);
        assert_eq!(status.release.map(|it| it.serial), Some(41));
        assert_eq!(status.last_contact_seconds, Some(60));
        let status = FleetStatus::new(state, false, now);
        assert_eq!(status.release, None);
    }
}

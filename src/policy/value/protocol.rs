//! [`ProtocolSet`]: TCP, UDP or both.

use crate::packet::Protocol;

/// Transport protocols: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProtocolSet {
    /// Only TCP.
    Tcp,
    /// Only UDP.
    Udp,
    /// TCP and UDP.
    Both,
}

impl ProtocolSet {
    /// Returns `true` if `protocol` belongs to the set.
    pub const fn contains(self, protocol: Protocol) -> bool {
        matches!(
            (self, protocol),
            (Self::Both, _) | (Self::Tcp, Protocol::Tcp) | (Self::Udp, Protocol::Udp)
        )
    }
}

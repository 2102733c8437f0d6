//! [`ProtocolSet`]: TCP, UDP or both.

use super::sourced::Sourced;
use super::word::Word;
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

    /// The protocols in both sets, if there are any.
    pub const fn intersect(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Both, it) | (it, Self::Both) => Some(it),
            (Self::Tcp, Self::Tcp) => Some(Self::Tcp),
            (Self::Udp, Self::Udp) => Some(Self::Udp),
            (Self::Tcp, Self::Udp) | (Self::Udp, Self::Tcp) => None,
        }
    }

    /// The set of those that a list names; both where it names none.
    pub(in crate::policy) fn of(named: &[Sourced<Protocol>]) -> Self {
        let has = |protocol| named.iter().any(|item| item.value == protocol);
        match (has(Protocol::Tcp), has(Protocol::Udp)) {
            (true, false) => Self::Tcp,
            (false, true) => Self::Udp,
            (true, true) | (false, false) => Self::Both,
        }
    }

    /// Its protocols.
    pub(in crate::policy) fn members(self) -> impl Iterator<Item = Protocol> {
        let all = [Protocol::Tcp, Protocol::Udp].into_iter();
        all.filter(move |protocol| self.contains(*protocol))
    }
}

impl Word for Protocol {
    const WORDS: &'static [(&'static str, Self)] = &[("tcp", Self::Tcp), ("udp", Self::Udp)];
}

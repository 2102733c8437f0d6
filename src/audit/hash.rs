//! Hashes of flows and addresses.
//!
//! foldhash with a fixed seed: the same traffic gives the same report. Whoever sends crafted traffic can spoil the
//! estimates and slow the maps down; an audit is not a defence.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState as Fast;
use foldhash::quality::FixedState as Even;

use crate::packet::{Addresses, PacketView, Transport};

/// Hasher of the maps.
pub(super) type MapHasher = Fast;

/// A hash all of whose bits vary.
#[inline]
pub(super) fn hash_of(thing: &impl Hash) -> u64 {
    Even::default().hash_one(thing)
}

/// Returns the key of the flow of `packet`: addresses, protocol and ports, in the direction that is judged.
///
/// A packet that shows no ports is one flow with all others between its addresses. `None` for the tail of a datagram: its
/// first fragment was counted.
#[inline]
pub(super) fn flow_hash(packet: &PacketView<'_>) -> Option<u64> {
    let transport = match packet.transport() {
        Transport::Ports {
            protocol,
            source,
            destination,
        } => (protocol as u64) << 32 | u64::from(source) << 16 | u64::from(destination),
        Transport::TruncatedHeader(protocol) => 1 << 40 | protocol as u64,
        Transport::Other(number) => 2 << 40 | u64::from(number),
        Transport::TruncatedChain => 3 << 40,
        Transport::NonFirst(_) | Transport::UnknownNonFirst => return None,
    };
    Some(match packet.addresses() {
        Addresses::V4 {
            source,
            destination,
        } => {
            let addresses = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
            hash_of(&(addresses, transport))
        }
        Addresses::V6 {
            source,
            destination,
        } => hash_of(&(source.to_bits(), destination.to_bits(), transport)),
    })
}

//! Tests that no blocked datagram completes behind the filter, in any order, overlap or number of its fragments.
//!
//! The filter judges fragments one by one and forwards a non-first fragment whose first it has not seen. That is safe
//! only because a receiver cannot complete a datagram whose first fragment was dropped. This module models that
//! receiver: it reassembles the forwarded fragments (RFC 791 §3.2, RFC 815, RFC 8200 §4.5) and judges each datagram as
//! if it had never been fragmented.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::{Capacity, CompiledPolicy, Generation, Judge};
use crate::packet::Received;
use crate::policy;
use crate::verdict::{Action, Reason};

/// Fragments of a few datagrams between two hosts, in the order of their arrival.
#[derive(Debug, Clone)]
pub struct FragmentSequence {
    source: IpAddr,
    destination: IpAddr,
    fragments: Vec<Fragment>,
}

#[derive(Debug, Clone)]
struct Fragment {
    id: u8,
    /// TCP, UDP, or IPv6 destination options.
    protocol: u8,
    /// In units of 8 bytes.
    offset: u16,
    more: bool,
    payload: Vec<u8>,
}

/// Ports on both sides of every edge of the policy below, and an extension header that may stand before them.
const STARTS: [[u8; 4]; 6] = [
    [0xc3, 0x50, 0xc3, 0x50], // 50000 to 50000: media
    [0xc3, 0x50, 0x00, 0x50], // to 80
    [0xc3, 0x50, 0x0d, 0x3d], // to 3389: allowed
    [0x00, 0x50, 0xc3, 0x50], // from 80 to 50000: allowed as a reply
    [17, 0, 1, 4],            // destination options, then UDP
    [6, 0, 1, 4],             // destination options, then TCP
];

const POLICY: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "2001:db8:c::/64"]
[corporate]
subnets = ["10.0.0.0/8", "2001:db8:a::/48"]
[[server]]
name = "servers"
addresses = ["10.1.0.10", "2001:db8:a:1::10"]
[[allow]]
name = "RDP, and SIP over TLS to the servers"
to = ["10.0.0.0/8", "2001:db8:a::/48"]
ports = ["3389"]
lifts = ["media", "servers"]
[[allow]]
name = "web servers on clients"
to = ["10.0.0.0/8", "2001:db8:a::/48"]
from_ports = ["80"]
"#;

impl<'a> Arbitrary<'a> for FragmentSequence {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let (source, destinations): (IpAddr, [IpAddr; 3]) = if bytes.arbitrary()? {
            let client = Ipv4Addr::new(172, 16, 1, 10);
            let others = [[10, 1, 0, 10], [10, 2, 0, 20], [172, 16, 1, 20]];
            (
                client.into(),
                others.map(|octets| Ipv4Addr::from(octets).into()),
            )
        } else {
            let host =
                |site, subnet, host| Ipv6Addr::new(0x2001, 0xdb8, site, subnet, 0, 0, 0, host);
            let others = [host(0xa, 1, 0x10), host(0xa, 2, 0x20), host(0xc, 0, 0x20)];
            (host(0xc, 0, 0x10).into(), others.map(IpAddr::from))
        };
        let destination = *bytes.choose(&destinations)?;
        let count = bytes.int_in_range(1..=12)?;
        let fragments = (0..count)
            .map(|_| Fragment::arbitrary(bytes))
            .collect::<Result<_>>()?;
        Ok(Self {
            source,
            destination,
            fragments,
        })
    }
}

impl<'a> Arbitrary<'a> for Fragment {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let units = bytes.int_in_range(0..=3_usize)?;
        let start = *bytes.choose(&STARTS)?;
        let mut payload = start.to_vec();
        payload.extend([0, 0, 0, 0]);
        payload.extend(*bytes.choose(&STARTS)?);
        payload.extend([0; 12]);
        payload.truncate(units * 8 + bytes.int_in_range(0..=3_usize)?);
        let more = bytes.ratio(2, 3)?;
        Ok(Self {
            id: bytes.int_in_range(1..=2)?,
            protocol: *bytes.choose(&[6, 17, 60])?,
            offset: bytes.int_in_range(0..=3)?,
            more,
            payload,
        })
    }
}

/// Judges the fragments of `sequence`, reassembles the forwarded ones, and judges the resulting datagrams.
///
/// # Panics
/// When a datagram completes behind the filter that would have been dropped unfragmented.
pub fn assert_no_leak(sequence: &FragmentSequence) {
    static COMPILED: LazyLock<CompiledPolicy> = LazyLock::new(|| {
        let (policy, _) = policy::parse("leak.toml", POLICY.as_bytes()).expect("the policy above");
        CompiledPolicy::new(policy, Generation(1)).expect("a small policy")
    });
    let policy = &*COMPILED;
    let mut judge = Judge::new(Capacity::of(64));
    // Whole datagrams leave nothing behind in it.
    let mut judge_of_wholes = Judge::new(Capacity::of(4));
    let mut forwarded: Vec<&Fragment> = Vec::new();
    for fragment in &sequence.fragments {
        let bytes = sequence.packet(fragment);
        let verdict = judge.judge_one(policy, Received::whole(&bytes, Duration::ZERO));
        if verdict.action == Action::Drop {
            continue;
        }
        forwarded.push(fragment);
        for datagram in sequence.reassembled(&forwarded) {
            let verdict =
                judge_of_wholes.judge_one(policy, Received::whole(&datagram, Duration::ZERO));
            let leaks = verdict.action == Action::Drop && verdict.reason != Reason::Malformed;
            assert!(
                !leaks,
                "{verdict} came through in fragments: {datagram:02x?} from {sequence:02x?}"
            );
        }
    }
}

impl FragmentSequence {
    /// The packet that carries `fragment`.
    fn packet(&self, fragment: &Fragment) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let offset = fragment.offset | u16::from(fragment.more) << 13;
                ipv4(
                    source,
                    destination,
                    fragment.protocol,
                    fragment.id,
                    offset,
                    &fragment.payload,
                )
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let [high, low] = (fragment.offset << 3 | u16::from(fragment.more)).to_be_bytes();
                let header = [fragment.protocol, 0, high, low, 0, 0, 0, fragment.id];
                ipv6(
                    source,
                    destination,
                    44,
                    &[&header, &*fragment.payload].concat(),
                )
            }
            _ => unreachable!("both addresses are of one family"),
        }
    }

    /// Every datagram that some receiver could reassemble from `fragments`.
    fn reassembled(&self, fragments: &[&Fragment]) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        for first in fragments.iter().filter(|fragment| fragment.offset == 0) {
            let same = fragments
                .iter()
                .filter(|other| self.same_datagram(first, other));
            let same: Vec<&Fragment> = same.copied().collect();
            match (self.source, self.destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    let orders: [Vec<&Fragment>; 2] =
                        [same.clone(), same.into_iter().rev().collect()];
                    for payload in orders.iter().filter_map(|order| overlay(order)) {
                        datagrams.push(ipv4(
                            source,
                            destination,
                            first.protocol,
                            first.id,
                            0,
                            &payload,
                        ));
                    }
                }
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    if let Some(payload) = without_overlap(&same) {
                        datagrams.push(ipv6(source, destination, first.protocol, &payload));
                    }
                }
                _ => unreachable!("both addresses are of one family"),
            }
        }
        datagrams
    }

    /// IPv4 also distinguishes datagrams by their protocol.
    fn same_datagram(&self, one: &Fragment, other: &Fragment) -> bool {
        one.id == other.id && (self.source.is_ipv6() || one.protocol == other.protocol)
    }
}

/// Reassembles fragments, later ones overwriting earlier ones; returns the payload once it has no gap.
///
/// Linux drops the bytes after the last whole unit of 8 of a fragment with more to come.
fn overlay(fragments: &[&Fragment]) -> Option<Vec<u8>> {
    let end = fragments
        .iter()
        .filter(|it| !it.more)
        .map(|it| end_of(it))
        .min()?;
    let mut payload: Vec<Option<u8>> = vec![None; end];
    for fragment in fragments {
        let start = usize::from(fragment.offset) * 8;
        let excess = if fragment.more {
            fragment.payload.len() % 8
        } else {
            0
        };
        let kept = &fragment.payload[..fragment.payload.len() - excess];
        for (at, byte) in kept.iter().enumerate() {
            if let Some(place) = payload.get_mut(start + at) {
                *place = Some(*byte);
            }
        }
    }
    payload.into_iter().collect()
}

/// Reassembles fragments without gaps; overlaps discard the datagram (RFC 8200 §4.5).
fn without_overlap(fragments: &[&Fragment]) -> Option<Vec<u8>> {
    let mut ordered = fragments.to_vec();
    ordered.sort_by_key(|fragment| fragment.offset);
    let mut payload = Vec::new();
    for fragment in &ordered {
        if usize::from(fragment.offset) * 8 != payload.len() {
            return None;
        }
        payload.extend(&fragment.payload);
    }
    let last_is_last = ordered.last().is_some_and(|last| !last.more);
    (last_is_last && ordered.iter().filter(|fragment| !fragment.more).count() == 1)
        .then_some(payload)
}

fn end_of(fragment: &Fragment) -> usize {
    usize::from(fragment.offset) * 8 + fragment.payload.len()
}

/// RFC 791 §3.1, without options.
fn ipv4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    id: u8,
    flags_and_offset: u16,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("a few fragments are short");
    let mut bytes = vec![0x45, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, id]);
    bytes.extend(flags_and_offset.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(payload);
    bytes
}

/// RFC 8200 §3.
fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a few fragments are short");
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([next_header, 64]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use arbitrary::Arbitrary as _;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn no_blocked_datagram_completes_behind_the_filter(
            bytes in proptest::collection::vec(any::<u8>(), 0..160),
        ) {
            if let Ok(sequence) = FragmentSequence::arbitrary(&mut Unstructured::new(&bytes)) {
                assert_no_leak(&sequence);
            }
        }
    }
}

//! The IPv6 header and its chain of extension headers (RFC 8200 §3, §4).

use std::net::Ipv6Addr;

use super::{Addresses, Fragment, MAX_DATAGRAM, Malformed, PacketView, Transport, read_transport};

/// Length of the fixed header, in bytes.
const HEADER: usize = 40;

/// Next header: hop-by-hop options (RFC 8200 §4.3).
const HOP_BY_HOP: u8 = 0;
/// Next header: TCP.
const TCP: u8 = 6;
/// Next header: UDP.
const UDP: u8 = 17;
/// Next header: routing (RFC 8200 §4.4).
const ROUTING: u8 = 43;
/// Next header: fragment (RFC 8200 §4.5).
const FRAGMENT: u8 = 44;
/// Next header: authentication header (RFC 4302 §2.2), the only one that counts its length in units of 4 bytes.
const AUTHENTICATION: u8 = 51;
/// Next header: destination options (RFC 8200 §4.6).
const DESTINATION_OPTIONS: u8 = 60;
/// Next header: mobility (RFC 6275 §6.1).
const MOBILITY: u8 = 135;
/// Next header: host identity protocol (RFC 7401 §5.1).
const HOST_IDENTITY: u8 = 139;
/// Next header: shim6 (RFC 5533 §5.1).
const SHIM6: u8 = 140;

pub(super) fn parse(bytes: &[u8], length_on_wire: usize) -> Result<PacketView<'_>, Malformed> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Malformed::Truncated);
    };
    let length = match usize::from(u16::from_be_bytes([header[4], header[5]])) {
        0 => length_on_wire,
        payload_length => HEADER + payload_length,
    };
    if length > length_on_wire {
        return Err(Malformed::Length);
    }
    let bytes = &bytes[..length.min(bytes.len())];
    let next_header = header[6];
    let chain = if matches!(next_header, TCP | UDP) {
        Chain {
            fragment: Fragment::Whole,
            transport: read_transport(next_header, &bytes[HEADER..]),
            transport_length: bytes.len() - HEADER,
            source_routed: false,
        }
    } else {
        walk(next_header, &bytes[HEADER..], length - HEADER)?
    };
    Ok(PacketView {
        bytes,
        length,
        transport_offset: bytes.len() - chain.transport_length,
        addresses: Addresses::V6 {
            source: address_at::<8>(header),
            destination: address_at::<24>(header),
        },
        fragment: chain.fragment,
        transport: chain.transport,
        source_routed: chain.source_routed,
    })
}

/// The address that starts at byte `AT` of the fixed header.
#[inline]
fn address_at<const AT: usize>(header: &[u8; HEADER]) -> Ipv6Addr {
    const { assert!(AT + 16 <= HEADER) };
    let octets: &[u8; 16] = header[AT..]
        .first_chunk()
        .expect("the fixed header holds it: asserted above");
    Ipv6Addr::from_octets(*octets)
}

/// The result of walking a chain of extension headers.
struct Chain {
    fragment: Fragment,
    transport: Transport,
    /// Bytes from the transport header to the end; 0 if the chain has none.
    transport_length: usize,
    source_routed: bool,
}

/// Follows the chain from `next_header`, the first header in `payload`, to the transport.
///
/// `payload_length` is the length on the wire; `payload` may be shorter in a capture. The walk is bounded by the
/// payload: every header takes at least 8 bytes of it.
#[cold]
fn walk(
    mut next_header: u8,
    mut payload: &[u8],
    mut payload_length: usize,
) -> Result<Chain, Malformed> {
    let mut chain = Chain {
        fragment: Fragment::Whole,
        transport: Transport::TruncatedChain,
        transport_length: 0,
        source_routed: false,
    };
    loop {
        let header_length = match next_header {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6 => {
                payload
                    .get(1)
                    .map_or(8, |&units| (usize::from(units) + 1) * 8)
            }
            AUTHENTICATION => payload
                .get(1)
                .map_or(8, |&units| (usize::from(units) + 2) * 4),
            FRAGMENT => 8,
            transport => {
                chain.transport = read_transport(transport, payload);
                chain.transport_length = payload.len();
                return Ok(chain);
            }
        };
        if header_length > payload_length && chain.fragment == Fragment::Whole {
            return Err(Malformed::ExtensionChain);
        }
        if next_header == ROUTING {
            // Segments left, in every type of routing header; the chain may break after it.
            chain.source_routed |= payload
                .get(3)
                .is_some_and(|&segments_left| segments_left > 0);
        }
        let Some(rest) = payload.get(header_length..) else {
            return Ok(chain);
        };
        payload_length -= header_length;
        if next_header == FRAGMENT {
            if let Some(fragment) = read_fragment(payload, payload_length)? {
                chain.fragment = fragment;
            }
            if matches!(chain.fragment, Fragment::NonFirst { .. }) {
                chain.transport = Transport::UnknownNonFirst;
                return Ok(chain);
            }
        }
        next_header = payload[0];
        payload = rest;
    }
}

/// Reads the fragment header at the start of `header`, which `length` bytes of fragment follow; `None` for an atomic
/// fragment, which is a whole packet (RFC 6946).
fn read_fragment(header: &[u8], length: usize) -> Result<Option<Fragment>, Malformed> {
    let &[_, _, o0, o1, i0, i1, i2, i3, ..] = header else {
        return Ok(None);
    };
    let offset_and_more = u16::from_be_bytes([o0, o1]);
    let offset = usize::from(offset_and_more & !7);
    let more = offset_and_more & 1 == 1;
    let id = u32::from_be_bytes([i0, i1, i2, i3]);
    if offset == 0 && !more {
        return Ok(None);
    }
    if offset + length > MAX_DATAGRAM || (more && !length.is_multiple_of(8)) {
        return Err(Malformed::FragmentLength);
    }
    Ok(Some(if offset == 0 {
        Fragment::First { id }
    } else {
        Fragment::NonFirst { id }
    }))
}

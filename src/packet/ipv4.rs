//! The IPv4 header (RFC 791 §3.1).

use std::net::Ipv4Addr;

use super::{
    Addresses, Fragment, MAX_DATAGRAM, Malformed, PacketView, Protocol, Transport, read_transport,
};

/// Length of the header without options, in bytes.
const HEADER: usize = 20;
/// Byte of the protocol number.
pub(super) const PROTOCOL: usize = 9;
/// Flag: more fragments follow.
const MORE_FRAGMENTS: u16 = 0x2000;
/// Fragment offset, in units of 8 bytes.
const OFFSET: u16 = 0x1fff;

/// Option type: end of the list.
const OPTION_END: u8 = 0;
/// Option type: one byte of padding.
const OPTION_NOP: u8 = 1;
/// Option type: loose source and record route.
const OPTION_LSRR: u8 = 131;
/// Option type: strict source and record route.
const OPTION_SSRR: u8 = 137;

pub(super) fn parse(bytes: &[u8], length_on_wire: usize) -> Result<PacketView<'_>, Malformed> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Err(Malformed::Truncated);
    };
    let &[
        first,
        _,
        l0,
        l1,
        i0,
        i1,
        f0,
        f1,
        _,
        protocol,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = header;
    let header_length = usize::from(first & 0x0f) * 4;
    let length = match usize::from(u16::from_be_bytes([l0, l1])) {
        0 => length_on_wire,
        total_length => total_length,
    };
    if header_length < HEADER || header_length > bytes.len() {
        return Err(Malformed::HeaderLength);
    }
    if length < header_length || length > length_on_wire {
        return Err(Malformed::Length);
    }
    let bytes = &bytes[..length.min(bytes.len())];
    let payload = &bytes[header_length..];

    let flags_and_offset = u16::from_be_bytes([f0, f1]);
    let (fragment, transport) = if flags_and_offset & (MORE_FRAGMENTS | OFFSET) == 0 {
        (Fragment::Whole, read_transport(protocol, payload))
    } else {
        let id = u32::from(u16::from_be_bytes([i0, i1]));
        parse_fragment(
            flags_and_offset,
            id,
            protocol,
            payload,
            length - header_length,
        )?
    };
    let transport_offset = match fragment {
        Fragment::NonFirst { .. } => bytes.len(),
        Fragment::Whole | Fragment::First { .. } => header_length,
    };
    Ok(PacketView {
        bytes,
        length,
        transport_offset,
        addresses: Addresses::V4 {
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
        },
        fragment,
        transport,
        source_routed: header_length > HEADER && has_hops_left(&bytes[HEADER..header_length]),
    })
}

/// A fragment's place in its datagram, and its transport as far as it shows it.
///
/// A fragment with more to come whose length is no multiple of 8 (RFC 791 §3.2) is not malformed: Linux cuts the excess
/// off and completes the datagram (6.18 delivers one of fragments of 13 and 16 bytes). IPv6 has it refused.
#[cold]
fn parse_fragment(
    flags_and_offset: u16,
    id: u32,
    protocol: u8,
    payload: &[u8],
    payload_length: usize,
) -> Result<(Fragment, Transport), Malformed> {
    let offset = usize::from(flags_and_offset & OFFSET) * 8;
    if offset + payload_length > MAX_DATAGRAM {
        return Err(Malformed::FragmentLength);
    }
    if offset == 0 {
        return Ok((Fragment::First { id }, read_transport(protocol, payload)));
    }
    let transport =
        Protocol::from_number(protocol).map_or(Transport::Other(protocol), Transport::NonFirst);
    Ok((Fragment::NonFirst { id }, transport))
}

/// True if `options` hold a source route whose pointer has not passed its end.
///
/// A malformed list ends the search, and the packet is judged by its header: malformed options route nothing.
#[cold]
fn has_hops_left(mut options: &[u8]) -> bool {
    loop {
        match *options {
            [] | [OPTION_END, ..] => return false,
            [OPTION_NOP, ref rest @ ..] => options = rest,
            [kind, length, ref rest @ ..] => {
                let length = usize::from(length);
                if length < 2 || length > options.len() {
                    return false;
                }
                if matches!(kind, OPTION_LSRR | OPTION_SSRR)
                    && length >= 3
                    && rest
                        .first()
                        .is_some_and(|&pointer| usize::from(pointer) <= length)
                {
                    return true;
                }
                options = &options[length..];
            }
            [_] => return false,
        }
    }
}

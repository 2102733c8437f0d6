//! Generates packets of a flow: well-formed first, then mutated.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use arbitrary::{Result, Unstructured};

use super::{Arrival, Flow, one_in};

/// Payload lengths around the ports (4), the UDP header (8) and the unit of fragments (8).
const PAYLOAD_LENGTHS: [usize; 12] = [16, 24, 8, 4, 3, 0, 1, 2, 5, 7, 12, 32];

/// Fragment offsets in units of 8 bytes: those after the first, one of an Ethernet frame, and those at the end of a
/// datagram.
const OFFSETS: [u16; 8] = [1, 1, 1, 2, 3, 185, 8190, 8191];

/// The fragment fields of one header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FragmentFields {
    /// In units of 8 bytes.
    offset: u16,
    more: bool,
}

fn fragment_fields(bytes: &mut Unstructured<'_>) -> Result<FragmentFields> {
    let kind = bytes.int_in_range(0..=7u8)?;
    Ok(FragmentFields {
        offset: match kind {
            0..=3 => 0,
            _ => *bytes.choose(&OFFSETS)?,
        },
        more: matches!(kind, 0..=2 | 4 | 5),
    })
}

/// The transport header of `flow`: often with media behind it, else with payload that looks like many such headers.
fn transport(bytes: &mut Unstructured<'_>, flow: Flow, multiple_of_8: bool) -> Result<Vec<u8>> {
    if one_in(bytes, 2)? {
        return with_media(bytes, flow);
    }
    let mut length = *bytes.choose(&PAYLOAD_LENGTHS)?;
    if multiple_of_8 {
        length = length.next_multiple_of(8);
    }
    let ports = ports_of(flow);
    let mut header: Vec<u8> = ports.iter().copied().cycle().take(length).collect();
    if one_in(bytes, 16)? {
        header.fill(bytes.arbitrary()?);
    }
    Ok(header)
}

/// The transport header of `flow`, and a connectivity check, a part of one, or something else.
fn with_media(bytes: &mut Unstructured<'_>, flow: Flow) -> Result<Vec<u8>> {
    let check: [u8; 32] = {
        let mut check = [0x5a; 32];
        check[..8].copy_from_slice(&[0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]);
        // IMPLEMENTATION-VERSION, a mark of Microsoft's clients ([MS-ICE2] §2.2.2), then padding.
        check[20..].copy_from_slice(&[0x80, 0x70, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0]);
        check
    };
    let mut payload = match bytes.int_in_range(0..=3u8)? {
        0 | 1 => check.to_vec(),
        // Without the mark.
        2 => {
            let mut plain = check.to_vec();
            plain[20..22].copy_from_slice(&[0x80, 0x22]);
            plain
        }
        _ => vec![0x5a; 32],
    };
    if flow.protocol == 6 && one_in(bytes, 2)? {
        // RFC 4571 §2
        payload.splice(0..0, [0, 32]);
    }
    let length = payload.len() as u16 + 8;
    if one_in(bytes, 4)? {
        payload.truncate(bytes.choose_index(payload.len() + 1)? & !7);
    }
    let mut segment = ports_of(flow).to_vec();
    if flow.protocol == 6 {
        let sequence: u32 = *bytes.choose(&[1_000, 1_001, 1_003, 1_033])?;
        let flags = *bytes.choose(&[0x18, 0x10, 0x02])?;
        segment.extend(sequence.to_be_bytes());
        segment.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    } else {
        segment.extend(length.to_be_bytes());
        segment.extend([0, 0]);
    }
    segment.extend(payload);
    Ok(segment)
}

fn ports_of(flow: Flow) -> [u8; 4] {
    let source = flow.source_port.to_be_bytes();
    let destination = flow.destination_port.to_be_bytes();
    [source[0], source[1], destination[0], destination[1]]
}

/// RFC 791 §3.1.
pub(super) fn ipv4_packet(
    bytes: &mut Unstructured<'_>,
    flow: Flow,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> Result<Vec<u8>> {
    let options = if one_in(bytes, 4)? {
        ipv4_options(bytes)?
    } else {
        Vec::new()
    };
    let fragment = if one_in(bytes, 8)? != flow.fragmented {
        fragment_fields(bytes)?
    } else {
        FragmentFields {
            offset: 0,
            more: false,
        }
    };
    let payload = transport(bytes, flow, false)?;
    let header_length = 20 + options.len();
    let total_length = (header_length + payload.len()) as u16;
    let flags = match (fragment.more, one_in(bytes, 8)?) {
        (true, _) => 0x2000,
        (false, true) => 0xc000, // reserved, don't fragment
        (false, false) => 0,
    };
    let mut packet = vec![0x40 | (header_length / 4) as u8, 0];
    packet.extend(total_length.to_be_bytes());
    packet.extend((flow.id as u16).to_be_bytes());
    packet.extend((flags | fragment.offset).to_be_bytes());
    packet.extend([64, flow.protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(options);
    packet.extend(payload);
    Ok(packet)
}

/// One to four options, some of them broken, padded to a multiple of 4 bytes.
fn ipv4_options(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut options = Vec::new();
    for _ in 0..bytes.int_in_range(1..=4u8)? {
        let kind = *bytes.choose(&[131, 137, 1, 148, 7, 0, 131])?;
        if kind < 2 {
            options.push(kind);
            continue;
        }
        let length = *bytes.choose(&[7, 4, 11, 3, 2, 1, 0, 40, 255])?;
        let pointer = *bytes.choose(&[4, 8, 12, 3, 7, 0, 255])?;
        let filled = usize::from(length).clamp(2, 11);
        let start = options.len();
        options.extend([kind, length, pointer]);
        options.resize(start + filled, 10);
    }
    options.truncate(40);
    // End of options, or bytes that look like another option.
    let padding = *bytes.choose(&[0, 1, 131])?;
    options.resize(options.len().next_multiple_of(4), padding);
    Ok(options)
}

/// RFC 8200 §3 and §4.
pub(super) fn ipv6_packet(
    bytes: &mut Unstructured<'_>,
    flow: Flow,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> Result<Vec<u8>> {
    let headers = match bytes.int_in_range(0..=15u8)? {
        0..=9 => 0,
        10..=12 => 1,
        13 | 14 => 2,
        _ => 12,
    };
    let mut kinds = Vec::new();
    if one_in(bytes, 8)? != flow.fragmented {
        kinds.push(44);
    }
    for _ in 0..headers {
        kinds.push(*bytes.choose(&[60, 44, 44, 43, 0, 51, 135, 139, 140])?);
    }
    kinds.push(flow.protocol);

    let mut after = Vec::new();
    let mut more_seen = false;
    let mut fragment_headers = 0;
    for pair in kinds.windows(2) {
        let (kind, next) = (pair[0], pair[1]);
        if kind == 44 {
            let fragment = fragment_fields(bytes)?;
            more_seen |= fragment.more;
            // A fragment inside a fragment usually has an id of its own.
            fragment_headers += 1;
            let rarity = if fragment_headers > 1 { 2 } else { 8 };
            let id = if one_in(bytes, rarity)? {
                flow.id.wrapping_add(1)
            } else {
                flow.id
            };
            // The second byte and two bits beside the offset are reserved.
            let reserved = if one_in(bytes, 8)? { 6 } else { 0 };
            let fields = fragment.offset << 3 | reserved | u16::from(fragment.more);
            after.extend([next, bytes.int_in_range(0..=1)?]);
            after.extend(fields.to_be_bytes());
            after.extend(id.to_be_bytes());
        } else {
            let units = *bytes.choose(&[0, 0, 1, 2])?;
            let length = if kind == 51 {
                (usize::from(units) + 2) * 4
            } else {
                (usize::from(units) + 1) * 8
            };
            let start = after.len();
            let routing_type = *bytes.choose(&[0, 2, 3, 4])?;
            let segments_left = *bytes.choose(&[0, 0, 1, 255])?;
            let fourth = if kind == 43 { segments_left } else { 0 };
            after.extend([next, units, routing_type, fourth]);
            after.resize(start + length, 0);
        }
    }
    let whole_units = more_seen && !one_in(bytes, 8)?;
    after.extend(transport(bytes, flow, whole_units)?);
    if kinds.len() > 1 && one_in(bytes, 4)? {
        // The packet ends anywhere in the chain.
        let mut end = bytes.choose_index(after.len() + 1)?;
        if whole_units {
            end = end / 8 * 8;
        }
        after.truncate(end);
    }

    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((after.len() as u16).to_be_bytes());
    packet.extend([kinds[0], 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(after);
    Ok(packet)
}

/// The packet as it arrives: usually unchanged, else with inconsistent lengths or changed bytes.
pub(super) fn disturbed(
    bytes: &mut Unstructured<'_>,
    mut packet: Vec<u8>,
    flow: Flow,
    now: Duration,
) -> Result<Arrival> {
    let mut length_on_the_wire = None;
    match bytes.int_in_range(0..=47u8)? {
        // A super-packet: the length field is 0, and the capture may hold only its beginning.
        20 => {
            declare(&mut packet, |_| 0);
            let wire = [packet.len(), 9_000, 65_535, 65_536, 65_600, 200_000];
            length_on_the_wire = Some(*bytes.choose(&wire)?);
        }
        21 | 22 => {
            let by = bytes.int_in_range(1..=12u16)?;
            declare(&mut packet, |length| length.saturating_sub(by));
        }
        23 => {
            let by = bytes.int_in_range(1..=40u16)?;
            declare(&mut packet, |length| length.saturating_add(by));
        }
        // Padding with ports in it.
        24 => packet.extend(ports_of(flow)),
        // A snap length.
        25..=27 => {
            length_on_the_wire = Some(packet.len());
            cut(bytes, &mut packet)?;
        }
        // A packet that ends early.
        28 => cut(bytes, &mut packet)?,
        29 => {
            // Fields that determine how to read the header: version and length, next header, fragment.
            if let Some(byte) = packet.get_mut(bytes.int_in_range(0..=9)?) {
                *byte = bytes.arbitrary()?;
            }
        }
        30 => {
            for _ in 0..bytes.int_in_range(1..=3u8)? {
                if !packet.is_empty() {
                    let at = bytes.choose_index(packet.len())?;
                    packet[at] = bytes.arbitrary()?;
                }
            }
        }
        // Any bytes.
        31 => {
            let length = bytes.int_in_range(0..=96usize)?.min(bytes.len());
            packet = bytes.bytes(length)?.to_vec();
        }
        _ => {}
    }
    let captured = packet.len();
    Ok(Arrival {
        packet,
        length_on_the_wire: length_on_the_wire.map_or(captured, |length| length.max(captured)),
        now,
    })
}

/// Rewrites the length field of a packet.
fn declare(packet: &mut [u8], change: impl Fn(u16) -> u16) {
    let at = match packet.first().map(|byte| byte >> 4) {
        Some(4) => 2,
        Some(6) => 4,
        _ => return,
    };
    if let Some([high, low]) = packet.get_mut(at..at + 2) {
        [*high, *low] = change(u16::from_be_bytes([*high, *low])).to_be_bytes();
    }
}

/// Truncates a packet: usually by some of its last 24 bytes.
fn cut(bytes: &mut Unstructured<'_>, packet: &mut Vec<u8>) -> Result<()> {
    let end = if one_in(bytes, 4)? {
        bytes.choose_index(packet.len() + 1)?
    } else {
        packet
            .len()
            .saturating_sub(bytes.int_in_range(1..=24usize)?)
    };
    packet.truncate(end);
    Ok(())
}

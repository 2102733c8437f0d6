//! The shape of a packet: whether its ports can be read, and whether kernel rules can follow its headers.

/// The structure of a packet, as far as it matters to rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Shape {
    /// TCP or UDP with its ports, unfragmented or in the first fragment.
    pub(super) shows_ports: bool,
    /// A fragment with an offset.
    pub(super) is_tail: bool,
    /// The bytes of the transport header that are present.
    pub(super) transport: usize,
    /// True if there are headers that the rules do not look into: see the header of the file for nftables.
    pub(super) is_beyond: bool,
}

/// Returns the shape of a complete packet with correct lengths.
pub(super) fn shape(packet: &[u8]) -> Shape {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(packet),
        Some(6) => ipv6(packet),
        _ => Shape::default(),
    }
}

/// Reads the shape by RFC 791 §3.1.
fn ipv4(packet: &[u8]) -> Shape {
    let header = usize::from(packet[0] & 15) * 4;
    let end = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let fragment = u16::from_be_bytes([packet[6], packet[7]]);
    let offset = usize::from(fragment & 0x1fff) * 8;
    let is_fragment = fragment & 0x3fff != 0;
    let transport = end - header;
    Shape {
        shows_ports: offset == 0 && transport >= 4 && matches!(packet[9], 6 | 17),
        is_tail: offset > 0,
        transport,
        is_beyond: is_fragment && offset + transport > 65_535,
    }
}

/// Reads the shape by RFC 8200 §3 and §4.
fn ipv6(packet: &[u8]) -> Shape {
    let end = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    let byte = |at: usize| {
        if at < end {
            packet.get(at).copied()
        } else {
            None
        }
    };
    let (mut at, mut next) = (40, packet[6]);
    let (mut routing, mut fragments, mut is_beyond) = (0, 0, false);
    loop {
        let units = usize::from(byte(at + 1).unwrap_or(0));
        let length = match next {
            0 | 43 | 60 => (units + 1) * 8,
            44 => 8,
            // Authentication, mobility, HIP, shim6.
            51 | 135 | 139 | 140 => {
                is_beyond = true;
                break;
            }
            _ => break,
        };
        routing += usize::from(next == 43);
        fragments += usize::from(next == 44);
        is_beyond |= routing > 1 || fragments > 1;
        let is_cut = at + length > end;
        if next == 44 {
            let field = u16::from_be_bytes([byte(at + 2).unwrap_or(0), byte(at + 3).unwrap_or(0)]);
            let (offset, more) = (usize::from(field & 0xfff8), field & 1 != 0);
            let carried = end.saturating_sub(at + 8);
            is_beyond |= is_cut || more && carried % 8 != 0;
            is_beyond |= (more || offset > 0) && offset + carried > 65_535;
            if offset > 0 {
                return Shape {
                    is_tail: true,
                    is_beyond,
                    ..Shape::default()
                };
            }
        }
        if is_cut {
            // The kernel sees a truncated chain only if not even the next-header field can be read.
            is_beyond |= at + 2 <= end;
            return Shape {
                is_beyond,
                ..Shape::default()
            };
        }
        next = packet[at];
        at += length;
    }
    let transport = end - at;
    Shape {
        shows_ports: transport >= 4 && matches!(next, 6 | 17),
        is_tail: false,
        transport,
        is_beyond,
    }
}

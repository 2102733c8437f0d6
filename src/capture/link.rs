//! [`ip_packet`]: the IP packet in a captured frame, behind whatever link header the capture has.
//!
//! Link headers are trusted: EtherType 0x0800 makes the rest an IP packet, however short or malformed it is, and the IP
//! parser finds out. The rest is handed over whole, with the padding and the checksum that the link may have put
//! behind the packet, since the packet knows its own length.
//!
//! ```text
//!   Ethernet ── EtherType ─┬─ 0x0800, 0x86dd ──────────────► IP
//!                          ├─ 0x8100, 0x88a8, 0x9100 ─ tag ─ EtherType (again)
//!                          ├─ 0x8864 ─ PPPoE ─ PPP protocol ► IP
//!                          └─ up to 1500 (a length) ─ LLC ─ SNAP ─ EtherType (again)
//! ```
//!
//! Numbers and layouts: <https://www.tcpdump.org/linktypes.html>, IEEE 802.3 and 802.1Q, RFC 1042, RFC 1661, RFC 2516.

use std::fmt;

/// Kind of link header in front of a packet: a LINKTYPE_ number of the registry, known here or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(
    /// The number in the registry.
    pub u16,
);

impl LinkType {
    /// BSD loopback: an address family in the byte order of the machine that captured.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, with or without its address and control bytes.
    pub const PPP: Self = Self(9);
    /// PPP in HDLC-like framing (RFC 1662), or Cisco HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE session, without the Ethernet header (RFC 2516).
    pub const PPP_ETHER: Self = Self(51);
    /// No link header: IPv4 or IPv6 (the number of the registry).
    pub const RAW: Self = Self(101);
    /// Cisco HDLC.
    pub const C_HDLC: Self = Self(104);
    /// OpenBSD loopback: an address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// No link header: IPv4.
    pub const IPV4: Self = Self(228);
    /// No link header: IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux netfilter log.
    pub const NFLOG: Self = Self(239);
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);

    /// `DLT_RAW` of most systems, found in files of programs that wrote it unmapped.
    const DLT_RAW: Self = Self(12);
    /// `DLT_RAW` of OpenBSD.
    const DLT_RAW_OPENBSD: Self = Self(14);
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The payload of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkPayload<'a> {
    /// An IP packet, as the link header claims.
    Ip {
        /// Everything behind the link header, padding included; may be empty or malformed.
        packet: &'a [u8],
        /// Place of the packet in the frame.
        offset: usize,
    },
    /// Something else.
    NotIp {
        /// Its content, as far as the link header names it.
        what: NotIp,
    },
}

/// The payload of a frame that is not IP. Prints as one word without spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotIp {
    /// Another EtherType: `ethertype-0806`.
    EtherType(u16),
    /// Another LLC service, destination and source access point: `llc-42-42`.
    Llc(u8, u8),
    /// SNAP of an organization that does not number by EtherType: `snap-00000c-2000`.
    Snap([u8; 3], u16),
    /// Another PPP protocol: `ppp-c021`.
    Ppp(u16),
    /// PPPoE that carries no session data (RFC 2516 §4): `pppoe-code-09`.
    PppoeCode(u8),
    /// Another address family of a loopback header or netfilter log: `family-7`.
    Family(u32),
    /// A Linux cooked header of hardware whose protocol field is no EtherType: `hardware-824`.
    Hardware(u16),
    /// A netfilter log record without a packet: `no-payload`.
    NoPayload,
    /// The frame ends inside its link header: `cut-short`.
    CutShort,
    /// A link type that is not read here: `link-type-105`.
    LinkType(LinkType),
}

impl fmt::Display for NotIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EtherType(number) => write!(f, "ethertype-{number:04x}"),
            Self::Llc(destination, source) => write!(f, "llc-{destination:02x}-{source:02x}"),
            Self::Snap([a, b, c], protocol) => {
                write!(f, "snap-{a:02x}{b:02x}{c:02x}-{protocol:04x}")
            }
            Self::Ppp(protocol) => write!(f, "ppp-{protocol:04x}"),
            Self::PppoeCode(code) => write!(f, "pppoe-code-{code:02x}"),
            Self::Family(family) => write!(f, "family-{family}"),
            Self::Hardware(hardware) => write!(f, "hardware-{hardware}"),
            Self::NoPayload => f.write_str("no-payload"),
            Self::CutShort => f.write_str("cut-short"),
            Self::LinkType(link_type) => write!(f, "link-type-{link_type}"),
        }
    }
}

/// Finds the IP packet in a frame of the given link type.
#[inline]
pub fn ip_packet(link_type: LinkType, frame: &[u8]) -> LinkPayload<'_> {
    let found = match link_type {
        LinkType::ETHERNET => ethernet(frame),
        other => rarer_link(other, frame),
    };
    match found {
        Ok(packet) => LinkPayload::Ip {
            packet,
            offset: frame.len() - packet.len(),
        },
        Err(what) => LinkPayload::NotIp { what },
    }
}

/// The IP packet at the end of a frame, or what is there instead.
type Found<'a> = Result<&'a [u8], NotIp>;

fn rarer_link(link_type: LinkType, frame: &[u8]) -> Found<'_> {
    match link_type {
        LinkType::RAW
        | LinkType::DLT_RAW
        | LinkType::DLT_RAW_OPENBSD
        | LinkType::IPV4
        | LinkType::IPV6 => Ok(frame),
        LinkType::NULL | LinkType::LOOP => loopback(frame),
        LinkType::LINUX_SLL => linux_sll(frame),
        LinkType::LINUX_SLL2 => linux_sll2(frame),
        LinkType::PPP => ppp(frame),
        LinkType::PPP_HDLC => ppp_hdlc(frame),
        LinkType::PPP_ETHER => pppoe(frame),
        LinkType::C_HDLC => cisco_hdlc(frame),
        LinkType::NFLOG => nflog(frame),
        other => Err(NotIp::LinkType(other)),
    }
}

/// Ethernet: destination (6), source (6), EtherType or length (2).
#[inline]
fn ethernet(frame: &[u8]) -> Found<'_> {
    let (header, rest) = split::<14>(frame)?;
    let [.., high, low] = *header;
    ether_payload(u16::from_be_bytes([high, low]), rest)
}

/// Reads on behind an EtherType (or the length that IEEE 802.3 has in its place).
#[inline]
fn ether_payload(ether_type: u16, rest: &[u8]) -> Found<'_> {
    match ether_type {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Ok(rest),
        other => rarer_ether_payload(other, rest),
    }
}

fn rarer_ether_payload(mut ether_type: u16, mut rest: &[u8]) -> Found<'_> {
    // Each turn steps over a tag or a SNAP header, so that the frame's length bounds the loop.
    loop {
        match ether_type {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return Ok(rest),
            ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD => {
                // Tag (2), EtherType or length (2).
                let ([_, _, high, low], behind) = split::<4>(rest)?;
                (ether_type, rest) = (u16::from_be_bytes([*high, *low]), behind);
            }
            ETHERTYPE_PPPOE_SESSION => return pppoe(rest),
            0..=MAX_802_3_LENGTH => (ether_type, rest) = llc(rest)?,
            other => return Err(NotIp::EtherType(other)),
        }
    }
}

/// LLC with SNAP behind it (RFC 1042): `aa aa 03`, organization (3), protocol (2). Gives the EtherType and what follows.
fn llc(rest: &[u8]) -> Result<(u16, &[u8]), NotIp> {
    let ([destination, source, control], behind) = split::<3>(rest)?;
    match (*destination, *source, *control) {
        (SAP_SNAP, SAP_SNAP, UNNUMBERED_INFORMATION) => {}
        (SAP_IP, SAP_IP, UNNUMBERED_INFORMATION) => return Ok((ETHERTYPE_IPV4, behind)),
        (destination, source, _) => return Err(NotIp::Llc(destination, source)),
    }
    let ([a, b, c, high, low], behind) = split::<5>(behind)?;
    let (organization, protocol) = ([*a, *b, *c], u16::from_be_bytes([*high, *low]));
    match organization {
        // A length in place of the EtherType would be LLC in LLC, which nothing sends.
        SNAP_RFC_1042 | SNAP_802_1H if protocol > MAX_802_3_LENGTH => Ok((protocol, behind)),
        _ => Err(NotIp::Snap(organization, protocol)),
    }
}

/// PPPoE (RFC 2516 §4): version and type (1), code (1), session (2), length (2), PPP protocol.
fn pppoe(rest: &[u8]) -> Found<'_> {
    let ([_, code, ..], behind) = split::<6>(rest)?;
    match code {
        0 => ppp_payload(behind),
        other => Err(NotIp::PppoeCode(*other)),
    }
}

/// PPP with or without the address and control bytes `ff 03`.
fn ppp(frame: &[u8]) -> Found<'_> {
    ppp_payload(frame.strip_prefix(&PPP_ADDRESS_CONTROL).unwrap_or(frame))
}

/// PPP protocol, in two bytes or compressed to one (RFC 1661 §6.5), and what follows.
fn ppp_payload(rest: &[u8]) -> Found<'_> {
    let protocol_and_payload = match rest {
        // The last byte of a protocol number is odd, and no other is.
        [low, payload @ ..] if low & 1 == 1 => Some((u16::from(*low), payload)),
        [high, low, payload @ ..] => Some((u16::from_be_bytes([*high, *low]), payload)),
        _ => None,
    };
    match protocol_and_payload {
        Some((PPP_IPV4 | PPP_IPV6, payload)) => Ok(payload),
        Some((other, _)) => Err(NotIp::Ppp(other)),
        None => Err(NotIp::CutShort),
    }
}

/// PPP_HDLC files hold PPP or Cisco HDLC, which the first byte tells apart.
fn ppp_hdlc(frame: &[u8]) -> Found<'_> {
    match frame.first() {
        Some(&(CISCO_UNICAST | CISCO_MULTICAST)) => cisco_hdlc(frame),
        _ => ppp(frame),
    }
}

/// Cisco HDLC: address (1), control (1), EtherType (2).
fn cisco_hdlc(frame: &[u8]) -> Found<'_> {
    let ([_, _, high, low], rest) = split::<4>(frame)?;
    match u16::from_be_bytes([*high, *low]) {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Ok(rest),
        other => Err(NotIp::EtherType(other)),
    }
}

/// BSD loopback: an address family of four bytes, in whichever order the capturing machine had.
fn loopback(frame: &[u8]) -> Found<'_> {
    let (family, rest) = split::<4>(frame)?;
    let (little, big) = (u32::from_le_bytes(*family), u32::from_be_bytes(*family));
    if is_ip_family(little) || is_ip_family(big) {
        Ok(rest)
    } else {
        Err(NotIp::Family(little.min(big)))
    }
}

/// Families that mean IP: AF_INET, and AF_INET6 of Linux, of NetBSD and OpenBSD, of FreeBSD, of macOS.
fn is_ip_family(family: u32) -> bool {
    matches!(family, 2 | 10 | 24 | 28 | 30)
}

/// Linux cooked, version 1: direction (2), hardware (2), address length (2), address (8), protocol (2).
fn linux_sll(frame: &[u8]) -> Found<'_> {
    let (header, rest) = split::<16>(frame)?;
    let [_, _, a, b, .., high, low] = *header;
    cooked_payload(
        u16::from_be_bytes([a, b]),
        u16::from_be_bytes([high, low]),
        rest,
    )
}

/// Linux cooked, version 2: protocol (2), reserved (2), interface (4), hardware (2), direction (1), address length (1),
/// address (8).
fn linux_sll2(frame: &[u8]) -> Found<'_> {
    let (header, rest) = split::<20>(frame)?;
    let [high, low, _, _, _, _, _, _, a, b, ..] = *header;
    cooked_payload(
        u16::from_be_bytes([a, b]),
        u16::from_be_bytes([high, low]),
        rest,
    )
}

/// The protocol of a cooked header is an EtherType or one of Linux's own small numbers, except for some hardware.
fn cooked_payload(hardware: u16, protocol: u16, rest: &[u8]) -> Found<'_> {
    match (hardware, protocol) {
        (ARPHRD_FRAD | ARPHRD_RADIOTAP | ARPHRD_NETLINK, _) => Err(NotIp::Hardware(hardware)),
        (_, ETH_P_802_2) => {
            let (ether_type, rest) = llc(rest)?;
            ether_payload(ether_type, rest)
        }
        (_, 0..=MAX_802_3_LENGTH) => Err(NotIp::EtherType(protocol)),
        _ => ether_payload(protocol, rest),
    }
}

/// Linux netfilter log: family (1), version (1), resource (2), then attributes of length (2), type (2), value, padded to
/// multiples of 4, in the byte order of the capturing machine.
fn nflog(frame: &[u8]) -> Found<'_> {
    let ([family, _version, ..], mut attributes) = split::<4>(frame)?;
    if !is_ip_family(u32::from(*family)) {
        return Err(NotIp::Family(u32::from(*family)));
    }
    // Types are small: in the wrong byte order they would be 256 or more.
    let big_endian = matches!(attributes, [_, _, 0, 1..=255, ..]);
    let read = |bytes| {
        if big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    };
    loop {
        let Ok(([l0, l1, t0, t1], behind)) = split::<4>(attributes) else {
            return Err(NotIp::NoPayload);
        };
        let Some(length) = usize::from(read([*l0, *l1])).checked_sub(4) else {
            return Err(NotIp::NoPayload);
        };
        if read([*t0, *t1]) == NFULA_PAYLOAD {
            return Ok(behind);
        }
        let padded = length.next_multiple_of(4).min(behind.len());
        attributes = &behind[padded..];
    }
}

/// The first bytes of a frame, as a header whose length the compiler knows, and the rest.
#[inline]
fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), NotIp> {
    bytes.split_first_chunk::<N>().ok_or(NotIp::CutShort)
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q customer tag.
const ETHERTYPE_VLAN: u16 = 0x8100;
/// IEEE 802.1ad service tag.
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// Service tag of switches older than 802.1ad.
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
/// Up to here the field is a length (IEEE 802.3 §3.2.6); EtherTypes start at 1536.
const MAX_802_3_LENGTH: u16 = 1500;

const SAP_SNAP: u8 = 0xaa;
/// IP straight on LLC, as IEEE assigned it; no SNAP header.
const SAP_IP: u8 = 0x06;
const UNNUMBERED_INFORMATION: u8 = 0x03;
const SNAP_RFC_1042: [u8; 3] = [0, 0, 0];
/// Bridge tunnel of IEEE 802.1H, numbered by EtherType as well.
const SNAP_802_1H: [u8; 3] = [0, 0, 0xf8];

const PPP_ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;
const CISCO_UNICAST: u8 = 0x0f;
const CISCO_MULTICAST: u8 = 0x8f;

/// Linux `ETH_P_802_2`: LLC follows.
const ETH_P_802_2: u16 = 0x0004;
const ARPHRD_FRAD: u16 = 770;
const ARPHRD_RADIOTAP: u16 = 803;
const ARPHRD_NETLINK: u16 = 824;

const NFULA_PAYLOAD: u16 = 9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a frame of hexadecimal digits: the offset of its IP packet, or the word for its other payload.
    fn read(link_type: LinkType, hex: &str) -> Result<usize, String> {
        let digits: Vec<u8> = hex
            .chars()
            .filter_map(|c| c.to_digit(16))
            .map(|digit| digit as u8)
            .collect();
        let frame: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect();
        match ip_packet(link_type, &frame) {
            LinkPayload::Ip { packet, offset } => {
                assert_eq!(packet, &frame[offset..]);
                Ok(offset)
            }
            LinkPayload::NotIp { what } => Err(what.to_string()),
        }
    }

    #[test]
    fn ethernet_frames_are_read_by_their_ethertype() {
        let cases = [
            ("0800 45", Ok(14)),
            ("86dd 60", Ok(14)),
            ("0800", Ok(14)),
            ("0806 0001", Err("ethertype-0806")),
            ("8847 00001140 45", Err("ethertype-8847")),
            ("8100 0005 0800 45", Ok(18)),
            ("8100 0005 0806", Err("ethertype-0806")),
            ("8100 0005 08", Err("cut-short")),
            ("88a8 0005 8100 0006 86dd 60", Ok(22)),
            ("9100 0005 8100 0006 8100 0007 0800 45", Ok(26)),
            ("8864 1100 0001 0004 0021 45", Ok(22)),
            ("8864 1100 0001 0004 0057 60", Ok(22)),
            ("8864 1100 0001 0004 21 45", Ok(21)),
            ("8864 1100 0001 0004 c021", Err("ppp-c021")),
            ("8864 11a7 0001 0004 0021", Err("pppoe-code-a7")),
            ("8100 0005 8864 1100 0001 0004 0021 45", Ok(26)),
            ("0030 aaaa03 000000 0800 45", Ok(22)),
            ("0030 aaaa03 0000f8 86dd 60", Ok(22)),
            ("0030 aaaa03 000000 8100 0005 0800 45", Ok(26)),
            ("8100 0005 0030 aaaa03 000000 0800 45", Ok(26)),
            ("0030 aaaa03 00000c 2000", Err("snap-00000c-2000")),
            ("0030 aaaa03 000000 0030", Err("snap-000000-0030")),
            ("0030 060603 45", Ok(17)),
            ("0026 424203", Err("llc-42-42")),
            ("0026 4242", Err("cut-short")),
            ("05dc e0e003", Err("llc-e0-e0")),
            ("05dd aaaa03 000000 0800", Err("ethertype-05dd")),
            ("aaaa aaaaaaaaaaaaaaaa", Err("ethertype-aaaa")),
            ("08", Err("cut-short")),
        ];
        for (hex, expected) in cases {
            let frame = format!("000000000001 000000000002 {hex}");
            assert_eq!(
                read(LinkType::ETHERNET, &frame),
                expected.map_err(str::to_owned),
                "{hex}"
            );
        }
    }

    #[test]
    fn other_links_are_read_by_their_headers() {
        let cases = [
            (101, "45", Ok(0)),
            (12, "", Ok(0)),
            (14, "60", Ok(0)),
            (228, "45", Ok(0)),
            (229, "00", Ok(0)),
            (0, "02000000 45", Ok(4)),
            (0, "00000002 45", Ok(4)),
            (0, "1e000000 60", Ok(4)),
            (0, "0000001c 60", Ok(4)),
            (0, "18000000 60", Ok(4)),
            (0, "0a000000 60", Ok(4)),
            (0, "07000000", Err("family-7")),
            (0, "020000", Err("cut-short")),
            (108, "00000002 45", Ok(4)),
            (113, "0000 0001 0006 0000000000000000 0800 45", Ok(16)),
            (113, "0000 fffe 0000 0000000000000000 86dd 60", Ok(16)),
            (
                113,
                "0000 0001 0006 0000000000000000 8100 0005 0800 45",
                Ok(20),
            ),
            (
                113,
                "0000 0001 0006 0000000000000000 0004 aaaa03 000000 0800 45",
                Ok(24),
            ),
            (
                113,
                "0000 0001 0006 0000000000000000 0004 424203",
                Err("llc-42-42"),
            ),
            (
                113,
                "0000 0001 0006 0000000000000000 0001 ffff",
                Err("ethertype-0001"),
            ),
            (
                113,
                "0000 0001 0006 0000000000000000 0806",
                Err("ethertype-0806"),
            ),
            (
                113,
                "0000 0338 0006 0000000000000000 0800",
                Err("hardware-824"),
            ),
            (
                276,
                "0800 0000 00000002 0001 00 06 0000000000000000 45",
                Ok(20),
            ),
            (
                276,
                "8035 0000 00000002 0001 00 06 0000000000000000",
                Err("ethertype-8035"),
            ),
            (9, "ff03 0021 45", Ok(4)),
            (9, "ff03 21 45", Ok(3)),
            (9, "0057 60", Ok(2)),
            (9, "57 60", Ok(1)),
            (9, "c021", Err("ppp-c021")),
            (9, "ff03 00", Err("cut-short")),
            (50, "ff03 0021 45", Ok(4)),
            (50, "0f00 0800 45", Ok(4)),
            (50, "8f00 8035", Err("ethertype-8035")),
            (51, "1100 0001 0003 0021 45", Ok(8)),
            (104, "0f00 86dd 60", Ok(4)),
            (239, "02000000 0800 0100 08000100 0500 0900 45", Ok(16)),
            (239, "02000000 0600 0a00 65740000 0500 0900 45", Ok(16)),
            (239, "0a000000 0008 0001 00080100 0005 0009 60", Ok(16)),
            (239, "02000000 0800 0100 08000100", Err("no-payload")),
            (239, "02000000 0300 0100", Err("no-payload")),
            (239, "02000000 ffff 0100 00", Err("no-payload")),
            (239, "07000000 0500 0900 45", Err("family-7")),
            (105, "0800", Err("link-type-105")),
        ];
        for (link_type, hex, expected) in cases {
            assert_eq!(
                read(LinkType(link_type), hex),
                expected.map_err(str::to_owned),
                "{link_type} {hex}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_of_any_link_type_are_read_without_panic(
            link_type in prop::sample::select(vec![0, 1, 9, 50, 51, 101, 104, 108, 113, 239, 276]),
            frame in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(8), Just(0xaa)], 0..80),
        ) {
            if let LinkPayload::Ip { packet, offset } = ip_packet(LinkType(link_type), &frame) {
                prop_assert_eq!(Some(packet), frame.get(offset..));
            }
        }
    }
}

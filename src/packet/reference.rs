//! Properties that hold for any bytes taken as a packet; the fuzzer and the property tests check them.
//!
//! Two independent parsers serve as oracles: pnet_packet, which reads fields by the offsets in the header, and
//! etherparse, which also checks lengths.

use etherparse::{SlicedPacket, TransportSlice};
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::Ipv6Packet;
use pnet_packet::tcp::TcpPacket;
use pnet_packet::udp::UdpPacket;

use super::{Addresses, Fragment, PacketView, Protocol, Transport, plain_ipv4, plain_ipv6};

/// Protocol and ports.
type Ports = (Protocol, u16, u16);

/// Parses `data` and checks every promise of [`PacketView`].
///
/// # Panics
///
/// When a promise is broken, or another parser disagrees about a packet that all consider well-formed.
pub fn fuzz_packet(data: &[u8]) {
    let parsed = PacketView::parse(data);
    for snap in [0, 1, data.len() / 2, data.len().saturating_sub(1)] {
        let _ = PacketView::parse_captured(&data[..snap.min(data.len())], data.len());
    }
    check_plain(data, parsed.as_ref().ok());
    let Ok(packet) = parsed else { return };
    assert!(packet.bytes().len() <= data.len());
    assert_eq!(
        packet.bytes().len(),
        packet.length(),
        "all of it was captured"
    );
    assert_eq!(
        packet.fragment_key().is_none(),
        packet.fragment() == Fragment::Whole,
        "fragments have keys"
    );
    if let Some((_, source, destination)) = ports_of(&packet) {
        let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        assert!(
            packet.transport_bytes().starts_with(&ports),
            "the transport header begins elsewhere"
        );
    }
    assert_eq!(
        addresses_by_pnet(data),
        Some(packet.addresses()),
        "pnet reads other addresses"
    );
    if let (Some(ours), false) = (ports_of(&packet), has_extensions(&packet)) {
        assert_eq!(
            ports_by_pnet(packet.bytes()),
            Some(ours),
            "pnet reads other ports"
        );
    }
    if let (Fragment::Whole, Some(theirs)) =
        (packet.fragment(), ports_by_etherparse(packet.bytes()))
    {
        assert_eq!(
            ports_of(&packet),
            Some(theirs),
            "etherparse reads other ports"
        );
    }
}

/// Checks that the fast path reads a plain packet as the general one does.
fn check_plain(data: &[u8], packet: Option<&PacketView<'_>>) {
    let (addresses, ports) = if let Some(plain) = plain_ipv4(data) {
        let addresses = Addresses::V4 {
            source: plain.source.into(),
            destination: plain.destination.into(),
        };
        (
            addresses,
            (plain.protocol, plain.source_port, plain.destination_port),
        )
    } else if let Some(plain) = plain_ipv6(data) {
        let addresses = Addresses::V6 {
            source: plain.source.into(),
            destination: plain.destination.into(),
        };
        (
            addresses,
            (plain.protocol, plain.source_port, plain.destination_port),
        )
    } else {
        return;
    };
    let packet = packet.expect("a plain packet is well-formed");
    assert_eq!(packet.addresses(), addresses);
    assert_eq!(
        ports_of(packet),
        ports.0.map(|protocol| (protocol, ports.1, ports.2))
    );
    assert_eq!(packet.fragment(), Fragment::Whole);
    assert!(!packet.is_source_routed());
}

fn ports_of(packet: &PacketView<'_>) -> Option<Ports> {
    match packet.transport() {
        Transport::Ports {
            protocol,
            source,
            destination,
        } => Some((protocol, source, destination)),
        Transport::TruncatedHeader(_)
        | Transport::TruncatedChain
        | Transport::NonFirst(_)
        | Transport::UnknownNonFirst
        | Transport::Other(_) => None,
    }
}

/// True if an IPv6 packet has extension headers, which pnet does not walk.
fn has_extensions(packet: &PacketView<'_>) -> bool {
    matches!(packet.addresses(), Addresses::V6 { .. })
        && !matches!(packet.bytes().get(6), Some(6 | 17))
}

fn addresses_by_pnet(data: &[u8]) -> Option<Addresses> {
    match data.first()? >> 4 {
        4 => Ipv4Packet::new(data).map(|packet| Addresses::V4 {
            source: packet.get_source(),
            destination: packet.get_destination(),
        }),
        6 => Ipv6Packet::new(data).map(|packet| Addresses::V6 {
            source: packet.get_source(),
            destination: packet.get_destination(),
        }),
        _ => None,
    }
}

/// pnet needs complete transport headers; pads a shorter one with zeros after the ports.
fn ports_by_pnet(bytes: &[u8]) -> Option<Ports> {
    let (protocol, payload) = match bytes.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new(bytes)?;
            let header = usize::from(packet.get_header_length()) * 4;
            (packet.get_next_level_protocol().0, bytes.get(header..)?)
        }
        _ => (
            Ipv6Packet::new(bytes)?.get_next_header().0,
            bytes.get(40..)?,
        ),
    };
    let mut header = payload[..payload.len().min(20)].to_vec();
    header.resize(20, 0);
    match protocol {
        6 => TcpPacket::new(&header)
            .map(|tcp| (Protocol::Tcp, tcp.get_source(), tcp.get_destination())),
        17 => UdpPacket::new(&header)
            .map(|udp| (Protocol::Udp, udp.get_source(), udp.get_destination())),
        _ => None,
    }
}

/// etherparse also walks an IPv4 authentication header; the filter treats AH over IPv4 as a protocol of its own.
fn ports_by_etherparse(bytes: &[u8]) -> Option<Ports> {
    const AUTHENTICATION_OVER_IPV4: (u8, u8) = (4, 51);
    if (bytes.first()? >> 4, *bytes.get(9)?) == AUTHENTICATION_OVER_IPV4 {
        return None;
    }
    match SlicedPacket::from_ip(bytes).ok()?.transport? {
        TransportSlice::Tcp(tcp) => {
            Some((Protocol::Tcp, tcp.source_port(), tcp.destination_port()))
        }
        TransportSlice::Udp(udp) => {
            Some((Protocol::Udp, udp.source_port(), udp.destination_port()))
        }
        _ => None,
    }
}

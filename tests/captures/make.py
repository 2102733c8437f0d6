#!/usr/bin/env python3
"""Writes the captures of this folder, each with its policy and the verdicts it must get.

The tables below are the specification: a row is the name of a trick, the bytes, and the verdict that the contract
gives them, written by hand. Nothing here judges a packet.

    make.py            writes the files
    make.py --check    exits 1 when a file differs from what would be written
"""

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import formats
from formats import Link, Pcapng, Wire
from packets import (
    AH,
    DCCP,
    DESTINATION_OPTIONS,
    END_OF_OPTIONS,
    ESP,
    FRAGMENT,
    GRE,
    HIP,
    HOP_BY_HOP,
    ICMP,
    ICMP6,
    IP6_IN_IP,
    IPIP,
    MOBILITY,
    NO_NEXT_HEADER,
    NOP,
    SCTP,
    SHIM6,
    TCP,
    UDP,
    UDP_LITE,
    Payload,
    authentication,
    before,
    extension,
    fragment,
    hop_by_hop,
    icmp,
    icmp6,
    ip4,
    ip6,
    options6,
    part,
    routing,
    seal,
    source_route,
    tcp,
    udp,
)

HERE = Path(__file__).parent

# Who is who in the policies below.

CLIENT, NEIGHBOR, HELPED = "172.16.1.10", "172.16.1.11", "172.16.1.200"
CORPORATE, SERVER, OUTSIDE_SERVER, SIP_SERVER = "10.2.0.5", "10.1.0.10", "198.51.100.10", "10.1.0.20"
MEDIA_LIFTED_SERVER, CLIENT_SERVER = "10.1.0.21", "172.16.1.250"
BOTH = "10.200.0.5"
LAB, RANGE, WRONG_LIFT, WEB_CALLER, JUMP = "10.7.0.5", "10.5.0.5", "10.6.0.5", "10.8.0.5", "10.9.0.5"
PUBLIC, PUBLIC_SERVER, PUBLIC_CORPORATE, NOBODY = "203.0.113.7", "10.1.0.30", "10.40.0.5", "192.0.2.1"

CLIENT6, NEIGHBOR6, HELPED6 = "2001:db8:16::10", "2001:db8:16::11", "2001:db8:16::200"
CORPORATE6, SERVER6, SIP_SERVER6 = "2001:db8:a:2::5", "2001:db8:a:1::10", "2001:db8:a:1::20"
LAB6, WEB_CALLER6, JUMP6 = "2001:db8:a:7::5", "2001:db8:a:8::5", "2001:db8:a:9::5"
BOTH6, PUBLIC6, NOBODY6 = "2001:db8:a:200::5", "2001:db8:ffff::7", "2001:db8:dead::1"

SITE = """\
[vpn]
interfaces = ["tun0"]
client_subnets = ["172.16.1.0/24", "10.200.0.0/24", "2001:db8:16::/64", "2001:db8:a:200::/64"]

[corporate]
subnets = ["10.0.0.0/8", "2001:db8:a::/48"]

[media]
ports = ["1024-65535"]
match = "ports"

[filter]
unknown_source = "forward"
leaked_public = "forward"

[[server]]
name = "Front End pool"
addresses = ["10.1.0.10", "10.1.0.16/28", "172.16.1.250", "198.51.100.10", "2001:db8:a:1::10", "2001:db8:a:1::20"]

[[allow]]
name = "Remote Desktop to the jump hosts"
to = ["10.9.0.0/24", "2001:db8:a:9::/64"]
protocols = ["tcp"]
ports = ["3389"]

[[allow]]
name = "replies of web servers that run on the clients"
to = ["10.8.0.0/16", "2001:db8:a:8::/64"]
protocols = ["tcp"]
from_ports = ["1-1023"]

[[allow]]
name = "lab network, every port"
to = ["10.7.0.0/24", "2001:db8:a:7::/64"]

[[allow]]
name = "streams of the training rooms"
to = ["10.5.0.0/24"]
protocols = ["udp"]
ports = ["5000-5010", "6000"]

[[allow]]
name = "remote help between clients"
to = ["172.16.1.200", "2001:db8:16::200"]
protocols = ["tcp"]
ports = ["3389"]

[[allow]]
name = "SIP over TLS to one Front End"
to = ["10.1.0.20", "2001:db8:a:1::20"]
protocols = ["tcp"]
ports = ["5061"]
lifts = ["servers"]

[[allow]]
name = "lifts media at a server, which needs more"
to = ["10.1.0.21"]
protocols = ["tcp"]
ports = ["5061"]
lifts = ["media"]

[[allow]]
name = "lifts servers where there is none"
to = ["10.6.0.0/24"]
lifts = ["servers"]

[[public]]
name = "Access Edge"
addresses = ["203.0.113.0/24", "10.1.0.30", "10.40.0.0/24", "2001:db8:ffff::/48"]
"""

DROPS_UNKNOWN_SOURCES = SITE.replace('unknown_source = "forward"', 'unknown_source = "drop"')
DROPS_LEAKS = SITE.replace('leaked_public = "forward"', 'leaked_public = "drop"')
FEW_MEDIA_PORTS = SITE.replace('"1024-65535"', '"1", "5350-5389", "65535"')

# Enough for the files whose point is not the policy.
SMALL = """\
[vpn]
client_subnets = ["172.16.1.0/24", "2001:db8:16::/64"]

[corporate]
subnets = ["10.0.0.0/8", "2001:db8:a::/48"]

[[server]]
name = "Front End pool"
addresses = ["10.1.0.10", "2001:db8:a:1::10"]
"""

# The table language.


@dataclass(frozen=True)
class Row:
    """One frame and the verdict it must get."""

    trick: str
    packet: bytes  # the IP packet, or the whole frame where `framed`
    verdict: str
    framed: bool = False
    snap: int | None = None  # bytes of the frame that were captured; all of them when None


@dataclass(frozen=True)
class Capture:
    """One file: its name, its policy, its bytes, a verdict for each packet block."""

    name: str
    policy: str
    file: bytes
    verdicts: list[str]


def wire(row: Row, link: Link = Link.ETHERNET, layer: Callable[[bytes], bytes] = formats.ethernet) -> Wire:
    frame = row.packet if row.framed else layer(row.packet)
    return Wire(frame[: row.snap], len(frame), link)


def theme(name: str, rows: list[Row], policy: str = SITE, link: Link = Link.ETHERNET) -> Capture:
    """A pcapng file in which each packet carries the name of its trick as a comment."""
    layer = formats.ethernet if link is Link.ETHERNET else formats.raw
    frames = [wire(row, link, layer) for row in rows]
    file = formats.annotated(frames, [row.trick for row in rows])
    return Capture(f"{name}.pcapng", policy, file, [row.verdict for row in rows])


def link_type(name: str, link: Link, layer: Callable[[bytes], bytes], rows: list[Row]) -> Capture:
    """The same packets on one link type, in a plain pcap file."""
    frames = [wire(row, link, layer) for row in rows]
    return Capture(f"link-{name}.pcap", SMALL, formats.pcap(frames), [row.verdict for row in rows])


# Short forms: a client's packet to somebody.


def to4(destination: str, payload: Payload, **fields) -> bytes:
    return ip4(CLIENT, destination, payload, **fields)


def to6(destination: str, payload: Payload, **fields) -> bytes:
    return ip6(CLIENT6, destination, payload, **fields)


def table_1_ipv4() -> Capture:
    return theme("table-1-ipv4", [
        # Row 1: media ports at corporate addresses, both edges of the range.
        Row("UDP to corporate port 0", to4(CORPORATE, udp(40000, 0)), "forward default"),
        Row("UDP to corporate port 1", to4(CORPORATE, udp(40000, 1)), "forward default"),
        Row("UDP to corporate port 1023", to4(CORPORATE, udp(40000, 1023)), "forward default"),
        Row("UDP to corporate port 1024", to4(CORPORATE, udp(40000, 1024)), "drop media"),
        Row("UDP to corporate port 65535", to4(CORPORATE, udp(40000, 65535)), "drop media"),
        Row("TCP to corporate port 0", to4(CORPORATE, tcp(40000, 0)), "forward default"),
        Row("TCP to corporate port 1023", to4(CORPORATE, tcp(40000, 1023)), "forward default"),
        Row("TCP to corporate port 1024", to4(CORPORATE, tcp(40000, 1024)), "drop media"),
        Row("TCP to corporate port 65535", to4(CORPORATE, tcp(40000, 65535)), "drop media"),
        Row("the source port is no media port", to4(CORPORATE, udp(5000, 53)), "forward default"),
        Row("first address of the corporate prefix", to4("10.0.0.0", udp(40000, 5000)), "drop media"),
        Row("last address of the corporate prefix", to4("10.255.255.255", udp(40000, 5000)), "drop media"),
        Row("address before the corporate prefix", to4("9.255.255.255", udp(40000, 5000)), "forward default"),
        Row("address after the corporate prefix", to4("11.0.0.0", udp(40000, 5000)), "forward default"),
        Row("destination in no set", to4(NOBODY, udp(40000, 5000)), "forward default"),
        # Row 1: between clients.
        Row("hairpin, UDP 1023", to4(NEIGHBOR, udp(40000, 1023)), "forward default"),
        Row("hairpin, UDP 1024", to4(NEIGHBOR, udp(40000, 1024)), "drop hairpin"),
        Row("hairpin, TCP 65535", to4(NEIGHBOR, tcp(40000, 65535)), "drop hairpin"),
        Row("land: a client to itself", to4(CLIENT, tcp(5000, 5000)), "drop hairpin"),
        Row("client address inside the corporate prefix", to4(BOTH, udp(40000, 5000)), "drop hairpin"),
        Row("from a client address inside the corporate prefix", ip4(BOTH, CORPORATE, udp(40000, 5000)), "drop media"),
        Row("first address of the client subnet is a client", ip4("172.16.1.0", CORPORATE, udp(40000, 5000)), "drop media"),
        Row("last address of the client subnet is a client", ip4("172.16.1.255", CORPORATE, udp(40000, 5000)), "drop media"),
        # Row 2: every port of the servers.
        Row("server, UDP 53", to4(SERVER, udp(40000, 53)), "drop servers"),
        Row("server, TCP 443", to4(SERVER, tcp(40000, 443)), "drop servers"),
        Row("server, TCP 0", to4(SERVER, tcp(40000, 0)), "drop servers"),
        Row("server, UDP 5000: servers before media", to4(SERVER, udp(40000, 5000)), "drop servers"),
        Row("server outside the corporate prefix", to4(OUTSIDE_SERVER, tcp(40000, 443)), "drop servers"),
        Row("server at a client address, before hairpin", to4(CLIENT_SERVER, udp(40000, 5000)), "drop servers"),
        Row("first address of the server prefix", to4("10.1.0.16", tcp(40000, 80)), "drop servers"),
        Row("last address of the server prefix", to4("10.1.0.31", tcp(40000, 80)), "drop servers"),
        Row("address before the server prefix", to4("10.1.0.15", tcp(40000, 80)), "forward default"),
        Row("address after the server prefix", to4("10.1.0.32", tcp(40000, 80)), "forward default"),
        Row("ICMP to a server", to4(SERVER, icmp(8, 0, bytes(8))), "forward default"),
        # Tables 2-4: what should have gone outside the tunnel.
        Row("public, UDP 3478", to4(PUBLIC, udp(40000, 3478)), "forward public"),
        Row("public, ICMP", to4(PUBLIC, icmp(8, 0, bytes(8))), "forward public"),
        Row("public inside the corporate prefix, before media", to4(PUBLIC_CORPORATE, udp(40000, 5000)), "forward public"),
        Row("public and server, public first", to4(PUBLIC_SERVER, tcp(40000, 443)), "forward public"),
        # Exceptions.
        Row("allow, TCP 3389 to a jump host", to4(JUMP, tcp(40000, 3389)), "forward allow"),
        Row("allow names TCP, this is UDP 3389", to4(JUMP, udp(40000, 3389)), "drop media"),
        Row("allow names 3389, this is 3390", to4(JUMP, tcp(40000, 3390)), "drop media"),
        Row("allow names 3389, this is 3388", to4(JUMP, tcp(40000, 3388)), "drop media"),
        Row("no media port at a jump host", to4(JUMP, tcp(40000, 443)), "forward default"),
        Row("allow names other addresses", to4("10.9.1.0", tcp(40000, 3389)), "drop media"),
        Row("allow range, below", to4(RANGE, udp(40000, 4999)), "drop media"),
        Row("allow range, first", to4(RANGE, udp(40000, 5000)), "forward allow"),
        Row("allow range, last", to4(RANGE, udp(40000, 5010)), "forward allow"),
        Row("allow range, above", to4(RANGE, udp(40000, 5011)), "drop media"),
        Row("allow, second range", to4(RANGE, udp(40000, 6000)), "forward allow"),
        Row("allow of every port, TCP", to4(LAB, tcp(40000, 5000)), "forward allow"),
        Row("allow of every port, UDP", to4(LAB, udp(40000, 65535)), "forward allow"),
        Row("allow between clients", to4(HELPED, tcp(40000, 3389)), "forward allow"),
        Row("allow between clients, another port", to4(HELPED, tcp(40000, 3390)), "drop hairpin"),
        Row("allow that lifts servers", to4(SIP_SERVER, tcp(40000, 5061)), "forward allow"),
        Row("allow that lifts servers, another port", to4(SIP_SERVER, tcp(40000, 5062)), "drop servers"),
        Row("allow that lifts servers, another protocol", to4(SIP_SERVER, udp(40000, 5061)), "drop servers"),
        Row("allow that lifts media only, at a server", to4(MEDIA_LIFTED_SERVER, tcp(40000, 5061)), "drop servers"),
        Row("allow that lifts servers only, at no server", to4(WRONG_LIFT, udp(40000, 5000)), "drop media"),
        # Replies: the allow asks for the port they come from.
        Row("reply from port 1", to4(WEB_CALLER, tcp(1, 50000)), "forward allow"),
        Row("reply from port 443", to4(WEB_CALLER, tcp(443, 50000)), "forward allow"),
        Row("reply from port 1023", to4(WEB_CALLER, tcp(1023, 50000)), "forward allow"),
        Row("from port 0, below from_ports", to4(WEB_CALLER, tcp(0, 50000)), "drop media"),
        Row("from port 1024, above from_ports", to4(WEB_CALLER, tcp(1024, 50000)), "drop media"),
        Row("a reply in UDP, not covered", to4(WEB_CALLER, udp(53, 50000)), "drop media"),
        Row("a reply to elsewhere, not covered", to4(CORPORATE, tcp(443, 50000)), "drop media"),
        # What does not come from a client.
        Row("corporate to client, media port", ip4(CORPORATE, CLIENT, udp(40000, 5000)), "forward not-a-client"),
        Row("corporate to server", ip4(CORPORATE, SERVER, tcp(40000, 443)), "forward not-a-client"),
        Row("source after the client subnet", ip4("172.16.2.0", CORPORATE, udp(40000, 5000)), "forward not-a-client"),
        Row("source before the client subnet", ip4("172.16.0.255", CORPORATE, udp(40000, 5000)), "forward not-a-client"),
        Row("not a client, before public", ip4(NOBODY, PUBLIC, tcp(40000, 443)), "forward not-a-client"),
        # P30: media that hides behind other ports passes; by Table 1 the port decides.
        Row("TURN over TCP 443", to4(CORPORATE, tcp(40000, 443, bytes.fromhex("000300082112a442") + bytes(20))), "forward default"),
        Row("STUN over UDP 443", to4(CORPORATE, udp(40000, 443, bytes.fromhex("000100002112a442") + bytes(12))), "forward default"),
        Row("STUN over UDP 3478", to4(CORPORATE, udp(40000, 3478, bytes.fromhex("000100002112a442") + bytes(12))), "drop media"),
        # Not IP.
        Row("ARP", formats.ethernet(formats.ARP_REQUEST, formats.ETHERTYPE_ARP), "skip not-ip", framed=True),
    ])


def table_1_ipv6() -> Capture:
    return theme("table-1-ipv6", [
        Row("UDP to corporate port 0", to6(CORPORATE6, udp(40000, 0)), "forward default"),
        Row("UDP to corporate port 1023", to6(CORPORATE6, udp(40000, 1023)), "forward default"),
        Row("UDP to corporate port 1024", to6(CORPORATE6, udp(40000, 1024)), "drop media"),
        Row("UDP to corporate port 65535", to6(CORPORATE6, udp(40000, 65535)), "drop media"),
        Row("TCP to corporate port 1023", to6(CORPORATE6, tcp(40000, 1023)), "forward default"),
        Row("TCP to corporate port 1024", to6(CORPORATE6, tcp(40000, 1024)), "drop media"),
        Row("TCP to corporate port 65535", to6(CORPORATE6, tcp(40000, 65535)), "drop media"),
        Row("the source port is no media port", to6(CORPORATE6, udp(5000, 53)), "forward default"),
        Row("first address of the corporate prefix", to6("2001:db8:a::", udp(40000, 5000)), "drop media"),
        Row("last address of the corporate prefix", to6("2001:db8:a:ffff:ffff:ffff:ffff:ffff", udp(40000, 5000)), "drop media"),
        Row("address before the corporate prefix", to6("2001:db8:9:ffff:ffff:ffff:ffff:ffff", udp(40000, 5000)), "forward default"),
        Row("address after the corporate prefix", to6("2001:db8:b::", udp(40000, 5000)), "forward default"),
        Row("destination in no set", to6(NOBODY6, udp(40000, 5000)), "forward default"),
        Row("hairpin, UDP 1023", to6(NEIGHBOR6, udp(40000, 1023)), "forward default"),
        Row("hairpin, UDP 1024", to6(NEIGHBOR6, udp(40000, 1024)), "drop hairpin"),
        Row("hairpin, TCP 65535", to6(NEIGHBOR6, tcp(40000, 65535)), "drop hairpin"),
        Row("client address inside the corporate prefix", to6(BOTH6, udp(40000, 5000)), "drop hairpin"),
        Row("from a client address inside the corporate prefix", ip6(BOTH6, CORPORATE6, udp(40000, 5000)), "drop media"),
        Row("server, UDP 53", to6(SERVER6, udp(40000, 53)), "drop servers"),
        Row("server, TCP 443", to6(SERVER6, tcp(40000, 443)), "drop servers"),
        Row("server, UDP 5000: servers before media", to6(SERVER6, udp(40000, 5000)), "drop servers"),
        Row("next to a server", to6("2001:db8:a:1::11", tcp(40000, 443)), "forward default"),
        Row("ICMPv6 to a server", to6(SERVER6, icmp6(128, 0, bytes(4))), "forward default"),
        Row("public, UDP 3478", to6(PUBLIC6, udp(40000, 3478)), "forward public"),
        Row("public, ICMPv6", to6(PUBLIC6, icmp6(128, 0, bytes(4))), "forward public"),
        Row("allow, TCP 3389 to a jump host", to6(JUMP6, tcp(40000, 3389)), "forward allow"),
        Row("allow names TCP, this is UDP 3389", to6(JUMP6, udp(40000, 3389)), "drop media"),
        Row("allow names 3389, this is 3390", to6(JUMP6, tcp(40000, 3390)), "drop media"),
        Row("allow of every port", to6(LAB6, udp(40000, 5000)), "forward allow"),
        Row("allow between clients", to6(HELPED6, tcp(40000, 3389)), "forward allow"),
        Row("allow between clients, another port", to6(HELPED6, tcp(40000, 3390)), "drop hairpin"),
        Row("allow that lifts servers", to6(SIP_SERVER6, tcp(40000, 5061)), "forward allow"),
        Row("allow that lifts servers, another port", to6(SIP_SERVER6, tcp(40000, 5062)), "drop servers"),
        Row("reply from port 443", to6(WEB_CALLER6, tcp(443, 50000)), "forward allow"),
        Row("from port 1024, above from_ports", to6(WEB_CALLER6, tcp(1024, 50000)), "drop media"),
        Row("corporate to client, media port", ip6(CORPORATE6, CLIENT6, udp(40000, 5000)), "forward not-a-client"),
        Row("corporate to server", ip6(CORPORATE6, SERVER6, tcp(40000, 443)), "forward not-a-client"),
        Row("source after the client subnet", ip6("2001:db8:16:1::", CORPORATE6, udp(40000, 5000)), "forward not-a-client"),
    ])


def media_ports() -> Capture:
    """`media.ports` of single ports and a range, 1 and 65535 among them."""
    return theme("media-ports", [
        Row("port 0, which no policy lists", to4(CORPORATE, udp(40000, 0)), "forward default"),
        Row("port 1, listed", to4(CORPORATE, udp(40000, 1)), "drop media"),
        Row("port 5349, below the range", to4(CORPORATE, udp(40000, 5349)), "forward default"),
        Row("port 5350, first of the range", to4(CORPORATE, udp(40000, 5350)), "drop media"),
        Row("port 5389, last of the range", to4(CORPORATE, tcp(40000, 5389)), "drop media"),
        Row("port 5390, above the range", to4(CORPORATE, tcp(40000, 5390)), "forward default"),
        Row("port 65534, not listed", to4(CORPORATE, tcp(40000, 65534)), "forward default"),
        Row("port 65535, listed", to4(CORPORATE, tcp(40000, 65535)), "drop media"),
        Row("hairpin, port 5360", to4(NEIGHBOR, udp(40000, 5360)), "drop hairpin"),
        Row("hairpin, port 3389", to4(NEIGHBOR, tcp(40000, 3389)), "forward default"),
        Row("server, a port not listed", to4(SERVER, tcp(40000, 443)), "drop servers"),
        Row("allow, a port not listed", to4(JUMP, tcp(40000, 3389)), "forward default"),
        Row("IPv6, port 5350", to6(CORPORATE6, udp(40000, 5350)), "drop media"),
        Row("IPv6, port 5390", to6(CORPORATE6, udp(40000, 5390)), "forward default"),
    ], FEW_MEDIA_PORTS)


def ipv4_fragments() -> Capture:
    def datagram(destination: str, port: int, make=udp, source_port: int = 40000) -> Payload:
        return seal(make(source_port, port, bytes(range(40))), CLIENT, destination)

    def first(destination: str, whole: Payload, ident: int, **fields) -> bytes:
        return to4(destination, part(whole, 0, 16), ident=ident, more=True, **fields)

    def tail(destination: str, whole: Payload, ident: int, offset: int = 16, **fields) -> bytes:
        return to4(destination, part(whole, offset), ident=ident, offset=offset, **fields)

    media = datagram(CORPORATE, 5000)
    other = datagram(CORPORATE, 443)
    tcp_media = datagram(CORPORATE, 5000, tcp)
    tcp_other = datagram(CORPORATE, 443, tcp)
    echo = icmp(8, 0, bytes(28))
    nothing = Payload(UDP, b"")
    return theme("ipv4-fragments", [
        # P1: the first is judged by its ports, the tails follow it.
        Row("first, media port", first(CORPORATE, media, 1), "drop media"),
        Row("middle tail of it", to4(CORPORATE, part(media, 16, 32), ident=1, offset=16, more=True), "drop media"),
        Row("last tail of it", tail(CORPORATE, media, 1, 32), "drop media"),
        Row("first, another port", first(CORPORATE, other, 2), "forward default"),
        Row("tail of it", tail(CORPORATE, other, 2), "forward default"),
        Row("first of a hairpin", first(NEIGHBOR, datagram(NEIGHBOR, 5000), 3), "drop hairpin"),
        Row("tail of it", tail(NEIGHBOR, datagram(NEIGHBOR, 5000), 3), "drop hairpin"),
        Row("first, allowed by its port", first(JUMP, datagram(JUMP, 3389, tcp), 4), "forward allow"),
        Row("tail of it", tail(JUMP, datagram(JUMP, 3389, tcp), 4), "forward allow"),
        Row("first, allowed by the port it comes from", first(WEB_CALLER, datagram(WEB_CALLER, 50000, tcp, 443), 5), "forward allow"),
        Row("tail of it", tail(WEB_CALLER, datagram(WEB_CALLER, 50000, tcp, 443), 5), "forward allow"),
        # P2: the order on the wire is not the order of the datagram.
        Row("reversed: the tail", tail(CORPORATE, media, 6, 32), "forward default"),
        Row("reversed: the first", first(CORPORATE, media, 6), "drop media"),
        Row("reversed: a tail after the first", to4(CORPORATE, part(media, 16, 32), ident=6, offset=16, more=True), "drop media"),
        Row("tail without a first", tail(CORPORATE, media, 7), "forward default"),
        # P3: firsts that do not hold the ports. Empty, or shorter than the ports.
        Row("empty first", to4(CORPORATE, nothing, ident=8, more=True), "drop tiny-fragment"),
        Row("tail of the empty first", to4(CORPORATE, media, ident=8, offset=8), "drop tiny-fragment"),
        Row("empty first, hairpin", to4(NEIGHBOR, nothing, ident=8, more=True), "drop tiny-fragment"),
        Row("empty first, TCP", to4(CORPORATE, Payload(TCP, b""), ident=9, more=True), "drop tiny-fragment"),
        Row("empty first to a server: needs no ports", to4(SERVER, nothing, ident=9, more=True), "drop servers"),
        Row("empty first, destination in no set", to4(NOBODY, nothing, ident=9, more=True), "forward default"),
        Row("empty first, public", to4(PUBLIC, nothing, ident=9, more=True), "forward public"),
        Row("empty first, every port allowed", to4(LAB, nothing, ident=10, more=True), "forward allow"),
        Row("tail of it", tail(LAB, datagram(LAB, 5000), 10), "forward allow"),
        Row("empty first, one port allowed", to4(JUMP, Payload(TCP, b""), ident=11, more=True), "drop tiny-fragment"),
        Row("empty first, allowed by the port it comes from", to4(WEB_CALLER, Payload(TCP, b""), ident=11, more=True), "drop tiny-fragment"),
        Row("empty first, ICMP", to4(CORPORATE, Payload(ICMP, b""), ident=11, more=True), "forward default"),
        Row("8 bytes of TCP hold the ports", to4(CORPORATE, part(tcp_media, 0, 8), ident=12, more=True), "drop media"),
        Row("8 bytes of TCP hold the ports, port 443", to4(CORPORATE, part(tcp_other, 0, 8), ident=13, more=True), "forward default"),
        Row("no fragment, no byte of UDP", to4(CORPORATE, nothing), "drop tiny-fragment"),
        Row("no fragment, 3 bytes of UDP", to4(CORPORATE, part(media, 0, 3)), "drop tiny-fragment"),
        Row("no fragment, 4 bytes of UDP", to4(CORPORATE, part(media, 0, 4)), "drop media"),
        Row("no fragment, 4 bytes of UDP, port 443", to4(CORPORATE, part(other, 0, 4)), "forward default"),
        Row("no fragment, 3 bytes of TCP, hairpin", to4(NEIGHBOR, part(tcp_media, 0, 3)), "drop tiny-fragment"),
        Row("no fragment, 3 bytes of UDP to a server", to4(SERVER, part(media, 0, 3)), "drop servers"),
        Row("no fragment, 3 bytes of UDP, every port allowed", to4(LAB, part(media, 0, 3)), "forward allow"),
        Row("the ports stand in the padding of Ethernet", formats.ethernet(to4(CORPORATE, nothing) + part(other, 0, 26).data), "drop tiny-fragment", framed=True),
        # P4: overlaps.
        Row("twin firsts: port 443", first(CORPORATE, other, 77), "forward default"),
        Row("twin firsts: media port", first(CORPORATE, media, 77), "drop media"),
        Row("twin firsts: the tail follows the newest", tail(CORPORATE, media, 77), "drop media"),
        Row("twins reversed: media port", first(CORPORATE, media, 78), "drop media"),
        Row("twins reversed: port 443", first(CORPORATE, other, 78), "forward default"),
        Row("twins reversed: the tail follows the newest", tail(CORPORATE, other, 78), "forward default"),
        Row("first of TCP, port 443", first(CORPORATE, tcp_other, 14), "forward default"),
        Row("offset 1 overwrites the flags, not the ports", tail(CORPORATE, tcp_other, 14, 8), "forward default"),
        Row("first of TCP, media port", first(CORPORATE, tcp_media, 15), "drop media"),
        Row("offset 1 of it", tail(CORPORATE, tcp_media, 15, 8), "drop media"),
        Row("offset 1 without a first", tail(CORPORATE, tcp_media, 16, 8), "forward default"),
        # P5: an id used again.
        Row("id used once: first, port 443", first(CORPORATE, other, 80), "forward default"),
        Row("id used once: tail", tail(CORPORATE, other, 80), "forward default"),
        Row("id used again: first, media port", first(CORPORATE, media, 80), "drop media"),
        Row("id used again: tail", tail(CORPORATE, media, 80), "drop media"),
        Row("first, media port, then a whole datagram of that id", first(CORPORATE, media, 81), "drop media"),
        Row("whole datagram of that id", to4(CORPORATE, other, ident=81), "forward default"),
        Row("a whole datagram leaves the tail to its first", tail(CORPORATE, media, 81), "drop media"),
        # The key: source, destination, protocol, id.
        Row("first, media port", first(CORPORATE, media, 82), "drop media"),
        Row("tail of another protocol", tail(CORPORATE, tcp_media, 82), "forward default"),
        Row("tail of another source", ip4(NEIGHBOR, CORPORATE, part(media, 16), ident=82, offset=16), "forward default"),
        Row("tail to another destination", tail("10.2.0.6", media, 82), "forward default"),
        Row("tail of another id", tail(CORPORATE, media, 83), "forward default"),
        Row("tail of the same key", tail(CORPORATE, media, 82), "drop media"),
        # Tails whose verdict needs no ports.
        Row("server: tail without a first", tail(SERVER, media, 84), "drop servers"),
        Row("server: first", first(SERVER, datagram(SERVER, 53), 85), "drop servers"),
        Row("server: tail", tail(SERVER, datagram(SERVER, 53), 85), "drop servers"),
        Row("server: ICMP tail", tail(SERVER, echo, 84), "forward default"),
        Row("public: tail without a first", tail(PUBLIC, media, 84), "forward public"),
        Row("public inside corporate: tail without a first", tail(PUBLIC_CORPORATE, media, 84), "forward public"),
        Row("not a client: tail without a first", ip4(CORPORATE, CLIENT, part(media, 16), ident=84, offset=16), "forward not-a-client"),
        Row("not a client: first", ip4(CORPORATE, CLIENT, part(media, 0, 16), ident=85, more=True), "forward not-a-client"),
        Row("destination in no set: tail without a first", tail(NOBODY, media, 84), "forward default"),
        # Server tails that an allow could lift follow their first.
        Row("lifted server: TCP tail without a first", tail(SIP_SERVER, tcp_media, 86), "forward default"),
        Row("lifted server: UDP tail, the allow names TCP", tail(SIP_SERVER, media, 86), "drop servers"),
        Row("lifted server: first, port 5061", first(SIP_SERVER, datagram(SIP_SERVER, 5061, tcp), 87), "forward allow"),
        Row("lifted server: tail of it", tail(SIP_SERVER, datagram(SIP_SERVER, 5061, tcp), 87), "forward allow"),
        Row("lifted server: first, port 5062", first(SIP_SERVER, datagram(SIP_SERVER, 5062, tcp), 88), "drop servers"),
        Row("lifted server: tail of it", tail(SIP_SERVER, datagram(SIP_SERVER, 5062, tcp), 88), "drop servers"),
        Row("server where only media is lifted: tail", tail(MEDIA_LIFTED_SERVER, tcp_media, 86), "drop servers"),
        # Protocols without ports.
        Row("ICMP first", to4(CORPORATE, part(echo, 0, 16), ident=89, more=True), "forward default"),
        Row("ICMP tail", to4(CORPORATE, part(echo, 16), ident=89, offset=16), "forward default"),
        # P6: sizes.
        Row("offset 65528 and 16 bytes pass 65535", to4(CORPORATE, part(media, 0, 16), ident=79, offset=65528), "drop malformed"),
        Row("offset 65528 and 8 bytes pass 65535", to4(CORPORATE, part(media, 0, 8), ident=79, offset=65528), "drop malformed"),
        Row("oversized, to a server", to4(SERVER, part(media, 0, 16), ident=79, offset=65528), "drop malformed"),
        Row("oversized, not a client", ip4(CORPORATE, CLIENT, part(media, 0, 16), ident=79, offset=65528), "drop malformed"),
        Row("oversized, ICMP", to4(CORPORATE, part(echo, 0, 16), ident=79, offset=65528), "drop malformed"),
        Row("high offset that ends in time", to4(CORPORATE, part(media, 0, 16), ident=79, offset=65000), "forward default"),
        # RFC 791 does not forbid it: Linux cuts the excess and reassembles, so the ports decide.
        Row("more fragments after 9 bytes", to4(CORPORATE, part(media, 0, 9), ident=90, more=True), "drop media"),
        Row("more fragments after 3 bytes", to4(CORPORATE, part(media, 0, 3), ident=90, more=True), "drop tiny-fragment"),
        Row("more fragments after 9 bytes of a tail", to4(CORPORATE, part(media, 16, 25), ident=90, offset=16, more=True), "drop tiny-fragment"),
        Row("first, media port", first(CORPORATE, media, 91), "drop media"),
        Row("empty tail in the middle", to4(CORPORATE, nothing, ident=91, offset=16, more=True), "drop media"),
        Row("empty last tail", to4(CORPORATE, nothing, ident=91, offset=16), "drop media"),
        Row("last tail of 9 bytes", to4(CORPORATE, part(media, 16, 25), ident=91, offset=16), "drop media"),
        # Flags.
        Row("don't fragment, yet more fragments", first(CORPORATE, media, 92, dont=True), "drop media"),
        Row("reserved flag, no fragment", to4(CORPORATE, media, ident=92, reserved=True), "drop media"),
        Row("first with options: ports behind them", first(CORPORATE, media, 93, options=b"\x94\x04\0\0"), "drop media"),
        Row("tail with other options", tail(CORPORATE, media, 93, options=NOP * 4), "drop media"),
        Row("tail whose bytes look like port 443", to4(CORPORATE, part(other, 0, 16), ident=93, offset=32), "drop media"),
    ])


def ipv6_fragments() -> Capture:
    def datagram(destination: str, port: int, make=udp, source_port: int = 40000) -> Payload:
        return seal(make(source_port, port, bytes(range(40))), CLIENT6, destination)

    def first(destination: str, whole: Payload, ident: int, stop: int = 16) -> bytes:
        return to6(destination, fragment(part(whole, 0, stop), ident, more=True))

    def tail(destination: str, whole: Payload, ident: int, offset: int = 16) -> bytes:
        return to6(destination, fragment(part(whole, offset), ident, offset))

    def named(protocol: int, whole: Payload) -> Payload:
        return Payload(protocol, whole.data)

    def atomic(destination: str, whole: Payload, ident: int) -> bytes:
        return to6(destination, fragment(whole, ident))

    media = datagram(CORPORATE6, 5000)
    other = datagram(CORPORATE6, 443)
    tcp_media = datagram(CORPORATE6, 5000, tcp)
    tcp_other = datagram(CORPORATE6, 443, tcp)
    echo = seal(icmp6(128, 0, bytes(28)), CLIENT6, CORPORATE6)
    chained = seal(options6(udp(40000, 5000, bytes(range(40))), 4), CLIENT6, CORPORATE6)  # UDP begins at byte 32
    chained_other = seal(options6(udp(40000, 443, bytes(range(40))), 4), CLIENT6, CORPORATE6)
    routed = routing(udp(40000, 443, bytes(range(40))), 0, 1, [NEIGHBOR6])
    routed = seal(routed, CLIENT6, CORPORATE6)
    nothing = Payload(UDP, b"")
    return theme("ipv6-fragments", [
        Row("first, media port", first(CORPORATE6, media, 1), "drop media"),
        Row("middle tail of it", to6(CORPORATE6, fragment(part(media, 16, 32), 1, 16, more=True)), "drop media"),
        Row("last tail of it", tail(CORPORATE6, media, 1, 32), "drop media"),
        Row("first, another port", first(CORPORATE6, other, 2), "forward default"),
        Row("tail of it", tail(CORPORATE6, other, 2), "forward default"),
        Row("first of a hairpin", first(NEIGHBOR6, datagram(NEIGHBOR6, 5000), 3), "drop hairpin"),
        Row("tail of it", tail(NEIGHBOR6, datagram(NEIGHBOR6, 5000), 3), "drop hairpin"),
        Row("first, allowed by its port", first(JUMP6, datagram(JUMP6, 3389, tcp), 4), "forward allow"),
        Row("tail of it", tail(JUMP6, datagram(JUMP6, 3389, tcp), 4), "forward allow"),
        Row("first, allowed by the port it comes from", first(WEB_CALLER6, datagram(WEB_CALLER6, 50000, tcp, 443), 5), "forward allow"),
        Row("tail of it", tail(WEB_CALLER6, datagram(WEB_CALLER6, 50000, tcp, 443), 5), "forward allow"),
        Row("reversed: the tail", tail(CORPORATE6, media, 6), "forward default"),
        Row("reversed: the first", first(CORPORATE6, media, 6), "drop media"),
        Row("reversed: the tail again", tail(CORPORATE6, media, 6), "drop media"),
        Row("tail without a first", tail(CORPORATE6, media, 7), "forward default"),
        # P9: atomic fragments are ordinary packets, and no first of anybody's tail (RFC 6946).
        Row("atomic, media port", atomic(CORPORATE6, media, 8), "drop media"),
        Row("atomic, another port", atomic(CORPORATE6, other, 8), "forward default"),
        Row("atomic, server", atomic(SERVER6, datagram(SERVER6, 443), 8), "drop servers"),
        Row("atomic, ICMPv6", atomic(CORPORATE6, echo, 8), "forward default"),
        Row("atomic, no byte of UDP", atomic(CORPORATE6, nothing, 8), "drop tiny-fragment"),
        Row("atomic, chain beyond the packet", to6(CORPORATE6, fragment(part(chained, 0, 20), 8)), "drop malformed"),
        Row("two atomic headers, one behind the other", atomic(CORPORATE6, fragment(udp(40000, 5000), 9), 8), "drop media"),
        Row("first, media port", first(CORPORATE6, media, 10), "drop media"),
        Row("atomic of the same id, port 443", atomic(CORPORATE6, other, 10), "forward default"),
        Row("the tail follows its first", tail(CORPORATE6, media, 10), "drop media"),
        # The next header of a tail is not looked at (RFC 8200 section 4.5).
        Row("first, media port", first(CORPORATE6, media, 11), "drop media"),
        Row("tail that names TCP", tail(CORPORATE6, named(TCP, media), 11), "drop media"),
        Row("tail that names ICMPv6", tail(CORPORATE6, named(ICMP6, media), 11), "drop media"),
        Row("tail that names no next header", tail(CORPORATE6, named(NO_NEXT_HEADER, media), 11), "drop media"),
        Row("tail that names destination options", tail(CORPORATE6, named(DESTINATION_OPTIONS, media), 11), "drop media"),
        Row("tail that names an unknown header", tail(CORPORATE6, named(253, media), 11), "drop media"),
        Row("first of TCP, port 443", first(CORPORATE6, tcp_other, 12), "forward default"),
        Row("tail that names UDP", tail(CORPORATE6, named(UDP, tcp_other), 12), "forward default"),
        Row("first of ICMPv6", first(CORPORATE6, echo, 13), "forward default"),
        Row("tail that names UDP", tail(CORPORATE6, named(UDP, echo), 13), "forward default"),
        # The key: source, destination, all 32 bits of the id.
        Row("first, media port", first(CORPORATE6, media, 0x0001_0014), "drop media"),
        Row("tail of an id equal in the low half", tail(CORPORATE6, media, 0x0002_0014), "forward default"),
        Row("tail of another source", ip6(NEIGHBOR6, CORPORATE6, fragment(part(media, 16), 0x0001_0014, 16)), "forward default"),
        Row("tail to another destination", tail("2001:db8:a:2::6", media, 0x0001_0014), "forward default"),
        Row("tail of the same key", tail(CORPORATE6, media, 0x0001_0014), "drop media"),
        # P8: the header chain does not reach the transport in the first (RFC 7112).
        Row("chain not complete", first(CORPORATE6, chained, 21, 16), "drop tiny-fragment"),
        Row("tail with the ports", tail(CORPORATE6, chained, 21, 16), "drop tiny-fragment"),
        Row("chain not complete, ends inside a header", to6(CORPORATE6, fragment(Payload(DESTINATION_OPTIONS, b"\x11\x01\x01\x04\0\0\0\0"), 22, more=True)), "drop tiny-fragment"),
        Row("chain not complete, no byte of it", to6(CORPORATE6, fragment(Payload(DESTINATION_OPTIONS, b""), 23, more=True)), "drop tiny-fragment"),
        Row("no byte of UDP", to6(CORPORATE6, fragment(nothing, 24, more=True)), "drop tiny-fragment"),
        Row("chain complete, no byte of UDP behind it", first(CORPORATE6, chained, 25, 32), "drop tiny-fragment"),
        Row("chain complete, ports in the first", first(CORPORATE6, chained, 26, 40), "drop media"),
        Row("tail of it", tail(CORPORATE6, chained, 26, 40), "drop media"),
        Row("chain complete, port 443", first(CORPORATE6, chained_other, 27, 40), "forward default"),
        Row("chain not complete, hairpin", first(NEIGHBOR6, chained, 28), "drop tiny-fragment"),
        Row("chain not complete, server", first(SERVER6, chained, 28), "drop tiny-fragment"),
        Row("its tail", tail(SERVER6, chained, 28), "drop tiny-fragment"),
        Row("chain not complete, public", first(PUBLIC6, chained, 28), "forward public"),
        Row("chain not complete, destination in no set", first(NOBODY6, chained, 28), "forward default"),
        Row("chain not complete, not a client", ip6(CORPORATE6, CLIENT6, fragment(part(chained, 0, 16), 28, more=True)), "forward not-a-client"),
        Row("chain not complete, one port allowed", first(JUMP6, chained, 28), "drop tiny-fragment"),
        # P4: overlaps (RFC 5722).
        Row("twin firsts: port 443", first(CORPORATE6, other, 77), "forward default"),
        Row("twin firsts: media port", first(CORPORATE6, media, 77), "drop media"),
        Row("twin firsts: the tail follows the newest", tail(CORPORATE6, media, 77), "drop media"),
        Row("twins reversed: media port", first(CORPORATE6, media, 78), "drop media"),
        Row("twins reversed: port 443", first(CORPORATE6, other, 78), "forward default"),
        Row("twins reversed: the tail follows the newest", tail(CORPORATE6, other, 78), "forward default"),
        Row("first of TCP, media port", first(CORPORATE6, tcp_media, 79), "drop media"),
        Row("offset 1 of it", tail(CORPORATE6, tcp_media, 79, 8), "drop media"),
        # Tails whose verdict needs no ports, and server tails, which do: a tail does not know its protocol.
        Row("server: tail without a first", tail(SERVER6, media, 30), "forward default"),
        Row("server: first", first(SERVER6, datagram(SERVER6, 53), 31), "drop servers"),
        Row("server: tail", tail(SERVER6, datagram(SERVER6, 53), 31), "drop servers"),
        Row("server: tail that names ICMPv6", tail(SERVER6, named(ICMP6, media), 31), "drop servers"),
        Row("server: first of ICMPv6", first(SERVER6, echo, 32), "forward default"),
        Row("server: its tail names UDP", tail(SERVER6, named(UDP, echo), 32), "forward default"),
        Row("lifted server: first, port 5061", first(SIP_SERVER6, datagram(SIP_SERVER6, 5061, tcp), 33), "forward allow"),
        Row("lifted server: tail of it", tail(SIP_SERVER6, datagram(SIP_SERVER6, 5061, tcp), 33), "forward allow"),
        Row("public: tail without a first", tail(PUBLIC6, media, 30), "forward public"),
        Row("not a client: tail without a first", ip6(CORPORATE6, CLIENT6, fragment(part(media, 16), 30, 16)), "forward not-a-client"),
        Row("destination in no set: tail without a first", tail(NOBODY6, media, 30), "forward default"),
        # Headers around the fragment header.
        Row("hop-by-hop before the fragment header, first", to6(CORPORATE6, hop_by_hop(fragment(part(media, 0, 16), 34, more=True))), "drop media"),
        Row("its tail without hop-by-hop", tail(CORPORATE6, media, 34), "drop media"),
        Row("routing header at its end before the fragment header", to6(CORPORATE6, routing(fragment(part(media, 0, 16), 35, more=True), 0, 0, [NEIGHBOR6])), "drop media"),
        Row("routing header with a segment left before a tail", to6(CORPORATE6, routing(fragment(part(media, 16), 36, 16), 0, 1, [NEIGHBOR6])), "drop source-routed"),
        Row("routing header with a segment left inside the first", first(CORPORATE6, routed, 37, 40), "drop source-routed"),
        Row("tail of it", tail(CORPORATE6, routed, 37, 40), "drop source-routed"),
        Row("reserved bits of the fragment header", to6(CORPORATE6, fragment(part(media, 0, 16), 38, more=True, reserved=0xFF)), "drop media"),
        Row("reserved bits alone: atomic", to6(CORPORATE6, fragment(media, 39, reserved=0xFF)), "drop media"),
        # P6: sizes.
        Row("offset 65528 and 16 bytes pass 65535", to6(CORPORATE6, fragment(part(media, 0, 16), 40, 65528)), "drop malformed"),
        Row("oversized, not a client", ip6(CORPORATE6, CLIENT6, fragment(part(media, 0, 16), 40, 65528)), "drop malformed"),
        Row("high offset that ends in time", to6(CORPORATE6, fragment(part(media, 0, 16), 40, 65000)), "forward default"),
        Row("more fragments after 9 bytes", to6(CORPORATE6, fragment(part(media, 0, 9), 41, more=True)), "drop malformed"),
        Row("more fragments after 9 bytes of a tail", to6(CORPORATE6, fragment(part(media, 16, 25), 41, 16, more=True)), "drop malformed"),
        Row("first, media port", first(CORPORATE6, media, 42), "drop media"),
        Row("empty last tail", to6(CORPORATE6, fragment(nothing, 42, 16)), "drop media"),
        Row("last tail of 9 bytes", to6(CORPORATE6, fragment(part(media, 16, 25), 42, 16)), "drop media"),
        Row("4 bytes of a fragment header", to6(CORPORATE6, Payload(FRAGMENT, bytes(4))), "drop malformed"),
    ])


def ipv6_extension_headers() -> Capture:
    def media() -> Payload:
        return udp(40000, 5000)

    def other() -> Payload:
        return tcp(40000, 443)

    hops = [NEIGHBOR6, CORPORATE6]
    return theme("ipv6-extension-headers", [
        Row("1 destination options header", to6(CORPORATE6, options6(media())), "drop media"),
        Row("12 destination options headers", to6(CORPORATE6, options6(media(), 12)), "drop media"),
        Row("12 destination options headers, port 443", to6(CORPORATE6, options6(other(), 12)), "forward default"),
        Row("12 destination options headers, server", to6(SERVER6, options6(other(), 12)), "drop servers"),
        Row("12 destination options headers, ICMPv6", to6(SERVER6, options6(icmp6(128, 0, bytes(4)), 12)), "forward default"),
        Row("100 destination options headers", to6(CORPORATE6, options6(media(), 100)), "drop media"),
        Row("one header of 2048 bytes", to6(CORPORATE6, extension(DESTINATION_OPTIONS, media(), (b"\x01\xfe" + bytes(254)) * 7 + b"\x01\xfc" + bytes(252))), "drop media"),
        Row("hop-by-hop", to6(CORPORATE6, hop_by_hop(media())), "drop media"),
        Row("hop-by-hop, port 443", to6(CORPORATE6, hop_by_hop(other())), "forward default"),
        Row("hop-by-hop with router alert", to6(CORPORATE6, hop_by_hop(media(), b"\x05\x02\0\0\x01\0")), "drop media"),
        Row("home address option", to6(CORPORATE6, extension(DESTINATION_OPTIONS, media(), b"\x01\x02\0\0\xc9\x10" + bytes(16))), "drop media"),
        Row("hop-by-hop, options, routing at its end, options", to6(CORPORATE6, hop_by_hop(options6(routing(options6(media()), 0, 0, hops)))), "drop media"),
        # P10: routing headers.
        Row("type 0, no segment left", to6(CORPORATE6, routing(media(), 0, 0, hops)), "drop media"),
        Row("type 0, no segment left, port 443", to6(CORPORATE6, routing(other(), 0, 0, hops)), "forward default"),
        Row("type 0, 1 segment left", to6(CORPORATE6, routing(media(), 0, 1, hops)), "drop source-routed"),
        Row("type 0, 2 left, destination in no set", to6(NOBODY6, routing(other(), 0, 2, hops)), "drop source-routed"),
        Row("type 0, 1 left, public: source route first", to6(PUBLIC6, routing(other(), 0, 1, hops)), "drop source-routed"),
        Row("type 0, 1 left, server: source route first", to6(SERVER6, routing(other(), 0, 1, hops)), "drop source-routed"),
        Row("type 0, 1 left, every port allowed: source route first", to6(LAB6, routing(media(), 0, 1, hops)), "drop source-routed"),
        Row("type 0, 1 left, ICMPv6", to6(CORPORATE6, routing(icmp6(128, 0, bytes(4)), 0, 1, hops)), "drop source-routed"),
        Row("type 0, 1 left, not a client", ip6(CORPORATE6, CLIENT6, routing(media(), 0, 1, hops)), "forward not-a-client"),
        Row("type 2 (mobility), 1 segment left", to6(CORPORATE6, routing(media(), 2, 1, [NEIGHBOR6])), "drop source-routed"),
        Row("type 2 (mobility), no segment left", to6(CORPORATE6, routing(media(), 2, 0, [NEIGHBOR6])), "drop media"),
        Row("type 3 (RPL), 1 segment left", to6(CORPORATE6, routing(media(), 3, 1, [NEIGHBOR6])), "drop source-routed"),
        Row("type 4 (SRv6), 1 segment left", to6(CORPORATE6, routing(media(), 4, 1, hops)), "drop source-routed"),
        Row("type 4 (SRv6), no segment left", to6(CORPORATE6, routing(media(), 4, 0, hops)), "drop media"),
        Row("type 253 (experiment), 255 segments left", to6(CORPORATE6, routing(other(), 253, 255, [])), "drop source-routed"),
        Row("type 253 (experiment), no segment left", to6(CORPORATE6, routing(media(), 253, 0, [])), "drop media"),
        Row("second routing header with a segment left", to6(CORPORATE6, routing(routing(media(), 0, 1, hops), 0, 0, hops)), "drop source-routed"),
        Row("routing with a segment left behind 12 options headers", to6(CORPORATE6, options6(routing(media(), 0, 1, hops), 12)), "drop source-routed"),
        # Headers of other trades that stand before a transport.
        Row("authentication header", to6(CORPORATE6, authentication(media())), "drop media"),
        Row("authentication header, port 443", to6(CORPORATE6, authentication(other())), "forward default"),
        Row("authentication header, server", to6(SERVER6, authentication(other())), "drop servers"),
        Row("options, authentication, options", to6(CORPORATE6, options6(authentication(options6(media())))), "drop media"),
        Row("mobility header", to6(CORPORATE6, extension(MOBILITY, media(), bytes(6))), "drop media"),
        Row("host identity (HIP)", to6(CORPORATE6, extension(HIP, media(), bytes(38))), "drop media"),
        Row("shim6", to6(CORPORATE6, extension(SHIM6, media(), b"\x80" + bytes(5))), "drop media"),
        Row("mobility header, nothing behind", to6(CORPORATE6, extension(MOBILITY, Payload(NO_NEXT_HEADER, b""), bytes(6))), "forward default"),
        # Where the chain ends for a reader.
        Row("unknown header 200", to6(CORPORATE6, extension(200, media())), "forward default"),
        Row("experimental header 253", to6(CORPORATE6, extension(253, media())), "forward default"),
        Row("unknown header behind options", to6(SERVER6, options6(extension(254, media()), 2)), "forward default"),
        Row("encrypted (ESP)", to6(CORPORATE6, Payload(ESP, bytes.fromhex("0000010000000001") + bytes(24))), "forward default"),
        Row("no next header", to6(CORPORATE6, Payload(NO_NEXT_HEADER, b"")), "forward default"),
        Row("no next header, UDP behind it", to6(CORPORATE6, Payload(NO_NEXT_HEADER, media().data)), "forward default"),
        # P7: the chain is bounded by the packet.
        Row("header longer than the packet", to6(CORPORATE6, extension(HOP_BY_HOP, media(), units=255)), "drop malformed"),
        Row("header 1 unit longer than the packet", to6(CORPORATE6, extension(DESTINATION_OPTIONS, media(), units=3)), "drop malformed"),
        Row("header longer than the packet, server", to6(SERVER6, extension(DESTINATION_OPTIONS, media(), units=255)), "drop malformed"),
        Row("header longer than the packet, not a client", ip6(CORPORATE6, CLIENT6, extension(DESTINATION_OPTIONS, media(), units=255)), "drop malformed"),
        Row("header longer than the packet, public", to6(PUBLIC6, extension(DESTINATION_OPTIONS, media(), units=255)), "drop malformed"),
        Row("routing longer than the packet, segment left", to6(CORPORATE6, routing(media(), 0, 1, hops, units=200)), "drop malformed"),
        Row("12th of 12 headers longer than the packet", to6(CORPORATE6, options6(extension(DESTINATION_OPTIONS, media(), units=9), 11)), "drop malformed"),
        Row("chain ends in a header of 1 byte", to6(CORPORATE6, Payload(DESTINATION_OPTIONS, b"\x11")), "drop malformed"),
        Row("chain names a header, no byte of it", to6(CORPORATE6, options6(Payload(DESTINATION_OPTIONS, b""))), "drop malformed"),
        Row("authentication longer than the packet", to6(CORPORATE6, before(AH, b"\x11\xff" + bytes(22), media())), "drop malformed"),
        Row("chain complete, no byte of UDP", to6(CORPORATE6, options6(Payload(UDP, b""))), "drop tiny-fragment"),
        Row("chain complete, 3 bytes of UDP", to6(CORPORATE6, options6(Payload(UDP, b"\x9c\x40\x13"))), "drop tiny-fragment"),
        Row("chain complete, 4 bytes of UDP", to6(CORPORATE6, options6(Payload(UDP, b"\x9c\x40\x13\x88"))), "drop media"),
        Row("3 bytes of UDP, every port allowed", to6(LAB6, Payload(UDP, b"\x9c\x40\x13")), "forward allow"),
        Row("3 bytes of UDP to a server", to6(SERVER6, Payload(UDP, b"\x9c\x40\x13")), "drop servers"),
    ])


def ipv4_options() -> Capture:
    def media(options: bytes, destination: str = CORPORATE, **fields) -> bytes:
        return to4(destination, udp(40000, 5000), options=options, **fields)

    def other(options: bytes, destination: str = CORPORATE, **fields) -> bytes:
        return to4(destination, tcp(40000, 443), options=options, **fields)

    hops = [NEIGHBOR, CORPORATE]
    loose, strict = source_route(131, hops), source_route(137, hops)
    tail = part(seal(udp(40000, 5000, bytes(16)), CLIENT, CORPORATE), 16)
    return theme("ipv4-options", [
        # P11: the ports stand behind the options.
        Row("router alert", media(b"\x94\x04\0\0"), "drop media"),
        Row("router alert, port 443", other(b"\x94\x04\0\0"), "forward default"),
        Row("router alert, server", other(b"\x94\x04\0\0", SERVER), "drop servers"),
        Row("40 bytes of no operation", media(NOP * 40), "drop media"),
        Row("40 bytes of no operation, port 443", other(NOP * 40), "forward default"),
        Row("end of options, then zeros", media(END_OF_OPTIONS * 8), "drop media"),
        Row("record route", media(b"\x07\x07\x04\0\0\0\0"), "drop media"),
        Row("record route, full", media(b"\x07\x07\x08\x0a\x02\0\x01"), "drop media"),
        Row("record route, port 443", other(b"\x07\x07\x04\0\0\0\0"), "forward default"),
        Row("timestamp", media(b"\x44\x08\x05\0\0\0\0\0"), "drop media"),
        Row("timestamp, port 443", other(b"\x44\x08\x05\0\0\0\0\0"), "forward default"),
        Row("stream id", media(b"\x88\x04\0\x01"), "drop media"),
        Row("security label (CIPSO)", media(b"\x86\x0a\0\0\0\x01\x01\x04\0\x01"), "drop media"),
        Row("option words that look like ports", other(b"\x1e\x04\x13\x88"), "forward default"),
        # P10: source routes.
        Row("loose source route", media(loose), "drop source-routed"),
        Row("strict source route", media(strict), "drop source-routed"),
        Row("loose source route, port 443", other(loose), "drop source-routed"),
        Row("loose source route, ICMP", to4(CORPORATE, icmp(8, 0, bytes(8)), options=loose), "drop source-routed"),
        Row("loose source route, destination in no set", other(loose, NOBODY), "drop source-routed"),
        Row("loose source route, public: source route first", other(loose, PUBLIC), "drop source-routed"),
        Row("loose source route, server: source route first", other(loose, SERVER), "drop source-routed"),
        Row("loose source route, every port allowed: source route first", media(loose, LAB), "drop source-routed"),
        Row("loose source route, hairpin", media(loose, NEIGHBOR), "drop source-routed"),
        Row("loose source route, not a client", ip4(CORPORATE, CLIENT, udp(40000, 5000), options=loose), "forward not-a-client"),
        Row("loose source route, last hop left", media(source_route(131, hops, 8)), "drop source-routed"),
        Row("loose source route, one hop", media(source_route(131, [NEIGHBOR])), "drop source-routed"),
        Row("strict source route, nine hops", media(source_route(137, [NEIGHBOR] * 9)), "drop source-routed"),
        Row("no operation before the source route", media(NOP + loose), "drop source-routed"),
        Row("router alert before the source route", media(b"\x94\x04\0\0" + strict), "drop source-routed"),
        Row("record route before the source route", media(b"\x07\x07\x04\0\0\0\0" + loose), "drop source-routed"),
        Row("loose source route on a tail", to4(CORPORATE, tail, options=loose, ident=7, offset=16), "drop source-routed"),
        Row("loose source route on an empty first", to4(CORPORATE, Payload(UDP, b""), options=loose, ident=8, more=True), "drop source-routed"),
        # Where no hop is left, the header names its destination.
        Row("loose source route at its end", media(source_route(131, hops, 12)), "drop media"),
        Row("loose source route at its end, port 443", other(source_route(131, hops, 12)), "forward default"),
        Row("strict source route at its end", media(source_route(137, hops, 12)), "drop media"),
        Row("strict source route at its end, server", other(source_route(137, hops, 12), SERVER), "drop servers"),
        Row("pointer far behind the end", media(source_route(131, hops, 255)), "drop media"),
        Row("source route without hops", other(source_route(131, [])), "forward default"),
        Row("source route behind the end of options", media(END_OF_OPTIONS + loose), "drop media"),
        Row("a used source route, then one with hops", media(source_route(131, [NEIGHBOR], 8) + loose), "drop source-routed"),
    ])


def malformed_ipv4() -> Capture:
    media = to4(CORPORATE, udp(40000, 5000))
    other = to4(CORPORATE, tcp(40000, 443))

    def framed(packet: bytes) -> bytes:
        return formats.ethernet(packet, formats.ETHERTYPE_IP4)

    return theme("malformed-ipv4", [
        Row("version 0", framed(to4(CORPORATE, udp(40000, 443), version=0)), "drop malformed", framed=True),
        Row("version 5", framed(to4(CORPORATE, udp(40000, 443), version=5)), "drop malformed", framed=True),
        Row("version 15", framed(to4(CORPORATE, udp(40000, 443), version=15)), "drop malformed", framed=True),
        Row("header length 0", to4(CORPORATE, tcp(40000, 443), ihl=0), "drop malformed"),
        Row("header length 4 words", to4(CORPORATE, tcp(40000, 443), ihl=4), "drop malformed"),
        Row("header length 4 words, public", to4(PUBLIC, tcp(40000, 443), ihl=4), "drop malformed"),
        Row("header length 4 words, server", to4(SERVER, tcp(40000, 443), ihl=4), "drop malformed"),
        Row("header length 4 words, ICMP", to4(CORPORATE, icmp(8, 0, bytes(8)), ihl=4), "drop malformed"),
        Row("header length 4 words, not a client", ip4(CORPORATE, CLIENT, tcp(40000, 443), ihl=4), "drop malformed"),
        Row("header of 15 words, packet of 9", to4(CORPORATE, udp(40000, 443), ihl=15), "drop malformed"),
        Row("total length 1", to4(CORPORATE, tcp(40000, 443), total=1), "drop malformed"),
        Row("total length 19", to4(CORPORATE, tcp(40000, 443), total=19), "drop malformed"),
        Row("total length 20, header of 24", to4(CORPORATE, tcp(40000, 443), options=NOP * 4, total=20), "drop malformed"),
        Row("total length 1 byte beyond the packet", to4(CORPORATE, tcp(40000, 443), total=41), "drop malformed"),
        Row("total length 65535", to4(CORPORATE, tcp(40000, 443), total=65535), "drop malformed"),
        Row("total length beyond the packet, source route: malformed first", to4(CORPORATE, tcp(40000, 443), options=source_route(131, [NEIGHBOR]), total=2000), "drop malformed"),
        Row("total length beyond the packet, not a client", ip4(CORPORATE, CLIENT, tcp(40000, 443), total=2000), "drop malformed"),
        Row("total length ends the packet before the frame", framed(to4(CORPORATE, udp(40000, 5000, bytes(8)), total=36) + bytes(10)), "drop media", framed=True),
        Row("total length exactly the header", to4(CORPORATE, icmp(8, 0, bytes(8)), total=20), "forward default"),
        Row("total length cuts the ports off", to4(CORPORATE, udp(40000, 443), total=23), "drop tiny-fragment"),
        Row("19 bytes", framed(other[:19]), "drop malformed", framed=True),
        Row("1 byte", framed(other[:1]), "drop malformed", framed=True),
        Row("0 bytes behind the Ethernet header", framed(b""), "drop malformed", framed=True),
        Row("13 bytes: no Ethernet header", framed(media)[:13], "skip not-ip", framed=True),
        Row("0 bytes: no Ethernet header", b"", "skip not-ip", framed=True),
        Row("a sound packet after all that", media, "drop media"),
    ])


def malformed_ipv6() -> Capture:
    media = to6(CORPORATE6, udp(40000, 5000))

    def framed(packet: bytes) -> bytes:
        return formats.ethernet(packet, formats.ETHERTYPE_IP6)

    return theme("malformed-ipv6", [
        Row("version 0", framed(to6(CORPORATE6, udp(40000, 443), version=0)), "drop malformed", framed=True),
        Row("version 7", framed(to6(CORPORATE6, udp(40000, 443), version=7)), "drop malformed", framed=True),
        Row("version 15", framed(to6(CORPORATE6, udp(40000, 443), version=15)), "drop malformed", framed=True),
        Row("payload length 1 byte beyond the packet", to6(CORPORATE6, udp(40000, 443), length=17), "drop malformed"),
        Row("payload length 65535", to6(CORPORATE6, udp(40000, 443), length=65535), "drop malformed"),
        Row("payload length beyond the packet, public", to6(PUBLIC6, udp(40000, 443), length=100), "drop malformed"),
        Row("payload length beyond the packet, not a client", ip6(CORPORATE6, CLIENT6, udp(40000, 443), length=100), "drop malformed"),
        Row("payload length beyond the packet, ICMPv6", to6(CORPORATE6, icmp6(128, 0, bytes(4)), length=100), "drop malformed"),
        Row("payload length ends the packet before the frame", framed(media + bytes(10)), "drop media", framed=True),
        Row("payload length cuts the ports off", to6(CORPORATE6, udp(40000, 443), length=3), "drop tiny-fragment"),
        Row("payload length ends inside an options header", to6(CORPORATE6, options6(udp(40000, 443)), length=7), "drop malformed"),
        Row("39 bytes", framed(media[:39]), "drop malformed", framed=True),
        Row("1 byte", framed(media[:1]), "drop malformed", framed=True),
        Row("0 bytes behind the Ethernet header", framed(b""), "drop malformed", framed=True),
        Row("hop-by-hop named, no byte of it", to6(CORPORATE6, Payload(HOP_BY_HOP, b"")), "drop malformed"),
        Row("no byte of UDP", to6(CORPORATE6, Payload(UDP, b"")), "drop tiny-fragment"),
        Row("no byte of UDP, hairpin", to6(NEIGHBOR6, Payload(UDP, b"")), "drop tiny-fragment"),
        Row("no byte of UDP, destination in no set", to6(NOBODY6, Payload(UDP, b"")), "forward default"),
        Row("a sound packet after all that", media, "drop media"),
    ])


def malformed_raw() -> Capture:
    """Without a link header only the first four bits say what follows."""
    return theme("malformed-raw", [
        Row("version 0", to4(CORPORATE, udp(40000, 443), version=0), "drop malformed"),
        Row("version 5", to4(CORPORATE, udp(40000, 443), version=5), "drop malformed"),
        Row("version 15", to6(CORPORATE6, udp(40000, 443), version=15), "drop malformed"),
        Row("version 4, 1 byte", b"\x45", "drop malformed"),
        Row("version 6, 1 byte", b"\x60", "drop malformed"),
        Row("version 6, 39 bytes", to6(CORPORATE6, udp(40000, 443))[:39], "drop malformed"),
        Row("empty packet", b"", "drop malformed"),
        Row("a sound packet after all that", to4(CORPORATE, udp(40000, 5000)), "drop media"),
    ], link=Link.RAW)


def gso_and_jumbo() -> Capture:
    """P13: lengths that a segmentation offload leaves for later. The big frames are cut by the snap length."""
    big = bytes(60_000)
    huge = bytes(70_000)
    jumbo = b"\xc2\x04" + struct.pack(">I", 8 + 8 + len(huge))
    return theme("gso-and-jumbo", [
        Row("total length 0, media port", to4(CORPORATE, udp(40000, 5000), total=0), "drop media"),
        Row("total length 0, port 443", to4(CORPORATE, tcp(40000, 443), total=0), "forward default"),
        Row("total length 0, server", to4(SERVER, tcp(40000, 443), total=0), "drop servers"),
        Row("total length 0, public", to4(PUBLIC, tcp(40000, 443), total=0), "forward public"),
        Row("total length 0, not a client", ip4(CORPORATE, CLIENT, tcp(40000, 443), total=0), "forward not-a-client"),
        Row("total length 0, 3 bytes of UDP", to4(CORPORATE, Payload(UDP, b"\x9c\x40\x13"), total=0), "drop tiny-fragment"),
        Row("total length 0, router alert", to4(CORPORATE, udp(40000, 5000), options=b"\x94\x04\0\0", total=0), "drop media"),
        Row("payload length 0, media port", to6(CORPORATE6, udp(40000, 5000), length=0), "drop media"),
        Row("payload length 0, port 443", to6(CORPORATE6, tcp(40000, 443), length=0), "forward default"),
        Row("payload length 0, server", to6(SERVER6, tcp(40000, 443), length=0), "drop servers"),
        Row("payload length 0, options header", to6(CORPORATE6, options6(udp(40000, 5000)), length=0), "drop media"),
        Row("60,000 bytes of TCP", to4(CORPORATE, tcp(40000, 5000, big)), "drop media", snap=96),
        Row("60,000 bytes of TCP, port 443", to4(CORPORATE, tcp(40000, 443, big)), "forward default", snap=96),
        Row("60,000 bytes of UDP, IPv6", to6(CORPORATE6, udp(40000, 5000, big)), "drop media", snap=96),
        Row("BIG TCP: 70,000 bytes, total length 0", to4(CORPORATE, tcp(40000, 5000, huge), total=0), "drop media", snap=96),
        Row("BIG TCP: 70,000 bytes, payload length 0", to6(CORPORATE6, tcp(40000, 443, huge), length=0), "forward default", snap=96),
        Row("jumbo payload option, media port", to6(CORPORATE6, hop_by_hop(udp(40000, 5000, huge, length=0), jumbo), length=0), "drop media", snap=110),
        Row("jumbo payload option, port 443", to6(CORPORATE6, hop_by_hop(udp(40000, 443, huge, length=0), jumbo), length=0), "forward default", snap=110),
        Row("jumbo payload option, server", to6(SERVER6, hop_by_hop(udp(40000, 443, huge, length=0), jumbo), length=0), "drop servers", snap=110),
    ])


def snap_length() -> Capture:
    """The capture holds less than the wire did; lengths are measured against the wire."""
    data = bytes(1000)
    whole = seal(udp(40000, 5000, data), CLIENT, CORPORATE)
    first = to4(CORPORATE, part(whole, 0, 504), ident=1, more=True)
    tail = to4(CORPORATE, part(whole, 504), ident=1, offset=504)
    return theme("snap-length", [
        Row("cut in the data", to4(CORPORATE, udp(40000, 5000, data)), "drop media", snap=96),
        Row("cut in the data, port 443", to4(CORPORATE, tcp(40000, 443, data)), "forward default", snap=96),
        Row("cut right behind the ports", to4(CORPORATE, tcp(40000, 5000, data)), "drop media", snap=38),
        Row("cut right behind the ports, port 443", to4(CORPORATE, tcp(40000, 443, data)), "forward default", snap=38),
        Row("IPv6 cut right behind the ports", to6(CORPORATE6, tcp(40000, 5000, data)), "drop media", snap=58),
        Row("IPv6 cut right behind the ports, port 443", to6(CORPORATE6, tcp(40000, 443, data)), "forward default", snap=58),
        Row("first fragment, cut", first, "drop media", snap=64),
        Row("tail, cut", tail, "drop media", snap=64),
        Row("ICMP, cut to its IP header", to4(CORPORATE, icmp(8, 0, data)), "forward default", snap=34),
        Row("public, cut to its IP header", to4(PUBLIC, udp(40000, 3478, data)), "forward public", snap=34),
        Row("not a client, cut to its IP header", ip4(CORPORATE, CLIENT, udp(40000, 3478, data)), "forward not-a-client", snap=34),
        Row("cut, and total length beyond the wire", to4(CORPORATE, udp(40000, 443, data), total=1400), "drop malformed", snap=96),
        Row("cut, and payload length beyond the wire", to6(CORPORATE6, udp(40000, 443, data), length=1400), "drop malformed", snap=96),
    ])


def checksums_and_lengths() -> Capture:
    """P15, P16, P28: what decides nothing."""
    return theme("checksums-and-lengths", [
        Row("IP checksum 0", to4(CORPORATE, udp(40000, 5000), checksum=0), "drop media"),
        Row("IP checksum wrong", to4(CORPORATE, udp(40000, 5000), checksum=0xDEAD), "drop media"),
        Row("IP checksum wrong, port 443", to4(CORPORATE, tcp(40000, 443), checksum=0xDEAD), "forward default"),
        Row("IP checksum wrong, server", to4(SERVER, tcp(40000, 443), checksum=0xDEAD), "drop servers"),
        Row("UDP checksum 0: none", to4(CORPORATE, udp(40000, 5000, checksum=0)), "drop media"),
        Row("UDP checksum wrong", to4(CORPORATE, udp(40000, 5000, checksum=0xDEAD)), "drop media"),
        Row("UDP checksum wrong, port 53", to4(CORPORATE, udp(40000, 53, checksum=0xDEAD)), "forward default"),
        Row("TCP checksum wrong", to4(CORPORATE, tcp(40000, 5000, checksum=0xDEAD)), "drop media"),
        Row("TCP checksum 0", to4(CORPORATE, tcp(40000, 443, checksum=0)), "forward default"),
        Row("UDP over IPv6, checksum 0 (RFC 6935)", to6(CORPORATE6, udp(40000, 5000, checksum=0)), "drop media"),
        Row("UDP over IPv6, checksum wrong", to6(CORPORATE6, udp(40000, 443, checksum=0xDEAD)), "forward default"),
        Row("UDP length 0", to4(CORPORATE, udp(40000, 5000, length=0)), "drop media"),
        Row("UDP length 0, port 53", to4(CORPORATE, udp(40000, 53, length=0)), "forward default"),
        Row("UDP length 4", to4(CORPORATE, udp(40000, 5000, length=4)), "drop media"),
        Row("UDP length 4, port 53", to4(CORPORATE, udp(40000, 53, length=4)), "forward default"),
        Row("UDP length 60000", to4(CORPORATE, udp(40000, 5000, length=60000)), "drop media"),
        Row("UDP length 60000, port 53", to4(CORPORATE, udp(40000, 53, length=60000)), "forward default"),
        Row("UDP length 60000, server", to4(SERVER, udp(40000, 53, length=60000)), "drop servers"),
        Row("UDP length 9, IPv6", to6(CORPORATE6, udp(40000, 5000, length=9)), "drop media"),
        Row("UDP without data", to4(CORPORATE, udp(40000, 5000, b"")), "drop media"),
        Row("7 bytes of UDP", to4(CORPORATE, Payload(UDP, udp(40000, 5000, b"").data[:7])), "drop media"),
        Row("19 bytes of TCP", to4(CORPORATE, Payload(TCP, tcp(40000, 443).data[:19])), "forward default"),
        Row("TCP data offset 0", to4(CORPORATE, Payload(TCP, bytes.fromhex("9c4013880000000100000001001000000000 0000"))), "drop media"),
        Row("TCP data offset 15 in 20 bytes", to4(CORPORATE, Payload(TCP, bytes.fromhex("9c4001bb0000000100000001f01000000000 0000"))), "forward default"),
        Row("time to live 0", to4(CORPORATE, udp(40000, 5000), ttl=0), "drop media"),
        Row("time to live 1, port 443", to4(CORPORATE, tcp(40000, 443), ttl=1), "forward default"),
        Row("hop limit 0", to6(CORPORATE6, udp(40000, 5000), hops=0), "drop media"),
        Row("hop limit 1, port 443", to6(CORPORATE6, tcp(40000, 443), hops=1), "forward default"),
        Row("expedited, congestion met", to4(CORPORATE, udp(40000, 5000), tos=0xBB), "drop media"),
        Row("expedited, congestion met, IPv6, port 443", to6(CORPORATE6, tcp(40000, 443), traffic_class=0xBB), "forward default"),
        Row("don't fragment", to4(CORPORATE, udp(40000, 5000), dont=True), "drop media"),
        Row("reserved flag", to4(CORPORATE, tcp(40000, 443), reserved=True), "forward default"),
    ])


def tcp_flags() -> Capture:
    """P21: flags decide nothing, in either direction."""
    names = {
        "none": 0x000, "SYN": 0x002, "SYN and ACK": 0x012, "SYN and FIN": 0x003, "RST": 0x004, "FIN, PSH, URG (Xmas)": 0x029,
        "all nine": 0x1FF, "ACK": 0x010,
    }
    return theme("tcp-flags", [
        *(Row(f"{name}, port 5000", to4(CORPORATE, tcp(40000, 5000, flags=flags)), "drop media") for name, flags in names.items()),
        *(Row(f"{name}, port 443", to4(CORPORATE, tcp(40000, 443, flags=flags)), "forward default") for name, flags in names.items()),
        *(Row(f"{name}, server", to4(SERVER, tcp(40000, 443, flags=flags)), "drop servers") for name, flags in names.items()),
        Row("simultaneous open", to4(NEIGHBOR, tcp(5000, 5000, flags=0x002)), "drop hairpin"),
        Row("its other half", ip4(NEIGHBOR, CLIENT, tcp(5000, 5000, flags=0x002)), "drop hairpin"),
        Row("SYN and ACK of a server on a client", to4(CORPORATE, tcp(445, 50000, flags=0x012)), "drop media"),
        Row("IPv6, none, port 5000", to6(CORPORATE6, tcp(40000, 5000, flags=0)), "drop media"),
        Row("IPv6, all nine, port 443", to6(CORPORATE6, tcp(40000, 443, flags=0x1FF)), "forward default"),
    ])


def other_protocols() -> Capture:
    """P17-P19, P22, P23: what has no TCP or UDP header right behind the outermost IP header forwards."""
    inner4 = to4(CORPORATE, udp(40000, 5000))
    inner6 = to6(CORPORATE6, udp(40000, 5000))
    ports = struct.pack(">HH", 40000, 5000)
    quoted = bytes(4) + inner4[:28]
    quoted6 = bytes(4) + inner6[:48]
    vxlan = bytes.fromhex("0800000000002a00") + formats.ethernet(inner4)
    rows = []
    for name, payload in {
        "UDP-Lite": Payload(UDP_LITE, ports + bytes(12)),
        "SCTP": Payload(SCTP, ports + bytes(12)),
        "DCCP": Payload(DCCP, ports + bytes(12)),
        "GRE": Payload(GRE, b"\0\0\x08\0" + inner4),
        "ESP": Payload(ESP, bytes.fromhex("0000010000000001") + bytes(24)),
        "IPv4 inside": Payload(IPIP, inner4),
        "IPv6 inside": Payload(IP6_IN_IP, inner6),
        "protocol 255": Payload(255, ports + bytes(12)),
        "protocol 253": Payload(253, ports + bytes(12)),
        "IGMP": Payload(2, bytes.fromhex("1600e9ff00000000")),
        "OSPF": Payload(89, bytes(24)),
    }.items():
        rows += [
            Row(f"{name} to corporate", to4(CORPORATE, payload), "forward default"),
            Row(f"{name} to a server", to4(SERVER, payload), "forward default"),
            Row(f"{name} to a client", to4(NEIGHBOR, payload), "forward default"),
        ]
        if name != "IGMP":
            rows.append(Row(f"{name} over IPv6 to corporate", to6(CORPORATE6, payload), "forward default"))
    return theme("other-protocols", [
        *rows,
        Row("protocol 0 over IPv4", to4(CORPORATE, Payload(0, ports + bytes(12))), "forward default"),
        Row("GRE to public", to4(PUBLIC, Payload(GRE, b"\0\0\x08\0" + inner4)), "forward public"),
        Row("SCTP from no client", ip4(CORPORATE, CLIENT, Payload(SCTP, ports + bytes(12))), "forward not-a-client"),
        # ICMP: the quoted packet decides nothing.
        Row("echo request", to4(CORPORATE, icmp(8, 0, bytes(8))), "forward default"),
        Row("port unreachable that quotes media", to4(CORPORATE, icmp(3, 3, quoted)), "forward default"),
        Row("fragmentation needed that quotes media", to4(CORPORATE, icmp(3, 4, quoted)), "forward default"),
        Row("time exceeded, to a server", to4(SERVER, icmp(11, 0, quoted)), "forward default"),
        Row("ICMP of 1 byte", to4(CORPORATE, Payload(ICMP, b"\x08")), "forward default"),
        Row("ICMP of 0 bytes", to4(CORPORATE, Payload(ICMP, b"")), "forward default"),
        Row("ICMPv6 echo request", to6(CORPORATE6, icmp6(128, 0, bytes(4))), "forward default"),
        Row("ICMPv6 port unreachable that quotes media", to6(CORPORATE6, icmp6(1, 4, quoted6)), "forward default"),
        Row("ICMPv6 packet too big, to a server", to6(SERVER6, icmp6(2, 0, quoted6)), "forward default"),
        Row("ICMPv6 behind destination options", to6(CORPORATE6, options6(icmp6(1, 4, quoted6))), "forward default"),
        # P23: tunnels inside UDP are UDP.
        Row("VXLAN is UDP 4789", to4(CORPORATE, udp(40000, 4789, vxlan)), "drop media"),
        Row("WireGuard is UDP 51820", to4(CORPORATE, udp(40000, 51820, b"\x01" + bytes(147))), "drop media"),
        Row("IPsec behind NAT is UDP 4500", to4(CORPORATE, udp(4500, 4500, bytes(16))), "drop media"),
        Row("L2TP is UDP 1701", to4(CORPORATE, udp(1701, 1701, bytes(16))), "drop media"),
        Row("IKE is UDP 500", to4(CORPORATE, udp(500, 500, bytes(28))), "forward default"),
        Row("Teredo to nobody is UDP 3544", to4(NOBODY, udp(40000, 3544, inner6)), "forward default"),
        Row("OpenVPN over TCP 443, server", to4(SERVER, tcp(40000, 443, bytes(16))), "drop servers"),
        # P22: an address is what it is; the IPv4 address inside is not looked at.
        Row("IPv4-mapped corporate", to6(f"::ffff:{CORPORATE}", udp(40000, 5000)), "forward default"),
        Row("IPv4-mapped server", to6(f"::ffff:{SERVER}", tcp(40000, 443)), "forward default"),
        Row("IPv4-compatible server", to6(f"::{SERVER}", tcp(40000, 443)), "forward default"),
        Row("NAT64 of a server", to6(f"64:ff9b::{SERVER}", tcp(40000, 443)), "forward default"),
        Row("6to4 of a corporate address", to6("2002:a02:5::1", udp(40000, 5000)), "forward default"),
        Row("Teredo of a corporate address", to6("2001:0:a02:5::1", udp(40000, 5000)), "forward default"),
        Row("ISATAP of a corporate address", to6("2001:db8:dead::5efe:a02:5", udp(40000, 5000)), "forward default"),
        Row("ISATAP of a corporate address, in the corporate prefix", to6("2001:db8:a::5efe:a02:5", udp(40000, 5000)), "drop media"),
        Row("from the IPv4-mapped client", ip6(f"::ffff:{CLIENT}", CORPORATE6, udp(40000, 5000)), "forward not-a-client"),
    ])


SOURCES = {
    "corporate": CORPORATE, "in no set": NOBODY, "unspecified": "0.0.0.0", "loopback": "127.0.0.1", "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255", "link-local": "169.254.1.1", "next to the subnet": "172.16.2.1", "server": SERVER,
}
SOURCES6 = {
    "corporate": CORPORATE6, "in no set": NOBODY6, "unspecified": "::", "loopback": "::1", "multicast": "ff02::1",
    "link-local": "fe80::1", "next to the subnet": "2001:db8:16:1::1", "IPv4-mapped client": f"::ffff:{CLIENT}",
}


def source_rows(verdict: str) -> list[Row]:
    """P24: every source that is no client's, to every kind of destination."""
    media, other = udp(40000, 5000), tcp(40000, 443)
    hops = source_route(131, [NEIGHBOR])
    tail = Payload(UDP, bytes(16))
    return [
        *(Row(f"source {name}, media port", ip4(source, CORPORATE, media), verdict) for name, source in SOURCES.items()),
        *(Row(f"source {name}, IPv6, media port", ip6(source, CORPORATE6, media), verdict) for name, source in SOURCES6.items()),
        Row("to a server", ip4(NOBODY, SERVER, other), verdict),
        Row("to public: source first", ip4(NOBODY, PUBLIC, other), verdict),
        Row("to a port that is allowed", ip4(NOBODY, JUMP, tcp(40000, 3389)), verdict),
        Row("to nobody", ip4(NOBODY, NOBODY, other), verdict),
        Row("ICMP", ip4(NOBODY, CORPORATE, icmp(8, 0, bytes(8))), verdict),
        Row("source route: source first", ip4(NOBODY, CORPORATE, media, options=hops), verdict),
        Row("routing header: source first", ip6(NOBODY6, CORPORATE6, routing(media, 0, 1, [NEIGHBOR6])), verdict),
        Row("tail without a first", ip4(NOBODY, CORPORATE, tail, ident=9, offset=16), verdict),
        Row("IPv6 tail without a first", ip6(NOBODY6, CORPORATE6, fragment(tail, 9, 16)), verdict),
        Row("empty first", ip4(NOBODY, CORPORATE, Payload(UDP, b""), ident=10, more=True), verdict),
        Row("DHCP discover", ip4("0.0.0.0", "255.255.255.255", udp(68, 67)), verdict),
        Row("neighbor solicitation", ip6("fe80::1", "ff02::1:ff00:1", icmp6(135, 0, bytes(20)), hops=255), verdict),
        Row("header length 4 words: malformed first", ip4(NOBODY, CORPORATE, other, ihl=4), "drop malformed"),
        Row("payload length beyond the packet: malformed first", ip6(NOBODY6, CORPORATE6, media, length=99), "drop malformed"),
        Row("a client, media port", to4(CORPORATE, media), "drop media"),
        Row("a client, port 443", to4(CORPORATE, other), "forward default"),
        Row("a client, public", to4(PUBLIC, other), "forward public"),
        Row("a client inside the corporate prefix", ip4(BOTH, CORPORATE, other), "forward default"),
        Row("an IPv6 client, server", to6(SERVER6, other), "drop servers"),
    ]


def unknown_sources() -> Capture:
    return theme("unknown-sources", source_rows("forward not-a-client"))


def spoofed_sources() -> Capture:
    return theme("spoofed-sources", source_rows("drop spoofed-source"), DROPS_UNKNOWN_SOURCES)


def leaked_public() -> Capture:
    media, other = udp(40000, 5000), tcp(40000, 443)
    whole = Payload(UDP, bytes(32))
    return theme("leaked-public", [
        Row("public, TCP 443", to4(PUBLIC, other), "drop public"),
        Row("public, UDP 5000", to4(PUBLIC, media), "drop public"),
        Row("public, ICMP", to4(PUBLIC, icmp(8, 0, bytes(8))), "drop public"),
        Row("public, ESP", to4(PUBLIC, Payload(ESP, bytes(16))), "drop public"),
        Row("public, IPv6", to6(PUBLIC6, other), "drop public"),
        Row("public inside the corporate prefix", to4(PUBLIC_CORPORATE, media), "drop public"),
        Row("public and server", to4(PUBLIC_SERVER, other), "drop public"),
        Row("public, first fragment", to4(PUBLIC, part(whole, 0, 16), ident=3, more=True), "drop public"),
        Row("public, tail", to4(PUBLIC, part(whole, 16), ident=3, offset=16), "drop public"),
        Row("public, tail without a first", to4(PUBLIC, part(whole, 16), ident=4, offset=16), "drop public"),
        Row("public, empty first", to4(PUBLIC, part(whole, 0, 0), ident=5, more=True), "drop public"),
        Row("public, IPv6 tail without a first", to6(PUBLIC6, fragment(part(whole, 16), 4, 16)), "drop public"),
        Row("public, IPv6 chain not complete", to6(PUBLIC6, fragment(Payload(DESTINATION_OPTIONS, b"\x11\x03" + bytes(6)), 5, more=True)), "drop public"),
        Row("public, not a client: source first", ip4(CORPORATE, PUBLIC, other), "forward not-a-client"),
        Row("public, source route first", to4(PUBLIC, other, options=source_route(131, [NEIGHBOR])), "drop source-routed"),
        Row("public, malformed first", to4(PUBLIC, other, ihl=4), "drop malformed"),
        Row("corporate, media port", to4(CORPORATE, media), "drop media"),
        Row("corporate, port 443", to4(CORPORATE, other), "forward default"),
        Row("server", to4(SERVER, other), "drop servers"),
    ], DROPS_LEAKS)


def broadcast_and_multicast() -> Capture:
    """P25: such destinations forward unless they lie inside a prefix of the policy."""
    return theme("broadcast-and-multicast", [
        Row("limited broadcast", to4("255.255.255.255", udp(40000, 5000)), "forward default"),
        Row("NetBIOS to the broadcast of the client subnet", to4("172.16.1.255", udp(138, 138)), "forward default"),
        Row("broadcast of the client subnet, media port", to4("172.16.1.255", udp(40000, 5000)), "drop hairpin"),
        Row("broadcast of a corporate subnet, media port", to4("10.2.0.255", udp(40000, 5000)), "drop media"),
        Row("broadcast of the corporate prefix, port 137", to4("10.255.255.255", udp(137, 137)), "forward default"),
        Row("address of the corporate network itself", to4("10.0.0.0", udp(40000, 5000)), "drop media"),
        Row("multicast DNS", to4("224.0.0.251", udp(5353, 5353)), "forward default"),
        Row("SSDP", to4("239.255.255.250", udp(40000, 1900)), "forward default"),
        Row("all hosts, IGMP", to4("224.0.0.1", Payload(2, bytes.fromhex("1100eeff00000000")), options=b"\x94\x04\0\0", ttl=1), "forward default"),
        Row("link-local", to4("169.254.7.7", udp(40000, 5000)), "forward default"),
        Row("loopback", to4("127.0.0.1", udp(40000, 5000)), "forward default"),
        Row("this network", to4("0.0.0.0", udp(40000, 5000)), "forward default"),
        Row("multicast DNS, IPv6", to6("ff02::fb", udp(5353, 5353)), "forward default"),
        Row("all nodes", to6("ff02::1", udp(40000, 5000)), "forward default"),
        Row("multicast that embeds the corporate prefix (RFC 3306)", to6("ff3e:30:2001:db8:a::1", udp(40000, 5000)), "forward default"),
        Row("link-local, IPv6", to6("fe80::1", udp(40000, 5000)), "forward default"),
        Row("subnet-router anycast of the clients", to6("2001:db8:16::", udp(40000, 5000)), "drop hairpin"),
        Row("loopback, IPv6", to6("::1", udp(40000, 5000)), "forward default"),
    ])


# Link types and file formats: what the packets are is told above; here it matters where they begin.

FOUR = [
    Row("media over IPv4", to4(CORPORATE, udp(40000, 5000)), "drop media"),
    Row("web over IPv4", to4(CORPORATE, tcp(40000, 443)), "forward default"),
    Row("server over IPv6", to6(SERVER6, tcp(40000, 443)), "drop servers"),
    Row("hairpin over IPv6", to6(NEIGHBOR6, udp(40000, 5000)), "drop hairpin"),
]
FOUR_OF_IP4 = [
    FOUR[0],
    FOUR[1],
    Row("server over IPv4", to4(SERVER, tcp(40000, 443)), "drop servers"),
    Row("hairpin over IPv4", to4(NEIGHBOR, udp(40000, 5000)), "drop hairpin"),
]
FOUR_OF_IP6 = [
    Row("media over IPv6", to6(CORPORATE6, udp(40000, 5000)), "drop media"),
    Row("web over IPv6", to6(CORPORATE6, tcp(40000, 443)), "forward default"),
    FOUR[2],
    FOUR[3],
]


def not_ip(what: str, frame: bytes) -> Row:
    return Row(what, frame, "skip not-ip", framed=True)


def link_types() -> list[Capture]:
    web4, web6 = FOUR[1].packet, FOUR_OF_IP6[1].packet
    arp, arp_kind = formats.ARP_REQUEST, formats.ETHERTYPE_ARP
    spanning_tree = formats.MACS + bytes.fromhex("0026424203") + bytes(35)
    discovery = formats.MACS + bytes.fromhex("8863110900000000")
    return [
        link_type("ethernet", Link.ETHERNET, formats.ethernet, [
            *FOUR,
            Row("padded to 60 bytes", formats.ethernet(to4(CORPORATE, udp(40000, 5000))) + bytes(10), "drop media", framed=True),
            not_ip("ARP", formats.ethernet(arp, arp_kind)),
            not_ip("spanning tree: LLC without SNAP", spanning_tree),
        ]),
        link_type("vlan", Link.ETHERNET, formats.vlan, [*FOUR, not_ip("ARP", formats.vlan(arp, arp_kind))]),
        link_type("qinq", Link.ETHERNET, formats.qinq, [*FOUR, not_ip("ARP", formats.qinq(arp, arp_kind))]),
        link_type("pppoe", Link.ETHERNET, formats.pppoe, [
            *FOUR,
            not_ip("LCP echo", formats.pppoe(formats.LCP_ECHO, 0xC021)),
            not_ip("PPPoE discovery", discovery),
        ]),
        link_type("llc-snap", Link.ETHERNET, formats.snap, [*FOUR, not_ip("ARP", formats.snap(arp, arp_kind))]),
        link_type("raw-101", Link.RAW, formats.raw, FOUR),
        link_type("raw-12", Link.RAW_BSD, formats.raw, FOUR),
        link_type("ipv4-228", Link.IPV4, formats.raw, FOUR_OF_IP4),
        link_type("ipv6-229", Link.IPV6, formats.raw, FOUR_OF_IP6),
        link_type("null-little-endian", Link.NULL, lambda packet: formats.null(packet, "<"), [
            *FOUR,
            Row("IPv6 is 28 on FreeBSD", formats.null(web6, "<", 28), "forward default", framed=True),
            Row("IPv6 is 30 on macOS", formats.null(web6, "<", 30), "forward default", framed=True),
            not_ip("AppleTalk", formats.null(web4, "<", 16)),
        ]),
        link_type("null-big-endian", Link.NULL, lambda packet: formats.null(packet, ">"), [
            *FOUR,
            Row("IPv6 is 28 on FreeBSD", formats.null(web6, ">", 28), "forward default", framed=True),
            Row("IPv6 is 30 on macOS", formats.null(web6, ">", 30), "forward default", framed=True),
            not_ip("AppleTalk", formats.null(web4, ">", 16)),
        ]),
        link_type("loop-108", Link.LOOP, lambda packet: formats.null(packet, ">"), FOUR),
        link_type("sll-113", Link.SLL, formats.sll, [*FOUR, not_ip("ARP", formats.sll(arp, arp_kind))]),
        link_type("sll2-276", Link.SLL2, formats.sll2, [*FOUR, not_ip("ARP", formats.sll2(arp, arp_kind))]),
        link_type("ppp-9", Link.PPP, formats.ppp, [
            *FOUR,
            Row("IPv4 without address and control", formats.ppp(web4, framed=False), "forward default", framed=True),
            Row("IPv6 without address and control", formats.ppp(web6, framed=False), "forward default", framed=True),
            not_ip("LCP echo", formats.ppp(formats.LCP_ECHO, 0xC021)),
        ]),
        link_type("nflog-239", Link.NFLOG, formats.nflog, FOUR),
    ]


def file_formats() -> list[Capture]:
    ethernet = [wire(row) for row in FOUR]
    verdicts = [row.verdict for row in FOUR]
    # Five packets: both link types, and a captured length that is not a multiple of 4.
    mixed = [*FOUR, Row("odd length", to4(CORPORATE, udp(40000, 5000, b"odd")), "drop media")]

    def two_interfaces(order: str) -> bytes:
        """Ethernet in nanoseconds and raw IP in 2^-20 seconds, in turns, with blocks between that are no packets."""
        section = Pcapng(order)
        section.interface(Link.ETHERNET, 9)
        section.interface(Link.RAW, 0x80 | 20)
        section.name_resolution()
        for index, row in enumerate(mixed):
            if index % 2:
                section.packet(wire(row, Link.RAW, formats.raw), index, 1, row.trick)
            else:
                section.packet(wire(row), index, 0)
            section.unknown()
        return section.file

    def simple_packets() -> bytes:
        section = Pcapng()
        section.interface(Link.ETHERNET, snap_length=64)
        for row in (*FOUR, Row("cut to 64", to4(CORPORATE, udp(40000, 5000, bytes(500))), "drop media")):
            frame = wire(row)
            section.simple_packet(Wire(frame.data[:64], frame.original, frame.link))
        return section.file

    def every_packet_block() -> bytes:
        """A section of each byte order: simple, enhanced and obsolete packet blocks in turns."""
        file = b""
        for order in "<>":
            section = Pcapng(order)
            section.interface(Link.RAW)
            rows = [wire(row, Link.RAW, formats.raw) for row in FOUR]
            section.simple_packet(rows[0])
            section.packet(rows[1], 1, comment="enhanced")
            section.name_resolution()
            section.obsolete_packet(rows[2], 2)
            section.simple_packet(rows[3])
            file += section.file
        return file

    plain = formats.pcap(ethernet)
    return [
        Capture("format-microseconds-little-endian.pcap", SMALL, plain, verdicts),
        Capture("format-microseconds-big-endian.pcap", SMALL, formats.pcap(ethernet, ">"), verdicts),
        Capture("format-nanoseconds-little-endian.pcap", SMALL, formats.pcap(ethernet, "<", nanoseconds=True), verdicts),
        Capture("format-nanoseconds-big-endian.pcap", SMALL, formats.pcap(ethernet, ">", nanoseconds=True), verdicts),
        Capture("format-two-interfaces-little-endian.pcapng", SMALL, two_interfaces("<"), [row.verdict for row in mixed]),
        Capture("format-two-interfaces-big-endian.pcapng", SMALL, two_interfaces(">"), [row.verdict for row in mixed]),
        Capture("format-simple-packets.pcapng", SMALL, simple_packets(), [*verdicts, "drop media"]),
        Capture("format-packet-blocks.pcapng", SMALL, every_packet_block(), verdicts * 2),
        Capture("format-gzip.pcap.gz", SMALL, formats.gzipped(plain), verdicts),
        Capture("format-empty.pcap", SMALL, plain[:24], []),
        # The fourth record ends in the middle of its frame.
        Capture("cut-off.pcap", SMALL, plain[:-40], verdicts[:3]),
    ]


def contoso_morning() -> Capture:
    """Ten minutes on the tun of Contoso's concentrator before the filter is switched on, by config/contoso.toml.

    Not a trick in it: what a network engineer would see, and what `offramp replay` makes of it.
    """
    policy = (HERE.parents[1] / "config" / "contoso.toml").read_text()
    rows: list[Row] = []

    def rtp(sequence: int, kind: int = 0) -> bytes:
        header = struct.pack(">BBHII", 0x80, kind, sequence, sequence * 160, 0x0FF2A4B0)
        return header + bytes((sequence * 7 + at) % 256 for at in range(160))

    def stun(kind: int) -> bytes:
        return struct.pack(">HHI12s", kind, 0, 0x2112A442, b"offramp-test")

    def say(what: str, source: str, destination: str, payload: Payload, verdict: str) -> None:
        rows.append(Row(what, ip4(source, destination, payload), verdict))

    def stream(what: str, source: str, destination: str, ports: tuple[int, int], packets: int, verdict: str) -> None:
        for kind in (0x0001, 0x0001):
            say(f"{what}: connectivity check", source, destination, udp(*ports, stun(kind)), verdict)
        for sequence in range(packets):
            say(what, source, destination, udp(*ports, rtp(sequence)), verdict)

    def session(what: str, source: str, destination: str, ports: tuple[int, int], packets: int, verdict: str) -> None:
        say(f"{what}: opens", source, destination, tcp(*ports, flags=0x02), verdict)
        for packet in range(packets):
            say(what, source, destination, tcp(*ports, bytes([packet % 256]) * 90, flags=0x18), verdict)

    ann, ben, eve, joe = (f"172.16.1.{host}" for host in (11, 12, 13, 14))
    session("Ann registers at the Front End", ann, "10.1.0.10", (50101, 5061), 12, "drop servers")
    session("Ben registers at the Front End", ben, "10.1.0.11", (50102, 5061), 9, "drop servers")
    session("Ann asks for relay credentials at the Edge's internal side", ann, "10.2.0.5", (50103, 5062), 3, "drop servers")
    stream("Ann calls a colleague in the office", ann, "10.20.7.31", (50012, 50018), 140, "drop media")
    stream("Ben calls another", ben, "10.21.3.8", (50004, 50030), 90, "drop media")
    stream("Ann and Eve talk, both on the VPN", ann, eve, (50014, 50022), 60, "drop hairpin")
    stream("Eve answers Ann", eve, ann, (50022, 50014), 55, "drop hairpin")
    stream("Joe's call goes by the A/V Edge, but through the tunnel", joe, "167.55.49.34", (50007, 3478), 75, "forward public")
    session("Outlook talks to the published Exchange", joe, "167.55.49.36", (50201, 443), 30, "forward public")
    session("intranet", ann, "10.5.1.20", (50301, 443), 80, "forward default")
    session("file server", ben, "10.3.0.5", (50302, 445), 120, "forward default")
    session("Remote Desktop to a jump host", eve, "10.9.0.5", (50303, 3389), 70, "forward allow")
    session("directory", ann, "10.0.0.9", (50304, 389), 14, "forward default")
    session("directory, dynamic RPC", ann, "10.0.0.9", (50305, 49668), 11, "forward allow")
    for client, port in ((ann, 50306), (eve, 50307), (joe, 50308)):
        session("Remote Desktop to a PC in the office", client, "10.20.7.40", (port, 3389), 35, "drop media")
    session("Remote Desktop to the next PC", joe, "10.20.7.41", (50309, 3389), 28, "drop media")
    session("the order system's Oracle", ben, "10.4.1.5", (50310, 1521), 44, "drop media")
    session("the order system's Oracle", joe, "10.4.1.5", (50311, 1521), 21, "drop media")
    session("NFS", eve, "10.3.0.6", (50312, 2049), 18, "drop media")
    for packet in range(24):
        say("helpdesk sees Eve's screen: replies of the client", eve, "10.6.0.30", tcp(3389, 50977, bytes(200), flags=0x18), "forward allow")
    for number in range(40):
        say("DNS", (ann, ben, eve, joe)[number % 4], "10.0.0.53", udp(50400 + number, 53, bytes(30)), "forward default")
    for number in range(8):
        say("ping", ann, "10.3.0.5", icmp(8, 0, struct.pack(">HH", 7, number) + bytes(48)), "forward default")

    frames = [wire(row, Link.RAW, formats.raw) for row in rows]
    file = formats.annotated(frames, [row.trick for row in rows])
    return Capture("contoso-morning.pcapng", policy, file, [row.verdict for row in rows])


def rtp_quality() -> Capture:
    """RTP streams that are lost, late, repeated and uneven, and the call setup that tells a reader their clocks: one call
    with connectivity checks, and one of a telephone, without.

    What the measurements must be is asked of tshark, which reads the call setup; offramp has to find the clocks by itself.
    """
    random = 0x2545F491
    timed: list[tuple[int, str, bytes, str]] = []

    def below(bound: int) -> int:
        nonlocal random
        random = (random * 1_103_515_245 + 12_345) % 2**31
        return (random >> 12) % bound

    def setup(start: int, source: str, destination: str, media: list[str]) -> None:
        lines = ["v=0", f"o=- 1 1 IN IP4 {source}", "s=-", f"c=IN IP4 {source}", "t=0 0", *media, ""]
        body = "\r\n".join(lines)
        head = [
            f"INVITE sip:b@{destination} SIP/2.0", f"Via: SIP/2.0/UDP {source}:5060;branch=z9hG4bK{start}",
            f"From: <sip:a@{source}>;tag={start}", f"To: <sip:b@{destination}>", f"Call-ID: {start}@{source}", "CSeq: 1 INVITE",
            "Content-Type: application/sdp", f"Content-Length: {len(body)}", "", "",
        ]  # fmt: skip
        message = "\r\n".join(head).encode() + body.encode()
        timed.append((start, "call setup", ip4(source, destination, udp(5060, 5060, message)), "forward not-a-client"))

    def stream(what: str, ends: tuple[str, str], ports: tuple[int, int], source: int, first: int, start: int, uneven: int,
               packets: list[tuple[int, int, int, bool]], verdict: str) -> None:  # fmt: skip
        """`first`: number of the first packet. `packets`: microseconds after the start, stamp, payload type, marker; in the order of their numbers."""
        for number, (after, stamp, kind, marker) in enumerate(packets):
            header = struct.pack(">BBHII", 0x80, marker << 7 | kind, (first + number) % 65_536, stamp % 2**32, source)
            arrival = start + after + below(uneven)
            match number:
                case _ if number % 37 == 30 or 50 <= number < 54:
                    continue  # lost
                case _ if number % 41 == 20:
                    arrival += 45_000  # late
            packet = ip4(*ends, udp(*ports, header + bytes(20)))
            timed.append((arrival, what, packet, verdict))
            if number % 53 == 40:
                timed.append((arrival + 300, f"{what}: once more", packet, verdict))

    def speech(count: int, clock: int, kind: int) -> list[tuple[int, int, int, bool]]:
        """20 ms a packet, with comfort noise now and then, and a marker behind it."""
        noise = 13 if kind == 0 else kind
        is_noise = [number % 60 in (57, 58) for number in range(count)]
        marked = [number == 0 or not is_noise[number] and is_noise[number - 1] for number in range(count)]
        return [
            (number * 20_000, 1_000 + number * clock // 50, noise if is_noise[number] else kind, marked[number])
            for number in range(count)
        ]

    def video(pictures: int, parts: int) -> list[tuple[int, int, int, bool]]:
        """30 pictures a second, in parts; the last of them is marked."""
        return [
            (picture * 33_333 + part * 5_000, 5_000 + picture * 3_000, 96, part == parts - 1)
            for picture in range(pictures)
            for part in range(parts)
        ]

    def check(ports: tuple[int, int], start: int) -> None:
        """A connectivity check: a STUN binding request with a user name."""
        message = struct.pack(">HHI12sHH", 0x0001, 12, 0x2112A442, b"offramp-test", 0x0006, 8) + b"peer:you"
        timed.append((start, "connectivity check", to4(CORPORATE, udp(*ports, message)), "drop media"))

    phone = "10.2.0.6"
    there, to_phone, from_phone = (CLIENT, CORPORATE), (CLIENT, phone), (phone, CLIENT)
    setup(0, phone, CLIENT, ["m=audio 24000 RTP/AVP 0 13"])
    setup(1_000, CORPORATE, CLIENT, [
        "m=audio 24010 RTP/AVP 111", "a=rtpmap:111 opus/48000/2",
        "m=audio 24030 RTP/AVP 104", "a=rtpmap:104 SILK/16000", "m=video 24020 RTP/AVP 96", "a=rtpmap:96 H264/90000",
    ])  # fmt: skip
    for ports in (50_010, 24_010), (50_020, 24_020), (50_030, 24_030):
        check(ports, 500)
    stream("telephony", to_phone, (50_000, 24_000), 0x0A0A0A01, 65_500, 100_000, 9_000, speech(150, 8_000, 0), "drop media")
    stream("Opus", there, (50_010, 24_010), 0x0A0A0A02, 65_500, 103_000, 15_000, speech(150, 48_000, 111), "drop media")
    stream("SILK", there, (50_030, 24_030), 0x0A0A0A04, 65_500, 105_000, 4_000, speech(90, 16_000, 104), "drop media")
    stream("video", there, (50_020, 24_020), 0x0A0A0A03, 1_000, 107_000, 4_500, video(45, 4), "drop media")
    stream("telephony, to the client", from_phone, (24_000, 50_000), 0x0B0B0B01, 7, 101_000, 2_000, speech(120, 8_000, 0), "forward not-a-client")
    timed.sort(key=lambda packet: packet[0])
    frames = [Wire(packet, len(packet), Link.RAW, at) for at, _, packet, _ in timed]
    return Capture("rtp-quality.pcap", SITE, formats.pcap(frames), [verdict for *_, verdict in timed])


def captures() -> list[Capture]:
    return [
        table_1_ipv4(), table_1_ipv6(), media_ports(), ipv4_fragments(), ipv6_fragments(), ipv6_extension_headers(),
        ipv4_options(), malformed_ipv4(), malformed_ipv6(), malformed_raw(), gso_and_jumbo(), snap_length(),
        checksums_and_lengths(), tcp_flags(), other_protocols(), unknown_sources(), spoofed_sources(), leaked_public(),
        broadcast_and_multicast(), contoso_morning(), rtp_quality(), *link_types(), *file_formats(),
    ]  # fmt: skip


# Writing and checking.

SUFFIXES = (".pcap", ".pcapng", ".pcap.gz")
VERDICTS = {
    *(f"drop {reason}" for reason in ("malformed", "spoofed-source", "source-routed", "public", "servers", "media", "hairpin", "tiny-fragment")),
    *(f"forward {reason}" for reason in ("not-a-client", "public", "allow", "default")),
    "skip not-ip",
}


def files() -> dict[str, bytes]:
    """Every file of this folder that is made, by name."""
    made: dict[str, bytes] = {}
    for capture in captures():
        unknown = set(capture.verdicts) - VERDICTS
        assert not unknown, f"{capture.name}: no such verdict: {', '.join(sorted(unknown))}"
        stem = capture.name.split(".")[0]
        assert f"{stem}.verdicts" not in made, f"{stem}: two captures of one name"
        made[capture.name] = capture.file
        made[f"{stem}.policy.toml"] = capture.policy.encode()
        made[f"{stem}.verdicts"] = "".join(f"{frame} {verdict}\n" for frame, verdict in enumerate(capture.verdicts, 1)).encode()
    return made


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    made = files()
    suffixes = (*SUFFIXES, ".policy.toml", ".verdicts")
    present = {path.name for path in HERE.iterdir() if path.name.endswith(suffixes)}
    stray = sorted(present - made.keys())
    stale = [name for name, data in made.items() if name not in present or (HERE / name).read_bytes() != data]
    if arguments:
        for name in stale:
            print(f"{name}: differs from what make.py writes", file=sys.stderr)
        for name in stray:
            print(f"{name}: not made by make.py", file=sys.stderr)
        return 1 if stale or stray else 0
    for name in stray:
        (HERE / name).unlink()
    for name in stale:
        (HERE / name).write_bytes(made[name])
    print(f"{len(made)} files, {sum(map(len, made.values()))} bytes, {len(stale)} written, {len(stray)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

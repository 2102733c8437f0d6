"""Builds IP packets byte by byte, so that a header may say what no well-meaning library would let it say.

Every builder takes the fields in the order of the wire and fills in the honest value of what is left out: lengths,
checksums, next headers. A trick is one argument that says otherwise.
"""

import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address

# IP protocol numbers (IANA).
HOP_BY_HOP, ICMP, IPIP, TCP, UDP, IP6_IN_IP, ROUTING, FRAGMENT = 0, 1, 4, 6, 17, 41, 43, 44
GRE, ESP, AH, ICMP6, NO_NEXT_HEADER, DESTINATION_OPTIONS, SCTP = 47, 50, 51, 58, 59, 60, 132
DCCP, MOBILITY, UDP_LITE, HIP, SHIM6 = 33, 135, 136, 139, 140


@dataclass(frozen=True)
class Payload:
    """What an IP header carries: its protocol number and its bytes.

    `checksum_at` is the place of a TCP or UDP checksum that waits for the addresses, `covered_from` where the covered
    bytes begin, and `covered_protocol` the protocol of the pseudo-header.
    """

    protocol: int
    data: bytes
    checksum_at: int | None = None
    covered_from: int = 0
    covered_protocol: int = 0


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def seal(payload: Payload, source: str, destination: str) -> Payload:
    """Fills in the transport checksum, which covers the addresses (RFC 768, RFC 9293 section 3.1, RFC 8200 section 8.1)."""
    if payload.checksum_at is None:
        return payload
    covered = payload.data[payload.covered_from :]
    addresses = ip_address(source).packed + ip_address(destination).packed
    pseudo_header = addresses + struct.pack(">II", len(covered), payload.covered_protocol)
    checksum = internet_checksum(pseudo_header + covered) or 0xFFFF
    data = bytearray(payload.data)
    struct.pack_into(">H", data, payload.checksum_at, checksum)
    return Payload(payload.protocol, bytes(data))


# Transports


def udp(source_port: int, port: int, data: bytes = b"offramp.", length: int | None = None, checksum: int | None = None) -> Payload:
    """RFC 768."""
    header = struct.pack(">HHHH", source_port, port, 8 + len(data) if length is None else length, checksum or 0)
    return Payload(UDP, header + data, 6 if checksum is None else None, 0, UDP)


def tcp(source_port: int, port: int, data: bytes = b"", flags: int = 0x10, checksum: int | None = None) -> Payload:
    """RFC 9293; `flags` are the low nine bits, ACK alone unless said otherwise."""
    header = struct.pack(">HHIIHHHH", source_port, port, 1, 1, 5 << 12 | flags, 65535, checksum or 0, 0)
    return Payload(TCP, header + data, 16 if checksum is None else None, 0, TCP)


def icmp(kind: int, code: int, body: bytes) -> Payload:
    """RFC 792."""
    checksum = internet_checksum(struct.pack(">BBH", kind, code, 0) + body)
    return Payload(ICMP, struct.pack(">BBH", kind, code, checksum) + body)


def icmp6(kind: int, code: int, body: bytes) -> Payload:
    """RFC 4443."""
    return Payload(ICMP6, struct.pack(">BBH", kind, code, 0) + body, 2, 0, ICMP6)


def part(whole: Payload, start: int, stop: int | None = None) -> Payload:
    """The bytes `start..stop` of a sealed payload: the data of a fragment."""
    assert whole.checksum_at is None, "seal the whole datagram before it is cut"
    return Payload(whole.protocol, whole.data[start:stop])


# IPv4


def ip4(
    source: str,
    destination: str,
    payload: Payload,
    *,
    ident: int = 1,
    offset: int = 0,
    more: bool = False,
    dont: bool = False,
    reserved: bool = False,
    options: bytes = b"",
    ttl: int = 64,
    tos: int = 0,
    protocol: int | None = None,
    version: int = 4,
    ihl: int | None = None,
    total: int | None = None,
    checksum: int | None = None,
) -> bytes:
    """RFC 791 section 3.1. `offset` counts bytes; `more`, `dont` and `reserved` are the three flags."""
    assert offset % 8 == 0
    options += bytes(-len(options) % 4)
    data = seal(payload, source, destination).data
    header = struct.pack(
        ">BBHHHBBH4s4s",
        version << 4 | (5 + len(options) // 4 if ihl is None else ihl),
        tos,
        20 + len(options) + len(data) if total is None else total,
        ident,
        reserved << 15 | dont << 14 | more << 13 | offset // 8,
        ttl,
        payload.protocol if protocol is None else protocol,
        0,
        ip_address(source).packed,
        ip_address(destination).packed,
    )
    header += options
    checksum = internet_checksum(header) if checksum is None else checksum
    return header[:10] + struct.pack(">H", checksum) + header[12:] + data


NOP, END_OF_OPTIONS = b"\x01", b"\x00"


def source_route(kind: int, hops: list[str], pointer: int = 4) -> bytes:
    """RFC 791: loose (131) or strict (137) source route; hops are left while the pointer is not above the length."""
    route = b"".join(ip_address(hop).packed for hop in hops)
    return struct.pack("BBB", kind, 3 + len(route), pointer) + route


# IPv6


def ip6(
    source: str,
    destination: str,
    payload: Payload,
    *,
    next_header: int | None = None,
    length: int | None = None,
    hops: int = 64,
    traffic_class: int = 0,
    version: int = 6,
) -> bytes:
    """RFC 8200 section 3."""
    data = seal(payload, source, destination).data
    header = struct.pack(
        ">IHBB",
        version << 28 | traffic_class << 20,
        len(data) if length is None else length,
        payload.protocol if next_header is None else next_header,
        hops,
    )
    return header + ip_address(source).packed + ip_address(destination).packed + data


def before(protocol: int, header: bytes, payload: Payload) -> Payload:
    """Puts an extension header in front of a payload; the transport checksum moves with its transport."""
    shift = len(header)
    place = None if payload.checksum_at is None else payload.checksum_at + shift
    return replace(
        payload, protocol=protocol, data=header + payload.data, checksum_at=place, covered_from=payload.covered_from + shift
    )


def extension(protocol: int, payload: Payload, body: bytes = b"\x01\x04\0\0\0\0", units: int | None = None) -> Payload:
    """Any header of the common form (RFC 6564): next header, length in units of 8 bytes beyond the first 8, body.

    The default body is one PadN option that fills the 8 bytes; `units` is the length that the header claims.
    """
    assert (2 + len(body)) % 8 == 0
    units = (2 + len(body)) // 8 - 1 if units is None else units
    return before(protocol, struct.pack("BB", payload.protocol, units) + body, payload)


def options6(payload: Payload, times: int = 1) -> Payload:
    """Destination options headers (RFC 8200 section 4.6), one behind the other."""
    for _ in range(times):
        payload = extension(DESTINATION_OPTIONS, payload)
    return payload


def hop_by_hop(payload: Payload, body: bytes = b"\x01\x04\0\0\0\0") -> Payload:
    """RFC 8200 section 4.3."""
    return extension(HOP_BY_HOP, payload, body)


def routing(payload: Payload, kind: int, left: int, hops: list[str], units: int | None = None) -> Payload:
    """RFC 8200 section 4.4: routing type, segments left, addresses. Type 4 (RFC 8754) also names its last entry."""
    specific = struct.pack(">BBH", max(len(hops) - 1, 0), 0, 0) if kind == 4 else bytes(4)
    addresses = b"".join(ip_address(hop).packed for hop in hops)
    return extension(ROUTING, payload, struct.pack("BB", kind, left) + specific + addresses, units)


def authentication(payload: Payload) -> Payload:
    """RFC 4302: its length counts units of 4 bytes, minus 2; a 96-bit check value makes 24 bytes."""
    return before(AH, struct.pack(">BBHII", payload.protocol, 4, 0, 0x100, 1) + bytes(12), payload)


def fragment(payload: Payload, ident: int, offset: int = 0, more: bool = False, reserved: int = 0) -> Payload:
    """RFC 8200 section 4.5. `offset` counts bytes; `payload.protocol` is the next header it names."""
    assert offset % 8 == 0
    header = struct.pack(">BBHI", payload.protocol, reserved, offset | (reserved & 3) << 1 | more, ident)
    return before(FRAGMENT, header, payload)

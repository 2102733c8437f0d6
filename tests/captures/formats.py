"""Link layers and capture files: what stands around an IP packet, and around a frame."""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

# Frames are one millisecond apart and begin here.
FIRST_SECOND = 1_700_000_000
SNAP_LENGTH = 262_144


class Link(IntEnum):
    """LINKTYPE_ values as they stand in files (https://www.tcpdump.org/linktypes.html)."""

    NULL = 0
    ETHERNET = 1
    PPP = 9
    RAW_BSD = 12
    RAW = 101
    LOOP = 108
    SLL = 113
    IPV4 = 228
    IPV6 = 229
    NFLOG = 239
    SLL2 = 276


@dataclass(frozen=True)
class Wire:
    """A frame as a file stores it: the captured bytes, and how long it was on the wire."""

    data: bytes
    original: int
    link: Link
    at: int | None = None  # microseconds since FIRST_SECOND; by its place in the file when None


# Link layers

ETHERTYPE_IP4, ETHERTYPE_ARP, ETHERTYPE_IP6 = 0x0800, 0x0806, 0x86DD
MACS = bytes.fromhex("020000000002020000000001")
ARP_REQUEST = bytes.fromhex("0001080006040001020000000001ac10010a000000000000ac100101")
LCP_ECHO = bytes.fromhex("090100080badcafe")


def is_ip6(packet: bytes) -> bool:
    return packet[:1] >= b"\x60"


def ethertype(packet: bytes) -> int:
    return ETHERTYPE_IP6 if is_ip6(packet) else ETHERTYPE_IP4


def ppp_protocol(packet: bytes) -> int:
    return 0x0057 if is_ip6(packet) else 0x0021


def ethernet(packet: bytes, kind: int | None = None) -> bytes:
    return MACS + struct.pack(">H", ethertype(packet) if kind is None else kind) + packet


def vlan(packet: bytes, kind: int | None = None) -> bytes:
    """802.1Q, VLAN 42, priority 5."""
    return MACS + struct.pack(">HHH", 0x8100, 0xA02A, ethertype(packet) if kind is None else kind) + packet


def qinq(packet: bytes, kind: int | None = None) -> bytes:
    """802.1ad: service VLAN 7 (0x88a8) around customer VLAN 42."""
    inner = ethertype(packet) if kind is None else kind
    return MACS + struct.pack(">HHHHH", 0x88A8, 7, 0x8100, 42, inner) + packet


def pppoe(packet: bytes, protocol: int | None = None) -> bytes:
    """RFC 2516, a session frame."""
    protocol = ppp_protocol(packet) if protocol is None else protocol
    return MACS + struct.pack(">HBBHHH", 0x8864, 0x11, 0, 0x1234, len(packet) + 2, protocol) + packet


def snap(packet: bytes, kind: int | None = None) -> bytes:
    """802.3 length, LLC aa-aa-03, SNAP with the organization 0 (RFC 1042)."""
    kind = ethertype(packet) if kind is None else kind
    body = bytes.fromhex("aaaa03000000") + struct.pack(">H", kind) + packet
    return MACS + struct.pack(">H", len(body)) + body


def raw(packet: bytes) -> bytes:
    return packet


def null(packet: bytes, order: str, family: int | None = None) -> bytes:
    """Address family in the byte order of the machine that captured. IPv6 is 24, 28 or 30, by operating system."""
    family = (24 if is_ip6(packet) else 2) if family is None else family
    return struct.pack(order + "I", family) + packet


def ppp(packet: bytes, protocol: int | None = None, framed: bool = True) -> bytes:
    """RFC 1661, with the address and control bytes of RFC 1662 or without."""
    protocol = ppp_protocol(packet) if protocol is None else protocol
    return (b"\xff\x03" if framed else b"") + struct.pack(">H", protocol) + packet


def sll(packet: bytes, kind: int | None = None) -> bytes:
    kind = ethertype(packet) if kind is None else kind
    return struct.pack(">HHH8sH", 4, 1, 6, MACS[6:], kind) + packet


def sll2(packet: bytes, kind: int | None = None) -> bytes:
    kind = ethertype(packet) if kind is None else kind
    return struct.pack(">HHIHBB8s", kind, 0, 3, 1, 4, 6, MACS[6:]) + packet


def nflog(packet: bytes) -> bytes:
    """Family, version, group, then fields in the byte order of the machine that captured: a prefix, a mark, the packet."""
    fields = b""
    for kind, value in ((10, b"to-tun\0"), (5, struct.pack(">I", 2)), (9, packet)):
        fields += struct.pack("<HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    return struct.pack(">BBH", 10 if is_ip6(packet) else 2, 0, 32) + fields


# Capture files


def pcap(frames: list[Wire], order: str = "<", nanoseconds: bool = False) -> bytes:
    """https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap; one link type a file."""
    (link,) = {frame.link for frame in frames}
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    file = struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, SNAP_LENGTH, link)
    for index, frame in enumerate(frames):
        seconds, fraction = divmod(index * 1_000 if frame.at is None else frame.at, 1_000_000)
        fraction *= 1_000 if nanoseconds else 1
        file += struct.pack(order + "IIII", FIRST_SECOND + seconds, fraction, len(frame.data), frame.original) + frame.data
    return file


class Pcapng:
    """https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng, a section written block by block."""

    def __init__(self, order: str = "<") -> None:
        self.order = order
        self.file = b""
        self.units: list[int] = []
        self.block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))

    def block(self, kind: int, body: bytes) -> None:
        body += bytes(-len(body) % 4)
        length = struct.pack(self.order + "I", 12 + len(body))
        self.file += struct.pack(self.order + "I", kind) + length + body + length

    def options(self, *options: tuple[int, bytes]) -> bytes:
        if not options:
            return b""
        return b"".join(
            struct.pack(self.order + "HH", code, len(value)) + value + bytes(-len(value) % 4)
            for code, value in (*options, (0, b""))
        )

    def interface(self, link: Link, resolution: int | None = None, snap_length: int = SNAP_LENGTH) -> None:
        """`resolution` is if_tsresol: a power of ten, or of two with the top bit set; 6 where it is absent."""
        options = () if resolution is None else ((9, bytes([resolution])),)
        self.block(1, struct.pack(self.order + "HHI", link, 0, snap_length) + self.options(*options))
        base, exponent = (2, resolution & 0x7F) if resolution and resolution & 0x80 else (10, resolution or 6)
        self.units.append(base**exponent)

    def stamp(self, interface: int, index: int) -> tuple[int, int]:
        units = self.units[interface]
        ticks = FIRST_SECOND * units + index * units // 1000
        return ticks >> 32, ticks & 0xFFFF_FFFF

    def packet(self, frame: Wire, index: int, interface: int = 0, comment: str | None = None) -> None:
        """Enhanced packet block; option 1 is the comment."""
        data = frame.data + bytes(-len(frame.data) % 4)
        fixed = (interface, *self.stamp(interface, index), len(frame.data), frame.original)
        options = self.options((1, comment.encode())) if comment else b""
        self.block(6, struct.pack(self.order + "IIIII", *fixed) + data + options)

    def obsolete_packet(self, frame: Wire, index: int, interface: int = 0) -> None:
        """Packet block of the first draft, still found in old files; 0xffff drops = not known."""
        fixed = (interface, 0xFFFF, *self.stamp(interface, index), len(frame.data), frame.original)
        self.block(2, struct.pack(self.order + "HHIIII", *fixed) + frame.data)

    def simple_packet(self, frame: Wire) -> None:
        """Simple packet block: interface 0, no time; the captured length follows from the snap length."""
        self.block(3, struct.pack(self.order + "I", frame.original) + frame.data)

    def name_resolution(self) -> None:
        """Maps 10.1.0.10 to a name: a block that is no packet."""
        record = b"\x0a\x01\x00\x0apool.example\0"
        record = struct.pack(self.order + "HH", 1, len(record)) + record + bytes(-len(record) % 4)
        self.block(4, record + bytes(4))

    def unknown(self) -> None:
        """A block type of the range for local use, which every reader but its author must step over."""
        self.block(0x8000_0BAD, b"not a packet")


def annotated(frames: list[Wire], comments: list[str]) -> bytes:
    """A pcapng file whose packets carry comments."""
    (link,) = {frame.link for frame in frames}
    section = Pcapng()
    section.interface(link)
    for index, (frame, comment) in enumerate(zip(frames, comments, strict=True)):
        section.packet(frame, index, comment=comment)
    return section.file


def gzipped(file: bytes) -> bytes:
    """RFC 1952 with every field that could differ between two runs set: no time, no name, unknown system."""
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    header = bytes.fromhex("1f8b08000000000002ff")
    return header + body.compress(file) + body.flush() + struct.pack("<II", zlib.crc32(file), len(file))

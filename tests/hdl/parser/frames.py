"""Random frames, built layer by layer so that each layer is reached, with something odd in about half of them."""

import random
from dataclasses import dataclass

EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)


@dataclass(frozen=True)
class Stimulus:
    """A frame, with what comes beside it."""

    data: bytes
    wire_length: int
    timestamp: int = 0
    port: int = 0


def checksum(data: bytes) -> int:
    """RFC 1071: the value that makes the sum all ones."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def tcp_frame(number: int, payload: bytes = b"0123456789") -> Stimulus:
    """A right TCP segment of a flow of its own; 64 bytes with the payload as it stands."""
    source, destination = bytes([10, 0, number >> 8 & 255, number & 255]), bytes([10, 1, 2, 3])
    segment = bytearray(b"\x30\x39\x00\x50" + bytes(8) + b"\x50\x18\x20\x00" + bytes(4) + payload)
    pseudo = source + destination + b"\0\x06" + len(segment).to_bytes(2, "big")
    segment[16:18] = checksum(pseudo + segment).to_bytes(2, "big")
    header = bytearray(b"\x45\0" + (20 + len(segment)).to_bytes(2, "big") + bytes(4) + b"\x40\x06\0\0")
    header += source + destination
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    frame = bytes(range(12)) + b"\x08\0" + header + segment
    return Stimulus(frame, len(frame), timestamp=number, port=number & 1)


def random_frame(r: random.Random, *, largest: int = 9000) -> Stimulus:
    """A frame of 14 to 9,600 bytes; payloads have at most ``largest`` bytes."""
    version = r.choice((4, 6))
    link = _link(r, version)
    protocol = r.choice((6, 6, 6, 17, 17, 17, 1, 58, 132, r.randrange(256)))
    width = 16 if version == 6 else 4
    source, destination = r.randbytes(width), r.randbytes(width)
    if _odd(r, 0.1):
        destination = source[:-1] + r.choice((source[-1:], r.randbytes(1)))
    transport = _transport(r, protocol, source + destination, largest)
    first, extensions = _extensions(r, version, protocol)
    packet = extensions + transport
    header = (_ipv6 if version == 6 else _ipv4)(r, first, len(packet), source + destination)
    frame = link + header + packet
    if r.random() < 0.4:
        frame += r.randbytes(r.randrange(40))  # padding, not always of zeros
    if _odd(r, 0.2):
        frame = frame[: r.randrange(14, min(len(frame), 250) + 1)]
    if _odd(r, 0.1):
        flipped = bytearray(frame)
        for _ in range(r.choice((1, 1, 2, 5))):
            flipped[r.randrange(min(len(flipped), 200))] ^= 1 << r.randrange(8)
        frame = bytes(flipped)
    frame = frame[:9600] + bytes(max(0, 14 - len(frame)))
    wire_length = len(frame) if r.random() < 0.9 else len(frame) + r.choice((r.randrange(100), -1, -len(frame)))
    return Stimulus(frame, wire_length, r.getrandbits(64), r.randrange(4))


def _odd(r: random.Random, probability: float = 0.04) -> bool:
    return r.random() < probability


def _link(r: random.Random, version: int) -> bytes:
    link = r.randbytes(12)
    if r.random() < 0.6:
        for _ in range(r.choice((0, 0, 0, 1, 1, 2, 2, 3))):
            link += r.choice((b"\x81\0", b"\x88\xa8", b"\x91\0")) + r.randbytes(2)
    eth_type = b"\x86\xdd" if version == 6 else b"\x08\0"
    if _odd(r, 0.03):
        eth_type = r.choice((b"\x08\x06", r.randbytes(2), b"\x86\xdd", b"\x08\0"))
    if r.random() < 0.25:
        eth_type = r.choice((b"\x88\x47", b"\x88\x48"))
        labels = r.choice((1, 1, 2, 3, 4, 5))
        for n in range(labels):
            eth_type += r.randbytes(2) + bytes([r.randrange(256) & 0xFE | (n == labels - 1)]) + r.randbytes(1)
        if _odd(r, 0.1):
            eth_type += bytes([r.randrange(256)]) + r.randbytes(3)  # the control word of a pseudowire, usually
    if r.random() < 0.15:
        llc = b"\xaa\xaa\x03\0\0\0"
        if _odd(r, 0.2):
            llc = r.choice((b"\xaa\xaa\x03", r.randbytes(3), b"\xaa\xaa\x03\0\0\1", b"\x42\x42\x03\0\0\0"))
        eth_type = r.randrange(0x700 if _odd(r) else 0x600).to_bytes(2, "big") + llc + eth_type
    return link + eth_type


def _transport(r: random.Random, protocol: int, addresses: bytes, largest: int) -> bytes:
    size = min(r.choice((0, 1, 2, 3, 5, 8, 20, r.randrange(64), r.randrange(64), r.randrange(1500))), largest)
    if _odd(r, 0.01):
        size = r.randrange(largest)
    body = r.randbytes(size) if r.random() < 0.9 else bytes(size)
    at = None  # of the checksum
    if protocol == 6:
        words = r.choice((5, 5, 5, 6, 8, 15))
        header = bytearray(r.randbytes(4 * words))
        header[12] = words << 4
        if _odd(r):
            header[12] = r.randrange(256)
        at = 16
    elif protocol == 17:
        header = bytearray(r.randbytes(8))
        length = 8 + size
        if _odd(r, 0.1):
            length = r.choice((0, 1, 7, 8, 9, length + 1, length - 1, r.randrange(65536), r.randrange(length + 1)))
        header[4:6] = length.to_bytes(2, "big")
        at = 6
    elif protocol in (1, 58):
        header = bytearray(8) if _odd(r, 0.1) else bytearray(r.randbytes(8))
        at = 2
        if r.random() < 0.7:
            header[0] = r.choice((3, 4, 5, 11, 12) if protocol == 1 else (1, 2, 3, 4))
            body = _quoted(r, 4 if protocol == 1 else 6) + body
    else:
        header = bytearray(r.randbytes(12) if protocol == 132 else b"")
    if at is None:
        return bytes(header + body)
    header[at : at + 2] = b"\0\0"
    segment = header + body
    length = int.from_bytes(segment[4:6], "big") if protocol == 17 else len(segment)
    pseudo = b"" if protocol == 1 else addresses + length.to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    if not _odd(r, 0.12):
        value = checksum(pseudo + bytes(segment[:length]))
        segment[at : at + 2] = (value or (0xFFFF if protocol == 17 else 0)).to_bytes(2, "big")
    return bytes(segment)


def _quoted(r: random.Random, version: int) -> bytes:
    """A packet as an error quotes it: of TCP mostly, its beginning."""
    if _odd(r):
        version = 10 - version
    transport = r.randbytes(20)
    first, extensions = _extensions(r, version, 6 if r.random() < 0.8 else r.randrange(256))
    if r.random() < 0.7:
        first, extensions = 6, b""
    addresses = r.randbytes(32 if version == 6 else 8)
    header = (_ipv6 if version == 6 else _ipv4)(r, first, len(extensions) + 20, addresses)
    packet = header + extensions + transport
    return packet[: len(header) + len(extensions) + 8] if r.random() < 0.6 else packet[: r.randrange(len(packet) + 1)]


def _extensions(r: random.Random, version: int, protocol: int) -> tuple[int, bytes]:
    """The first header's number, and the headers."""
    kinds: list[int] = []
    if version == 6:
        kinds = [r.choice(EXTENSIONS) for _ in range(r.choice((0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7)))]
        if _odd(r):
            kinds.append(59)
    elif _odd(r, 0.1):
        kinds = [51] * r.choice((1, 1, 2, 6))
    following, headers = protocol, b""
    for kind in reversed(kinds):
        if kind == 44:
            offset = 0 if r.random() < 0.7 else r.choice((1, 2, 100, 8191, r.randrange(8192)))
            flags = offset << 3 | r.randrange(4) << 1 | (r.random() < 0.4)
            header = bytes([following, r.randrange(256)]) + flags.to_bytes(2, "big") + r.randbytes(4)
        elif kind == 51:
            length = r.randrange(256) if _odd(r) else r.choice((0, 0, 1, 2, 4, 4, 5))
            header = bytes([following, length]) + r.randbytes(6 + 4 * min(length, 10))
        else:
            length = r.randrange(256) if _odd(r) else r.choice((0, 0, 0, 1, 2, 3))
            left = 0 if r.random() < 0.7 else r.randrange(256)
            header = bytes([following, length, r.randrange(256), left]) + r.randbytes(4 + 8 * min(length, 5))
        headers = header + headers
        following = kind
    return following, headers


def _ipv6(r: random.Random, following: int, size: int, addresses: bytes) -> bytes:
    if _odd(r, 0.06):
        size = r.choice((0, size + 1, max(size - 1, 0), 65535, r.randrange(65536), r.randrange(size + 1)))
    first = r.randrange(256) if _odd(r, 0.02) else 0x60
    return bytes([first]) + r.randbytes(3) + size.to_bytes(2, "big") + bytes([following, 64]) + addresses


def _ipv4(r: random.Random, following: int, size: int, addresses: bytes) -> bytes:
    words = 5 + r.choice((0, 0, 0, 0, 1, 4, 10))
    total = 4 * words + size
    if _odd(r, 0.08):
        total = r.choice((0, total + 1, total - 1, 65535, 4 * words, 4 * words - 1, r.randrange(total + 1)))
    flags = 0 if r.random() < 0.85 else r.choice((0x2000, 0x2001, 1, 8191, r.randrange(65536)))
    header = bytearray([0x40 | words, r.randrange(256)])
    header += total.to_bytes(2, "big") + r.randbytes(2) + flags.to_bytes(2, "big")
    header += bytes([r.randrange(256), following, 0, 0]) + addresses + r.randbytes(4 * words - 20)
    if _odd(r, 0.03):
        header[0] = r.randrange(256)
    if not _odd(r, 0.08):
        header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header)

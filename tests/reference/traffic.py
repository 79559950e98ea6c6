"""Frames for statistics: few hosts and ports, so that groups meet, over all that rules tell apart."""

import random
import struct

from hypothesis import strategies as st

from .card import Frame
from .statistics import Shown, shown

PORTS = (53, 80, 443, 0)
FLAGS = (0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x00)


def _ipv4(r: random.Random, protocol: int, payload: bytes, hosts: int) -> bytes:
    fragment = r.choice((0, 0, 0, 0, 0, 0x2000, 0x0001))
    source, destination = (0x0A000000 | r.randrange(hosts) for _ in range(2))
    head = struct.pack(
        ">BBHHHBBHII",
        0x45,
        r.choice((0, 0, 46 << 2)),
        20 + len(payload),
        1,
        fragment,
        64,
        protocol,
        0,
        source,
        destination,
    )
    return head + payload


def _ipv6(r: random.Random, protocol: int, payload: bytes, hosts: int) -> bytes:
    head = struct.pack(">IHBB", 6 << 28 | r.choice((0, 46 << 2)) << 20, len(payload), protocol, 64)
    addresses = b"".join(bytes.fromhex("20010db8") + bytes(11) + bytes([r.randrange(hosts)]) for _ in range(2))
    return head + addresses + payload


def frame_of(r: random.Random, hosts: int = 4) -> bytes:
    """A random frame."""
    addresses = b"".join(b"\2\0\0\0\0" + bytes([r.randrange(4)]) for _ in range(2))
    tags = b"".join(struct.pack(">HH", 0x8100, r.choice((5, 7))) for _ in range(r.choice((0, 0, 0, 1, 2))))
    if r.random() < 0.08:
        return (
            addresses
            + tags
            + r.choice((b"\x08\x06" + bytes(28), b"\x88\xb6" + bytes(40), b"\0\4\x42\x42\3\0" + bytes(20)))
        )
    version = r.choice((4, 4, 6))
    kind = r.choice((6, 6, 6, 17, 17, 132, 1, 58, 47))
    ports = struct.pack(">HH", r.choice(PORTS), r.choice(PORTS))
    data = bytes(r.choice((0, 0, 5, 100)))
    if kind == 6:
        payload = ports + struct.pack(">IIBBHHH", 1, 1, 0x50, r.choice(FLAGS), 100, 0, 0) + data
    elif kind == 17:
        payload = ports + struct.pack(">HH", 8 + len(data), 0) + data
    elif kind == 132:
        payload = ports + bytes(8) + data
    else:
        payload = bytes([r.choice((0, 8)), r.choice((0, 1))]) + bytes(6) + data
    if r.random() < 0.05:
        payload = payload[: r.randrange(len(payload))]
    ip = _ipv4(r, kind, payload, hosts) if version == 4 else _ipv6(r, kind, payload, hosts)
    kind_bytes = b"\x08\0" if version == 4 else b"\x86\xdd"
    if r.random() < 0.05:
        kind_bytes = b"\0\x40\xaa\xaa\3\0\0\0" + kind_bytes  # LLC and SNAP
    elif r.random() < 0.05:
        kind_bytes = b"\x88\x47" + b"\0\1\x01\x40"  # MPLS
    return addresses + tags + kind_bytes + ip


def random_frames(seed: int, count: int, *, hosts: int = 4, step: int = 1000) -> list[Frame]:
    """Frames of either port, up to ``step`` ns apart; some were longer on the wire."""
    r = random.Random(seed)
    found, time = [], r.randrange(1 << 40)
    for _ in range(count):
        time += r.randrange(step + 1)
        data = frame_of(r, hosts)
        longer = len(data) + r.randrange(1, 500) if r.random() < 0.1 else None
        found.append(Frame(data, time, r.randrange(2), longer))
    return found


def shown_packets() -> st.SearchStrategy[list[Shown]]:
    """Lists of random packets."""
    return st.integers(0, 1 << 32).map(lambda seed: [shown(frame) for frame in random_frames(seed, 12)])

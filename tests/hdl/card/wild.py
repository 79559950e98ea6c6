"""Frames for the fuzz: from nothing but noise to nearly right, of every length that a MAC may hand over and longer."""

import logging
import random
from collections.abc import Sequence

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting
from scapy.layers.l2 import ARP, GRE, LLC, SNAP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw, fuzz

from sentinic.abi.profiles import MAX_FRAME_BYTES
from tests.hdl.card.frames import mixed
from tests.hdl.parser.frames import random_frame
from tests.reference.card import Frame

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # that fields make no sense together is meant

#: Where something changes in the card: header, beat, cell and slot sizes, the parser's window, the longest frame.
EDGES = (0, 1, 13, 14, 15, 18, 34, 54, 60, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 511, 512, 513)
LONG_EDGES = (4031, 4032, 4096, 8192, 9536, 9599, 9600, 9601, 9602, 9663, 9664, 9665, 9728, 12_000)
LONGEST = 12_000
_STACKS: tuple[Packet, ...] = (
    IP() / TCP(),
    IP() / UDP(),
    IP() / ICMP(),
    IP() / SCTP(),
    IP() / GRE() / IP() / UDP(),
    IPv6() / TCP(),
    IPv6() / IPv6ExtHdrRouting() / UDP(),
    IPv6() / IPv6ExtHdrDestOpt() / TCP(),
    ARP(),
)


def any_length(r: random.Random) -> int:
    """0 to ``LONGEST``, mostly short, often at an edge."""
    choice = r.random()
    if choice < 0.25:
        return r.choice(EDGES)
    if choice < 0.32:
        return r.choice(LONG_EDGES)
    if choice < 0.92:
        return r.randrange(300)
    return r.randrange(LONGEST + 1)


def noise(r: random.Random) -> bytes:
    return r.randbytes(any_length(r))


def built(r: random.Random) -> bytes:
    """Layer by layer, one of them odd now and then."""
    return random_frame(r, largest=r.choice((64, 400, 9000))).data


def from_scapy(r: random.Random) -> bytes:
    """scapy's own idea of fields out of order, over well-formed layers."""
    link: Packet = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
    if r.random() < 0.3:
        link = link / Dot1Q(vlan=r.randrange(4096))
    if r.random() < 0.1:
        link = link / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP()
    packet = link / fuzz(r.choice(_STACKS).copy()) / Raw(r.randbytes(any_length(r) % 600))
    state = random.getstate()
    random.seed(r.getrandbits(64))  # scapy draws its volatile fields from the global generator
    try:
        return bytes(packet)
    except Exception:  # a drawn value that scapy itself cannot encode
        return noise(r)
    finally:
        random.setstate(state)


def mutated(r: random.Random, data: bytes) -> bytes:
    """``data`` with some bits, bytes, runs or lengths spoilt."""
    octets = bytearray(data)
    for _ in range(r.choice((1, 1, 2, 4))):
        if not octets:
            break
        at = r.randrange(min(len(octets), r.choice((60, 200, 10_000))))
        kind = r.randrange(7)
        if kind == 0:
            octets[at] ^= 1 << r.randrange(8)
        elif kind == 1:
            octets[at] = r.choice((0, 1, 0x7F, 0x80, 0xFF, r.randrange(256)))
        elif kind == 2:
            octets[at : at + 2] = r.choice((b"\0\0", b"\xff\xff", r.randbytes(2)))
        elif kind == 3:
            del octets[at:]
        elif kind == 4:
            del octets[at : at + r.randrange(1, 9)]
        elif kind == 5:
            octets[at:at] = octets[at : at + r.randrange(1, 41)]
        else:
            octets += r.randbytes(r.choice((1, 4, 46, 700)))
    return bytes(octets[:LONGEST])


def wild_frames(r: random.Random, count: int, seeds: Sequence[bytes] = ()) -> list[Frame]:
    """``count`` frames; ``seeds`` are right ones to mutate.  Time stamps are unique, and in no order."""
    stock = [*seeds, *(frame.data for frame in mixed(r.getrandbits(32), 20))]
    base = r.choice((0, r.getrandbits(40), (1 << 64) - 4 * count - 4))
    stamps = r.sample(range(base, base + 4 * count), count)
    frames = []
    for stamp in stamps:
        choice = r.random()
        if choice < 0.2:
            data = noise(r)
        elif choice < 0.5:
            data = built(r)
        elif choice < 0.6:
            data = from_scapy(r)
        else:
            data = r.choice(stock)
            if r.random() < 0.7:
                data = mutated(r, data)
        wire = None if r.random() < 0.85 else r.choice((0, len(data) + r.randrange(1, 3000), 65_535))
        frames.append(Frame(data, stamp, r.randrange(2), wire, error=r.random() < 0.05))
    assert all(len(frame.data) <= LONGEST for frame in frames)
    assert MAX_FRAME_BYTES < LONGEST
    return frames

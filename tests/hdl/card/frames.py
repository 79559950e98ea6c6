"""Frames for the card's benches, from scapy."""

import random

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from tests.reference.card import Frame


def mixed(seed: int, count: int) -> list[Frame]:
    """``count`` frames of every kind the parser opens, lengths from 14 to 9,600 bytes, some of them spoilt."""
    rng = random.Random(seed)

    def body(limit: int) -> bytes:
        return rng.randbytes(rng.choice((0, 1, 6, 18, 40, 100, 471, 1400, limit)))

    def network():
        four = IP(src=f"10.0.{rng.randrange(4)}.{rng.randrange(250)}", dst="192.0.2.7", id=rng.randrange(65536))
        six = IPv6(src=f"2001:db8::{rng.randrange(9999):x}", dst="2001:db8::1")
        return rng.choice(
            (
                four,
                four,
                IP(src="10.9.8.7", dst="10.1.2.3", options=b"\x01" * 8),
                six,
                six / IPv6ExtHdrHopByHop(),
                six / IPv6ExtHdrFragment(m=1, id=77),
                IP(src="10.9.8.7", dst="10.1.2.3", frag=rng.choice((0, 100)), flags="MF"),
            )
        )

    def transport(limit: int):
        port = rng.randrange(1, 65536)
        return rng.choice(
            (
                TCP(
                    sport=port,
                    dport=80,
                    seq=rng.randrange(1 << 32),
                    flags=rng.choice(("S", "SA", "A", "PA", "FA", "R")),
                ),
                UDP(sport=port, dport=53),
                ICMP(),
                ICMPv6EchoRequest(),
            )
        ) / Raw(body(limit))

    frames = []
    for n in range(count):
        ether = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
        link = rng.choice((ether, ether, ether, ether / Dot1Q(vlan=5), ether / Dot1AD(vlan=7) / Dot1Q(vlan=9)))
        limit = rng.choice((1400, 1400, 9400))
        choice = rng.random()
        if choice < 0.05:
            data = bytes(link / ARP(psrc="10.0.0.1", pdst="10.0.0.2"))
        elif choice < 0.1:
            data = rng.randbytes(rng.randrange(14, 200))
        else:
            data = bytes(link / network() / transport(limit))
        if rng.random() < 0.1:
            data = data[: max(14, rng.randrange(len(data)))]
        if rng.random() < 0.1:
            spoilt = bytearray(data)
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
            data = bytes(spoilt)
        if rng.random() < 0.3:
            data = data.ljust(60, b"\0")
        frames.append(Frame(data, timestamp=1_000_000 * n + rng.randrange(1000), port=rng.randrange(2)))
    return frames

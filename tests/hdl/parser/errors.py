"""ICMP errors of scapy's making, and the SYNs that they quote or seem to."""

from typing import NamedTuple

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
LINKS: dict[str, Packet] = {
    "Ethernet": ETHER,
    "VLAN": ETHER / Dot1Q(vlan=5),
    "QinQ": ETHER / Dot1Q(vlan=5) / Dot1Q(vlan=6),
    "MPLS": ETHER / MPLS(label=16, s=0) / MPLS(label=17, s=1),
}


class Case(NamedTuple):
    """An error, the SYN that it is about, and whether the card can know that."""

    error: Packet
    syn: Packet
    is_read: bool


def ipv4(**options: object) -> Packet:
    return IP(src="192.0.2.7", dst="203.0.113.9", **options)


def ipv6() -> Packet:
    return IPv6(src="2001:db8::7", dst="2001:db8:2::9")


def router(**options: object) -> Packet:
    return IP(src="198.51.100.1", dst="192.0.2.7", **options)


def router6() -> Packet:
    return IPv6(src="2001:db8:ffff::1", dst="2001:db8::7")


def cut(packet: Packet, transport: int, of: int) -> Packet:
    """A packet as it was sent, but for its transport header of ``of`` bytes, of which so many are left."""
    data = bytes(packet)
    return Raw(data[: len(data) - of + transport])


def cases(port: int = 50_001, sequence: int = 0x12345678) -> dict[str, Case]:
    """Errors of every type, with and without what makes a quote hard to read, about a SYN from ``port``."""
    segment = TCP(sport=port, dport=443, seq=sequence, flags="S", options=[("MSS", 1460)])
    size = len(segment)
    syn, syn6 = ipv4() / segment, ipv6() / segment
    short, short6 = cut(syn, 8, size), cut(syn6, 8, size)
    hop, more = IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()
    optional = ipv4(options=b"\x01" * 40) / segment
    errors6 = (ICMPv6DestUnreach(), ICMPv6PacketTooBig(), ICMPv6TimeExceeded(), ICMPv6ParamProblem())
    unreachable, unreachable6 = ICMP(type=3, code=1), ICMPv6DestUnreach()
    read = {f"ICMP type {n}": router() / ICMP(type=n) / short for n in (3, 4, 5, 11, 12)}
    read6 = {f"ICMPv6 type {n}": router6() / error / short6 for n, error in enumerate(errors6, 1)}
    read |= {
        "whole quote": router() / unreachable / syn,
        "much more than a quote": router() / unreachable / syn / Raw(b"x" * 500),
        "IPv4 options": router() / unreachable / optional,
        "own IPv4 options": router(options=b"\x01" * 40) / unreachable / optional,
    }
    read6 |= {
        "extension header": router6() / unreachable6 / (ipv6() / hop / segment),
        "three extension headers": router6() / unreachable6 / (ipv6() / hop / more / more / segment),
        "own extension headers": router6() / hop / more / unreachable6 / short6,
        "atomic fragment": router6() / unreachable6 / (ipv6() / IPv6ExtHdrFragment() / segment),
    }
    unread = {
        "ICMP echo": router() / ICMP(type=8) / short,
        "a byte too few": router() / unreachable / cut(syn, 7, size),
        "IP header alone": router() / unreachable / cut(syn, 0, size),
        "nothing quoted": router() / unreachable,
        "first fragment": router() / unreachable / (ipv4(flags="MF") / segment),
        "later fragment": router() / unreachable / (ipv4(frag=3) / segment),
        "error in fragments": router(flags="MF") / unreachable / syn,
        "UDP": router() / unreachable / ipv4() / UDP(sport=port, dport=443) / Raw(b"12345678"),
        "quote of the other version": router() / unreachable / short6,
        "tunnel": router() / unreachable / ipv4() / syn,
    }
    unread6 = {
        "ICMPv6 echo": router6() / ICMPv6EchoRequest() / short6,
        "four extension headers": router6() / unreachable6 / (ipv6() / hop / more / more / more / segment),
    }
    return {
        **{name: Case(error, syn, True) for name, error in read.items()},
        **{name: Case(error, syn6, True) for name, error in read6.items()},
        **{name: Case(error, syn, False) for name, error in unread.items()},
        **{name: Case(error, syn6, False) for name, error in unread6.items()},
    }

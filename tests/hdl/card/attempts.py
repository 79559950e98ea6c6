"""Connection attempts of few hosts, and what may come of them, for the card's chaos: well-formed, made by scapy."""

import random
from functools import cache

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

#: Ports of the originators, each an attempt; what may come of one, more often nothing but the SYN.
PORTS = 40
KINDS = ("S", "S", "S", "S", "S", "S anew", "S anew", "SA", "RA", "A", "quote")


@cache
def _frame(port: int, kind: str) -> bytes:
    six, tags = port % 3 == 2, port % 4 == 1
    ends = ("2001:db8::1", "2001:db8::2") if six else ("10.0.0.1", "192.0.2.1")
    network, link = IPv6 if six else IP, Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    if tags:
        link /= Dot1Q(vlan=port + 1)

    def segment(flags: str, sequence: int, back: bool = False) -> Packet:
        source, destination = reversed(ends) if back else ends
        sport, dport = (80, 1000 + port) if back else (1000 + port, 80)
        return network(src=source, dst=destination) / TCP(sport=sport, dport=dport, flags=flags, seq=sequence)

    if kind == "quote":
        error = ICMPv6DestUnreach(code=4) if six else ICMP(type=3, code=1)
        quoted = bytes(segment("S", port))
        return bytes(link / network(src="2001:db8::3" if six else "10.9.9.9", dst=ends[0]) / error / quoted)
    flags, *anew = kind.split()
    packet = segment(flags, port + 1000 * len(anew), back=flags in {"SA", "RA"})
    return bytes(link / packet)


def attempt_frame(r: random.Random) -> bytes:
    return _frame(r.randrange(PORTS), r.choice(KINDS))

"""The server ports that Zeek knows (``likely_server_ports``): by them it tells originator from responder mid-stream."""

from collections.abc import Iterable

import numpy as np

from sentinic.monitor.jit import U8

#: TCP ports registered by the scripts that Zeek loads without being asked.
TCP_SERVERS = frozenset(
    {21, 22, 25, 53, 79, 80, 81, 88, 135, 139, 143, 389, 443, 445, 465, 502, 514, 563, 585, 587, 614, 631, 636}
    | {989, 990, 992, 993, 995, 1080, 1434, 1883, 2811, 3128, 3268, 3306, 3389, 5222, 5223, 5269, 5432, 6379}
    | {6666, 6667, 6668, 6669, 8000, 8080, 8888, 20000}
)
#: UDP ports registered likewise, tunnels included.
UDP_SERVERS = frozenset(
    {53, 67, 88, 123, 137, 161, 162, 389, 443, 514, 1812, 2123, 2152, 3389, 3544, 4011, 4754, 4789, 5060, 5072}
    | {5353, 5355, 6081, 20000}
)
#: TCP ports whose established connections may be silent for an hour.
INTERACTIVE = frozenset({21, 22, 23, 513})

#: UDP ports whose connections Zeek's DNS analyzer ends after some silence.
DNS = frozenset({53, 137, 5353, 5355})

TCP_BIT, UDP_BIT, INTERACTIVE_BIT, DNS_BIT = 1, 2, 4, 8


def port_bits(tcp: Iterable[int] = TCP_SERVERS, udp: Iterable[int] = UDP_SERVERS) -> U8:
    """A byte of ``*_BIT`` for each port."""
    bits = np.zeros(65536, np.uint8)
    for ports, bit in ((tcp, TCP_BIT), (udp, UDP_BIT), (INTERACTIVE, INTERACTIVE_BIT), (DNS, DNS_BIT)):
        for port in ports:
            bits[port] |= bit
    return bits

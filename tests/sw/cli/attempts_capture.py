"""A small capture in which attempts are answered, refused and end in other ways, and bursts cross thresholds."""

from decimal import Decimal
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import EDecimal, wrpcap

from tests.sw.cli.captures import NOW

__all__ = ["HOST", "SERVER", "made", "write_attempts"]

HOST, SERVER = "10.0.0.1", "192.0.2.1"


def tcp(
    port: int, flags: str, *, back: bool = False, sequence: int = 0, data: bytes = b"", six: bool = False
) -> Packet:
    """A segment of the connection from ``port`` to port 80 of the server."""
    ends = ("2001:db8::1", "2001:db8::2") if six else (HOST, SERVER)
    source, destination = reversed(ends) if back else ends
    ports = {"sport": 80, "dport": port} if back else {"sport": port, "dport": 80}
    layer = (IPv6 if six else IP)(src=source, dst=destination)
    return layer / TCP(**ports, flags=flags, seq=sequence, ack=int("A" in flags)) / Raw(data)


def made() -> list[tuple[int, Packet]]:
    """Packets by their time in ms."""
    quoted = tcp(1006, "S")
    found = [
        (0, tcp(1001, "S")),  # answered
        (1, tcp(1001, "SA", back=True)),
        (2, tcp(1001, "A", sequence=1)),
        (3, tcp(1001, "PA", sequence=1, data=b"GET / HTTP/1.0\r\n\r\n")),
        (4, tcp(1001, "PA", back=True, sequence=1, data=bytes(700))),
        (5, tcp(1002, "S")),  # refused
        (6, tcp(1002, "RA", back=True)),
        (10, tcp(1003, "S")),  # sent again, expires
        (15, Dot1Q(vlan=7) / tcp(1004, "S", six=True)),  # expires
        (20, tcp(1005, "S")),  # begun anew, and that expires
        (25, tcp(1005, "S", sequence=77)),
        (30, quoted),  # unreachable
        (35, IP(src="10.9.9.9", dst=HOST) / ICMP(type=3, code=1) / bytes(quoted)),
        (60, tcp(1003, "S")),
        (260, tcp(1001, "FA", sequence=19)),
        (261, tcp(1001, "FA", back=True, sequence=701)),
        (700, tcp(1007, "S")),  # its originator goes on
        (705, tcp(1007, "PA", sequence=1, data=b"hello")),
        (706, tcp(1008, "S")),  # still waits for its answer at the end
        (707, tcp(1008, "S")),
    ]
    for burst in (40, 290, 540, 720):
        for n in range(6):
            found.append(
                (burst + n, IP(src="10.1.0.1", dst=SERVER) / UDP(sport=5000 + n % 2, dport=53) / bytes(20 * n))
            )
    return sorted(found, key=lambda item: item[0])


def write_attempts(path: Path) -> None:
    """As Ethernet frames, with times in ns from ``NOW`` on."""
    frames = []
    for milliseconds, packet in made():
        frame = Ether(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet))
        frame.time = EDecimal(Decimal(NOW) / 10**9 + Decimal(milliseconds) / 1000)
        frames.append(frame)
    wrpcap(str(path), frames, nano=True)

"""Small packets for the tracker's tests: scapy builds them, the reference card records them."""

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from sentinic.monitor.connections import ConnectionTracker
from tests.reference.card import Frame, records_of_capture

SECOND = 1_000_000_000
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"

#: Seconds, and a packet or the bytes of a frame.
Timed = tuple[float, Packet | bytes]


def frames(packets: Iterable[Timed]) -> list[Frame]:
    out = []
    for seconds, packet in packets:
        data = packet if isinstance(packet, bytes) else bytes(Ether(src="02::1", dst="02::2") / packet)
        out.append(Frame(data, 1_700_000_000 * SECOND + round(seconds * SECOND)))
    return out


def follow(packets: Iterable[Timed], **options: Any) -> npt.NDArray[Any]:
    """Rows of the connections of ``packets``."""
    tracker = ConnectionTracker(**options)
    tracker.update(*records_of_capture(frames(packets)))
    return tracker.finish()


def tcp(up: bool, flags: str, seq: int, ack: int = 0, data: int = 0, *, sport: int = 40000, **fields: Any) -> Packet:
    """A segment of the client (``up``) or of the server, port 9999."""
    if up:
        return (
            IP(src=CLIENT, dst=SERVER)
            / TCP(sport=sport, dport=9999, flags=flags, seq=seq, ack=ack, **fields)
            / (b"x" * data)
        )
    return (
        IP(src=SERVER, dst=CLIENT)
        / TCP(sport=9999, dport=sport, flags=flags, seq=seq, ack=ack, **fields)
        / (b"y" * data)
    )


def handshake(at: float = 0.0, *, sport: int = 40000) -> list[Timed]:
    """Sequence numbers 100 and 500: data begins at 101 and 501."""
    return [
        (at, tcp(True, "S", 100, sport=sport)),
        (at + 0.001, tcp(False, "SA", 500, 101, sport=sport)),
        (at + 0.002, tcp(True, "A", 101, 501, sport=sport)),
    ]


def udp(up: bool, data: int = 5, *, dport: int = 7777) -> Packet:
    if up:
        return IP(src=CLIENT, dst=SERVER) / UDP(sport=5000, dport=dport) / (b"x" * data)
    return IP(src=SERVER, dst=CLIENT) / UDP(sport=dport, dport=5000) / (b"y" * data)

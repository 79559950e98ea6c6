"""What stages have told of a packet stands in its line of ``packets.jsonl``."""

import json
from pathlib import Path

from scapy.layers.inet import UDP

from sentinic.cli import main
from tests.sw.cli.attempts_capture import made, write_attempts
from tests.sw.cli.captures import NOW

CONFIG = """
[[ring]]
name = "all"
crossings = true
[syn_offload]
enabled = true
timeout = "200ms"
mode = "syn"
[[statistics]]
name = "ports"
group = ["udp_src"]
report_every = "100ms"
threshold = { packets = 3 }
[[statistics]]
name = "bytes"
match = { ip_proto = 17 }
group = ["udp_src"]
threshold = { bytes = 500 }
"""
#: Source port of each attempt, and how it ends: reason, retransmissions, ms at which the last SYN came.
ATTEMPTS = [
    (1001, "ANSWERED", 0, 0), (1002, "REFUSED", 0, 5), (1003, "EXPIRED", 1, 60), (1004, "EXPIRED", 0, 15),
    (1005, "SUPERSEDED", 0, 20), (1005, "EXPIRED", 0, 25), (1006, "UNREACHABLE", 0, 30),
    (1007, "INTERRUPTED", 0, 700), (1008, "EXPIRED", 1, 707),
]  # fmt: skip


def test_a_line_tells_the_attempt_and_the_crossing_that_are_in_the_packets_tag(tmp_path: Path) -> None:
    write_attempts(tmp_path / "in.pcap")
    (tmp_path / "card.toml").write_text(CONFIG)
    line = ["run", tmp_path / "in.pcap", "--config", tmp_path / "card.toml", "--out", tmp_path, "--profile", "board"]
    assert main([*map(str, line), "--write", "jsonl", "-q"]) == 0
    packets = [json.loads(line) for line in (tmp_path / "packets.jsonl").read_text().splitlines()]
    attempts = [packet for packet in packets if "attempt" in packet["tag"]]
    assert attempts == [packet for packet in packets if packet["tag"]["packet"]["kind"] == "REGENERATED"]
    told = [
        (packet["source_port"], *(packet["tag"]["attempt"][name] for name in ("reason", "retransmissions", "last")))
        for packet in attempts
    ]
    assert sorted(told, key=lambda item: (item[0], item[3])) == [
        (port, reason, more, NOW + 1_000_000 * last) for port, reason, more, last in ATTEMPTS
    ]

    found = [
        ((packet["timestamp"] - NOW) // 1_000_000, packet["tag"]["crossing"])
        for packet in packets
        if "crossing" in packet["tag"]
    ]
    assert sorted(found, key=lambda item: item[0]) == crossings()


def crossings() -> list[tuple[int, dict[str, int]]]:
    """When each packet that crosses a threshold comes, ms, and what its tag says.  All of them are UDP."""
    packets: dict[tuple[int, int], int] = {}
    octets: dict[int, int] = {}
    found = []
    for milliseconds, packet in made():
        if UDP not in packet:
            continue
        port = packet[UDP].sport
        burst = milliseconds // 100, port
        packets[burst] = packets.get(burst, 0) + 1
        before = octets.get(port, 0)
        octets[port] = before + 14 + len(packet)
        by_packets, by_bytes = packets[burst] == 3, before < 500 <= octets[port]
        if by_packets:
            found.append((milliseconds, {"flags": 0, "rules": 1 + 2 * by_bytes, "value": 3}))
        elif by_bytes:
            found.append((milliseconds, {"flags": 1, "rules": 2, "value": octets[port]}))
    assert len(found) > 8
    return found

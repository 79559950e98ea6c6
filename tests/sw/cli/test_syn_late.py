"""A SYN that the card holds comes when timers of the monitor have run: ``conn.log`` is as without, row by row."""

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import EDecimal, wrpcap

from sentinic.abi.profiles import PROFILES
from sentinic.cli import main
from tests.sw.cli.captures import NOW

BUILDS = [name for name, profile in PROFILES.items() if profile.attempts]
HOST, SERVER = "10.0.0.1", "10.9.0.1"


def of_host(flags: str, sequence: int = 7, data: bytes = b"", window: int = 8192) -> Packet:
    return IP(src=HOST, dst=SERVER) / TCP(sport=1000, dport=80, flags=flags, seq=sequence, window=window) / Raw(data)


def of_server(flags: str, acknowledgment: int = 8) -> Packet:
    return IP(src=SERVER, dst=HOST) / TCP(sport=80, dport=1000, flags=flags, seq=1, ack=acknowledgment)


#: A packet of somebody else, whose time runs the monitor's timers.
TICK = IP(src="10.5.5.5", dst="10.6.6.6") / UDP(sport=5, dport=6) / Raw(b"tick")
FAST_OPEN, SYN = of_host("S", data=b"GET /"), of_host("S")
#: Packets by their times in seconds, and how many rows they are.
CASES: dict[str, tuple[list[tuple[float, Packet]], int]] = {
    "TCP Fast Open that falls back": ([(0, FAST_OPEN), (1, SYN), (5.5, TICK)], 2),
    "and is answered when that is over": ([(0, FAST_OPEN), (1, SYN), (5.5, TICK), (5.8, of_server("SA"))], 3),
    "SYN with PSH before": ([(0, of_host("SP")), (1, SYN), (5.5, TICK), (30, TICK), (40, TICK)], 2),
    "a long time without a packet": ([(0, FAST_OPEN), (1, SYN), (100, TICK), (101, TICK)], 2),
    "a SYN after the attempt's end": ([(0, FAST_OPEN), (5.2, SYN), (6, TICK), (12, TICK)], 3),
    "an answer before, and two SYNs": ([(0, of_server("SA")), (0.3, SYN), (6.3, SYN), (7.2, TICK)], 2),
    "half of a connection, silent, then a SYN": ([(0, of_server("SA")), (55, SYN), (80, TICK), (200, TICK)], 3),
    "SYNs that come late after each other": ([(0, SYN), (10, FAST_OPEN), (10.3, SYN), (10.4, TICK), (40, TICK)], 3),
}


def rows(packets: Sequence[tuple[float, Packet]], profile: str, config: str, folder: Path) -> list[str]:
    """The rows of ``conn.log``, without what numbers them, sorted."""
    folder.mkdir()
    frames = []
    for seconds, packet in packets:
        frame = Ether(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet))
        frame.time = EDecimal(Decimal(NOW) / 10**9 + Decimal(str(seconds)))
        frames.append(frame)
    wrpcap(str(folder / "in.pcap"), frames, nano=True)
    (folder / "card.toml").write_text(config)
    line = ["run", folder / "in.pcap", "--config", folder / "card.toml", "--profile", profile, "--out", folder]
    assert main([*map(str, line), "--write", "conn", "-q"]) == 0
    found = [json.loads(line) for line in (folder / "conn.log").read_text().splitlines()]
    return sorted(json.dumps({name: row[name] for name in sorted(row) if name != "uid"}) for row in found)


@pytest.mark.parametrize("timeout", ["5s", "60s"])
@pytest.mark.parametrize("profile", BUILDS)
@pytest.mark.parametrize("case", CASES)
def test_a_syn_that_comes_late_counts_where_it_would_have(
    case: str, profile: str, timeout: str, tmp_path: Path
) -> None:
    packets, count = CASES[case]
    without = rows(packets, profile, "", tmp_path / "off")
    assert len(without) == count
    for mode in ("syn", "compact"):
        config = f'[syn_offload]\nenabled = true\nmode = "{mode}"\ntimeout = "{timeout}"\n'
        assert rows(packets, profile, config, tmp_path / mode) == without

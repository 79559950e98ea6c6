"""``sentinic run`` with SYN offload on and off: the same connections, and the same packets but those counted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from sentinic.abi.profiles import PROFILES
from sentinic.capture import CaptureReader
from sentinic.cli import main
from tests.hdl.parser.errors import LINKS, cases
from tests.reference.corpus import CORPUS, captures, needs_corpus
from tests.sw.cli.captures import pcap

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if profile.attempts]
#: Captures of Ethernet frames that the card takes; raw packets of Jool are no captures.
CAPTURES = [path for path in captures() if path.suffix != ".pkt"]


#: Ring 0 gets all that there is, as it came, while attempts are held, and told of to ring 1.
_RAW = """
[syn_offload]
enabled = true
mode = "compact"
[[ring]]
raw_syns = true
[[ring]]
attempts = true
sample = 1000
"""


def run(capture: Path, profile: str, folder: Path, config: str) -> dict[str, Any]:
    """The summary of a run; its files are in ``folder``."""
    folder.mkdir()
    (folder / "config.toml").write_text(config)
    line = ["run", str(capture), "--profile", profile, "--write", "conn,packets,summary", "-q"]
    assert main([*line, "--config", str(folder / "config.toml"), "--out", str(folder)]) == 0
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def connections(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``conn.log``; the uid, and the order of those of one instant, are as the host hears of them."""
    rows = [json.loads(line) for line in (folder / "conn.log").read_text().splitlines()]
    assert [row["ts"] for row in rows] == sorted(row["ts"] for row in rows)
    return sorted(({name: row[name] for name in row if name != "uid"} for row in rows), key=json.dumps)


def packets(folder: Path) -> Counter[tuple[int, bytes]]:
    """Wire time and bytes of each delivered frame, and how often there is one."""
    found: Counter[tuple[int, bytes]] = Counter()
    with CaptureReader(str(folder / "packets.pcapng")) as reader:
        for batch in reader:
            for time, start, length in zip(batch.timestamp, batch.offset, batch.length, strict=True):
                found[int(time), batch.data[int(start) : int(start) + int(length)].tobytes()] += 1
    return found


@needs_corpus
@pytest.mark.parametrize("profile", BUILDS)
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: str(path.relative_to(CORPUS)))
def test_a_capture_gives_the_same_connections(capture: Path, profile: str, tmp_path: Path) -> None:
    check_the_same(capture, profile, tmp_path)


@pytest.mark.parametrize("profile", BUILDS)
def test_icmp_errors_that_quote_syns_give_the_same_connections(profile: str, tmp_path: Path) -> None:
    """Errors of every kind behind their SYN, and behind a second one of it, each from a port of its own."""
    frames, port = [], 1000
    for link in LINKS.values():
        for name in cases():
            case = cases(port)[name]
            port += 1
            frames += [bytes(link / packet) for packet in (case.syn, case.syn, case.error, case.syn)]
    capture = tmp_path / "errors.pcap"
    capture.write_bytes(pcap(frames))
    told = check_the_same(capture, profile, tmp_path)["syn_offload"]
    # Those behind MPLS are not held.
    assert told["unreachable"] == sum(case.is_read for case in cases().values()) * (len(LINKS) - 1)


def check_the_same(capture: Path, profile: str, tmp_path: Path) -> dict[str, Any]:
    """The same connections without offload, in both modes, and with raw SYNs; the summary of compact mode."""
    off = run(capture, profile, tmp_path / "off", "")
    assert off["syn_offload"] is None
    for mode in ("syn", "compact"):
        folder = tmp_path / mode
        on = run(capture, profile, folder, f'[syn_offload]\nenabled = true\nmode = "{mode}"\n')
        assert connections(folder) == connections(tmp_path / "off")
        check_what_is_missing(on, packets(tmp_path / "off"), packets(folder), compact=mode == "compact")
    folder = tmp_path / "raw"
    raw = run(capture, profile, folder, _RAW)
    assert connections(folder) == connections(tmp_path / "off")
    assert (folder / "packets.pcapng").read_bytes() == (tmp_path / "off" / "packets.pcapng").read_bytes()
    assert raw["conservation"]["holds"]
    assert raw["conservation"]["fates"] == off["conservation"]["fates"]
    told = raw["syn_offload"]
    assert (told["attempts"], told["uncopied"], told["packets_avoided"]) == (on["syn_offload"]["attempts"], 0, 0)
    return on


def check_what_is_missing(summary: dict[str, Any], before: Counter, after: Counter, *, compact: bool) -> None:
    """What is missing is what was counted: SYNs that came again, and in compact mode those that nobody answered.

    All others are there bit for bit, at their own time.
    """
    told = summary["syn_offload"]
    assert not after - before
    unanswered = told["superseded"] + told["expired"] + told["evicted"]
    assert told["recorded"] == (unanswered if compact else 0)
    assert told["packets_avoided"] == told["again"] + told["recorded"]
    missing = before - after
    assert missing.total() == told["packets_avoided"] == summary["conservation"]["fates"]["offloaded"]
    assert all(is_syn(frame) for _, frame in missing)
    ends = ("answered", "refused", "unreachable", "interrupted", "superseded", "expired", "evicted")
    assert told["attempts"] == sum(told[name] for name in ends)
    assert told["unreported"] == 0
    # The secret of the hash is another one in each run: five attempts may meet in a set, and a few sets be never full.
    capacity = PROFILES[summary["profile"]].attempts
    too_many = told["attempts"] - capacity * 9 // 10 if told["attempts"] > capacity else 0
    assert told["evicted"] <= max(4, told["attempts"] // 100) + too_many
    assert summary["conservation"]["holds"]


def is_syn(frame: bytes) -> bool:
    """The frame is one of TCP with SYN and without ACK, as scapy reads it."""
    segment = Ether(frame).getlayer(TCP)
    return segment is not None and "S" in segment.flags and "A" not in segment.flags

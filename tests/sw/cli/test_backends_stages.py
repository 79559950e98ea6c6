"""``sentinic run`` over both backends with rules that count and SYNs that wait: the same files."""

import json
import random
import secrets
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.cli import main
from tests.sw.cli.attempts_capture import made, write_attempts
from tests.sw.cli.captures import NOW
from tests.sw.cli.test_backends import summary

pytestmark = pytest.mark.slow  # builds both models of both profiles

BUILDS = [name for name, profile in PROFILES.items() if profile.attempts]
#: Rings and offload by mode.
MODES = {
    "off": '[[ring]]\nname = "all"\n',
    "syn": '[[ring]]\nname = "all"\n[syn_offload]\nenabled = true\ntimeout = "200ms"\nmode = "syn"\n',
    "compact": '[[ring]]\nname = "all"\n[syn_offload]\nenabled = true\ntimeout = "200ms"\nmode = "compact"\n',
    "raw": (
        '[[ring]]\nname = "all"\nraw_syns = true\n[[ring]]\nname = "records"\nattempts = true\nsample = 3\n'
        '[syn_offload]\nenabled = true\ntimeout = "200ms"\nmode = "compact"\n'
    ),
}
RULES = """
[[statistics]]
name = "ports"
group = ["ip_proto", "source_port"]
report_every = "100ms"
threshold = { packets = 3 }

[[statistics]]
name = "connections"
match = { ip_proto = 6 }
group = ["source", "destination", "source_port", "destination_port"]
report_every = "300ms"
bidirectional = true

[[statistics]]
name = "all"
cumulative = true
report_every = "100ms"

[[statistics]]
name = "syns"
match = { tcp_flags = "0x02/0x12" }
group = ["ipv4_dst"]
"""
#: What becomes of the attempts in the capture; one of those that expire is still held when it ends.
FATES = {
    "attempts": 9, "again": 2, "answered": 1, "refused": 1, "unreachable": 1, "interrupted": 1, "superseded": 1,
    "expired": 4, "evicted": 0, "unreported": 0, "uncopied": 0,
}  # fmt: skip


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    write_attempts(path)
    return path


def run(backend: str, profile: str, capture: Path, out: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a card whose secrets are always the same: in which order a table is gone through hangs on them."""
    sources: dict[int, random.Random] = defaultdict(lambda: random.Random(1))  # by length: libraries draw as well
    out.mkdir()
    (out / "card.toml").write_text(config)
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "randbits", lambda bits: sources[bits].getrandbits(bits))
        line = ["run", capture, "--profile", profile, "--backend", backend, "--config", out / "card.toml", "--out", out]
        assert main([*map(str, line), "--write", "packets,jsonl,conn,stats,summary", "-q"]) == 0


def lines(path: Path, key: str) -> dict[Any, list[str]]:
    """The lines of a file, in their order, for each value of ``key``."""
    found: dict[Any, list[str]] = defaultdict(list)
    for line in path.read_text().splitlines():
        found[json.loads(line)[key]].append(line)
    return found


@pytest.mark.parametrize("profile", BUILDS)
@pytest.mark.parametrize("mode", MODES)
def test_both_backends_write_the_same_with_rules_and_syn_offload(
    profile: str, mode: str, capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native, cocotb = tmp_path / "native", tmp_path / "cocotb"
    for backend, out in (("native", native), ("cocotb", cocotb)):
        run(backend, profile, capture, out, MODES[mode] + RULES, monkeypatch)
    for name in ("packets.pcapng", "conn.log"):
        assert (cocotb / name).read_bytes() == (native / name).read_bytes(), name
    # The host polls when it can: of two rings, or of two rules, either may come first; each for itself is the card's.
    packets, counts = lines(cocotb / "packets.jsonl", "ring"), lines(cocotb / "stats.jsonl", "rule")
    assert packets == lines(native / "packets.jsonl", "ring")
    assert counts == lines(native / "stats.jsonl", "rule")
    told = summary(cocotb)
    assert told == summary(native)

    # That all this was there to be compared.
    assert told["conservation"]["holds"]
    assert told["frames"] == len(made())
    rules = {rule["name"]: rule for rule in told["statistics"]["rules"]}
    assert all(rule["counted"] == "card" for rule in rules.values())
    assert [json.loads(line)["final"] for line in counts["all"]] == [False, False, False, True]
    assert rules["ports"]["thresholds_crossed"] > 4
    if mode == "off":
        assert told["syn_offload"] is None
        return
    attempts = told["syn_offload"]
    assert {name: attempts[name] for name in FATES} == FATES
    assert attempts["recorded"] == (0 if mode == "syn" else FATES["superseded"] + FATES["expired"])
    if mode == "syn":
        times = [json.loads(line)["timestamp"] for line in packets[0]]
        early = [n for n, time in enumerate(times) if time in {NOW + 1_000_000 * expired for expired in (10, 15, 25)}]
        before, behind = times.index(NOW + 261_000_000), times.index(NOW + 720_000_000)
        assert all(before < n < behind for n in early), "none expired while the capture went on"
        assert len(early) == FATES["expired"] - 1

"""``sentinic run`` with rings as small as can be: whatever comes out at once, nothing is lost or stands still."""

import json
from pathlib import Path
from typing import Any

import dpkt
import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.cli import main
from sentinic.driver.ring import MIN_DATA_BYTES, MIN_DESCRIPTORS
from tests.hdl.card.test_paused import answer, others, syn

NOW = 1_700_000_040
#: Attempts, all over at once, and others, all answered at once: each more than the ring takes.
ATTEMPTS = 4 * MIN_DESCRIPTORS
_RULES = """
[syn_offload]
enabled = {on}
mode = "{mode}"
[[statistics]]
name = "ports"
group = ["tcp_dst", "tcp_src"]
report_every = "1s"
"""
_SMALL = f"[[ring]]\ndescriptors = {MIN_DESCRIPTORS}\ndata_bytes = {MIN_DATA_BYTES}\n"


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captures") / "bursts.pcap"
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for number in range(ATTEMPTS):
            writer.writepkt(syn(number), NOW)
        for frame in others(3):
            writer.writepkt(frame, NOW + 10)
        for number in range(ATTEMPTS):
            writer.writepkt(syn(ATTEMPTS + number), NOW + 11)
        for number in range(ATTEMPTS):
            writer.writepkt(answer(ATTEMPTS + number), NOW + 12)
        for number in range(ATTEMPTS // 2):
            writer.writepkt(syn(2 * ATTEMPTS + number), NOW + 13)
    return path


def run(capture: Path, folder: Path, profile: str, config: str) -> tuple[dict[str, Any], list[str], dict[str, int]]:
    """Counters, rows of ``conn.log`` without their uid, in any order, and packets by group over all intervals."""
    folder.mkdir()
    (folder / "config.toml").write_text(config)
    line = ["run", str(capture), "--profile", profile, "--write", "conn,packets,summary,stats", "-q"]
    assert main([*line, "--config", str(folder / "config.toml"), "--out", str(folder)]) == 0
    counters: dict[str, Any] = json.loads((folder / "summary.json").read_text())["counters"]
    rows = [json.loads(line) | {"uid": ""} for line in (folder / "conn.log").read_text().splitlines()]
    groups: dict[str, int] = {}
    for line in (folder / "stats.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "group" in row:
            name = json.dumps(row["group"], sort_keys=True)
            groups[name] = groups.get(name, 0) + row["packets"]
    return counters, sorted(json.dumps(row) for row in rows), groups


@pytest.mark.parametrize("mode", ["syn", "compact"])
@pytest.mark.parametrize("profile", [name for name, profile in PROFILES.items() if profile.attempts])
def test_a_burst_of_what_the_card_held_waits_for_the_reader(
    profile: str, mode: str, capture: Path, tmp_path: Path
) -> None:
    expected = run(capture, tmp_path / "off", profile, _RULES.format(on="false", mode=mode))
    counters, rows, groups = run(capture, tmp_path / "small", profile, _RULES.format(on="true", mode=mode) + _SMALL)
    assert len(rows) == 2 * ATTEMPTS + ATTEMPTS // 2
    assert rows == expected[1]
    assert len(groups) > 2 * ATTEMPTS
    assert groups == expected[2]
    received = counters["received"]
    assert received == 3 + 3 * ATTEMPTS + ATTEMPTS // 2
    assert counters["delivered"] + counters["offloaded"] == received
    assert not any(value for name, value in counters.items() if "unreported" in name or "lost" in name)

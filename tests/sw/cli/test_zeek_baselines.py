"""``sentinic run --write conn`` with the simulated card against what Zeek recorded of the same captures."""

import json
from pathlib import Path
from typing import Any

import pytest

from sentinic.cli import main
from tests.reference.corpus import needs_corpus
from tests.sw.monitor.baselines import ZEEK, Row, baselines, logged, sorted_rows

#: The command has no option that makes VLAN ids part of a connection's key.
BASELINES = [baseline for baseline in baselines() if not baseline.vlan_key]


def as_text(row: dict[str, Any]) -> Row:
    """A line of our log as Zeek's text log has it; numbers with a point have six decimals in both."""
    return {name: f"{value:.6f}" if isinstance(value, float) else str(value) for name, value in row.items()}


OFFLOAD = {
    "off": "",
    "syn": '[syn_offload]\nenabled = true\nmode = "syn"\n',
    "compact": '[syn_offload]\nenabled = true\nmode = "compact"\n',
}


@needs_corpus
@pytest.mark.slow
@pytest.mark.parametrize("offload", OFFLOAD)
@pytest.mark.parametrize("profile", ["wide", "board"])
def test_the_log_of_a_run_equals_zeeks(profile: str, offload: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(OFFLOAD[offload])
    differing = []
    for baseline in BASELINES:
        want = list(logged(baseline.log))
        options = ["-C"] if baseline.ignore_checksums else []
        line = ["run", str(ZEEK / baseline.trace), "--profile", profile, "--write", "conn", "-q"]
        assert main([*line, *options, "--config", str(config), "--out", str(tmp_path)]) == 0
        lines = (tmp_path / "conn.log").read_text().splitlines()
        got = [{name: as_text(json.loads(line)).get(name, "-") for name in want[0]} for line in lines]
        if sorted_rows(got) != sorted_rows(want):
            differing.append(baseline.name)
    assert differing == []

"""The whole way over the real card: every capture of the corpus comes out as it went in."""

import json
from pathlib import Path

import pytest

from sentinic.abi.profiles import MAX_FRAME_BYTES, MIN_FRAME_BYTES, PROFILES
from sentinic.cli import main
from tests.reference.corpus import CORPUS, Record, captures, ethernet, needs_corpus, records

FILES = [path for path in captures() if path.suffix in (".pcap", ".pcapng")]


def fits(record: Record) -> bool:
    """Whether the card takes the packet, behind an Ethernet header."""
    return MIN_FRAME_BYTES <= len(ethernet(record.data, record.link)) <= MAX_FRAME_BYTES


@needs_corpus
@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(CORPUS)) for path in FILES])
def test_bytes_times_lengths_and_link_types_come_out_as_they_went_in_and_all_are_counted(
    path: Path, profile: str, tmp_path: Path
) -> None:
    code = main(["run", str(path), "--out", str(tmp_path), "--profile", profile, "--write", "packets,summary", "-q"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert code == 0
    assert summary["conservation"]["holds"]
    assert set(summary["drops"]) <= {"dropped_oversize", "dropped_runt"}
    sent = list(records(path))
    want = [record for record in sent if fits(record)]
    got = list(records(tmp_path / "packets.pcapng"))
    assert len(sent) == summary["frames"] + summary["frames_empty"] + summary["frames_snapped"]
    assert summary["frames"] == len(got) + sum(summary["drops"].values())
    assert len(got) == len(want)
    for number, (came, went) in enumerate(zip(got, want, strict=True)):
        assert came == went, f"packet {number}"

"""The whole way over the real card: every capture of the corpus comes out as it went in."""

import json
from pathlib import Path

import dpkt
import pytest

from sentinic.abi.profiles import MAX_FRAME_BYTES, MIN_FRAME_BYTES, PROFILES
from sentinic.cli import main
from tests.reference.corpus import CORPUS, captures, needs_corpus

FILES = [path for path in captures() if path.suffix in (".pcap", ".pcapng")]
#: What dpkt reads as frames is longer by the link header than what the card sees, by at most this much (bytes).
LINK_SLACK = 20


def frames(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [octets for _, octets in dpkt.pcap.UniversalReader(file)]


@needs_corpus
@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(CORPUS)) for path in FILES])
def test_frames_come_out_as_they_went_in_and_all_are_counted(path: Path, profile: str, tmp_path: Path) -> None:
    code = main(["run", str(path), "--out", str(tmp_path), "--profile", profile, "--write", "packets,summary", "-q"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert code == 0
    assert summary["conservation"]["holds"]
    dropped = summary["drops"]
    assert set(dropped) <= {"dropped_oversize", "dropped_runt"}
    sent, got = frames(path), frames(tmp_path / "packets.pcapng")
    assert summary["frames"] == len(sent) == len(got) + sum(dropped.values())
    if dropped:
        sent = [frame for frame in sent if MIN_FRAME_BYTES <= len(frame) + LINK_SLACK <= MAX_FRAME_BYTES + LINK_SLACK]
    assert got == sent

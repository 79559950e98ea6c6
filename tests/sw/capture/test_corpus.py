"""Every capture of the corpus, frame for frame, as scapy and tshark read it."""

import hashlib
from pathlib import Path

import pytest
from scapy.utils import RawPcapNgReader, RawPcapReader

from sentinic.capture import CaptureReader, CaptureWriter, LinkTable
from tests.sw.capture.builders import CORPUS, needs_corpus, needs_tshark, rows, tshark

CAPTURES = sorted(path for path in CORPUS.rglob("*") if path.suffix in (".pcap", ".pcapng"))
IDS = [str(path.relative_to(CORPUS)) for path in CAPTURES]
LARGEST = 1 << 20


def by_scapy(path: Path) -> list[tuple[bytes, int, int]]:
    """(bytes, nanoseconds, wire length); scapy's own loop would cut frames at 65,535 bytes."""
    out = []
    with RawPcapReader(str(path)) as reader:
        while True:
            try:
                data, meta = reader._read_packet(size=LARGEST)
            except EOFError:
                return out
            if isinstance(reader, RawPcapNgReader):
                time = ((meta.tshigh << 32) | meta.tslow) * 10**9 // meta.tsresol
            else:
                time = meta.sec * 10**9 + meta.usec * (1 if reader.nano else 1000)
            out.append((data, time, meta.wirelen))


@needs_corpus
def test_the_corpus_has_captures() -> None:
    assert len(CAPTURES) >= 85


@needs_corpus
@pytest.mark.parametrize("path", CAPTURES, ids=IDS)
def test_frames_are_those_that_scapy_reads(path: Path) -> None:
    links = LinkTable()
    got = []
    for batch in CaptureReader(path, links=links):
        for data, time, wire in rows(batch):
            _, original, original_wire = links.restore(data, wire)
            got.append((original, time, original_wire))
    assert got == by_scapy(path)


@needs_corpus
@needs_tshark
@pytest.mark.slow
@pytest.mark.parametrize("path", CAPTURES, ids=IDS)
def test_tshark_sees_in_what_was_read_and_written_what_it_sees_in_the_original(path: Path, tmp_path: Path) -> None:
    links = LinkTable()
    digests = []
    with CaptureWriter(tmp_path / "out.pcapng", links=links) as writer:
        for batch in CaptureReader(path, links=links):
            writer.write_batch(batch)
            for data, _, wire in rows(batch):
                digests.append(hashlib.md5(links.restore(data, wire)[1]).hexdigest())
    original = tshark(path)
    assert [row[3] for row in original] == digests
    assert tshark(tmp_path / "out.pcapng") == original

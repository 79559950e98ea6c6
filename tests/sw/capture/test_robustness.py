"""Whatever the bytes, a reader delivers frames within its buffer, and then ends or raises CaptureError."""

import gzip
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentinic.capture import CaptureReader, sources
from sentinic.errors import CaptureError, CaptureTruncatedError
from tests.sw.capture.builders import (
    FRAME,
    Record,
    block,
    enhanced,
    interface,
    obsolete,
    pcap,
    read,
    rows,
    section,
    simple,
)

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PCAP = pcap([Record(index, index, FRAME[:index]) for index in range(20)])
PCAPNG = b"".join(
    section(order)
    + interface(order, resolution=9, shift=5)
    + interface(order, link=113)
    + enhanced(FRAME, 1 << 40, order)
    + block(5, bytes(20), order)
    + simple(FRAME[:21], order)
    + enhanced(FRAME[:50], 7, order, number=1)
    + obsolete(FRAME[:9], 1 << 33, order, number=1)
    for order in "<>"
)
SEEDS = [PCAP, PCAPNG, pcap([Record(0, 0, FRAME)] * 9, order=">", link=0), gzip.compress(PCAP, mtime=0)]
STARTS = [PCAP[:4], PCAP[:24], PCAPNG[:28], PCAPNG[:60], PCAPNG[:4], b"\x1f\x8b\x08\x00", b""]


def check(content: bytes) -> None:
    """``read`` validates every batch; the count bounds the work: no frame takes less than a record header."""
    reader = CaptureReader(io.BytesIO(content))
    seen, error = read(reader)
    assert reader.frames == len(seen)
    assert error is None or str(error)
    assert list(reader) == []


@PATIENT
@given(st.sampled_from(STARTS), st.binary(max_size=400))
def test_random_bytes_behind_a_plausible_start(start: bytes, rest: bytes) -> None:
    check(start + rest)


@PATIENT
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=8), st.integers(0))
def test_valid_captures_with_bytes_changed_and_cut(seed: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(seed)
    for at, value in changes:
        content[at % len(content)] = value
    check(bytes(content[: len(content) - cut % 50]))


def _words() -> Iterator[int]:
    yield from (0, 1, 4, 8, 12, 16, 28, 32, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC, 262_144, 262_145)


@pytest.mark.parametrize("seed", SEEDS[:3], ids=["pcap", "pcapng", "null"])
def test_every_word_with_every_boundary_value(seed: bytes) -> None:
    for at in range(0, len(seed) - 3, 4):
        for value in _words():
            for order in ("little", "big"):
                check(seed[:at] + value.to_bytes(4, order) + seed[at + 4 :])


def test_a_small_window_changes_nothing_on_damaged_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(7)
    for _ in range(200):
        content = bytearray(generator.choice(SEEDS[:3]))
        for _ in range(3):
            content[generator.randrange(len(content))] = generator.randrange(256)
        monkeypatch.setattr(sources, "CHUNK_BYTES", 16 << 20)
        whole, fault = read(CaptureReader(io.BytesIO(content)))
        monkeypatch.setattr(sources, "CHUNK_BYTES", 37)
        pieces, other = read(CaptureReader(io.BytesIO(content)))
        # the index of a synthetic header counts in order of appearance, and is the same
        assert pieces == whole
        assert (str(fault), type(fault)) == (str(other), type(other))


@pytest.mark.parametrize("left", [0, 24, 24 + 76 * 250, 24 + 76 * 250 + 7, 24 + 76 * 999])
def test_a_file_cut_short_while_it_is_read_gives_what_is_left_and_then_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    monkeypatch.setattr(sources, "CHUNK_BYTES", 4096)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([Record(index, 0, FRAME) for index in range(1000)]))
    reader = CaptureReader(path)
    first = next(iter(reader))
    os.truncate(path, left)
    seen, error = read(reader)
    assert [frame.time for frame in rows(first) + seen] == [n * 10**9 for n in range(len(first) + len(seen))]
    assert len(first) + len(seen) == max(len(first), (left - 24) // 76)
    assert isinstance(error, CaptureTruncatedError)
    end = max(left, 4096)  # what was read before stays
    assert str(error) == f"{path}: byte {end}: was cut short while it was read: of 76024 bytes, {end} were left"


def test_a_file_that_grows_is_read_as_far_as_it_went_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CHUNK_BYTES", 4096)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([Record(index, 0, FRAME) for index in range(100)]))
    reader = CaptureReader(path)
    with path.open("ab") as file:
        file.write(bytes(1000))
    seen, error = read(reader)
    assert (len(seen), error, reader.fraction) == (100, None, 1.0)


@pytest.mark.slow
def test_a_long_fuzz_of_damaged_captures() -> None:
    generator = random.Random(11)
    for _ in range(20_000):
        content = bytearray(generator.choice(SEEDS))
        for _ in range(generator.randrange(1, 12)):
            content[generator.randrange(len(content))] = generator.choice((0, 255, generator.randrange(256)))
        check(bytes(content[: generator.randrange(len(content) + 1)]))


def test_a_failing_stream_raises_capture_error() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 500:
                raise OSError(5, "Input/output error")
            return super().read(min(size or 0, 300))

    seen, error = read(CaptureReader(Failing(PCAP * 4)))
    assert len(seen) > 5
    assert isinstance(error, CaptureError)
    assert "Input/output error" in str(error)

"""Several captures as one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinic.capture import CaptureReader, gather, interleave, merge
from sentinic.driver.frames import FrameBatch
from sentinic.errors import CaptureTruncatedError
from tests.sw.capture.builders import FRAME, Record, pcap, read_bytes


def stream(number: int, times: list[int], size: int) -> Iterator[FrameBatch]:
    """A stream whose frames say where they come from."""
    for first in range(0, len(times), size):
        part = times[first : first + size]
        names = [f"{number}:{first + index}".encode() for index in range(len(part))]
        yield FrameBatch.from_frames(names, timestamp=part, port=number)
        yield FrameBatch.empty()


def names(batches: Iterator[FrameBatch]) -> list[str]:
    return [batch.frame(index).tobytes().decode() for batch in batches for index in range(len(batch))]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=30), max_size=4), st.lists(st.integers(1, 9), min_size=4))
def test_frames_come_in_wire_time_order_and_streams_keep_theirs(all_times: list[list[int]], sizes: list[int]) -> None:
    model = []
    for number, times in enumerate(all_times):
        latest = 0
        for index, time in enumerate(times):
            latest = max(latest, time)
            model.append((latest, number, index))
    merged = list(merge(stream(number, times, sizes[number]) for number, times in enumerate(all_times)))
    assert names(iter(merged)) == [f"{number}:{index}" for _, number, index in sorted(model)]
    for batch in merged:
        batch.validate()
        assert [int(batch.frame(row)[0] - 48) for row in range(len(batch))] == batch.port.tolist()


def test_captures_of_one_port_follow_each_other_and_ports_merge() -> None:
    one, two, other = stream(0, [5, 9], 1), stream(1, [1, 7, 20], 2), stream(2, [6, 30], 2)
    assert names(interleave([(0, one), (0, two), (1, other)])) == ["0:0", "2:0", "0:1", "1:0", "1:1", "1:2", "2:1"]
    one, two = stream(0, [5, 9], 1), stream(1, [1], 2)
    assert names(interleave([(1, one), (1, two)])) == ["0:0", "0:1", "1:0"]
    assert list(interleave([])) == []


def test_the_only_stream_left_passes_without_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([Record(second, 0, FRAME) for second in range(9)]))
    merged = list(merge([CaptureReader(path, batch_frames=3), iter([])]))
    assert [len(batch) for batch in merged] == [3, 3, 3]
    assert all(len(batch.data) == path.stat().st_size for batch in merged)


def test_a_fault_ends_the_merge_after_all_frames_before_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pcap([Record(second, 0, FRAME) for second in (1, 3, 5)])[:-1])
    (tmp_path / "b").write_bytes(pcap([Record(second, 0, FRAME) for second in (2, 3, 4, 6)]))
    assert isinstance(read_bytes(tmp_path / "c", (tmp_path / "a").read_bytes())[1], CaptureTruncatedError)
    merged = interleave([(0, CaptureReader(tmp_path / "a")), (1, CaptureReader(tmp_path / "b"))])
    times: list[int] = []
    with pytest.raises(CaptureTruncatedError):
        times.extend(time // 10**9 for batch in merged for time in batch.timestamp.tolist())
    assert times == [1, 2, 3, 3]


def test_gather_copies_frames_together() -> None:
    parts = [FrameBatch.from_frames([b"aa", b"b", b""]), FrameBatch.from_frames([b"cccc"], port=1)]
    together = gather(parts)
    together.validate()
    assert together.data.tobytes() == b"aabcccc"
    assert names(iter([together])) == ["aa", "b", "", "cccc"]
    assert together.port.tolist() == [0, 0, 0, 1]

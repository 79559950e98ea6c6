"""Writing pcapng."""

import subprocess
import sys
from pathlib import Path

import dpkt
import numpy as np
import pytest
from scapy.utils import RawPcapNgReader

from sentinic.capture import CaptureReader, CaptureWriter, LinkTable, writer
from sentinic.driver.frames import FrameBatch
from sentinic.errors import CaptureWriteError
from tests.sw.capture.builders import FRAME, Record, Seen, needs_tshark, pcap, read, tshark

HEAD = (
    "0a0d0d0a 2c000000 4d3c2b1a 0100 0000 ffffffffffffffff 0400 0800 73656e74696e6963 0000 0000 2c000000"
    "01000000 20000000 0100 0000 00000000 0900 0100 09000000 0000 0000 20000000"
)


def batch(count: int) -> FrameBatch:
    frames = [FRAME[: index % 61] for index in range(count)]
    return FrameBatch.from_frames(
        frames,
        timestamp=[1_600_000_000_123_456_789 + index for index in range(count)],
        wire_length=[len(frame) + index % 3 for index, frame in enumerate(frames)],
    )


def seen_of(frames: FrameBatch) -> list[Seen]:
    return [
        Seen(frames.frame(row).tobytes(), int(frames.timestamp[row]), int(frames.wire_length[row]))
        for row in range(len(frames))
    ]


def test_the_file_is_these_bytes(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "a.pcapng") as out:
        out.write_batch(
            FrameBatch.from_frames([FRAME[:15], b""], timestamp=[0x16345785D8A00001, 1], wire_length=[64, 0])
        )
        assert out.frames == 2
    content = bytes.fromhex(
        HEAD
        + "06000000 30000000 00000000 85573416 0100a0d8 0f000000 40000000"
        + FRAME[:15].hex()
        + "00 30000000"
        + "06000000 20000000 00000000 00000000 01000000 00000000 00000000 20000000"
    )
    assert (tmp_path / "a.pcapng").read_bytes() == content
    assert out.bytes == len(content)


def test_scapy_reads_what_was_written(tmp_path: Path) -> None:
    frames = batch(200)
    with CaptureWriter(tmp_path / "a.pcapng") as out:
        out.write_batch(frames)
    with RawPcapNgReader(str(tmp_path / "a.pcapng")) as back:
        got = [
            Seen(data, ((meta.tshigh << 32) | meta.tslow) * 10**9 // meta.tsresol, meta.wirelen) for data, meta in back
        ]
    assert got == seen_of(frames)


def test_dpkt_reads_what_was_written(tmp_path: Path) -> None:
    frames = batch(200)
    with CaptureWriter(tmp_path / "a.pcapng") as out:
        out.write_batch(frames)
    with (tmp_path / "a.pcapng").open("rb") as file:
        got = [data for _, data in dpkt.pcapng.Reader(file)]
    assert got == [frame.data for frame in seen_of(frames)]


@needs_tshark
def test_tshark_reads_nanoseconds_and_lengths(tmp_path: Path) -> None:
    frames = batch(200)
    with CaptureWriter(tmp_path / "a.pcapng") as out:
        out.write_batch(frames)
    got = [(time, wire, captured) for time, wire, captured, _, _ in tshark(tmp_path / "a.pcapng")]
    assert got == [(frame.time, frame.wire, len(frame.data)) for frame in seen_of(frames)]


@needs_tshark
def test_an_empty_capture_is_valid(tmp_path: Path) -> None:
    CaptureWriter(tmp_path / "a.pcapng").close()
    assert (tmp_path / "a.pcapng").read_bytes() == bytes.fromhex(HEAD)
    done = subprocess.run(["capinfos", "-c", tmp_path / "a.pcapng"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Number of packets:   0" in done.stdout


def test_the_file_is_whole_after_each_call(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    out = CaptureWriter(path)
    for count in range(1, 5):
        out.write_batch(batch(10))
        seen, error = read(CaptureReader(path))
        assert (len(seen), error) == (10 * count, None)
    out.close()
    out.close()


def test_a_batch_beyond_the_buffer_is_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BUFFER_BYTES", 300)
    frames = batch(500)
    with CaptureWriter(tmp_path / "a.pcapng") as out:
        out.write_batch(frames)
        out.write_batch(FrameBatch.from_frames([bytes(100_000)], timestamp=[1]))
    seen, error = read(CaptureReader(tmp_path / "a.pcapng"))
    assert error is None
    assert seen == [*seen_of(frames), Seen(bytes(100_000), 1, 100_000)]


def test_link_types_are_described_as_they_are_needed(tmp_path: Path) -> None:
    links = LinkTable()
    (tmp_path / "raw").write_bytes(pcap([Record(0, 0, b"\x45" + bytes(19))], link=101))
    (tmp_path / "null").write_bytes(pcap([Record(0, 0, b"\x02\x00\x00\x00\x45")], link=0))
    raw, null = (next(iter(CaptureReader(tmp_path / name, links=links))) for name in ("raw", "null"))
    with CaptureWriter(tmp_path / "out", links=links) as out:
        out.write_batch(raw)
        size = out.bytes
        out.write_batch(raw)
        assert out.bytes - size == 52
        out.write_batch(null)
        out.write_batch(FrameBatch.from_frames([FRAME]))
    with RawPcapNgReader(str(tmp_path / "out")) as back:
        assert [meta.linktype for _, meta in back] == [101, 101, 0, 1]


def test_a_link_index_that_is_given_is_believed(tmp_path: Path) -> None:
    links = LinkTable()
    (tmp_path / "raw").write_bytes(pcap([Record(0, 0, b"\x45" + bytes(19))], link=101))
    frames = next(iter(CaptureReader(tmp_path / "raw", links=links)))
    columns = (frames.data, frames.offset, frames.length, frames.wire_length, frames.timestamp)
    with CaptureWriter(tmp_path / "out", links=links) as out:
        out.write(*columns, np.array([0], np.int32))
        out.write(*columns, np.array([1], np.int32))
        with pytest.raises(ValueError, match=r"0\.\.1, not 2"):
            out.write(*columns, np.array([2], np.int32))
    with RawPcapNgReader(str(tmp_path / "out")) as back:
        assert [(meta.linktype, len(data)) for data, meta in back] == [(1, 34), (101, 20)]


def test_frames_outside_the_buffer_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "a.pcapng") as out:
        one = np.array([1], np.uint32)
        for offset, length in ((-1, 1), (60, 1), (0, 61)):
            with pytest.raises(ValueError, match=r"0\.\.60"):
                out.write(
                    np.zeros(60, np.uint8),
                    np.array([offset]),
                    np.array([length], np.uint32),
                    one,
                    one.astype(np.uint64),
                )
        with pytest.raises(ValueError, match="1 entries"):
            out.write(np.zeros(60, np.uint8), np.array([0]), one, one, np.zeros(2, np.uint64))
        assert out.bytes == 44


def test_what_cannot_be_created_says_why(tmp_path: Path) -> None:
    with pytest.raises(CaptureWriteError, match=r"missing/a\.pcapng: cannot be created: No such file"):
        CaptureWriter(tmp_path / "missing" / "a.pcapng")
    with pytest.raises(CaptureWriteError, match="directory"):
        CaptureWriter(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_device_is_reported() -> None:
    with pytest.raises(CaptureWriteError, match="No space left"):
        CaptureWriter("/dev/full")


_FULL = """
import resource, signal, sys
from sentinic.capture import CaptureWriter
from sentinic.driver.frames import FrameBatch
from sentinic.errors import CaptureWriteError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_001, 10_001))
out = CaptureWriter(sys.argv[1])
try:
    while True:
        out.write_batch(FrameBatch.from_frames([bytes(60)] * 7))
except CaptureWriteError as error:
    print(out.frames, error)
out.close()
"""


def test_a_disk_that_fills_up_leaves_a_valid_capture_and_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    done = subprocess.run([sys.executable, "-c", _FULL, path], capture_output=True, text=True, timeout=120, check=True)
    seen, error = read(CaptureReader(path))
    assert error is None
    assert len(seen) == int(done.stdout.split()[0]) == 107
    assert "File too large" in done.stdout
    assert "the 107 frames before are valid" in done.stdout


def test_an_interrupt_in_mid_write_leaves_a_valid_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pcapng"
    out = CaptureWriter(path)
    out.write_batch(batch(10))
    file = out._file

    class Interrupted:
        closed = False
        truncate, seek, close = file.truncate, file.seek, file.close

        def write(self, part: memoryview) -> int:
            file.write(part[:100])
            raise KeyboardInterrupt

    monkeypatch.setattr(out, "_file", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        out.write_batch(batch(10))
    out.close()
    seen, error = read(CaptureReader(path))
    assert (len(seen), error) == (10, None)

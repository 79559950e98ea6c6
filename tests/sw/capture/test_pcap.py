"""Reading pcap, and where bytes come from."""

import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sentinic.capture import CaptureReader, sources
from sentinic.errors import (
    CaptureAccessError,
    CaptureError,
    CaptureFormatError,
    CaptureLinkError,
    CaptureTruncatedError,
)
from tests.sw.capture.builders import FRAME, Record, Seen, pcap, read, read_bytes

THREE = [Record(1, 5, FRAME), Record(1, 999_999, FRAME[:20], 1500), Record(2, 0, FRAME + b"x")]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "tick"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_every_byte_order_and_resolution_is_read(tmp_path: Path, order: str, magic: int, tick: int) -> None:
    seen, error = read_bytes(tmp_path / "a.pcap", pcap(THREE, order=order, magic=magic))
    assert error is None
    assert seen == [Seen(r.data, r.seconds * 10**9 + r.fraction * tick, r.original) for r in THREE]


def test_literal_bytes_are_read(tmp_path: Path) -> None:
    content = bytes.fromhex(
        "a1b2c3d4 0002 0004 00000000 00000000 00040000 00000001"
        "5f5e1000 0000000a 0000000e 00000040 ffffffffffff020304050607 0806"
    )
    seen, error = read_bytes(tmp_path / "a.pcap", content)
    assert error is None
    assert seen == [Seen(bytes.fromhex("ffffffffffff0203040506070806"), 1_600_000_000_000_010_000, 64)]


def test_kuznetzov_records_with_24_byte_headers_are_read(tmp_path: Path) -> None:
    head = bytes.fromhex("34cdb2a1 0200 0400 00000000 00000000 00000400 01000000")
    record = bytes.fromhex("01000000 02000000 3c000000 3c000000 03000000 0800 00 00") + FRAME
    seen, error = read_bytes(tmp_path / "a.pcap", head + record + record)
    assert error is None
    assert seen == [Seen(FRAME, 1_000_002_000, 60)] * 2


def test_lengths_of_old_versions_are_exchanged_back(tmp_path: Path) -> None:
    swapped = pcap([Record(0, 0, b"")], minor=2)[:24] + bytes(8) + bytes.fromhex("dc050000 3c000000") + FRAME
    assert read_bytes(tmp_path / "a.pcap", swapped) == ([Seen(FRAME, 0, 1500)], None)
    now_and_then = pcap([THREE[1]], minor=3)
    assert read_bytes(tmp_path / "b.pcap", now_and_then)[0][0].wire == 1500


def test_a_frame_longer_than_the_card_takes_is_passed_on(tmp_path: Path) -> None:
    seen, error = read_bytes(tmp_path / "a.pcap", pcap([Record(0, 0, bytes(70_000))]))
    assert error is None
    assert len(seen[0].data) == seen[0].wire == 70_000


def test_times_that_run_backwards_are_passed_on_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([Record(second, 0, FRAME) for second in (5, 4, 4, 6, 1)]))
    reader = CaptureReader(path, batch_frames=2)
    seen, error = read(reader)
    assert error is None
    assert [frame.time // 10**9 for frame in seen] == [5, 4, 4, 6, 1]
    assert reader.backwards == 2


def test_an_original_length_below_the_captured_one_is_raised_to_it_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([Record(0, 0, FRAME, 10)]))
    reader = CaptureReader(path)
    assert read(reader)[0][0].wire == 60
    assert reader.clamped == 1


def test_batches_are_bounded_in_frames_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([Record(0, index, FRAME) for index in range(100)]))
    assert [len(batch) for batch in CaptureReader(path, batch_frames=30)] == [30, 30, 30, 10]
    assert [len(batch) for batch in CaptureReader(path, batch_bytes=30 * 60)] == [30, 30, 30, 10]
    reader = CaptureReader(path)
    assert [len(batch) for batch in reader] == [100]
    assert (reader.frames, reader.bytes, reader.fraction, reader.format) == (100, 6000, 1.0, "pcap")


def test_ethernet_frames_of_a_file_are_the_mapping_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([Record(0, index, FRAME) for index in range(100)]))
    reader = CaptureReader(path, batch_frames=40)
    first, second, _ = list(reader)
    reader.close()
    assert len(first.data) == path.stat().st_size
    assert np.shares_memory(first.data, second.data)
    assert not first.data.flags.writeable
    assert first.frame(0).tobytes() == FRAME


def test_the_port_is_the_one_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(THREE))
    assert [batch.port.tolist() for batch in CaptureReader(path, port=1)] == [[1, 1, 1]]


# --- faults


@pytest.mark.parametrize("cut", range(24 + 16 + 60 + 1, 24 + 2 * 76, 7))
def test_all_before_a_cut_is_delivered_then_the_cut_reported(tmp_path: Path, cut: int) -> None:
    seen, error = read_bytes(tmp_path / "a.pcap", pcap([Record(0, 0, FRAME)] * 2)[:cut])
    assert seen == [Seen(FRAME, 0, 60)]
    assert isinstance(error, CaptureTruncatedError)
    assert error.offset == 24 + 76
    left = cut - 100
    assert f": {left} {'byte is' if left == 1 else 'bytes are'} left of " in str(error)


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    seen, error = read_bytes(tmp_path / "none.pcap", b"")
    assert seen == []
    assert isinstance(error, CaptureTruncatedError)
    assert "none.pcap" in str(error)
    assert "empty" in str(error)


@pytest.mark.parametrize("size", [1, 3, 4, 23])
def test_a_cut_file_header_is_reported(tmp_path: Path, size: int) -> None:
    assert isinstance(read_bytes(tmp_path / "a.pcap", pcap([])[:size])[1], CaptureTruncatedError)


def test_a_capture_without_frames_has_none(tmp_path: Path) -> None:
    assert read_bytes(tmp_path / "a.pcap", pcap([])) == ([], None)


def test_an_unknown_magic_is_shown_with_what_is_supported(tmp_path: Path) -> None:
    _, error = read_bytes(tmp_path / "a.pcap", b"\x7fELF" + bytes(100))
    assert isinstance(error, CaptureFormatError)
    assert "7f 45 4c 46" in str(error)
    assert "pcapng" in str(error)


def test_a_corrupt_length_names_packet_offset_and_limit(tmp_path: Path) -> None:
    content = bytearray(pcap([Record(0, 0, FRAME)] * 3))
    content[24 + 76 + 8 : 24 + 76 + 12] = b"\xff\xff\xff\x7f"
    seen, error = read_bytes(tmp_path / "a.pcap", bytes(content))
    assert len(seen) == 1
    assert isinstance(error, CaptureFormatError)
    assert (error.packet, error.offset) == (2, 100)
    assert "2147483647" in str(error)
    assert "262144" in str(error)


def test_an_unknown_link_type_names_itself_and_what_is_supported(tmp_path: Path) -> None:
    _, error = read_bytes(tmp_path / "a.pcap", pcap(THREE, link=127))
    assert isinstance(error, CaptureLinkError)
    assert "link type 127" in str(error)
    assert "1 Ethernet" in str(error)


def test_an_unsupported_version_is_reported(tmp_path: Path) -> None:
    content = bytearray(pcap(THREE))
    content[4] = 9
    assert "version 9.4" in str(read_bytes(tmp_path / "a.pcap", bytes(content))[1])


def test_the_length_of_an_fcs_in_the_link_type_is_not_part_of_it(tmp_path: Path) -> None:
    assert read_bytes(tmp_path / "a.pcap", pcap(THREE, link=0x2400_0000 | 1))[1] is None


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(CaptureAccessError, match="No such file"):
        CaptureReader(tmp_path / "missing.pcap")
    with pytest.raises(CaptureError, match="directory"):
        CaptureReader(tmp_path)


# --- streams


def test_gzip_is_recognised_by_its_first_bytes_even_in_members(tmp_path: Path) -> None:
    content = pcap(THREE)
    plain = read_bytes(tmp_path / "plain", content)
    assert read_bytes(tmp_path / "one", gzip.compress(content)) == plain
    assert read_bytes(tmp_path / "two", gzip.compress(content[:70]) + gzip.compress(content[70:])) == plain


def test_a_cut_gzip_delivers_what_it_still_holds(tmp_path: Path) -> None:
    records = [Record(index, 0, os.urandom(1000)) for index in range(1000)]
    packed = gzip.compress(pcap(records), 1)
    seen, error = read_bytes(tmp_path / "a.pcap.gz", packed[: len(packed) // 2])
    assert 480 < len(seen) < 520
    assert [frame.data for frame in seen] == [record.data for record in records[: len(seen)]]
    assert isinstance(error, CaptureTruncatedError)


def test_a_damaged_gzip_is_reported(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(pcap([Record(0, 0, os.urandom(60)) for _ in range(9)])))
    packed[-6] ^= 0xFF  # the checksum
    seen, error = read_bytes(tmp_path / "a.pcap.gz", bytes(packed))
    assert len(seen) == 9
    assert isinstance(error, CaptureAccessError)


@pytest.mark.parametrize("chunk", [1, 17, 100, 1000])
def test_a_window_of_any_size_sees_the_same(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    content = pcap([Record(index, 0, FRAME[: index % 60]) for index in range(50)])
    whole = read(CaptureReader(io.BytesIO(content)))
    monkeypatch.setattr(sources, "CHUNK_BYTES", chunk)
    reader = CaptureReader(io.BytesIO(content + b"cut"))
    seen, error = read(reader)
    assert whole == (seen, None)
    assert error is not None
    assert error.offset == len(content)
    assert reader.fraction is None


def test_standard_input_is_read_plain_and_compressed() -> None:
    content = pcap(THREE)
    program = "from sentinic.capture import CaptureReader as R; print(*[len(batch) for batch in R('-')])"
    for given in (content, gzip.compress(content)):
        done = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True, timeout=60, check=True)
        assert sum(map(int, done.stdout.split())) == 3


def test_frames_of_a_pipe_arrive_before_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = pcap(THREE)
    arrived = threading.Event()

    def feed() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(content[:-30])
            arrived.wait(30)
            pipe.write(content[-30:])

    feeder = threading.Thread(target=feed)
    feeder.start()
    batches = iter(CaptureReader(path))
    assert len(next(batches)) == 2
    arrived.set()
    assert len(next(batches)) == 1
    assert list(batches) == []
    feeder.join(30)


@pytest.mark.slow
def test_a_million_small_frames_are_all_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([]) + (pcap([Record(0, 0, bytes(64))])[24:] * 1_000_000))
    assert sum(len(batch) for batch in CaptureReader(path)) == 1_000_000

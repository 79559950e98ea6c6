"""Reading pcapng."""

from fractions import Fraction
from pathlib import Path

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter

from sentinic.capture import CaptureReader
from sentinic.capture.index import TIME_LIMIT, nanoseconds
from sentinic.capture.reader import _resolution
from sentinic.errors import CaptureFormatError, CaptureLinkError, CaptureTruncatedError
from tests.sw.capture.builders import (
    FRAME,
    Seen,
    block,
    enhanced,
    interface,
    obsolete,
    read,
    read_bytes,
    section,
    simple,
)


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_kinds_of_packet_blocks_are_read(tmp_path: Path, order: str) -> None:
    content = section(order) + interface(order)
    content += enhanced(FRAME, 1_000_000, order, wire=1500) + simple(FRAME[:33], order)
    content += obsolete(FRAME[:47], 3_000_000, order)
    seen, error = read_bytes(tmp_path / "a.pcapng", content)
    assert error is None
    # a simple packet has no time of its own and gets the one before
    assert seen == [
        Seen(FRAME, 1_000_000_000, 1500),
        Seen(FRAME[:33], 1_000_000_000, 33),
        Seen(FRAME[:47], 3_000_000_000, 47),
    ]


def test_literal_bytes_are_read(tmp_path: Path) -> None:
    content = bytes.fromhex(
        "0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c"
        "00000001 00000020 0001 0000 00000000 0009 0001 09 000000 0000 0000 00000020"
        "00000006 00000030 00000000 16345785 d8a00001 0000000e 00000040 ffffffffffff0203040506070806 0000 00000030"
    )
    seen, error = read_bytes(tmp_path / "a.pcapng", content)
    assert error is None
    assert seen == [Seen(bytes.fromhex("ffffffffffff0203040506070806"), 0x16345785D8A00001, 64)]


def test_a_simple_packet_is_cut_at_the_interfaces_snap_length(tmp_path: Path) -> None:
    content = section() + interface(snap=20) + block(3, (60).to_bytes(4, "little") + FRAME[:20])
    assert read_bytes(tmp_path / "a.pcapng", content) == ([Seen(FRAME[:20], 0, 60)], None)


def test_interfaces_keep_their_resolution_offset_and_port(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    content = section() + interface() + interface(resolution=9) + interface(resolution=0x80 | 10, shift=-3)
    for number, ticks in ((2, 5 * 1024 + 512), (0, 7), (1, 7)):
        content += enhanced(FRAME, ticks, number=number)
    content += interface(resolution=3) + enhanced(FRAME, 7, number=3)
    path.write_bytes(content)
    batches = list(CaptureReader(path, port={2: 1, 3: 1}))
    assert [batch.timestamp.tolist() for batch in batches] == [[2_500_000_000, 7000, 7, 7_000_000]]
    assert batches[0].port.tolist() == [1, 0, 0, 1]


def test_times_that_do_not_fit_become_the_nearer_end_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    content = section() + interface() + interface(shift=-2000) + interface(resolution=9) + interface(shift=2**63 - 1)
    last = 2**63 - 1
    given = [(0, 5), (1, 1_999_999_999), (1, 2_000_000_000), (2, last), (2, last + 1), (0, 2**64 - 1), (3, 0)]
    content += b"".join(enhanced(FRAME, ticks, number=number) for number, ticks in given) + simple(FRAME)
    path.write_bytes(content)
    for rows in (100, 1):  # in one batch, and each frame in one of its own
        reader = CaptureReader(path, batch_frames=rows)
        times = [int(time) for batch in reader for time in batch.timestamp]
        assert times == [5000, 0, 0, last, last, last, last, last]
        assert (reader.outside, reader.first_outside) == (4, 2)
    path.write_bytes(section() + interface() + enhanced(FRAME, 1))
    reader = CaptureReader(path)
    assert (len(list(reader)), reader.outside, reader.first_outside) == (1, 0, None)


def test_sections_have_their_own_byte_order_and_interfaces(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    content = section("<") + interface("<") + enhanced(FRAME, 1, "<")
    content += section(">") + interface(">", resolution=9) + enhanced(FRAME[:50], 1, ">")
    path.write_bytes(content)
    reader = CaptureReader(path, port={1: 1})
    batches = list(reader)
    assert [(batch.timestamp.tolist(), batch.port.tolist()) for batch in batches] == [([1000], [0]), ([1], [1])]
    assert reader.format == "pcapng"


def test_an_interface_of_an_earlier_section_is_not_known_in_a_later_one(tmp_path: Path) -> None:
    content = section() + interface() + section() + enhanced(FRAME, 1)
    _, error = read_bytes(tmp_path / "a.pcapng", content)
    assert isinstance(error, CaptureFormatError)
    assert "interface 0" in str(error)


def test_other_blocks_are_skipped(tmp_path: Path) -> None:
    other = block(4, b"names") + block(5, bytes(12)) + block(0x40000BAD, b"custom block")
    content = section() + other + interface() + other + enhanced(FRAME, 1) + other
    assert read_bytes(tmp_path / "a.pcapng", content) == ([Seen(FRAME, 1000, 60)], None)


def test_a_thousand_interfaces_are_told_apart(tmp_path: Path) -> None:
    content = section() + b"".join(interface(shift=number) for number in range(1000))
    content += b"".join(enhanced(FRAME, 0, number=number) for number in range(1000))
    seen, error = read_bytes(tmp_path / "a.pcapng", content)
    assert error is None
    assert [frame.time for frame in seen] == [number * 10**9 for number in range(1000)]


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 255), st.integers(0, 2**64 - 1) | st.integers(0, 2**40), st.integers(-(2**63), 2**63 - 1))
def test_times_are_those_of_exact_fractions_rounded_down(resolution: int, ticks: int, shift: int) -> None:
    unit = Fraction(1, 2 ** (resolution & 127)) if resolution & 128 else Fraction(1, 10**resolution)
    for seconds in (0, shift >> 30, shift):
        exact = int((ticks * unit + seconds) * 10**9 // 1)
        got, outside = nanoseconds(ticks >> 32, ticks & 0xFFFFFFFF, *_resolution(resolution), seconds)
        # 10^-28 s is documented to read as nothing, though its last bit is worth a nanosecond
        slack = 1 if resolution == 28 else 0
        assert outside == (not 0 <= exact <= TIME_LIMIT)
        if outside:
            assert got == (0 if exact < 0 else TIME_LIMIT)
        else:
            assert exact - slack <= got <= exact


# --- faults


def _with(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


HEAD = section() + interface()
ONE = HEAD + enhanced(FRAME, 1_000_000)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (_with(enhanced(FRAME, 1), 4, (13).to_bytes(4, "little")), "block length 13"),
        (_with(enhanced(FRAME, 1), 4, (8).to_bytes(4, "little")), "block length 8"),
        (_with(enhanced(FRAME, 1), 4, b"\xfc\xff\xff\xff"), "limit|12..16777216"),
        (enhanced(FRAME, 1)[:-4] + bytes(4), "another length"),
        (enhanced(FRAME, 1, number=1), "interface 1 has no description"),
        (_with(enhanced(FRAME, 1), 20, (500).to_bytes(4, "little")), "captured length 500"),
        (_with(simple(FRAME), 8, (500).to_bytes(4, "little")), "captured length 500"),
        (block(6, bytes(8)), "block length 20"),
        (block(6, bytes(12) + (300_000).to_bytes(4, "little") * 2 + bytes(300_000)), "262144"),
        (block(1, bytes(4)), "block length 16"),
        (block(1, bytes(8) + b"\x09\x00\xff\x00"), "option 9"),
        (block(1, bytes(8) + b"\x09\x00\x02\x00\x01\x02\x00\x00"), "if_tsresol"),
        (block(1, bytes(8) + b"\x0e\x00\x02\x00\x01\x02\x00\x00"), "if_tsoffset"),
        (_with(section(), 8, b"what"), "byte-order magic"),
        (_with(section(), 12, b"\x02"), "version 2.0"),
        (_with(section(), 4, b"\x1d"), "block length 29"),
        (_with(section(), 24, b"\x1d"), "another length"),
    ],
)
def test_a_fault_is_named_after_all_before_it_was_delivered(tmp_path: Path, tail: bytes, words: str) -> None:
    seen, error = read_bytes(tmp_path / "a.pcapng", ONE + tail + enhanced(FRAME, 1))
    assert seen == [Seen(FRAME, 10**9, 60)]
    assert isinstance(error, CaptureFormatError)
    assert any(word in str(error) for word in words.split("|"))
    assert error.offset == len(ONE)


def test_every_cut_delivers_what_is_whole(tmp_path: Path) -> None:
    content = ONE + enhanced(FRAME, 1)
    whole = {len(section()), len(HEAD), len(ONE)}
    for cut in range(1, len(content)):
        seen, error = read_bytes(tmp_path / "a.pcapng", content[:cut])
        assert len(seen) == (cut >= len(ONE))
        assert (error is None) == (cut in whole)
        assert error is None or isinstance(error, CaptureTruncatedError)


def test_an_unknown_link_type_matters_only_to_its_packets(tmp_path: Path) -> None:
    content = section() + interface(link=127) + interface() + enhanced(FRAME, 1, number=1)
    assert read_bytes(tmp_path / "a.pcapng", content)[1] is None
    seen, error = read_bytes(tmp_path / "b.pcapng", content + enhanced(FRAME, 1, number=0))
    assert len(seen) == 1
    assert isinstance(error, CaptureLinkError)
    assert error.packet == 2
    assert "link type 127 of interface 0" in str(error)


# --- other writers


def test_what_scapy_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    with PcapNgWriter(str(path)) as writer:
        for index in range(20):
            packet = Ether(FRAME + bytes([index]) * index)
            packet.time = 1_600_000_000 + index
            writer.write(packet)
    seen, error = read(CaptureReader(path))
    assert error is None
    assert seen == [
        Seen(FRAME + bytes([index]) * index, (1_600_000_000 + index) * 10**9, 60 + index) for index in range(20)
    ]


def test_what_dpkt_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    with path.open("wb") as file:
        writer = dpkt.pcapng.Writer(file)
        for index in range(20):
            writer.writepkt(FRAME + bytes(index), ts=1_600_000_000.5 + index)
    seen, error = read(CaptureReader(path))
    assert error is None
    assert seen == [
        Seen(FRAME + bytes(index), (1_600_000_000 + index) * 10**9 + 500_000_000, 60 + index) for index in range(20)
    ]

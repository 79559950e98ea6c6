"""Captures that are wrong, cut or odd: what is said, and that all frames before come out."""

import gzip
import json
from pathlib import Path

import dpkt
import pytest

from sentinic.cli import main
from tests.sw.capture.builders import FRAME, Record, block, enhanced, interface, pcap, section
from tests.sw.cli.captures import run, written

RECORDS = [Record(1_700_000_000 + number, 0, FRAME + bytes([number])) for number in range(20)]
PCAP = pcap(RECORDS)
PCAPNG = section() + interface() + b"".join(enhanced(record.data, record.seconds * 10**6) for record in RECORDS)
#: Where packet 5 begins: file header, and four records of 16 + 61 bytes.
FIFTH = 24 + 4 * 77
#: Content, frames before the fault, and what is said of it after the capture's name.
BAD = {
    "empty": (b"", 0, "is empty: a capture has a header of at least 24 bytes"),
    "file header cut": (PCAP[:10], 0, "byte 0: the capture ends in a file header: 10 bytes are left of 24"),
    "record header cut": (PCAP[:FIFTH + 9], 4, f"packet 5, byte {FIFTH}: the capture ends in a packet: 9 bytes"),
    "byte left": (PCAP[:FIFTH + 1], 4, f"packet 5, byte {FIFTH}: the capture ends in a packet: 1 byte is left of 16"),
    "packet cut": (PCAP[:-1], 19, "packet 20, byte 1487: the capture ends in a packet: 76 bytes are left of 77"),
    "no capture": (b"GET / HTTP/1.1\r\n\r\n", 0, "byte 0: not a capture: it begins with 47 45 54 20; supported are"),
    "version": (PCAP[:4] + b"\x09\0" + PCAP[6:], 0, "byte 0: pcap version 9.4; supported is 2"),
    "length": (
        PCAP[:FIFTH + 8] + b"\xff\xff\xff\x7f" + PCAP[FIFTH + 12 :],
        4,
        f"packet 5, byte {FIFTH}: captured length 2147483647 is beyond the limit of 262144 bytes",
    ),
    "link type": (pcap(RECORDS, link=105), 0, "packet 1, byte 24: link type 105 is not supported; supported are 0 BSD"),
    "block cut": (PCAPNG[:-1], 19, "the capture ends in a block: "),
    "block length": (section() + interface() + b"\6\0\0\0\x11\0\0\0" + bytes(40), 0, "block length 17 must be a multi"),
    "block trailer": (PCAPNG[:-4] + b"\0\1\0\0", 19, "the block ends with another length than it began with: 256"),
    "byte order": (block(0x0A0D0D0A, b"\1\2\3\4" + bytes(12)), 0, "byte 0: byte-order magic 01 02 03 04 is neither"),
    "no interface": (section() + enhanced(FRAME, 0), 0, "packet 1, byte 28: interface 0 has no description"),
    "link type of an interface": (
        section() + interface() + enhanced(FRAME, 0) + interface(link=147) + enhanced(FRAME, 1, number=1),
        1,
        "link type 147 of interface 1 is not supported",
    ),
    "compression cut": (gzip.compress(PCAP)[:-9], None, "the compressed capture ends before its end mark"),
    "compression damaged": (gzip.compress(PCAP)[:-8] + bytes(8), 20, "the compression is damaged: CRC check failed"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "whole", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_capture_is_named_with_the_place_and_all_frames_before_come_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, whole: int | None, message: str
) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    path.write_bytes(content)
    assert run(path, "--out", out) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"sentinic: {path}: ")
    assert message in error
    assert error.count("\n") == 1
    came = [octets for _, octets in written(out / "packets.pcapng")]
    if whole is None:
        assert came == [record.data for record in RECORDS][: len(came)]
    else:
        assert came == ([FRAME] if "interface 1" in message else [record.data for record in RECORDS][:whole])
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["ended"], summary["frames"]) == ("error", len(came))
    assert f"{summary['error']}\n" == error.removeprefix("sentinic: ")
    assert (out / "packets.jsonl").read_text().count("\n") == len(came)


def closing(path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit code and notes of a run that is not quiet."""
    code = main(["run", str(path), "--out", str(out), "--backend", "fake", "--write", "packets,summary"])
    lines = capsys.readouterr().err.splitlines()
    return code, [line.removeprefix("note: ") for line in lines if line.startswith("note: ")]


def test_times_that_run_backwards_are_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    seconds = [100, 200, 150, 160, 140, 300]
    path.write_bytes(pcap(Record(second, 0, FRAME) for second in seconds))
    code, notes = closing(path, out, capsys)
    assert code == 0
    assert notes == [f"{path}: frames earlier than the one before: 2, first packet 3; times stay as they are"]
    assert [stamp for stamp, _ in written(out / "packets.pcapng")] == [second * 1_000_000 for second in seconds]
    (capture,) = json.loads((out / "summary.json").read_text())["captures"]
    assert (capture["backwards"], capture["first_backwards"]) == (2, 3)


def test_times_out_of_range_are_set_to_the_nearer_end_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "in.pcapng", tmp_path / "out"
    content = section() + interface() + interface(shift=-10) + enhanced(FRAME, 7_000_000)
    path.write_bytes(content + enhanced(FRAME, 9_000_000, number=1) + enhanced(FRAME, 2**64 - 1))
    code, notes = closing(path, out, capsys)
    assert code == 0
    assert f"{path}: time stamps before 1970 or after 2262: 2, first packet 2; set to the nearer end" in notes
    (capture,) = json.loads((out / "summary.json").read_text())["captures"]
    assert (capture["outside"], capture["first_outside"]) == (2, 2)
    stamps = [stamp for stamp, _ in written(out / "packets.pcapng")]
    assert stamps[:2] == [7_000_000, 0]


def test_frames_cut_by_a_snap_length_keep_their_length_on_the_wire(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    path.write_bytes(pcap([Record(1, 0, FRAME, 1500), Record(2, 0, FRAME), Record(3, 0, FRAME, 61)]))
    code, notes = closing(path, out, capsys)
    assert code == 0
    assert notes == ["packets of ring 0 cut short (snap length): 2; marked, with their length on the wire"]
    with (out / "packets.pcapng").open("rb") as file:
        blocks = dpkt.pcapng.Reader(file)
        assert [len(octets) for _, octets in blocks] == [60, 60, 60]
    lengths = []
    octets = (out / "packets.pcapng").read_bytes()
    at = 0
    while at < len(octets):  # original length of each enhanced packet block
        if octets[at : at + 4] == b"\6\0\0\0":
            lengths.append(int.from_bytes(octets[at + 24 : at + 28], "little"))
        at += int.from_bytes(octets[at + 4 : at + 8], "little")
    assert lengths == [1500, 60, 61]
    assert json.loads((out / "summary.json").read_text())["traffic"]["truncated"] == 2


def test_lengths_on_the_wire_below_what_is_there_are_not_believed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap([Record(1, 0, FRAME, 0), Record(2, 0, FRAME)]))
    code, notes = closing(path, tmp_path / "out", capsys)
    assert code == 0
    assert notes == [f"{path}: frames longer than said to be on the wire: 1; the bytes that are there count"]


def test_frames_of_no_bytes_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    path.write_bytes(pcap([Record(1, 0, FRAME), Record(2, 0, b""), Record(3, 0, b""), Record(4, 0, FRAME)]))
    code, notes = closing(path, out, capsys)
    assert code == 0
    assert notes == ["frames of no bytes: 2; left out, as no wire carries them"]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["frames"], summary["frames_empty"], summary["conservation"]["received"]) == (2, 2, 2)
    path.write_bytes(pcap([Record(2, 0, b"")]))
    assert closing(path, out, capsys)[0] == 0


def test_frames_snapped_below_an_ethernet_header_are_no_runts_and_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    sizes = [(13, 14), (0, 60), (13, 13), (0, 0), (14, 60), (0, 13), (60, 60), (5, 9000)]  # captured, on the wire
    path.write_bytes(pcap(Record(1, 0, FRAME[:captured], wire) for captured, wire in sizes))
    code, notes = closing(path, out, capsys)
    assert code == 0
    assert notes[:2] == [
        "frames of no bytes: 2; left out, as no wire carries them",
        "frames snapped below an Ethernet header (14 bytes): 3; left out, as there is nothing to parse",
    ]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["captures"][0]["frames"], summary["frames"]) == (8, 3)
    assert (summary["frames_empty"], summary["frames_snapped"]) == (2, 3)
    assert summary["drops"] == {"dropped_runt": 1}
    assert [len(octets) for _, octets in written(out / "packets.pcapng")] == [14, 60]


def test_runts_and_giants_are_dropped_by_the_card_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    path.write_bytes(pcap(Record(1, 0, bytes(length)) for length in (1, 13, 14, 9600, 9601, 70_000)))
    assert closing(path, out, capsys) == (0, [])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["drops"] == {"dropped_runt": 2, "dropped_oversize": 2}
    assert summary["conservation"]["holds"]
    assert [len(octets) for _, octets in written(out / "packets.pcapng")] == [14, 9600]

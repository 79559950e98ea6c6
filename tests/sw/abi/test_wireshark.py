"""The Wireshark dissector, run by tshark over the hand-written bytes."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from sentinic.abi.wireshark import dissector
from tests.vectors import load

TAGS = load("tags")
FRAMES = load("frames")
REPORTS = load("reports")
ADDRESSES = FRAMES["ethernet"][:12]

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def tshark(folder: Path, frames: list[bytes], *fields: str) -> list[list[str]]:
    """The values of ``fields`` in each frame, as tshark shows them with the dissector loaded."""
    capture = folder / "frames.pcap"
    records = (struct.pack("<IIII", n, 0, len(frame), len(frame)) + frame for n, frame in enumerate(frames))
    capture.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))
    script = folder / "sentinic.lua"
    script.write_text(dissector(), encoding="utf-8")
    wanted = [argument for field in fields for argument in ("-e", field)]
    command = ["tshark", "-X", f"lua_script:{script}", "-r", str(capture), "-T", "fields", *wanted]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unrecognized" in result.stderr.lower() or "lua_script" in result.stderr:
        pytest.skip("this tshark is built without Lua")
    assert "error" not in result.stderr.lower(), result.stderr
    assert result.returncode == 0, result.stderr
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_every_tag_of_the_vectors_is_shown(tmp_path: Path) -> None:
    frames = [ADDRESSES + tag + b"\x08\x06" for tag in TAGS.values()]
    rows = tshark(
        tmp_path,
        frames,
        "sentinic.packet.captured_length",
        "sentinic.headers.parse_error",
        "sentinic.tcp.acknowledgment",
        "sentinic.loss.lost",
        "sentinic.crossing.value",
        "sentinic.attempt.last",
        "sentinic.unknown",
        "sentinic.malformed",
    )
    assert dict(zip(TAGS, rows, strict=True)) == {
        "plain": ["47", "0", "", "", "", "", "", ""],
        "tcp": ["54", "0", str(0x55667788), "", "", "", "", ""],
        "loss": ["128", "0", "", "256", "", "", "", ""],
        "crossing_tcp": ["54", "0", "2", "", str((1 << 55) + 3), "", "", ""],
        "attempt_tcp": ["54", "0", "0", "", "", "Nov 14, 2023 22:13:25.000000001 UTC", "", ""],
        "crossing_loss": ["64", "0", "", "7", "100", "", "", ""],
        "loss_tcp": ["64", "14", str(0xFFFFFFFF), str(0xFFFFFFFF), "", "", "", ""],
        "unknown": ["14", "0", "", "", "", "", "7f02aabbccddeeff", ""],
    }


@pytest.mark.parametrize("name", ["ethernet", "vlan", "qinq", "old_qinq", "three"])
def test_the_packet_inside_is_dissected_as_without_the_tag(tmp_path: Path, name: str) -> None:
    rows = tshark(tmp_path, [FRAMES[name], FRAMES[f"{name}_tagged"]], "vlan.id", "ip.id", "udp.dstport", "udp.payload")
    assert rows[0] == rows[1]
    assert rows[0][1:] == ["0x1234", "53", "68656c6c6f"]


def test_a_length_in_place_of_the_ethertype_leads_to_llc(tmp_path: Path) -> None:
    assert tshark(tmp_path, [FRAMES["llc_tagged"]], "llc.dsap", "llc.control") == [["0x42", "0x0003"]]


def test_the_wire_time_is_shown_to_the_nanosecond(tmp_path: Path) -> None:
    [[shown]] = tshark(tmp_path, [FRAMES["ethernet_tagged"]], "sentinic.packet.timestamp")
    assert "22:13:20.000000001" in shown


@pytest.mark.parametrize(("at", "value"), [(15, 0), (15, 200), (17, 0), (17, 200)])
def test_impossible_lengths_are_marked(tmp_path: Path, at: int, value: int) -> None:
    frame = bytearray(FRAMES["ethernet_tagged"])
    frame[at] = value
    [[shown]] = tshark(tmp_path, [bytes(frame)], "_ws.expert.message")
    assert "length does not fit" in shown


def test_a_report_is_shown_with_its_groups(tmp_path: Path) -> None:
    rows = tshark(
        tmp_path,
        [REPORTS["one_group"]],
        "sentinic.report.items",
        "sentinic.group.rule",
        "sentinic.group.packets",
        "sentinic.group.source",
        "sentinic.group.eth_dst",
        "sentinic.group.destination_port",
        "sentinic.malformed",
        "sentinic.unknown",
    )
    assert rows == [["1", "3", "256", "::ffff:192.0.2.1", "02:00:00:00:00:02", "53", "", ""]]


def test_a_report_of_attempts_is_shown_with_its_attempts(tmp_path: Path) -> None:
    rows = tshark(
        tmp_path,
        [REPORTS["one_attempt"]],
        "sentinic.report.content",
        "sentinic.unanswered.reason",
        "sentinic.unanswered.retransmissions",
        "sentinic.unanswered.source",
        "sentinic.unanswered.last",
        "sentinic.malformed",
        "sentinic.unknown",
    )
    assert rows == [["1", "5", "2", "::ffff:192.0.2.1", "Nov 14, 2023 22:13:18.000000000 UTC", "", ""]]

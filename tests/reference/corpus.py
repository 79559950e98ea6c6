"""The corpus as frames: a small reader of its own, so that the oracle does not rest on the capture reader it judges."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .card import Frame

CORPUS = Path(os.environ.get("SENTINIC_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus of captures is not at {CORPUS}")

ETHERNET, NULL, PPP, RAW, LINUX_COOKED = 1, 0, 9, (12, 101), 113
FAMILIES = {2: 0x0800, 10: 0x86DD, 24: 0x86DD, 28: 0x86DD, 30: 0x86DD}
PPP_TYPES = {0x0021: 0x0800, 0x0057: 0x86DD, 0x0281: 0x8847, 0x0283: 0x8848}


class Record(NamedTuple):
    """A packet as a capture holds it: its bytes, its time in ns, its length on the wire, its link type."""

    data: bytes
    timestamp: int
    wire: int
    link: int


def captures() -> list[Path]:
    """Every capture of the corpus, and the raw IP packets of Jool."""
    if not CORPUS.is_dir():
        return []
    return sorted(path for path in CORPUS.rglob("*") if path.suffix in (".pcap", ".pcapng", ".pkt"))


def frames_of(path: Path) -> list[Frame]:
    """The frames of a capture, with a synthetic Ethernet header where there was none; runts are left out."""
    frames = (_frame(record) for record in records(path))
    return [frame for frame in frames if len(frame.data) >= 14]


def records(path: Path) -> Iterator[Record]:
    """The packets of a capture as they stand there; no length on the wire is below what is there."""
    for record in _read(path):
        yield record._replace(wire=max(record.wire, len(record.data)))


def _read(path: Path) -> Iterator[Record]:
    data = path.read_bytes()
    if path.suffix == ".pkt":
        yield Record(data, 0, len(data), 101)
        return
    magic = data[:4]
    if magic == b"\x0a\x0d\x0d\x0a":
        yield from _read_pcapng(data)
        return
    order = "<" if magic in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    unit = 1 if magic in (b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d") else 1000
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, captured, wire = struct.unpack_from(order + "IIII", data, at)
        frame = data[at + 16 : at + 16 + captured]
        at += 16 + captured
        if len(frame) == captured:
            yield Record(frame, seconds * 1_000_000_000 + fraction * unit, wire, link)


def _read_pcapng(data: bytes) -> Iterator[Record]:
    """One section, enhanced packet blocks, powers of ten as units of time: what the corpus has."""
    order = "<" if data[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
    interfaces: list[tuple[int, int]] = []  # link type, ns per unit of time
    at = 0
    while at + 12 <= len(data):
        kind, length = struct.unpack_from(order + "II", data, at)
        if kind == 1:
            unit, option = 1000, at + 16
            while option < at + length - 4:
                code, size = struct.unpack_from(order + "HH", data, option)
                if code == 9:  # if_tsresol
                    unit = 10 ** (9 - data[option + 4])
                option += 4 + size + -size % 4
            interfaces.append((struct.unpack_from(order + "H", data, at + 8)[0], unit))
        elif kind == 6:
            interface, high, low, captured, wire = struct.unpack_from(order + "IIIII", data, at + 8)
            frame = data[at + 28 : at + 28 + captured]
            link, unit = interfaces[interface]
            yield Record(frame, (high << 32 | low) * unit, wire, link)
        at += length


def _frame(record: Record) -> Frame:
    framed = ethernet(record.data, record.link)
    return Frame(framed, record.timestamp, 0, record.wire + len(framed) - len(record.data))


def ethernet(data: bytes, link: int) -> bytes:
    """The packet behind a synthetic Ethernet header, unless it has one."""
    if link == ETHERNET:
        return data
    if link == NULL:
        family = min(struct.unpack("<I", data[:4])[0], struct.unpack(">I", data[:4])[0])
        kind, rest = FAMILIES[family], data[4:]
    elif link == PPP:
        data = data[2:] if data[:2] == b"\xff\x03" else data
        kind, rest = PPP_TYPES.get(struct.unpack(">H", data[:2])[0], 0xFFFF), data[2:]
    elif link == LINUX_COOKED:
        kind, rest = struct.unpack(">H", data[14:16])[0], data[16:]
    elif link in RAW:
        kind, rest = (0x86DD if data[0] >> 4 == 6 else 0x0800), data
    else:
        raise ValueError(f"link type {link} is not one the corpus has")
    return bytes(12) + struct.pack(">H", kind) + rest


def write_pcap(path: Path, frames: list[Frame]) -> None:
    """Frames into a pcap file with nanosecond times."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHIIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, ETHERNET))
        for frame in frames:
            seconds, nanoseconds = divmod(frame.timestamp, 1_000_000_000)
            wire = frame.wire_length or len(frame.data)
            file.write(struct.pack("<IIII", seconds & 0xFFFFFFFF, nanoseconds, len(frame.data), wire) + frame.data)

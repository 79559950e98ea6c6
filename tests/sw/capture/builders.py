"""Captures written out by hand, from the format's drafts, and what other tools read in a capture."""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from sentinic.capture import CaptureReader
from sentinic.driver.frames import FrameBatch
from sentinic.errors import CaptureError

CORPUS = Path(os.environ.get("SENTINIC_CORPUS", Path(__file__).parents[4] / "shared" / "corpus"))
TSHARK = shutil.which("tshark")
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus of captures is not at {CORPUS}")
needs_tshark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")

#: An Ethernet frame of 60 bytes.
FRAME = bytes.fromhex("0202020202020404040404040800") + bytes(range(46))


class Seen(NamedTuple):
    """A frame as a reader reports it."""

    data: bytes
    time: int
    wire: int


class Record(NamedTuple):
    """A frame to be written: whole seconds, the fraction in the file's unit, bytes, length on the wire."""

    seconds: int
    fraction: int
    data: bytes
    wire: int | None = None

    @property
    def original(self) -> int:
        return len(self.data) if self.wire is None else self.wire


def pcap(
    records: Iterable[Record], *, order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1, minor: int = 4
) -> bytes:
    """draft-ietf-opsawg-pcap-05."""
    out = struct.pack(order + "IHHiIII", magic, 2, minor, 0, 0, 262144, link)
    for record in records:
        out += struct.pack(order + "IIII", record.seconds, record.fraction, len(record.data), record.original)
        out += record.data
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, 12 + len(body)) + body + struct.pack(order + "I", 12 + len(body))


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(
    order: str = "<", *, link: int = 1, snap: int = 0, resolution: int | None = None, shift: int | None = None
) -> bytes:
    body = struct.pack(order + "HHI", link, 0, snap) + option(2, b"eth0", order)
    if resolution is not None:
        body += option(9, bytes([resolution]), order)
    if shift is not None:
        body += option(14, struct.pack(order + "q", shift), order)
    return block(1, body + option(0, b"", order), order)


def enhanced(data: bytes, ticks: int, order: str = "<", *, number: int = 0, wire: int | None = None) -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), wire or len(data))
    return block(6, head + data + bytes(-len(data) % 4) + option(1, b"a comment", order) + option(0, b"", order), order)


def simple(data: bytes, order: str = "<", *, wire: int | None = None) -> bytes:
    return block(3, struct.pack(order + "I", wire or len(data)) + data, order)


def obsolete(data: bytes, ticks: int, order: str = "<", *, number: int = 0) -> bytes:
    head = struct.pack(order + "HHIIII", number, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, head + data, order)


def rows(batch: FrameBatch) -> list[Seen]:
    batch.validate()
    return [
        Seen(batch.frame(index).tobytes(), int(batch.timestamp[index]), int(batch.wire_length[index]))
        for index in range(len(batch))
    ]


def read(reader: CaptureReader) -> tuple[list[Seen], CaptureError | None]:
    """All that a reader yields, and what it raises in the end."""
    seen: list[Seen] = []
    try:
        for batch in reader:
            seen += rows(batch)
    except CaptureError as error:
        return seen, error
    return seen, None


def read_bytes(path: Path, content: bytes) -> tuple[list[Seen], CaptureError | None]:
    path.write_bytes(content)
    return read(CaptureReader(path))


def tshark(path: Path) -> list[tuple[int, int, int, str, str]]:
    """(nanoseconds, wire length, captured length, MD5 of the bytes, encapsulation) of each frame."""
    assert TSHARK is not None
    fields = ("frame.time_epoch", "frame.len", "frame.cap_len", "frame.md5_hash", "frame.encap_type")
    command = [TSHARK, "-r", str(path), "-n", "-o", "frame.generate_md5_hash:TRUE"]
    command += ["-T", "fields", *(part for field in fields for part in ("-e", field))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    out = []
    for line in done.stdout.splitlines():
        time, wire, captured, digest, encapsulation = line.split("\t")
        seconds, _, fraction = time.partition(".")
        nanoseconds = int(seconds) * 10**9 + int(fraction.ljust(9, "0")) if seconds else 0
        out.append((nanoseconds, int(wire), int(captured), digest, encapsulation))
    return out

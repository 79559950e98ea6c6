"""Captures in: pcap and pcapng as batches of Ethernet frames."""

import os
from collections.abc import Generator, Iterator, Mapping
from types import TracebackType
from typing import BinaryIO

import numpy as np

from sentinic.capture.index import (
    BACKWARDS,
    BLOCK_LIMIT,
    BYTES,
    CLAMPED,
    FIRST_OUTSIDE,
    FRAME_LIMIT,
    INTERFACE_DTYPE,
    OUTSIDE,
    TALLY_SIZE,
    WRAP,
    Columns,
    Status,
    Unit,
    index_pcap,
    index_pcapng,
)
from sentinic.capture.links import SUPPORTED, LinkTable
from sentinic.capture.sources import open_source
from sentinic.driver.frames import FrameBatch
from sentinic.errors import CaptureFormatError, CaptureLinkError, CaptureTruncatedError

#: Most frames, and captured bytes after which no other frame is added, in a batch.
BATCH_FRAMES = 65_536
BATCH_BYTES = 32 << 20

_SECTION = b"\x0a\x0d\x0d\x0a"
# pcap magics as they stand in the file: byte order, bytes a record header, nanoseconds a tick
_PCAP = {
    bytes.fromhex("a1b2c3d4"): (True, 16, 1000),
    bytes.fromhex("d4c3b2a1"): (False, 16, 1000),
    bytes.fromhex("a1b23c4d"): (True, 16, 1),
    bytes.fromhex("4d3cb2a1"): (False, 16, 1),
    bytes.fromhex("a1b2cd34"): (True, 24, 1000),  # Kuznetzov's, records with interface and packet type
    bytes.fromhex("34cdb2a1"): (False, 24, 1000),
}
_IF_TSRESOL, _IF_TSOFFSET = 9, 14


class CaptureReader:
    """Iterates once over a capture's frames, in file order, as :class:`FrameBatch`-es.

    ``capture``: a path, ``-`` for standard input, or a binary file object; gzip is recognised by its first bytes.
    ``port``: the ingress port of all frames, or of each interface by its number (counted over all sections of a
    pcapng, from 0; others get port 0). ``links``: the table that takes non-Ethernet link headers; give readers whose
    frames end in one output the same. Batches of Ethernet frames refer to what
    was read, without a copy.

    Raises :class:`~sentinic.errors.CaptureError`: at once when the capture cannot be opened, and while iterating, after
    every frame before the fault was yielded.

    Attributes, valid for what has been yielded: ``name``; ``format`` ('pcap', 'pcapng', '' before the first batch);
    ``frames``; ``bytes`` captured; ``backwards``, frames earlier than the one before, and the number of the first
    of them, counted from 1, as ``first_backwards``; ``outside``, frames whose time was not in 0..2**63-1 ns and is the
    nearer end of that now, and the first as ``first_outside``; ``clamped``, frames whose original length was given as
    less than what was captured.
    """

    def __init__(
        self,
        capture: str | os.PathLike[str] | BinaryIO,
        *,
        port: int | Mapping[int, int] = 0,
        links: LinkTable | None = None,
        batch_frames: int = BATCH_FRAMES,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        if batch_frames < 1 or batch_bytes < 1:
            raise ValueError(f"a batch must hold at least 1 frame and byte, not {batch_frames} and {batch_bytes}")
        self.links = LinkTable() if links is None else links
        self.format = ""
        self.frames = 0
        self.bytes = 0
        self.backwards = 0
        self.first_backwards: int | None = None
        self.outside = 0
        self.first_outside: int | None = None
        self.clamped = 0
        self._port = port
        self._batch_frames = batch_frames
        self._batch_bytes = batch_bytes
        self._source = open_source(capture)
        self.name = self._source.name
        self._position = 0
        self._row = 0
        self._columns = Columns.allocate(0)
        self._latest = np.uint64(0)
        self._tally = np.zeros(TALLY_SIZE, np.int64)
        self._big = False
        self._interfaces = np.zeros(4, INTERFACE_DTYPE)
        self._first_interface = 0
        self._interface_end = 0
        self._batches = self._read()

    def __iter__(self) -> Iterator[FrameBatch]:
        return self._batches

    def __enter__(self) -> "CaptureReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the capture; batches already yielded stay valid."""
        self._batches.close()
        self._source.close()

    @property
    def fraction(self) -> float | None:
        """How much of the capture was read, 0 to 1; None for a stream of unknown length."""
        return self._source.fraction(self._position)

    @property
    def interfaces(self) -> int:
        """Interfaces that a pcapng has described so far, over all sections; a pcap has none."""
        return self._interface_end

    # --- bytes

    @property
    def _offset(self) -> int:
        return self._source.base + self._position

    @property
    def _packet(self) -> int:
        return self.frames + self._row + 1

    def _more(self) -> bool:
        """Slide the window on to ``_position``; rows that refer to the old window must have been emitted."""
        base = self._source.base
        moved = self._source.more(self._position)
        self._position -= self._source.base - base
        return moved

    def _have(self, count: int) -> bool:
        """Whether ``count`` bytes follow, after reading on as far as needed."""
        while len(self._source.data) - self._position < count:
            if not self._more():
                return False
        return True

    def _peek(self, count: int) -> bytes:
        return self._source.data[self._position : self._position + count].tobytes()

    def _word(self, part: bytes) -> int:
        return int.from_bytes(part, "big" if self._big else "little")

    def _truncated(self, what: str, needed: int) -> CaptureTruncatedError:
        left = len(self._source.data) - self._position
        return CaptureTruncatedError(
            self.name,
            f"the capture ends in a {what}: {left} {'byte is' if left == 1 else 'bytes are'} left of {needed}",
            offset=self._offset,
            packet=self._packet if what == "packet" else None,
        )

    def _wrong(self, what: str, *, packet: bool = False) -> CaptureFormatError:
        return CaptureFormatError(self.name, what, offset=self._offset, packet=self._packet if packet else None)

    # --- batches

    def _emit(self) -> FrameBatch:
        count, columns, data, tally = self._row, self._columns, self._source.data, self._tally
        if tally[BACKWARDS] and self.first_backwards is None:
            times = np.append(self._latest, columns.timestamp[:count])
            self.first_backwards = self.frames + 1 + int(np.argmax(times[1:] < times[:-1]))
        self._latest = columns.timestamp[count - 1] if count else self._latest
        if tally[OUTSIDE] and self.first_outside is None:
            self.first_outside = self.frames + 1 + int(tally[FIRST_OUTSIDE])
        self.frames += count
        self.bytes += int(tally[BYTES])
        self.backwards += int(tally[BACKWARDS])
        self.outside += int(tally[OUTSIDE])
        self.clamped += int(tally[CLAMPED])
        self._row = 0
        # a short batch must not keep the memory of a long one
        keep = count < len(columns.offset) // 2
        self._columns = columns if keep else Columns.allocate(0)
        if tally[WRAP]:
            data, columns = self.links.wrap(data, columns, count)
        tally[[BYTES, BACKWARDS, OUTSIDE, CLAMPED, WRAP]] = 0
        return FrameBatch(
            data,
            columns.offset[:count].copy() if keep else columns.offset[:count],
            columns.length[:count].copy() if keep else columns.length[:count],
            columns.wire_length[:count].copy() if keep else columns.wire_length[:count],
            columns.timestamp[:count].copy() if keep else columns.timestamp[:count],
            columns.port[:count].copy() if keep else columns.port[:count],
            np.zeros(count, np.uint8),
        )

    def _read(self) -> Generator[FrameBatch, None, None]:
        if not self._have(4):
            if len(self._source.data) == self._position:
                raise CaptureTruncatedError(self.name, "is empty: a capture has a header of at least 24 bytes")
            raise self._truncated("file header", 24)
        magic = self._peek(4)
        if magic == _SECTION:
            self.format = "pcapng"
            yield from self._read_pcapng()
        elif magic in _PCAP:
            self.format = "pcap"
            yield from self._read_pcap(*_PCAP[magic])
        else:
            raise self._wrong(
                f"not a capture: it begins with {magic.hex(' ')}; supported are pcap (micro- and nanosecond), "
                "pcapng, and either in gzip"
            )

    def _read_pcap(self, big: bool, header: int, tick: int) -> Generator[FrameBatch, None, None]:
        self._big = big
        if not self._have(24):
            raise self._truncated("file header", 24)
        head = self._peek(24)
        major, minor = self._word(head[4:6]), self._word(head[6:8])
        if major != 2:
            raise self._wrong(f"pcap version {major}.{minor}; supported is 2")
        # the upper bits tell the length of the FCS, if frames have one; it stays with them
        link = self._word(head[20:24]) & 0x03FF_FFFF
        # as libpcap does: versions before 2.3 exchange the two lengths, 2.3 does now and then
        swapped = 2 if minor < 3 else 1 if minor == 3 else 0
        port = self._port_of(0)
        self._position += 24
        while True:
            if self._row == len(self._columns.offset):
                self._columns = Columns.allocate(self._batch_frames)
            columns = self._columns
            self._row, self._position, status, detail = index_pcap(
                self._source.data, self._position, big, header, tick, swapped, link, port,
                self._row, self._batch_bytes, columns.offset, columns.length, columns.wire_length,
                columns.timestamp, columns.port, columns.link, self._tally,
            )  # fmt: skip
            if self._row and link not in SUPPORTED:
                self._row = 0
                self._position = int(columns.offset[0]) - header
                raise self._unsupported(link, None)
            if self._row:
                yield self._emit()
            if status == Status.FULL:
                continue
            if status != Status.MORE:
                raise self._fault(status, detail)
            if not self._have(detail):
                if len(self._source.data) == self._position:
                    return
                raise self._truncated("packet", detail)

    def _read_pcapng(self) -> Generator[FrameBatch, None, None]:
        while True:
            if self._row == len(self._columns.offset):
                self._columns = Columns.allocate(self._batch_frames)
            columns = self._columns
            self._row, self._position, status, detail = index_pcapng(
                self._source.data, self._position, self._big,
                self._interfaces, self._first_interface, self._interface_end,
                self._row, self._batch_bytes, columns.offset, columns.length, columns.wire_length,
                columns.timestamp, columns.port, columns.link, self._tally,
            )  # fmt: skip
            if status == Status.INTERFACE:
                fault = self._interface()
                if fault is None:
                    continue
                if self._row:
                    yield self._emit()
                raise fault
            if self._row:
                yield self._emit()
            if status == Status.SECTION:
                self._section()
            elif status == Status.MORE:
                if self._have(detail):
                    continue
                if len(self._source.data) == self._position:
                    return
                raise self._truncated("block", detail)
            elif status != Status.FULL:
                raise self._fault(status, detail)

    def _fault(self, status: int, detail: int) -> CaptureFormatError | CaptureLinkError:
        if status == Status.LENGTH:
            what = f"captured length {detail} is beyond the limit of {FRAME_LIMIT} bytes"
        elif status == Status.BLOCK_LENGTH:
            what = f"block length {detail} must be a multiple of 4 in 12..{BLOCK_LIMIT} and hold the block's fields"
            return self._wrong(what)
        elif status == Status.BLOCK_TRAILER:
            return self._wrong(f"the block ends with another length than it began with: {detail}")
        elif status == Status.BLOCK_FRAME:
            what = f"captured length {detail} is more than its block holds"
        elif status == Status.NO_INTERFACE:
            known = self._interface_end - self._first_interface
            what = f"interface {detail} has no description; the section describes {known} before this packet"
        else:
            return self._unsupported(int(self._interfaces[detail]["link"]), detail - self._first_interface)
        return self._wrong(what, packet=True)

    def _unsupported(self, link: int, interface: int | None) -> CaptureLinkError:
        where = "" if interface is None else f" of interface {interface}"
        known = ", ".join(f"{number} {name}" for number, name in SUPPORTED.items())
        return CaptureLinkError(
            self.name,
            f"link type {link}{where} is not supported; supported are {known}",
            offset=self._offset,
            packet=self._packet,
        )

    # --- pcapng blocks

    def _port_of(self, interface: int) -> int:
        return self._port if isinstance(self._port, int) else self._port.get(interface, 0)

    def _section(self) -> None:
        if not self._have(28):
            raise self._truncated("section header", 28)
        head = self._peek(16)
        if head[8:12] == b"\x1a\x2b\x3c\x4d":
            self._big = True
        elif head[8:12] == b"\x4d\x3c\x2b\x1a":
            self._big = False
        else:
            raise self._wrong(f"byte-order magic {head[8:12].hex(' ')} is neither 1a 2b 3c 4d nor 4d 3c 2b 1a")
        size = self._word(head[4:8])
        if size < 28 or size > BLOCK_LIMIT or size % 4:
            raise self._fault(Status.BLOCK_LENGTH, size)
        major, minor = self._word(head[12:14]), self._word(head[14:16])
        if major != 1:
            raise self._wrong(f"pcapng version {major}.{minor}; supported is 1")
        if not self._have(size):
            raise self._truncated("section header", size)
        trailer = self._word(self._peek(size)[-4:])
        if trailer != size:
            raise self._fault(Status.BLOCK_TRAILER, trailer)
        self._position += size
        self._first_interface = self._interface_end

    def _interface(self) -> CaptureFormatError | None:
        """Take the interface description at the position into the table; returns what is wrong with it."""
        size = self._word(self._peek(8)[4:])
        block = self._peek(size)
        if size < 20:
            return self._wrong(f"block length {size} is below the 20 bytes of an interface description")
        unit, factor, shift = Unit.MULTIPLY, 1000, 0
        at = 16
        while at + 4 <= size - 4:
            code, length = self._word(block[at : at + 2]), self._word(block[at + 2 : at + 4])
            value = block[at + 4 : at + 4 + length]
            at += 4 + length + (-length) % 4
            if code == 0:
                break
            if at > size - 4:
                return self._wrong(f"option {code} of {length} bytes passes the end of its interface description")
            if code == _IF_TSRESOL:
                if length != 1:
                    return self._wrong(f"option if_tsresol must have 1 byte, not {length}")
                unit, factor = _resolution(value[0])
            elif code == _IF_TSOFFSET:
                if length != 8:
                    return self._wrong(f"option if_tsoffset must have 8 bytes, not {length}")
                shift = int.from_bytes(value, "big" if self._big else "little", signed=True)
        number = self._interface_end
        if number == len(self._interfaces):
            self._interfaces = np.concatenate([self._interfaces, np.zeros(number, INTERFACE_DTYPE)])
        link = self._word(block[8:10])
        snap = self._word(block[12:16])
        self._interfaces[number] = (link, link in SUPPORTED, snap, unit, factor, shift, self._port_of(number))
        self._interface_end += 1
        self._position += size
        return None


def _resolution(value: int) -> tuple[Unit, int]:
    """Unit and factor of an if_tsresol byte (draft-ietf-opsawg-pcapng-03 4.2)."""
    if value & 0x80:
        return Unit.BINARY, value & 0x7F
    if value <= 9:
        return Unit.MULTIPLY, 10 ** (9 - value)
    if value >= 28:  # all 64 bits make less than two nanoseconds: the same as a very fine binary unit, 0
        return Unit.BINARY, 127
    return Unit.DIVIDE, 10 ** (value - 9)

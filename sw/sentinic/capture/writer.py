"""Captures out: pcapng with nanosecond times, valid on disk after every call."""

import os
import struct
from pathlib import Path
from types import TracebackType

import numpy as np

from sentinic.capture.index import ETHERNET
from sentinic.capture.jit import I32, I64, U8, U32, U64, frozen, jit
from sentinic.capture.links import SYNTHETIC_BYTES, LinkTable
from sentinic.driver.frames import FrameBatch
from sentinic.errors import CaptureWriteError

#: Bytes of blocks assembled before they are written.
BUFFER_BYTES = 8 << 20

# An enhanced packet block without its data: 28 bytes before, 4 after (draft-ietf-opsawg-pcapng-03 4.3).
_BLOCK_BYTES = 32
_ENHANCED_PACKET = 6


@jit
def _signed(value: int) -> int:
    """As int64: numba makes floats of signed with unsigned."""
    return np.int64(value)  # type: ignore[return-value]


@jit
def _assemble(
    words: U32,
    octets: U8,
    data: U8,
    offset: I64,
    length: U32,
    wire_length: U32,
    timestamp: U64,
    link: I32,
    rows: U8,
    interface: I32,
    first: int,
) -> tuple[int, int]:
    """Write blocks of frames from ``first`` on while they fit; returns (the first that did not, words written).

    ``words`` and ``octets`` are the same buffer. Frames of a link index above 0 get their original header back:
    ``rows`` is LinkTable.rows, ``interface`` the interface of each link index.
    """
    at = 0
    index = first
    while index < len(offset):
        which = link[index]
        start = offset[index]
        rest = _signed(length[index])
        wire = _signed(wire_length[index])
        header = 0
        if which > 0:
            header = _signed(rows[which, 2])
            start += SYNTHETIC_BYTES
            rest = max(0, rest - SYNTHETIC_BYTES)
            wire = max(wire - SYNTHETIC_BYTES, rest) + header
        captured = header + rest
        size = (_BLOCK_BYTES + captured + 3) >> 2
        if at + size > len(words):
            break
        words[at] = _ENHANCED_PACKET
        words[at + 1] = size << 2
        words[at + 2] = interface[which]
        words[at + 3] = timestamp[index] >> np.uint64(32)
        words[at + 4] = timestamp[index] & np.uint64(0xFFFFFFFF)
        words[at + 5] = captured
        words[at + 6] = wire
        if captured > 0:
            words[at + size - 2] = 0  # the padding; data overwrites the rest
        byte = (at + 7) << 2
        for step in range(header):
            octets[byte + step] = rows[which, 4 + step]
        byte += header
        octets[byte : byte + rest] = data[start : start + rest]
        words[at + size - 1] = size << 2
        at += size
        index += 1
    return index, at


def _block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _whole_blocks(blocks: memoryview, limit: int) -> tuple[int, int]:
    """The size of those blocks that lie in the first ``limit`` bytes, and how many of them are packets."""
    size = packets = 0
    while size + 8 <= limit:
        kind, length = struct.unpack_from("<II", blocks, size)
        if size + length > limit:
            break
        size += length
        packets += kind == _ENHANCED_PACKET
    return size, packets


class CaptureWriter:
    """Writes a pcapng file, little-endian, times in nanoseconds (if_tsresol 9).

    ``links``: the table of the readers that the frames came from; frames with one of its synthetic headers get their
    original header back, at their own link type. Without it everything is written as Ethernet. Interfaces are
    described when they are first needed, as libpcap reads captures of one link type only; an empty one gets Ethernet's.

    What was written before is a valid capture after every call, even one that fails or is interrupted: the file is
    cut back to the last whole block. Raises :class:`~sentinic.errors.CaptureWriteError` when the file cannot be
    created or written. Attributes: ``name``, ``frames`` and ``bytes`` (size of the file) written.
    """

    def __init__(self, path: str | os.PathLike[str], *, links: LinkTable | None = None) -> None:
        self.name = os.fspath(path)
        self.frames = 0
        self.bytes = 0
        self._links = LinkTable() if links is None else links
        self._interface_of: I32 = np.full(1 << 16, -1, np.int32)
        self._interface_count = 0
        self._words: U32 = np.zeros(0, np.uint32)
        try:
            self._file = Path(path).open("wb", buffering=0)  # noqa: SIM115  # open until close()
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise CaptureWriteError(f"{self.name}: cannot be created: {reason}") from error
        try:
            options = _option(4, b"sentinic") + _option(0, b"")
            self._put(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "CaptureWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; raises :class:`~sentinic.errors.CaptureWriteError` when the system reports a late fault."""
        try:
            if not self._interface_count and not self._file.closed:
                self._describe(ETHERNET)  # libpcap refuses a capture without any
            self._file.close()
        except OSError as error:
            raise CaptureWriteError(f"{self.name}: cannot be written: {error.strerror}") from error

    def write(
        self, data: U8, offset: I64, length: U32, wire_length: U32, timestamp: U64, link: I32 | None = None
    ) -> None:
        """Append frames: ``length[i]`` bytes from ``data[offset[i]]``, of ``wire_length[i]``, at ``timestamp[i]`` ns.

        ``link``: index of each frame in the table, where the caller knows it (0: Ethernet); otherwise it is found
        from the synthetic header. Columns have the types of :class:`FrameBatch`; raises :exc:`ValueError` when a
        frame or a link index is out of range, before anything is written.
        """
        offset = np.ascontiguousarray(offset, np.int64)
        length = np.ascontiguousarray(length, np.uint32)
        wire_length = np.ascontiguousarray(wire_length, np.uint32)
        timestamp = np.ascontiguousarray(timestamp, np.uint64)
        count = len(offset)
        if not count:
            return
        columns = (length, wire_length, timestamp, offset if link is None else link)
        if any(len(column) != count for column in columns):
            raise ValueError(f"all columns must have {count} entries as offset has")
        end = offset + length
        if int(offset.min()) < 0 or int(end.max()) > len(data):
            raise ValueError(f"frames must lie in 0..{len(data)}, not {int(offset.min())}..{int(end.max())}")
        table = self._links
        if link is None:
            link = table.recognise(data, offset, length)
        else:
            link = np.ascontiguousarray(link, np.int32)
            if int(link.min()) < 0 or int(link.max()) >= len(table):
                raise ValueError(f"link indices must be in 0..{len(table) - 1}, not {link.min()}..{link.max()}")
        interfaces = self._interfaces_for(link)
        longest = (_BLOCK_BYTES + int(length.max()) + 32) // 4
        if len(self._words) < longest:
            self._words = np.empty(max(longest, BUFFER_BYTES // 4), np.uint32)
        octets = self._words.view(np.uint8)
        done = 0
        while done < count:
            start = done
            done, words = _assemble(
                self._words, octets, frozen(data), offset, length, wire_length, timestamp,
                link, table.rows, interfaces, start,
            )  # fmt: skip
            self._put(octets[: 4 * words].data)
            self.frames += done - start

    def write_batch(self, batch: FrameBatch) -> None:
        """Append a batch as it is."""
        self.write(batch.data, batch.offset, batch.length, batch.wire_length, batch.timestamp)

    def _interfaces_for(self, link: I32) -> I32:
        """The interface of every link index; describes those that ``link`` is the first to need."""
        if self._links.plain:
            types, needed = np.array([ETHERNET], np.uint16), [ETHERNET]
        else:
            types = self._links.link_types
            present = np.zeros(1 << 16, np.bool_)
            present[types[link]] = True
            needed = np.flatnonzero(present).tolist()
        for link_type in needed:
            if self._interface_of[link_type] < 0:
                self._describe(link_type)
        interfaces: I32 = self._interface_of[types]
        return interfaces

    def _describe(self, link_type: int) -> None:
        options = _option(9, b"\x09") + _option(0, b"")
        self._put(_block(1, struct.pack("<HHI", link_type, 0, 0) + options))
        self._interface_of[link_type] = self._interface_count
        self._interface_count += 1

    def _put(self, blocks: bytes | memoryview) -> None:
        """Append whole blocks, as many as there is room for."""
        rest = memoryview(blocks)
        try:
            while len(rest):
                rest = rest[self._file.write(rest) :]
        except BaseException as error:
            size, frames = _whole_blocks(memoryview(blocks), len(blocks) - len(rest))
            self.bytes += size
            self.frames += frames
            self._cut()
            if isinstance(error, (OSError, ValueError)):
                reason = (isinstance(error, OSError) and error.strerror) or error
                raise CaptureWriteError(
                    f"{self.name}: cannot be written beyond byte {self.bytes}: {reason}; "
                    f"the {self.frames} frames before are valid"
                ) from error
            raise
        self.bytes += len(blocks)

    def _cut(self) -> None:
        try:
            self._file.truncate(self.bytes)
            self._file.seek(self.bytes)
        except (OSError, ValueError):
            pass  # not a regular file, or closed: nothing to cut

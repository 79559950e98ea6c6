"""Finding the frames in a buffer of pcap records or pcapng blocks, compiled.

Both functions fill columns row by row, from ``row`` to the columns' end, and stop at whatever Python has to look at.
They return (rows, position, status, detail): how many rows are filled now, where to go on, why they stopped, and the
offending number. Formats: draft-ietf-opsawg-pcap-05 and draft-ietf-opsawg-pcapng-03.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.capture.jit import I32, I64, U8, U32, U64, jit

#: A record may hold this many captured bytes; libpcap and Wireshark take more for corruption as well.
FRAME_LIMIT = 262_144
#: A pcapng block may be this long, in bytes, as in Wireshark.
BLOCK_LIMIT = 16 << 20
#: No wire time is beyond this many nanoseconds (the year 2262), so that differences fit 64 signed bits.
TIME_LIMIT = (1 << 63) - 1

ETHERNET = 1


class Status(IntEnum):
    """Why indexing stopped."""

    FULL = 0  #: the columns or the byte limit
    MORE = 1  #: the rest of the window does not hold a whole record; detail: bytes it needs
    SECTION = 2  #: a section header stands at position
    INTERFACE = 3  #: a whole interface description stands at position
    LENGTH = 4  #: captured length beyond FRAME_LIMIT; detail: that length
    BLOCK_LENGTH = 5  #: block length impossible or beyond BLOCK_LIMIT; detail: that length
    BLOCK_TRAILER = 6  #: the length at a block's end is another; detail: that length
    BLOCK_FRAME = 7  #: captured bytes do not fit their block; detail: captured length
    NO_INTERFACE = 8  #: the interface was not described; detail: its number
    LINK = 9  #: the interface has a link type without support; detail: its number in the table


class Unit(IntEnum):
    """How a pcapng interface counts time; ``factor`` is what the name says."""

    MULTIPLY = 0  #: nanoseconds = ticks * factor
    DIVIDE = 1  #: nanoseconds = ticks // factor
    BINARY = 2  #: seconds = ticks / 2**factor


#: A row per interface. ``supported`` is 0 or 1, ``shift`` is if_tsoffset in seconds, ``snap`` 0 without a limit.
INTERFACE_DTYPE = np.dtype(
    [(name, np.int64) for name in ("link", "supported", "snap", "unit", "factor", "shift", "port")]
)

#: Entries of the ``tally`` array.
BYTES, BACKWARDS, CLAMPED, LAST_TIME, WRAP, OUTSIDE, FIRST_OUTSIDE, TALLY_SIZE = range(8)

# The synthetic Ethernet header's two MAC addresses: 02:53:4e:54:49:43 and 02:53 with a 32-bit index (see links.py).
MAGIC_A = 0x02534E54
MAGIC_B = 0x49430253


@dataclass(slots=True)
class Columns:
    """What indexing fills; ``link`` is the link type, the others as in FrameBatch."""

    offset: I64
    length: U32
    wire_length: U32
    timestamp: U64
    port: U8
    link: I32

    @classmethod
    def allocate(cls, rows: int) -> "Columns":
        return cls(
            np.empty(rows, np.int64),
            np.empty(rows, np.uint32),
            np.empty(rows, np.uint32),
            np.empty(rows, np.uint64),
            np.empty(rows, np.uint8),
            np.empty(rows, np.int32),
        )


@jit
def _signed(value: Any) -> Any:
    """As int64: numba makes floats of signed with unsigned."""
    return np.int64(value)


@jit
def _u16(data: U8, at: int, big: bool) -> int:
    if big:
        return (_signed(data[at]) << 8) | _signed(data[at + 1])  # type: ignore[no-any-return]
    return (_signed(data[at + 1]) << 8) | _signed(data[at])  # type: ignore[no-any-return]


@jit
def _u32(data: U8, at: int, big: bool) -> int:
    if big:
        return (_u16(data, at, True) << 16) | _u16(data, at + 2, True)
    return (_u16(data, at + 2, False) << 16) | _u16(data, at, False)


@jit
def _store(
    data: U8,
    offset: I64,
    length: U32,
    wire_length: U32,
    timestamp: U64,
    port: U8,
    link: I32,
    tally: I64,
    row: int,
    at: int,
    captured: int,
    original: int,
    time: int,
    link_type: int,
    at_port: int,
) -> None:
    if original < captured:  # some writers leave the original length 0, or exchange the two
        original = captured
        tally[CLAMPED] += 1
    if time < tally[LAST_TIME]:
        tally[BACKWARDS] += 1
    tally[LAST_TIME] = time
    tally[BYTES] += captured
    offset[row] = at
    length[row] = captured
    wire_length[row] = original
    timestamp[row] = time
    port[row] = at_port
    link[row] = link_type
    if link_type != 1 or (captured >= 12 and _u32(data, at, True) == MAGIC_A and _u32(data, at + 4, True) == MAGIC_B):
        tally[WRAP] = 1


@jit
def index_pcap(
    data: U8,
    position: int,
    big: bool,
    header: int,
    tick: int,
    swapped: int,
    link_type: int,
    at_port: int,
    row: int,
    byte_limit: int,
    offset: I64,
    length: U32,
    wire_length: U32,
    timestamp: U64,
    port: U8,
    link: I32,
    tally: I64,
) -> tuple[int, int, int, int]:
    """Index pcap records of ``header`` bytes each; ``tick`` nanoseconds is the unit of the time's second word.

    ``swapped``: 0 lengths as specified, 1 exchanged where that makes sense, 2 always (files of version 2.3 and older).
    """
    end = len(data)
    while row < len(offset) and tally[BYTES] < byte_limit:
        if end - position < header:
            return row, position, Status.MORE.value, header
        captured = _u32(data, position + 8, big)
        original = _u32(data, position + 12, big)
        if swapped == 2 or (swapped == 1 and captured > original):
            captured, original = original, captured
        if captured > FRAME_LIMIT:
            return row, position, Status.LENGTH.value, captured
        if end - position < header + captured:
            return row, position, Status.MORE.value, header + captured
        time = _u32(data, position, big) * 1_000_000_000 + _u32(data, position + 4, big) * tick
        _store(
            data, offset, length, wire_length, timestamp, port, link, tally,
            row, position + header, captured, original, time, link_type, at_port,
        )  # fmt: skip
        row += 1
        position += header + captured
    return row, position, Status.FULL.value, 0


@jit
def nanoseconds(high: int, low: int, unit: int, factor: int, shift: int) -> tuple[int, bool]:
    """A pcapng time as nanoseconds, rounded down and kept within 0..TIME_LIMIT; and whether it was outside."""
    # seconds and a fraction apart, so that nothing in between passes 63 bits
    ticks = (np.uint64(high) << np.uint64(32)) | np.uint64(low)
    most = np.uint64(1 << 62)
    if unit == Unit.BINARY.value:
        whole = np.uint64(0)
        rest = ticks
        if factor < 64:
            whole = ticks >> np.uint64(factor)
            rest = ticks & ((np.uint64(1) << np.uint64(factor)) - np.uint64(1))
        seconds = _signed(min(whole, most))
        upper = _signed(rest >> np.uint64(32)) * 1_000_000_000
        lower = _signed(rest & np.uint64(0xFFFFFFFF)) * 1_000_000_000
        if factor >= 95:
            fraction = _signed(0)
        elif factor >= 32:
            fraction = (upper + (lower >> 32)) >> (factor - 32)
        else:
            fraction = lower >> factor
    elif unit == Unit.DIVIDE.value:
        whole = ticks // np.uint64(factor)
        seconds = _signed(whole // np.uint64(1_000_000_000))
        fraction = _signed(whole % np.uint64(1_000_000_000))
    else:
        per_second = np.uint64(1_000_000_000 // factor)
        seconds = _signed(min(ticks // per_second, most))
        fraction = _signed(ticks % per_second) * factor
    # both now below 2**62 in size, so that the sum is exact
    seconds += min(max(shift, -(1 << 62)), (1 << 62) - 1)
    if seconds < 0:
        return 0, True
    last = TIME_LIMIT // 1_000_000_000
    if seconds > last or (seconds == last and fraction > TIME_LIMIT % 1_000_000_000):
        return TIME_LIMIT, True
    return seconds * 1_000_000_000 + fraction, False


@jit
def index_pcapng(
    data: U8,
    position: int,
    big: bool,
    interfaces: npt.NDArray[np.void],
    first_interface: int,
    interface_end: int,
    row: int,
    byte_limit: int,
    offset: I64,
    length: U32,
    wire_length: U32,
    timestamp: U64,
    port: U8,
    link: I32,
    tally: I64,
) -> tuple[int, int, int, int]:
    """Index pcapng blocks of one section; its interfaces are ``interfaces[first_interface:interface_end]``.

    Simple packet blocks carry no time and get that of the frame before. Blocks of other types are skipped.
    """
    end = len(data)
    while row < len(offset) and tally[BYTES] < byte_limit:
        if end - position < 12:
            return row, position, Status.MORE.value, 12
        kind = _u32(data, position, big)
        if kind == 0x0A0D0D0A:
            return row, position, Status.SECTION.value, 0
        size = _u32(data, position + 4, big)
        if size < 12 or size > BLOCK_LIMIT or size & 3:
            return row, position, Status.BLOCK_LENGTH.value, size
        if end - position < size:
            return row, position, Status.MORE.value, size
        trailer = _u32(data, position + size - 4, big)
        if trailer != size:
            return row, position, Status.BLOCK_TRAILER.value, trailer
        if kind == 1:
            return row, position, Status.INTERFACE.value, 0
        if kind == 6 or kind == 3 or kind == 2:
            overhead = 16 if kind == 3 else 32
            if size < overhead:
                return row, position, Status.BLOCK_LENGTH.value, size
            if kind == 6:
                number = _u32(data, position + 8, big)
            elif kind == 2:
                number = _u16(data, position + 8, big)
            else:
                number = 0
            if number >= interface_end - first_interface:
                return row, position, Status.NO_INTERFACE.value, number
            interface = interfaces[first_interface + number]
            if kind == 3:
                original = _u32(data, position + 8, big)
                captured = min(original, size - 16)
                if interface["snap"] > 0:
                    captured = min(captured, interface["snap"])
                elif original > size - 16:
                    return row, position, Status.BLOCK_FRAME.value, original
                time, outside = tally[LAST_TIME], False
                start = position + 12
            else:
                captured = _u32(data, position + 20, big)
                original = _u32(data, position + 24, big)
                time, outside = nanoseconds(
                    _u32(data, position + 12, big),
                    _u32(data, position + 16, big),
                    interface["unit"],
                    interface["factor"],
                    interface["shift"],
                )
                start = position + 28
            if captured > size - overhead:
                return row, position, Status.BLOCK_FRAME.value, captured
            if captured > FRAME_LIMIT:
                return row, position, Status.LENGTH.value, captured
            if interface["supported"] == 0:
                return row, position, Status.LINK.value, first_interface + number
            if outside:
                if tally[OUTSIDE] == 0:
                    tally[FIRST_OUTSIDE] = row
                tally[OUTSIDE] += 1
            _store(
                data, offset, length, wire_length, timestamp, port, link, tally,
                row, start, captured, original, time, interface["link"], interface["port"],
            )  # fmt: skip
            row += 1
        position += size
    return row, position, Status.FULL.value, 0

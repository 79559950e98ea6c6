"""Frames without an Ethernet header get a synthetic one on the way in and lose it again on the way out.

The card reads Ethernet only. In place of another link header stands::

    02:53:4e:54:49:43   destination, a magic in locally administered space
    02:53:xx:xx:xx:xx   source, xx the index into the :class:`LinkTable` that keeps the original header
    EtherType           what the link header says is inside, or 88b6 (IEEE 802 local experimental 2)

so a frame grows by 14 bytes less its link header, and :class:`LinkTable` restores it exactly. Ethernet frames that
happen to carry the magic are wrapped as well, so that nothing is taken for what it is not.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.capture.index import ETHERNET, MAGIC_A, MAGIC_B, Columns
from sentinic.capture.jit import I32, I64, U8, U32, U64, frozen, jit

#: Link types (LINKTYPE_ numbers, https://www.tcpdump.org/linktypes.html) that can be shown to the card.
SUPPORTED = {
    0: "BSD null/loopback",
    ETHERNET: "Ethernet",
    9: "PPP",
    12: "raw IP",
    14: "raw IP",
    50: "PPP in HDLC-like framing",
    101: "raw IP",
    108: "OpenBSD loopback",
    113: "Linux cooked v1",
    228: "raw IPv4",
    229: "raw IPv6",
    276: "Linux cooked v2",
}

#: Length of the synthetic header, in bytes.
SYNTHETIC_BYTES = 14
#: EtherType of what has none.
UNKNOWN_ETHERTYPE = 0x88B6

# A table row: link type (2 bytes, little-endian), header length, 0, header (up to 20 bytes).
_ROW_BYTES = 24
_HEADER_AT = 4


@jit
def _signed(value: Any) -> Any:
    """As int64: numba makes floats of signed with unsigned."""
    return np.int64(value)


@jit
def _be16(data: U8, at: int) -> int:
    return (_signed(data[at]) << 8) | _signed(data[at + 1])  # type: ignore[no-any-return]


@jit
def _be32(data: U8, at: int) -> int:
    return (_be16(data, at) << 16) | _be16(data, at + 2)


@jit
def _family(value: int) -> int:
    """EtherType of an address family as BSDs, Darwin, Linux and Windows number it; -1 if it is not IP."""
    if value == 2:
        return 0x0800
    if value == 24 or value == 28 or value == 30 or value == 10 or value == 23:
        return 0x86DD
    return -1


@jit
def _ppp(protocol: int) -> int:
    """EtherType of a PPP protocol (RFC 1661 2, RFC 5072 2, RFC 3032 4.3), or -1."""
    if protocol == 0x0021:
        return 0x0800
    if protocol == 0x0057:
        return 0x86DD
    if protocol == 0x0281:
        return 0x8847
    if protocol == 0x0283:
        return 0x8848
    return -1


@jit
def _cooked(data: U8, at: int, hardware_at: int, inside: int) -> int:
    """EtherType of a Linux cooked protocol field at ``at``; ``inside`` is how many bytes follow the header."""
    protocol = _be16(data, at)
    hardware = _be16(data, hardware_at)
    # netlink, GRE and radiotap give the field another meaning
    if hardware == 824 or hardware == 778 or hardware == 803 or hardware == 802 or hardware == 801:
        return -1
    if protocol >= 0x0600:
        return protocol
    if protocol == 4 and inside <= 1500:  # 802.2: the length field takes its place, as in 802.3
        return inside
    return -1


@jit
def _dissect(data: U8, at: int, captured: int, wire: int, link: int) -> tuple[int, int]:
    """Length of the link header and EtherType of what follows (-1: none). A header cut short is header throughout."""
    size = 0
    kind = -1
    if link == 0 or link == 108:
        size = 4
        if captured >= 4:
            value = _be32(data, at)
            kind = _family(value)
            if kind < 0 and link == 0:  # written in the byte order of the machine that captured
                kind = _family(
                    (value >> 24) | ((value >> 8) & 0xFF00) | ((value << 8) & 0xFF0000) | ((value & 0xFF) << 24)
                )
    elif link == 12 or link == 14 or link == 101:
        if captured >= 1:
            version = data[at] >> 4
            if version == 4:
                kind = 0x0800
            elif version == 6:
                kind = 0x86DD
    elif link == 228:
        kind = 0x0800
    elif link == 229:
        kind = 0x86DD
    elif link == 113:
        size = 16
        if captured >= 16:
            kind = _cooked(data, at + 14, at + 2, wire - 16)
    elif link == 276:
        size = 20
        if captured >= 20:
            kind = _cooked(data, at, at + 8, wire - 20)
    elif link == 9 or link == 50:
        if link == 50 and captured >= 1 and (data[at] == 0x0F or data[at] == 0x8F):  # Cisco HDLC
            size = 4
            if captured >= 4:
                kind = _be16(data, at + 2)
        else:
            if captured >= 2 and data[at] == 0xFF and data[at + 1] == 0x03:
                size = 2
            if captured > size and data[at + size] & 1:  # protocol field compressed (RFC 1661 6.5)
                kind = _ppp(_signed(data[at + size]))
                size += 1
            else:
                if captured >= size + 2:
                    kind = _ppp(_be16(data, at + size))
                size += 2
    else:  # Ethernet that carries the magic
        size = 14
        if captured >= 14:
            kind = _be16(data, at + 12)
    return min(size, captured), kind


@jit
def _find(words: U64, slots: I32, used: int) -> int:
    """Index of the row that equals row ``used``, the candidate; adds it if there is none."""
    mask = len(slots) - 1
    mixed = np.uint64(0)
    for part in range(3):
        mixed = (mixed ^ words[used, part]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    slot = _signed(mixed & np.uint64(mask))
    while slots[slot] >= 0:
        row = slots[slot]
        if (
            words[row, 0] == words[used, 0]
            and words[row, 1] == words[used, 1]
            and words[row, 2] == words[used, 2]
        ):  # fmt: skip
            return _signed(row)  # type: ignore[no-any-return]
        slot = (slot + 1) & mask
    slots[slot] = used
    return used


@jit
def _rehash(words: U64, slots: I32, used: int) -> None:
    for row in range(used):
        _find(words, slots, row)


@jit
def _wrap(
    data: U8,
    offset: I64,
    length: U32,
    wire_length: U32,
    link: I32,
    rows: U8,
    words: U64,
    slots: I32,
    used: int,
    out: U8,
    out_offset: I64,
    out_length: U32,
    out_wire: U32,
) -> tuple[int, int]:
    """Copy frames to ``out`` with synthetic headers where they need one; returns (rows in table, bytes written)."""
    at = 0
    for index in range(len(offset)):
        start = offset[index]
        captured = _signed(length[index])
        wire = _signed(wire_length[index])
        out_offset[index] = at
        if link[index] == 1 and not (
            captured >= 12 and _be32(data, start) == MAGIC_A and _be32(data, start + 4) == MAGIC_B
        ):
            size = 0
        else:
            size, kind = _dissect(data, start, captured, wire, link[index])
            rows[used, :] = 0
            rows[used, 0] = link[index] & 0xFF
            rows[used, 1] = link[index] >> 8
            rows[used, 2] = size
            for byte in range(size):
                rows[used, 4 + byte] = data[start + byte]
            found = _find(words, slots, used)
            if found == used:
                used += 1
            if kind < 0:
                kind = UNKNOWN_ETHERTYPE
            for byte in range(4):
                out[at + byte] = (MAGIC_A >> (24 - 8 * byte)) & 0xFF
                out[at + 4 + byte] = (MAGIC_B >> (24 - 8 * byte)) & 0xFF
                out[at + 8 + byte] = (found >> (24 - 8 * byte)) & 0xFF
            out[at + 12] = kind >> 8
            out[at + 13] = kind & 0xFF
            at += 14
            wire += 14 - size
        rest = captured - size
        out[at : at + rest] = data[start + size : start + captured]
        at += rest
        out_length[index] = at - out_offset[index]
        out_wire[index] = min(wire, 0xFFFFFFFF)
    return used, at


@jit
def _recognise(data: U8, offset: I64, length: U32, used: int, link: I32) -> None:
    for index in range(len(offset)):
        start = offset[index]
        found = 0
        if length[index] >= 12 and _be32(data, start) == MAGIC_A and _be32(data, start + 4) == MAGIC_B:
            found = _be32(data, start + 8)
            if found >= used:
                found = 0
        link[index] = found


class LinkTable:
    """The original link headers; index 0 stands for Ethernet as it is.

    Shared by the readers of a run and its writers. Grows with the number of different headers (24 bytes each).
    """

    def __init__(self) -> None:
        self._rows: U8 = np.zeros((0, _ROW_BYTES), np.uint8)
        self._words: U64 = self._rows.view(np.uint64)
        self._slots: I32 = np.full(0, -1, np.int32)
        self._used = 0
        self._reserve(1024)
        self._rows[0, 0] = ETHERNET
        _find(self._words, self._slots, 0)
        self._used = 1

    def _reserve(self, capacity: int) -> None:
        rows = np.zeros((capacity, _ROW_BYTES), np.uint8)
        rows[: self._used] = self._rows[: self._used]
        self._rows = rows
        self._words = rows.view(np.uint64)
        self._slots = np.full(2 * capacity, -1, np.int32)
        _rehash(self._words, self._slots, self._used)

    def __len__(self) -> int:
        return self._used

    @property
    def plain(self) -> bool:
        """True as long as no frame has got a synthetic header: there is nothing to restore."""
        return self._used == 1

    @property
    def rows(self) -> U8:
        """uint8[n, 24]: link type (2 bytes, little-endian), header length, 0, header; read-only."""
        return frozen(self._rows[: self._used])

    @property
    def link_types(self) -> npt.NDArray[np.uint16]:
        """The link type at each index."""
        return self._rows[: self._used, :2].copy().view("<u2").ravel().astype(np.uint16)

    def header(self, index: int) -> tuple[int, bytes]:
        """Link type and original link header at ``index``; raises :exc:`IndexError` outside 0..len-1."""
        if not 0 <= index < self._used:
            raise IndexError(f"link index must be in 0..{self._used - 1}, not {index}")
        row = self._rows[index].tobytes()
        return int.from_bytes(row[:2], "little"), row[_HEADER_AT : _HEADER_AT + row[2]]

    def wrap(self, data: U8, columns: Columns, count: int) -> tuple[U8, Columns]:
        """The first ``count`` frames, copied, each behind an Ethernet header; those that have one stay as they are."""
        needed = self._used + count + 1
        if needed > len(self._rows):
            self._reserve(1 << (needed - 1).bit_length())
        lengths = columns.length[:count]
        out = np.empty(int(lengths.sum(dtype=np.int64)) + SYNTHETIC_BYTES * count, np.uint8)
        wrapped = Columns(
            np.empty(count, np.int64),
            np.empty(count, np.uint32),
            np.empty(count, np.uint32),
            columns.timestamp[:count],
            columns.port[:count],
            columns.link[:count],
        )
        self._used, size = _wrap(
            frozen(data), columns.offset[:count], lengths, columns.wire_length[:count], columns.link[:count],
            self._rows, self._words, self._slots, self._used,
            out, wrapped.offset, wrapped.length, wrapped.wire_length,
        )  # fmt: skip
        return frozen(out[:size]), wrapped

    def recognise(self, data: U8, offset: I64, length: U32) -> I32:
        """The link index of each frame, 0 for those that have no synthetic header of this table."""
        link = np.zeros(len(offset), np.int32)
        if not self.plain:
            _recognise(frozen(data), offset, length, self._used, link)
        return link

    def restore(self, frame: bytes, wire_length: int) -> tuple[int, bytes, int]:
        """(link type, original bytes, original wire length) of one frame; for a few, the writer does batches."""
        data = np.frombuffer(frame, np.uint8)
        index = int(self.recognise(data, np.zeros(1, np.int64), np.array([len(frame)], np.uint32))[0])
        link, header = self.header(index)
        if index == 0:
            return link, frame, wire_length
        return link, header + frame[SYNTHETIC_BYTES:], wire_length - SYNTHETIC_BYTES + len(header)

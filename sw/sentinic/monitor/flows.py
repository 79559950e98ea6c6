"""Exact flow records from descriptors alone: packet bytes are never touched."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.verdicts import Kind
from sentinic.monitor import words
from sentinic.monitor.jit import I64, Record, Records, int64, jit
from sentinic.monitor.words import mix

#: A flow.  Times in ns; ``bytes`` are wire lengths without FCS, ``ip_bytes`` lengths of IP packets; ``source`` sent the
#: first packet.  ``reverse_*`` stay 0 in a unidirectional meter.
FLOW_DTYPE = np.dtype(
    [
        ("source", "u1", 16),
        ("destination", "u1", 16),
        ("source_port", "<u2"),
        ("destination_port", "<u2"),
        ("protocol", "u1"),
        ("ip_version", "u1"),
        ("tcp_flags", "u1"),
        ("reverse_tcp_flags", "u1"),
        ("packets", "<i8"),
        ("bytes", "<i8"),
        ("last", "<i8"),
        ("first", "<i8"),
        ("ip_bytes", "<i8"),
        ("reverse_packets", "<i8"),
        ("reverse_bytes", "<i8"),
        ("reverse_ip_bytes", "<i8"),
    ]
)
#: The same memory with its key as numbers; padded to two cache lines.
_ENTRY = np.dtype(
    {
        "names": [
            "key0", "key1", "key2", "key3", "ports", "protocol", "version", "flags", "reverse_flags",
            "packets", "bytes", "last", "first", "ip_bytes", "reverse_packets", "reverse_bytes", "reverse_ip_bytes",
        ],
        "formats": ["<i8"] * 4 + ["<u4"] + ["u1"] * 4 + ["<i8"] * 8,
        "offsets": [0, 8, 16, 24, 32, 36, 37, 38, 39, 40, 48, 56, 64, 72, 80, 88, 96],
        "itemsize": 128,
    }
)  # fmt: skip
_NAMES, _FIELDS = list(FLOW_DTYPE.names or ()), dict(FLOW_DTYPE.fields or {})
_FLOW_VIEW = np.dtype(
    {
        "names": _NAMES,
        "formats": [FLOW_DTYPE[name] for name in _NAMES],
        "offsets": [_FIELDS[name][1] for name in _NAMES],
        "itemsize": 128,
    }
)
_PACKET = int(Kind.PACKET)
_REGENERATED = int(Kind.REGENERATED)
#: Descriptors worked on at a time: their table lines are fetched together, before the first is needed.
_BLOCK = 128
_FLOWS, _OTHER, _TOUCHED = 0, 1, 2


@jit
def _update(batch: I64, start: int, flows: Records, table: I64, state: I64, hashes: I64, both: bool) -> int:
    """Counts descriptors from ``start`` on until all are done or the table is half full; returns how far it came.

    ``table`` holds hash << 32 | index + 1, or 0; ``state`` the number of flows and of packets not counted.
    """
    count = batch.shape[0]
    mask = int64(table.shape[0] - 1)
    room = min(table.shape[0] // 2, flows.shape[0]) - _BLOCK
    touched = int64(0)
    while start < count and state[_FLOWS] < room:
        end = min(start + _BLOCK, count)
        for index in range(start, end):
            word = batch[index, words.LAST]
            value = mix(word & 0xFF0000, batch[index, words.SOURCE])
            other = mix(word & 0xFF0000, batch[index, words.DESTINATION])
            value = mix(value, batch[index, words.SOURCE + 1])
            other = mix(other, batch[index, words.DESTINATION + 1])
            ports = batch[index, words.PORTS]
            if both:
                value = mix(value, ports & 0xFFFF) + mix(other, ports >> 16 & 0xFFFF)
            else:
                value = mix(value + 3 * other, ports & 0xFFFFFFFF)
            hashes[index - start] = mix(value, 0) & 0xFFFFFFFF
        for index in range(end - start):
            touched ^= table[hashes[index] & mask]
        for index in range(end - start):
            found = table[hashes[index] & mask] & 0xFFFFFFFF
            if found:
                flow = flows[found - 1]
                touched ^= flow.packets ^ flow.first
        for index in range(start, end):
            last = batch[index, words.LAST]
            kind = last >> words.KIND & 3
            if last >> words.IP_VERSION & 3 == 0 or (kind != _PACKET and kind != _REGENERATED):
                state[_OTHER] += 1
                continue
            value = hashes[index - start]
            at = value & mask
            while True:
                entry = table[at]
                if entry == 0:
                    number = state[_FLOWS]
                    state[_FLOWS] = number + 1
                    table[at] = value << 32 | (number + 1)
                    _begin(flows[number], batch, index)
                elif entry >> 32 & 0xFFFFFFFF != value:
                    at = (at + 1) & mask
                    continue
                flow = flows[(table[at] & 0xFFFFFFFF) - 1]
                side = _side(flow, batch, index, both)
                if side >= 0:
                    time = batch[index, words.TIME]
                    if time > flow.last:
                        flow.last = time
                    elif time < flow.first:
                        flow.first = time
                    if side == 0:
                        flow.packets += 1
                        flow.bytes += batch[index, words.HASHED] >> 32 & 0xFFFF
                        flow.ip_bytes += last & 0xFFFF
                        flow.flags |= last >> 24 & 0xFF
                    else:
                        flow.reverse_packets += 1
                        flow.reverse_bytes += batch[index, words.HASHED] >> 32 & 0xFFFF
                        flow.reverse_ip_bytes += last & 0xFFFF
                        flow.reverse_flags |= last >> 24 & 0xFF
                    break
                at = (at + 1) & mask
        start = end
    state[_TOUCHED] ^= touched  # keeps the loads above from being left out
    return start


@jit
def _side(flow: Record, batch: I64, index: int, both: bool) -> int:
    """0 when the descriptor is of the flow, 1 when it is of its other direction, else -1."""
    last = batch[index, words.LAST]
    if flow.protocol != (last >> 16 & 0xFF) or flow.version != (last >> words.IP_VERSION & 3):
        return -1
    ports = batch[index, words.PORTS] & 0xFFFFFFFF
    key0, key1 = batch[index, words.SOURCE], batch[index, words.SOURCE + 1]
    key2, key3 = batch[index, words.DESTINATION], batch[index, words.DESTINATION + 1]
    if flow.ports == ports and flow.key0 == key0 and flow.key1 == key1 and flow.key2 == key2 and flow.key3 == key3:
        return 0
    swapped = ports >> 16 | (ports & 0xFFFF) << 16
    if both and flow.ports == swapped and flow.key0 == key2 and flow.key1 == key3:
        return 1 if flow.key2 == key0 and flow.key3 == key1 else -1
    return -1


@jit
def _begin(flow: Record, batch: I64, index: int) -> None:
    flow.key0 = batch[index, words.SOURCE]
    flow.key1 = batch[index, words.SOURCE + 1]
    flow.key2 = batch[index, words.DESTINATION]
    flow.key3 = batch[index, words.DESTINATION + 1]
    flow.ports = batch[index, words.PORTS] & 0xFFFFFFFF
    last = batch[index, words.LAST]
    flow.protocol = last >> 16 & 0xFF
    flow.version = last >> words.IP_VERSION & 3
    flow.first = batch[index, words.TIME]
    flow.last = batch[index, words.TIME]


@jit
def _rehash(old: I64, new: I64) -> None:
    mask = int64(new.shape[0] - 1)
    for index in range(old.shape[0]):
        entry = old[index]
        if entry:
            at = (entry >> 32) & mask
            while new[at]:
                at = (at + 1) & mask
            new[at] = entry


class FlowMeter:
    """Sums descriptors into flows by addresses, ports (ICMP: type and code) and protocol.

    Every IP packet counts, fragments and malformed ones too, by what the card could read of it; ``not_ip`` counts the
    rest.  ``first`` and ``last`` are the smallest and greatest wire time.  With ``bidirectional`` a flow is both
    directions, from the side that was seen first.
    """

    def __init__(self, *, bidirectional: bool = False, capacity: int = 1 << 12) -> None:
        """``capacity``: flows to make room for at first; it grows as needed."""
        size = 1 << max(int(capacity) * 2 - 1, 4 * _BLOCK).bit_length()
        self._table = np.zeros(size, np.int64)
        self._flows = np.zeros(size // 2, _ENTRY)
        self._state = np.zeros(3, np.int64)
        self._hashes = np.zeros(_BLOCK, np.int64)
        self._both = bidirectional

    def update(self, descriptors: npt.NDArray[Any]) -> None:
        """Count a batch of ``DESCRIPTOR_DTYPE``."""
        batch = words.descriptor_words(descriptors)
        at = 0
        while True:
            at = _update(batch, at, self._flows, self._table, self._state, self._hashes, self._both)
            if at >= len(batch):
                return
            self._grow()

    def _grow(self) -> None:
        # Four times, as a table is filled anew each time; memory that is not touched costs nothing.
        table = np.zeros(4 * len(self._table), np.int64)
        _rehash(self._table, table)
        flows = np.zeros(len(table) // 2, _ENTRY)
        flows[: len(self)] = self._flows[: len(self)]
        self._table, self._flows = table, flows

    def __len__(self) -> int:
        return int(self._state[_FLOWS])

    @property
    def not_ip(self) -> int:
        """Descriptors that were no IP packets."""
        return int(self._state[_OTHER])

    def records(self) -> npt.NDArray[Any]:
        """The flows so far, a copy as ``FLOW_DTYPE``, in the order of their first packets' arrival."""
        rows = self._flows[: len(self)].view(_FLOW_VIEW)
        out: npt.NDArray[Any] = np.empty(len(rows), FLOW_DTYPE)
        for name in FLOW_DTYPE.names or ():
            out[name] = rows[name]
        return out

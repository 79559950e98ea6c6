"""Groups and what is kept of them, in compiled code: packets made groups of one, and groups added up."""

import numpy as np

from sentinic.abi.statistics import HISTORY_EVENTS, REVERSE, Event
from sentinic.monitor.jit import I64, int64, jit
from sentinic.monitor.shown_fields import ACK, DATA, EVENTS, FIN, HANDSHAKE, LENGTH, RST, SYN, TIME, WORDS
from sentinic.monitor.words import mix

#: Columns of a group's key: the fields, and the interval.
INTERVAL = WORDS
KEY_WORDS = WORDS + 1
#: Columns of what is kept.  ``WAY`` is 1 when the first packet went from ``destination`` to ``source``.
PACKETS, BYTES, FIRST, LAST, HISTORY, SEEN, WAY = range(7)
CELLS = 7
_ORDER = np.array([SYN, HANDSHAKE, FIN, RST, DATA, ACK])
_CODES = np.array([Event.SYN, Event.HANDSHAKE, Event.FIN, Event.RST, Event.DATA, Event.ACK])
_SIGN = np.int64(-(1 << 63))
_EVENTS = 6


@jit
def select(
    shown: I64,
    turned: I64,
    facts: I64,
    rule: I64,
    both: bool,
    length: int,
    interval: int,
    keys: I64,
    cells: I64,
    at: I64,
) -> tuple[int, int]:
    """The packets that a rule counts, each as a group of one: into ``keys`` and ``cells``; ``at``: which they were.

    ``rule``: value, mask, group; ``length``: its interval in ns, or 0; ``interval``: the one that has begun.  How many,
    and the interval at the end.
    """
    count = int64(0)
    for row in range(shown.shape[0]):
        time = facts[row, TIME]
        if length and time // length > interval:
            interval = time // length
        forward = backward = int64(0)
        for word in range(WORDS):
            forward |= (shown[row, word] ^ rule[0, word]) & rule[1, word]
            if both:
                backward |= (turned[row, word] ^ rule[0, word]) & rule[1, word]
        if forward and (not both or backward):
            continue
        way = int64(0)
        for word in range(WORDS):
            keys[count, word] = shown[row, word] & rule[2, word]
        if both and _above(keys[count]):
            way = int64(1)
            for word in range(WORDS):
                keys[count, word] = turned[row, word] & rule[2, word]
        keys[count, INTERVAL] = interval
        history, seen, shift = int64(0), int64(0), int64(0)
        for number in range(_EVENTS):
            if facts[row, EVENTS] >> _ORDER[number] & 1:
                history |= _CODES[number] << shift
                seen |= int64(1) << _CODES[number]
                shift += 4
        cells[count, PACKETS] = 1
        cells[count, BYTES] = facts[row, LENGTH]
        cells[count, FIRST] = time
        cells[count, LAST] = time
        cells[count, HISTORY] = history
        cells[count, SEEN] = seen
        cells[count, WAY] = way
        at[count] = row
        count += 1
    return count, interval


@jit
def _above(key: I64) -> bool:
    """Whether the source end of a key is above its destination end: address, port, Ethernet address."""
    if key[4] != key[6]:
        return bool(key[4] ^ _SIGN > key[6] ^ _SIGN)
    if key[3] != key[5]:
        return bool(key[3] ^ _SIGN > key[5] ^ _SIGN)
    source, destination = key[1] & 0xFFFF, key[1] >> 16 & 0xFFFF
    if source != destination:
        return bool(source > destination)
    one = (key[1] >> 32 & 0xFFFFFFFF) | (key[2] & 0xFFFF) << 32
    return bool(one > (key[2] >> 16 & 0xFFFFFFFFFFFF))


@jit
def _add(
    keys: I64, cells: I64, start: int, table: I64, held: I64, kept: I64, count: int, limits: I64, crossed: I64
) -> tuple[int, int, int]:
    """Add groups from ``start`` on until all are done or the table is half full.

    ``limits``: packets and bytes, 0 for none; ``crossed`` takes (group, of bytes, value) where one is reached.  How far
    it came, the groups held, and how many crossed.
    """
    mask = int64(table.shape[0] - 1)
    room = min(table.shape[0] // 2, held.shape[0])
    crossings = int64(0)
    while start < keys.shape[0] and count < room:
        value = int64(0)
        for word in range(KEY_WORDS):
            value = mix(value, keys[start, word])
        at = mix(value, 1) & mask
        while True:
            entry = table[at]
            if entry == 0:
                table[at] = count + 1
                for word in range(KEY_WORDS):
                    held[count, word] = keys[start, word]
                for cell in range(CELLS):
                    kept[count, cell] = cells[start, cell]
                kept[count, PACKETS] = 0
                kept[count, BYTES] = 0
                entry = count + 1
                count += 1
            same = True
            for word in range(KEY_WORDS):
                same &= held[entry - 1, word] == keys[start, word]
            if same:
                break
            at = (at + 1) & mask
        row = entry - 1
        packets, octets = kept[row, PACKETS], kept[row, BYTES]
        _join(kept[row], cells[start])
        if limits[0] and packets < limits[0] <= kept[row, PACKETS]:
            crossed[crossings, 0], crossed[crossings, 1], crossed[crossings, 2] = start, 0, kept[row, PACKETS]
            crossings += 1
        elif limits[1] and octets < limits[1] <= kept[row, BYTES]:
            crossed[crossings, 0], crossed[crossings, 1], crossed[crossings, 2] = start, 1, kept[row, BYTES]
            crossings += 1
        start += 1
    return start, count, crossings


@jit
def _join(kept: I64, more: I64) -> None:
    """Add what came later to a group, which keeps its first packet's way."""
    kept[PACKETS] += more[PACKETS]
    kept[BYTES] += more[BYTES]
    kept[LAST] = more[LAST]
    turned = kept[WAY] != more[WAY]
    events = int64(0)
    while events < HISTORY_EVENTS and kept[HISTORY] >> 4 * events & 15:
        events += 1
    for place in range(HISTORY_EVENTS):
        code = more[HISTORY] >> 4 * place & 15
        if code and turned:
            code ^= REVERSE
        if code and not kept[SEEN] >> code & 1:
            kept[SEEN] |= int64(1) << code
            if events < HISTORY_EVENTS:
                kept[HISTORY] |= code << 4 * events
                events += 1
    seen = more[SEEN]
    if turned:
        seen = seen >> REVERSE & 0xFF | (seen & 0xFF) << REVERSE
    kept[SEEN] |= seen


@jit
def _increase(cells: I64, rows: I64, left: I64, kept: I64) -> None:
    """Make of counts that go on, in order of time, what came since the group's report before.

    ``rows``: each group's place in ``kept``, which holds its report before; ``left``: it left the table with that.  One
    that leaves in silence, as nothing came since its report, begins anew: its first packet is another, or it counts
    less.
    """
    for index in range(cells.shape[0]):
        before = kept[rows[index]]
        packets, octets = cells[index, PACKETS], cells[index, BYTES]
        if before[FIRST] == cells[index, FIRST] and before[PACKETS] <= packets and before[BYTES] <= octets:
            cells[index, PACKETS] -= before[PACKETS]
            cells[index, BYTES] -= before[BYTES]
        before[FIRST], before[PACKETS], before[BYTES] = cells[index, FIRST], packets, octets
        if left[index]:
            before[FIRST] = -1


@jit
def _find(keys: I64, table: I64, held: I64, rows: I64) -> None:
    """Where each group is held; it must be."""
    mask = int64(table.shape[0] - 1)
    for index in range(keys.shape[0]):
        value = int64(0)
        for word in range(KEY_WORDS):
            value = mix(value, keys[index, word])
        at = mix(value, 1) & mask
        while True:
            row = table[at] - 1
            same = True
            for word in range(KEY_WORDS):
                same &= held[row, word] == keys[index, word]
            if same:
                rows[index] = row
                break
            at = (at + 1) & mask


@jit
def _index(held: I64, count: int, table: I64) -> None:
    mask = int64(table.shape[0] - 1)
    for row in range(count):
        value = int64(0)
        for word in range(KEY_WORDS):
            value = mix(value, held[row, word])
        at = mix(value, 1) & mask
        while table[at]:
            at = (at + 1) & mask
        table[at] = row + 1


class GroupTable:
    """Groups by key, in the order in which they came; grows as needed."""

    def __init__(self, limits: tuple[int, int] = (0, 0)) -> None:
        """``limits``: packets and bytes whose crossing is told; 0 for none."""
        self._limits = np.array(limits, np.int64)
        self._count = 0
        self._table = np.zeros(1 << 8, np.int64)
        self._held = np.empty((1 << 7, KEY_WORDS), np.int64)
        self._kept = np.empty((1 << 7, CELLS), np.int64)

    def __len__(self) -> int:
        return self._count

    def add(self, keys: I64, cells: I64) -> I64:
        """Add groups; (which, of bytes, value) of those with which a limit was reached, ``int64[n, 3]``."""
        crossed = np.empty((len(keys) if self._limits.any() else 1, 3), np.int64)
        found = []
        start = 0
        while True:
            start, self._count, count = _add(
                keys, cells, start, self._table, self._held, self._kept, self._count, self._limits, crossed
            )
            found.append(crossed[:count].copy())
            if start >= len(keys):
                return np.concatenate(found)
            self._grow()

    def increase(self, keys: I64, cells: I64, left: I64) -> None:
        """Make of counts that go on what came since the report before of each group, and keep them for the next.

        ``left``: not 0 where the group left its table with this report.
        """
        blank = np.zeros_like(cells)
        blank[:, FIRST] = -1
        self.add(keys, blank)
        rows = np.empty(len(keys), np.int64)
        _find(keys, self._table, self._held, rows)
        _increase(cells, rows, left, self._kept)

    def find(self, keys: I64) -> I64:
        """What is kept of groups that are held, ``int64[n, CELLS]``, a copy."""
        rows = np.empty(len(keys), np.int64)
        _find(keys, self._table, self._held, rows)
        found: I64 = self._kept[rows]
        return found

    def newest_interval(self) -> int | None:
        """The last interval that a group is of; ``None`` without groups."""
        return int(self._held[: self._count, INTERVAL].max()) if self._count else None

    def take(self, before: int | None = None) -> tuple[I64, I64]:
        """Keys and cells of the groups of intervals before ``before`` (all: ``None``), which leave."""
        held, kept = self._held[: self._count], self._kept[: self._count]
        chosen = np.ones(len(held), np.bool_) if before is None else held[:, INTERVAL] < before
        if not chosen.any():
            return held[:0].copy(), kept[:0].copy()
        result = held[chosen], kept[chosen]
        rest = ~chosen
        self._count = int(rest.sum())
        self._held[: self._count], self._kept[: self._count] = held[rest], kept[rest]
        self._table[:] = 0
        _index(self._held, self._count, self._table)
        return result

    def _grow(self) -> None:
        self._table = np.zeros(4 * len(self._table), np.int64)
        for name in ("_held", "_kept"):
            old = getattr(self, name)
            new = np.empty((4 * len(old), old.shape[1]), np.int64)
            new[: self._count] = old[: self._count]
            setattr(self, name, new)
        _index(self._held, self._count, self._table)

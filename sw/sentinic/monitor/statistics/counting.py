"""Adding up: reports of the card, or packets of a ring, into exact rows a group and interval.

The two give the same rows.  Those of an interval come out when reports, or packets that count, of a later one have
come, or at the end: the last interval in which a rule counted is its final one, whatever else came after it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentinic.abi.statistics import ReportFlag
from sentinic.driver.ring import Bytes, Descriptors
from sentinic.driver.rules import Encoded
from sentinic.driver.statistics import Reports, Running, have_crossing, read_crossings
from sentinic.monitor.group_table import (
    BYTES,
    CELLS,
    FIRST,
    HISTORY,
    INTERVAL,
    KEY_WORDS,
    LAST,
    PACKETS,
    SEEN,
    WAY,
    GroupTable,
    select,
)
from sentinic.monitor.jit import I64
from sentinic.monitor.shown_fields import TIME, WORDS, shown_fields, turned_round
from sentinic.monitor.statistics.groups import ROW, Rows

#: Takes finished rows of a rule.
RowSink = Callable[[Encoded, Rows], None]
#: Reports of a sweep: all that its interval counted has been told before its end.
_SWEPT = ReportFlag.INTERVAL | ReportFlag.FINAL | ReportFlag.DEMAND

#: It left the table: what comes next of the group begins anew.
_LEFT = int(ReportFlag.EVICTED | ReportFlag.FINAL)


@dataclass
class Totals:
    """Of a rule, over all its generations.

    ``overflow_*`` are counted in no group: the reports that would have told them found no room.  Of a rule that is
    running it is what the card has told so far.
    """

    packets: int = 0
    bytes: int = 0
    overflow_packets: int = 0
    overflow_bytes: int = 0
    rows: int = 0

    @property
    def exact(self) -> bool:
        """Whether the groups add up to the rule's total."""
        return not self.overflow_packets


@dataclass(frozen=True)
class Crossings:
    """Packets that reached a rule's threshold: when, the keys of their groups, and the counts reached."""

    timestamp: npt.NDArray[np.int64]
    key: I64
    of_bytes: npt.NDArray[np.bool_]
    value: npt.NDArray[np.int64]


def interval_of(encoded: Encoded) -> int:
    """A rule's report interval, ns, as far as times go."""
    return min(encoded.rule.report_every, (1 << 63) - 1)


class _RuleRows:
    """One generation of a rule: its open intervals, and of a cumulative rule what came before them."""

    def __init__(self, encoded: Encoded, generation: int, totals: Totals, sink: RowSink) -> None:
        self.encoded = encoded
        self.generation = generation
        self._totals = totals
        self._sink = sink
        self._open = GroupTable()
        self._before = GroupTable() if encoded.rule.cumulative else None
        self.final = False
        self.first_open = -1  # intervals before this one are told
        # Packets and bytes: in groups, in none, and of a cumulative rule those in both as far as the card has told.
        self._told, self._missing, self._counted = (np.zeros(2, np.int64) for _ in range(3))

    def add(self, keys: I64, cells: I64) -> None:
        told = cells[:, [PACKETS, BYTES]].sum(axis=0)
        self._totals.packets += int(told[0])
        self._totals.bytes += int(told[1])
        self._told += told
        self._open.add(keys, cells)
        self._compare()

    def fall_short(self, counts: I64) -> None:
        """Take overflows, ``int64[n, 2]``: packets and bytes in no group; all that a cumulative rule has counted."""
        if self._before is None:
            self._miss(counts.sum(axis=0))
        else:
            self._counted = counts[-1]
            self._compare()

    def _compare(self) -> None:
        """A cumulative rule's groups may yet be told what they miss."""
        if self._before is not None:
            self._miss(np.maximum(self._counted - self._told, 0) - self._missing)

    def _miss(self, more: I64) -> None:
        self._missing += more
        self._totals.overflow_packets += int(more[0])
        self._totals.overflow_bytes += int(more[1])
        self._totals.packets += int(more[0])
        self._totals.bytes += int(more[1])

    def finish(self) -> None:
        """Hand out all that is open, the last interval as final."""
        newest = self._open.newest_interval()
        if newest is not None:
            self.tell(newest)
        self.final = True
        self.tell()

    def tell(self, before: int | None = None) -> None:
        """Hand out the intervals before ``before``, or all."""
        if before is not None:
            if before <= self.first_open:
                return
            self.first_open = before
        keys, cells = self._open.take(before)
        order = np.argsort(keys[:, INTERVAL], kind="stable")
        if not len(order):
            return
        keys, cells = keys[order], cells[order]
        if self._before is None:
            self._hand_out(keys, cells)
            return
        # One interval after the other: a group's totals at the end of each.
        for interval in np.unique(keys[:, INTERVAL]):
            mine = keys[:, INTERVAL] == interval
            alike = keys[mine]
            alike[:, INTERVAL] = 0
            self._before.add(alike, cells[mine])
            told = self._before.find(alike)
            self._hand_out(keys[mine], told)

    def _hand_out(self, keys: I64, cells: I64) -> None:
        rows: Rows = np.zeros(len(keys), ROW)
        rows["generation"] = self.generation
        rows["interval"] = keys[:, INTERVAL]
        rows["key"] = keys[:, :WORDS]
        for name, column in (
            ("packets", PACKETS), ("bytes", BYTES), ("first", FIRST), ("last", LAST), ("history", HISTORY),
            ("seen", SEEN), ("reversed", WAY),
        ):  # fmt: skip
            rows[name] = cells[:, column]
        rows["final"] = self.final
        self._totals.rows += len(rows)
        self._sink(self.encoded, rows)


class ReportCollector:
    """Adds up what the card reports: evictions, intervals, and what found no room.

    Members
    -------
    totals: by the rule's name
    reports, lost: report frames that came, and that did not, by their numbers
    """

    def __init__(self, sink: RowSink) -> None:
        self._sink = sink
        self._rules: dict[tuple[int, int], _RuleRows] = {}
        self._parts: dict[tuple[int, int], GroupTable] = {}
        self.totals: dict[str, Totals] = {}
        self.reports = 0
        self.lost = 0
        self._next: int | None = None

    def watch(self, running: Mapping[int, Running]) -> None:
        """Rules whose reports may come from now on; those known before stay known.

        Where rules change while another thread takes, it is told of each in time as one of
        :attr:`~sentinic.driver.statistics.Statistics.listeners`.
        """
        for number, item in list(running.items()):
            key = (number, item.generation)
            if key not in self._rules:
                totals = self.totals.setdefault(item.rule.rule.name, Totals())
                self._rules[key] = _RuleRows(item.rule, item.generation, totals, self._sink)
                if item.rule.rule.cumulative:
                    self._parts[key] = GroupTable()

    def take(self, reports: Reports) -> None:
        """Add up reports in their order.  Groups of rules that nobody watches are left out."""
        self._count_frames(reports.heads)
        groups = reports.groups
        numbers = groups["rule"].astype(np.int64) << 32 | groups["generation"].astype(np.int64)
        for number in np.unique(numbers).tolist():
            key = (number >> 32, number & 0xFFFF_FFFF)
            if key in self._rules:
                self._take_rule(self._rules[key], key, groups[numbers == number])

    def close(self) -> None:
        """No more reports come: hand out what is left."""
        for rows in self._rules.values():
            rows.finish()

    def _count_frames(self, heads: npt.NDArray[np.void]) -> None:
        self.reports += len(heads)
        if not len(heads):
            return
        sequence = heads["sequence"].astype(np.int64)
        expected = np.empty_like(sequence)
        expected[0] = sequence[0] if self._next is None else self._next
        expected[1:] = sequence[:-1] + 1
        self.lost += int((sequence - expected & 0xFFFF_FFFF).sum())
        self._next = int(sequence[-1]) + 1

    def _take_rule(self, rows: _RuleRows, key: tuple[int, int], groups: npt.NDArray[np.void]) -> None:
        flags = groups["flags"].astype(np.int64)
        lost = flags & ReportFlag.OVERFLOW != 0
        if lost.any():
            rows.fall_short(np.stack([groups[name][lost].astype(np.int64) for name in ("packets", "bytes")], axis=1))
            groups, flags = groups[~lost], flags[~lost]
        keys, cells = _of_groups(groups)
        length = interval_of(rows.encoded)
        if key in self._parts:
            self._parts[key].increase(keys, cells, flags & _LEFT)
        if length:
            # A packet earlier than the one before counts in the interval that has begun: as far as reports tell.
            newest = np.maximum(cells[:, FIRST], cells[:, LAST])
            keys[:, INTERVAL] = np.maximum(newest // length, max(rows.first_open, 0))
        rows.add(keys, cells)
        swept = flags & _SWEPT != 0
        if length and swept.any():
            rows.tell(int(keys[swept, INTERVAL].max()))


#: Members of a group that are one number, and where the fields' words have them: (word, shift).
_PLACES = (
    ("in_port", 0, 0), ("ip_version", 0, 2), ("is_fragment", 0, 4), ("vlan_present", 0, 5), ("verdict", 0, 6),
    ("protocol_class", 0, 9), ("ip_dscp", 0, 14), ("vlan_vid", 0, 20), ("ip_proto", 0, 32), ("tcp_flags", 0, 40),
    ("eth_type", 0, 48), ("source_port", 1, 0), ("destination_port", 1, 16),
)  # fmt: skip


def _of_groups(groups: npt.NDArray[np.void]) -> tuple[I64, I64]:
    """Keys and cells of groups as the card reports them."""
    keys = np.zeros((len(groups), KEY_WORDS), np.int64)
    for name, word, shift in _PLACES:
        keys[:, word] |= groups[name].astype(np.int64) << shift
    source, destination = (_number(groups[name], 6) for name in ("eth_src", "eth_dst"))
    keys[:, 1] |= source << 32
    keys[:, 2] = source >> 32 | destination << 16
    for name, low in (("source", 3), ("destination", 5)):
        keys[:, low] = _number(groups[name][:, 8:], 8)
        keys[:, low + 1] = _number(groups[name][:, :8], 8)
    cells = np.zeros((len(groups), CELLS), np.int64)
    for name, column in (
        ("packets", PACKETS), ("bytes", BYTES), ("first", FIRST), ("last", LAST), ("history", HISTORY), ("seen", SEEN)
    ):  # fmt: skip
        cells[:, column] = groups[name].astype(np.int64)
    cells[:, WAY] = groups["flags"] & ReportFlag.REVERSED != 0
    return keys, cells


def _number(octets: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.int64]:
    """Byte strings of ``count`` bytes in network order as numbers."""
    value = np.zeros(len(octets), np.int64)
    for place in range(count):
        value = value << 8 | octets[:, place]
    return value


def read_card_crossings(
    running: Mapping[int, Running], descriptors: Descriptors, data: Bytes
) -> Iterator[tuple[Encoded, Crossings]]:
    """The thresholds that packets of a ring crossed, as their tags tell, a rule after the other.

    A tag tells one value: where a packet crossed several, that of the lowest rule. Of the others it is known where they
    have a threshold of packets alone, which is crossed by the packet that makes the count equal it, and reads 0 else.
    """
    descriptors = descriptors[have_crossing(descriptors)]
    if not len(descriptors):
        return
    tlvs = read_crossings(descriptors, data)
    shown, facts = shown_fields(descriptors, data)
    rules = tlvs["rules"].astype(np.int64)
    lowest = rules & -rules
    for number, item in sorted(running.items()):
        rows = np.flatnonzero(rules >> number & 1)
        if not len(rows):
            continue
        both = item.rule.rule.bidirectional
        mine = shown[rows]
        keys = np.empty((len(rows), KEY_WORDS), np.int64)
        turned = turned_round(mine) if both else mine
        cells, at = np.empty((len(rows), CELLS), np.int64), np.empty(len(rows), np.int64)
        count, _ = select(mine, turned, facts[rows], _rule_words(item.rule), both, 0, 0, keys, cells, at)
        rows = rows[at[:count]]  # all, unless the rule has changed meanwhile
        told = lowest[rows] == 1 << number
        wanted = item.rule.rule
        implied = 0 if wanted.threshold_bytes else wanted.threshold_packets
        yield (
            item.rule,
            Crossings(
                facts[rows, TIME],
                keys[:count, :WORDS],
                told & (tlvs["flags"][rows] & 1 != 0),
                np.where(told, tlvs["value"][rows].astype(np.int64), implied),
            ),
        )


class SoftwareCounter:
    """Counts the packets of a ring by rules, as the card would.

    Members
    -------
    totals: by the rule's name
    """

    def __init__(
        self,
        rules: Iterable[Encoded],
        sink: RowSink,
        crossed: Callable[[Encoded, Crossings], None] | None = None,
        *,
        first_generation: int = 1,
    ) -> None:
        """``crossed`` takes the packets that reach a threshold; ``first_generation`` is that of the first rule."""
        self.totals: dict[str, Totals] = {}
        self._rules = []
        for number, encoded in enumerate(rules, first_generation):
            totals = self.totals[encoded.rule.name] = Totals()
            self._rules.append(_SoftwareRule(encoded, _RuleRows(encoded, number, totals, sink), crossed))

    def take(self, descriptors: Descriptors, data: Bytes) -> None:
        """Count packets; ``data`` is the data ring.

        Raises ValueError when one has no slot, or a slot beyond the data ring.
        """
        shown, facts = shown_fields(descriptors, data)
        turned = turned_round(shown) if any(rule.both for rule in self._rules) else shown
        for rule in self._rules:
            rule.take(shown, turned, facts)

    def close(self) -> None:
        """No more packets come: hand out what is left."""
        for rule in self._rules:
            rule.close()


class _SoftwareRule:
    def __init__(self, encoded: Encoded, rows: _RuleRows, crossed: Callable[[Encoded, Crossings], None] | None) -> None:
        rule = encoded.rule
        self.both = rule.bidirectional
        self._length = interval_of(encoded)
        self._rows = rows
        self._crossed = crossed
        self._words = _rule_words(encoded)
        limits = (rule.threshold_packets, rule.threshold_bytes)
        self._watch = GroupTable(limits) if any(limits) and crossed is not None else None
        self._interval = 0

    def take(self, shown: I64, turned: I64, facts: I64) -> None:
        keys = np.empty((len(shown), KEY_WORDS), np.int64)
        cells = np.empty((len(shown), CELLS), np.int64)
        at = np.empty(len(shown), np.int64)
        count, self._interval = select(
            shown, turned, facts, self._words, self.both, self._length, self._interval, keys, cells, at
        )
        keys, cells = keys[:count], cells[:count]
        self._rows.add(keys, cells)
        if self._watch is not None:
            self._cross(keys, cells)
        if self._length and count:
            # Not the one that has begun: if nothing counts in it, the one before is the rule's last.
            self._rows.tell(int(keys[-1, INTERVAL]))

    def close(self) -> None:
        self._rows.finish()

    def _cross(self, keys: I64, cells: I64) -> None:
        assert self._watch is not None
        assert self._crossed is not None
        if self._rows.encoded.rule.cumulative:
            keys = keys.copy()
            keys[:, INTERVAL] = 0
        found = self._watch.add(keys, cells)
        if not self._rows.encoded.rule.cumulative:
            self._watch.take(self._interval)
        if len(found):
            which = found[:, 0]
            self._crossed(
                self._rows.encoded,
                Crossings(cells[which, FIRST], keys[which, :WORDS], found[:, 1] != 0, found[:, 2]),
            )


def _rule_words(encoded: Encoded) -> I64:
    """Value, mask and group."""
    return np.array([_words(number) for number in (encoded.value, encoded.mask, encoded.group)], np.int64)


def _words(number: int) -> list[int]:
    """64-bit words with a sign, the lowest first."""
    words = [number >> 64 * n & (1 << 64) - 1 for n in range(WORDS)]
    return [word - (1 << 64) if word >> 63 else word for word in words]

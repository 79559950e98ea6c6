"""The statistics stage as registers and report frames: rules from their words, a table of bounded size, its reports.

Written from the register map and the TLVs; what it counts is judged by :mod:`tests.reference.statistics`.
"""

import struct
from collections import OrderedDict
from dataclasses import dataclass, field

from sentinic.abi.registers import STATISTICS
from sentinic.abi.statistics import FIELD_WORDS, FIELDS, ReportFlag
from sentinic.abi.statistics import field as abi_field

from .card import Frame, wire_length
from .statistics import Shown, shown

INTERVAL, EVICTED, FINAL, DEMAND, OVERFLOW, REVERSED = (
    ReportFlag.INTERVAL,
    ReportFlag.EVICTED,
    ReportFlag.FINAL,
    ReportFlag.DEMAND,
    ReportFlag.OVERFLOW,
    ReportFlag.REVERSED,
)
CODES = {"S": 1, "H": 2, "A": 3, "D": 4, "F": 5, "R": 6}


def vector(packet: Shown) -> int:
    """All that a packet shows to the rules, as one number."""
    h = packet.headers
    values = {
        "in_port": packet.port,
        "ip_version": h.ip_version,
        "is_fragment": int(h.fragment != 0),
        "vlan_present": int(h.vlan_count != 0),
        "verdict": h.verdict,
        "protocol_class": h.protocol_class,
        "reserved": 0,
        "ip_dscp": h.ip_dscp,
        "vlan_vid": h.vlan0 & 0xFFF,
        "ip_proto": h.protocol,
        "tcp_flags": h.tcp_flags,
        "eth_type": h.eth_type,
        "source_port": h.source_port,
        "destination_port": h.destination_port,
        "eth_src": packet.eth_src,
        "eth_dst": packet.eth_dst,
        "source": h.source,
        "destination": h.destination,
    }
    assert values.keys() == {item.name for item in FIELDS}
    return sum(value << abi_field(name).lsb for name, value in values.items())


def part(key: int, name: str) -> int:
    item = abi_field(name)
    return key >> item.lsb & (1 << item.width) - 1


@dataclass
class Record:
    """A group in the table."""

    reversed: bool
    first: int
    interval: int
    last: int = 0
    packets: int = 0
    bytes: int = 0
    history: list[int] = field(default_factory=list)
    seen: int = 0
    fresh: bool = True


@dataclass(frozen=True)
class Words:
    """A rule as its staged registers say it."""

    value: int
    mask: int
    group: int
    flags: int
    generation: int
    interval: int
    threshold_packets: int
    threshold_bytes: int


@dataclass(frozen=True)
class Crossing:
    rules: int
    of_bytes: bool
    value: int

    def tlv(self) -> bytes:
        return struct.pack(">BBBBIQ", 0x05, 4, self.of_bytes, 0, self.rules, self.value)


class StatisticsModel:
    """``rules`` rules, ``shared`` to a table of ``capacity`` groups, which go by least recent use.

    ``room``: groups that reports may carry between two packets, the rest is left to the overflow; ``None``: all.
    """

    def __init__(self, *, rules: int = 16, shared: int = 1, capacity: int = 4096, room: int | None = None) -> None:
        self.count, self.shared, self.capacity, self.room = rules, shared, capacity, room
        self.rules: dict[int, Words] = {}
        self.tables: list[OrderedDict[tuple[int, int], Record]] = [OrderedDict() for _ in range(rules // shared)]
        self.interval: dict[int, int] = {}
        self.lost: dict[int, list[int]] = {}
        self.counted: dict[int, list[int]] = {}  # by cumulative rules
        self.groups: list[bytes] = []  # TLVs that wait for a frame
        self.sequence = 0
        self.time = 0

    def apply(self, words: dict[int, int], what: int) -> None:
        """The register ``apply`` is written; ``words`` are the registers by address."""

        def number(name: str, count: int) -> int:
            return sum(words.get(STATISTICS.address(f"{name}{n}"), 0) << 32 * n for n in range(count))

        def pair(name: str) -> int:
            low, high = (words.get(STATISTICS.address(f"{name}_{half}"), 0) for half in ("low", "high"))
            return low | high << 32

        rule = words.get(STATISTICS.address("rule"), 0)
        self._sweep(rule, DEMAND if what & 4 else FINAL, forget=not what & 4)
        if what & 4:
            return
        self.rules.pop(rule, None)
        self.interval.pop(rule, None)
        if what & 1:
            self.rules[rule] = Words(
                *(number(name, FIELD_WORDS) for name in ("value", "mask", "group")),
                words.get(STATISTICS.address("rule_flags"), 0),
                words.get(STATISTICS.address("generation"), 0),
                pair("interval"),
                pair("threshold_packets"),
                pair("threshold_bytes"),
            )

    def take(self, frame: Frame) -> Crossing | None:
        """Count a frame; the thresholds that it crosses."""
        packet = shown(frame)
        self.time = max(self.time, frame.timestamp)
        for number, rule in self.rules.items():
            if rule.interval:
                interval = frame.timestamp // rule.interval
                if number in self.interval and interval > self.interval[number]:
                    self._sweep(number, INTERVAL)
                self.interval[number] = max(interval, self.interval.get(number, 0))
        forward, backward = vector(packet), vector(packet.turned())
        crossed, told = 0, (False, 0)
        for number, rule in sorted(self.rules.items()):
            both = bool(rule.flags & 1)
            hits = [not (bits ^ rule.value) & rule.mask for bits in (forward, backward)]
            if not (hits[0] or (both and hits[1])):
                continue
            key = forward & rule.group
            ends = [
                [part(key, name) for name in names]
                for names in (("source", "source_port", "eth_src"), ("destination", "destination_port", "eth_dst"))
            ]
            swap = both and ends[0] > ends[1]
            if rule.flags & 2:
                counted = self.counted.setdefault(number, [0, 0])
                counted[0] += 1
                counted[1] += wire_length(frame)
            if swap:
                key = backward & rule.group
            found = self._count(number, rule, key, swap, frame, packet)
            if found:
                told = told if crossed else found
                crossed |= 1 << number
        return Crossing(crossed, *told) if crossed else None

    def _count(
        self, number: int, rule: Words, key: int, swap: bool, frame: Frame, packet: Shown
    ) -> tuple[bool, int] | None:
        table = self.tables[number // self.shared]
        record = table.get((number, key))
        if record is None:
            if len(table) >= self.capacity:
                (victim, _), old = next(iter(table.items()))
                if old.fresh and self._full and self._is_cumulative(victim):
                    self._lose(number, 1, wire_length(frame))
                    return None
                table.popitem(last=False)
                if old.fresh:
                    self._report(victim, _, old, EVICTED)
            record = table[number, key] = Record(swap, frame.timestamp, self.interval.get(number, 0))
        table.move_to_end((number, key))
        before = (record.packets, record.bytes)
        record.packets += 1
        record.bytes += wire_length(frame)
        record.last = frame.timestamp
        record.fresh = True
        for letter in packet.events():
            code = CODES[letter] + 8 * (swap != record.reversed)
            if not record.seen >> code & 1:
                record.seen |= 1 << code
                record.history.append(code)
        if rule.threshold_packets and before[0] < rule.threshold_packets <= record.packets:
            return False, record.packets
        if rule.threshold_bytes and before[1] < rule.threshold_bytes <= record.bytes:
            return True, record.bytes
        return None

    def _sweep(self, number: int, reason: ReportFlag, *, forget: bool = False) -> None:
        table = self.tables[number // self.shared]
        lasting = self._is_cumulative(number) and not forget
        for rule, key in [item for item in table if item[0] == number]:
            record = table[rule, key]
            if record.fresh and lasting and self._full:
                continue
            if record.fresh:
                self._report(number, key, record, reason)
            if lasting:
                record.fresh = False
            else:
                del table[rule, key]
        if number in self.lost or (forget and number in self.counted):
            packets, octets = self.counted[number] if self._is_cumulative(number) else self.lost.pop(number)
            generation = self.rules[number].generation
            self._queue(number, OVERFLOW, generation, 0, Record(False, 0, 0, 0, packets, octets))
        if forget:
            self.lost.pop(number, None)
            self.counted.pop(number, None)

    def _report(self, number: int, key: int, record: Record, reason: ReportFlag) -> None:
        flags = reason | (REVERSED if record.reversed else 0)
        if self._full:
            self._lose(number, record.packets, record.bytes)
        else:
            self._queue(number, flags, self.rules[number].generation, key, record)

    @property
    def _full(self) -> bool:
        """There is no room for another report."""
        return self.room is not None and len(self.groups) >= self.room

    def _is_cumulative(self, number: int) -> bool:
        return number in self.rules and bool(self.rules[number].flags & 2)

    def _lose(self, number: int, packets: int, octets: int) -> None:
        lost = self.lost.setdefault(number, [0, 0])
        lost[0] += packets
        lost[1] += octets

    def _queue(self, number: int, flags: int, generation: int, key: int, record: Record) -> None:
        history = sum(code << 4 * n for n, code in enumerate(record.history[:8]))
        head = struct.pack(
            ">BBBBIQQQQIH", 0x10, 32, number, flags, generation, record.packets, record.bytes, record.first,
            record.last, history, record.seen,
        )  # fmt: skip
        small = bytes(
            part(key, name) for name in (
                "in_port", "ip_version", "is_fragment", "vlan_present", "verdict", "protocol_class", "ip_dscp",
                "ip_proto", "tcp_flags",
            )
        )  # fmt: skip
        numbers = [part(key, name) for name in ("vlan_vid", "eth_type", "source_port", "destination_port")]
        rest = struct.pack(">xHHHH", *numbers)
        addresses = b"".join(part(key, name).to_bytes(16, "big") for name in ("source", "destination"))
        links = b"".join(part(key, name).to_bytes(6, "big") for name in ("eth_src", "eth_dst"))
        self.groups.append(head + small + rest + addresses + links + bytes(20))

    def frames(self) -> list[bytes]:
        """Report frames with all groups that wait."""
        found = []
        while self.groups:
            mine, self.groups = self.groups[:7], self.groups[7:]
            report = struct.pack(">BBBxIQ", 0x11, 12, len(mine), self.sequence, self.time) + bytes(32)
            head = bytes(12) + struct.pack(">HBB", 0x88B5, 1, 1 + 12 + 32 * len(mine))
            found.append(head + report + b"".join(mine) + b"\0\0")
            self.sequence = (self.sequence + 1) & 0xFFFF_FFFF
        return found

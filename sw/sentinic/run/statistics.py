"""Statistics rules as an output of a run: ``stats.jsonl``, a line a rule, interval and group.

``{"rule", "interval", "group", "packets", "bytes", "first", "last", "history", "generation", "final"}``.  Times are
seconds with nine digits after the point, which JSON readers that use floating point cut short; ``interval`` is when
the interval began, ``null`` for a rule without one.  ``group`` has the rule's fields by their names.  ``history`` has
Zeek's letters, small ones against the direction of the group's first packet; of a bidirectional rule ``originator``
says which end sent that.  ``final``: of the last interval in which the rule counted.  Lines of a rule, interval and
group are one, unless the capture's time runs backwards: then they add up.
"""

import heapq
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentinic.driver.device import Device
from sentinic.driver.filters import check_bytes, lacks
from sentinic.driver.reports import are_reports as any_reports
from sentinic.driver.ring import Bytes, Descriptors, Ring
from sentinic.driver.rules import Encoded, Rule, encode_all
from sentinic.driver.settling import Meanwhile
from sentinic.driver.statistics import Running, Statistics, are_reports, have_crossing, read_reports
from sentinic.errors import ConfigError, StageMissingError
from sentinic.monitor.statistics.counting import (
    Crossings,
    ReportCollector,
    SoftwareCounter,
    Totals,
    read_card_crossings,
)
from sentinic.monitor.statistics.groups import Rows, group_texts, history_text
from sentinic.run.files import LineFile

#: Of the ring that reports have to themselves.
_DESCRIPTORS, _DATA_BYTES = 8192, 8 << 20
#: Groups that the summary names of each rule.
_LARGEST = 10
_PART = 4096


def seconds(time: int) -> str:
    """Nanoseconds as seconds, exactly."""
    whole, rest = divmod(time, 10**9)
    return f"{whole}.{rest:09}"


class StatisticsOutput:
    """Counts by rules, on the card as far as it goes, the rest in software on what ring 0 delivers.

    Members
    -------
    notes: what to tell about where the rules are counted
    """

    def __init__(
        self, device: Device, rules: tuple[Rule, ...], path: Path | None, *, where: str, syn_offload: bool = False
    ) -> None:
        """Sets the card's rules, and opens a ring for their reports unless the config uses all.

        ``path`` of ``stats.jsonl``; ``None`` writes none.  ``syn_offload``: the card is to hold SYNs.  Raises
        :class:`ConfigError` when rules are to be counted in software and ring 0 delivers no bytes of packets, or when
        no ring does that reports could come by.
        """
        encoded = encode_all(rules, where)
        self._stage, reason = _stage_of(device)
        on_card = rules[: self._stage.shape.rules] if self._stage is not None else ()
        self._software = encoded[len(on_card) :]
        if self._software:
            check_bytes(device.rings[0], f"{where}: [[ring]] 0", f"statistics counted in software ({reason})")
        self.notes = _notes(len(on_card), len(self._software), reason)
        if self._software and (less := lacks(device.rings[0], syn_offload=syn_offload)):
            self.notes.append(f"statistics: software counts less than the card would, as ring 0 has {', '.join(less)}")
        self.ring: Ring | None = None
        #: The ring of the config that reports come by, where none was free for them.
        self._shared: Ring | None = None
        if on_card and len(device.rings) >= device.capabilities.rings:
            self._shared = _shared_ring(device, where)
            self._tell_of_crossings(self._shared, on_card)
        self._encoded = encoded
        self._file = None if path is None else LineFile(path)
        self._crossed: dict[str, int] = {rule.name: 0 for rule in rules}
        self._largest: dict[str, list[tuple[int, int, dict[str, Any]]]] = {rule.name: [] for rule in rules}
        self._collector = ReportCollector(self._rows)
        # As a card with room for all rules would number them.
        self._counter = SoftwareCounter(self._software, self._rows, self._cross, first_generation=len(on_card) + 1)
        self._running: Mapping[int, Running] = {}
        self._lines = 0
        self._lost_before = self._reports_lost = 0
        if self._stage is not None and on_card:
            if self._shared is None:
                self.ring = _report_ring(device)
            else:
                self._shared.registers.write("extras", 1, "reports")
            self._lost_before = self._stage.reports_lost
            self._stage.replace(on_card)
            self._running = dict(self._stage.running)
            self._collector.watch(self._running)

    def _tell_of_crossings(self, ring: Ring, on_card: Sequence[Rule]) -> None:
        less = [] if ring.registers.read("extras", "crossings") else lacks(ring, syn_offload=False)
        if less and any(rule.threshold_packets or rule.threshold_bytes for rule in on_card):
            self.notes.append(
                "statistics: of packets that cross thresholds only those are counted that ring "
                f"{ring.number} takes, which has {', '.join(less)}: leave a ring free to count all"
            )

    def split(self, ring: int, descriptors: Descriptors, data: Bytes) -> Descriptors:
        """Take what is for statistics out of polled descriptors; what is left for the other outputs."""
        mine = self.ring is not None and ring == self.ring.number
        reports = are_reports(descriptors, data)
        if reports.any():
            self._collector.take(read_reports(descriptors[reports], data))
            descriptors = descriptors[~reports]
        if mine or (self._shared is not None and ring == self._shared.number):
            for encoded, crossings in read_card_crossings(self._running, descriptors[have_crossing(descriptors)], data):
                self._cross(encoded, crossings)
        if not mine and self._software and not ring:
            self._counter.take(descriptors[~any_reports(descriptors)], data)
        return descriptors[:0] if mine else descriptors

    def rest(self, ring: int, descriptors: Descriptors, data: Bytes) -> Descriptors:
        """What is left for the other outputs; nothing is taken."""
        if self.ring is not None and ring == self.ring.number:
            return descriptors[:0]
        return descriptors[~are_reports(descriptors, data)]

    def stop(self, meanwhile: Meanwhile) -> None:
        """Have the card report all that it has counted.  ``meanwhile`` waits for room in rings, which others read."""
        if self._stage is not None:
            try:
                self._stage.finish(meanwhile)
            finally:
                self._reports_lost = self._stage.reports_lost - self._lost_before

    def finish(self) -> None:
        """No more comes: write what is left, and close."""
        try:
            self._collector.close()
            self._counter.close()
        finally:
            if self._file is not None:
                self._file.close()

    def summary(self) -> dict[str, Any]:
        """For ``summary.json``."""
        on_card = {item.rule.rule.name for item in self._running.values()}
        rules = []
        for encoded in self._encoded:
            name = encoded.rule.name
            totals = (self._collector if name in on_card else self._counter).totals.get(name, Totals())
            largest = sorted(self._largest[name], key=lambda item: (-item[0], item[1]))
            rules.append(
                {
                    "name": name,
                    "counted": "card" if name in on_card else "software",
                    "report_every_ns": encoded.rule.report_every,
                    "packets": totals.packets,
                    "bytes": totals.bytes,
                    "rows": totals.rows,
                    "overflow_packets": totals.overflow_packets,
                    "overflow_bytes": totals.overflow_bytes,
                    "thresholds_crossed": self._crossed[name],
                    "largest": [line for _, _, line in largest],
                }
            )
        lost = max(self._collector.lost, self._reports_lost)
        return {"rules": rules, "reports": self._collector.reports, "reports_lost": lost}

    def _cross(self, encoded: Encoded, crossings: Crossings) -> None:
        self._crossed[encoded.rule.name] += len(crossings.timestamp)

    def _rows(self, encoded: Encoded, rows: Rows) -> None:
        for first in range(0, len(rows), _PART):
            part = rows[first : first + _PART]
            lines = _lines_of(encoded, part)
            self._keep_largest(encoded, part, lines)
            if self._file is not None:
                self._file.append("".join(map(_line, lines)).encode())

    def _keep_largest(self, encoded: Encoded, rows: Rows, lines: list[dict[str, Any]]) -> None:
        kept = self._largest[encoded.rule.name]
        for row in np.argsort(-rows["bytes"], kind="stable")[:_LARGEST].tolist():
            self._lines += 1
            item = (int(rows["bytes"][row]), -self._lines, lines[row])
            if len(kept) < _LARGEST:
                heapq.heappush(kept, item)
            else:
                heapq.heappushpop(kept, item)


def _stage_of(device: Device) -> tuple[Statistics | None, str]:
    """The card's stage, and why not all rules are counted there, if they are not."""
    try:
        stage = Statistics(device)
    except StageMissingError as error:
        return None, str(error)
    return stage, f"the card holds {stage.shape.rules} rules"


def _notes(on_card: int, in_software: int, reason: str) -> list[str]:
    found = []
    if on_card:
        found.append(f"statistics: {on_card} rule{'s' if on_card > 1 else ''} counted on the card")
    if in_software:
        what = f"{in_software} rule{'s' if in_software > 1 else ''}"
        found.append(f"statistics: {what} counted in software, on what ring 0 delivers: {reason}")
    return found


def _shared_ring(device: Device, where: str) -> Ring:
    """The ring of the config that is to get the reports, too: one with bytes, best one that gets all crossings."""
    having = [ring for ring in device.rings.values() if ring.snap_length]
    if not having:
        raise ConfigError(
            f"{where}: all {len(device.rings)} [[ring]] tables have snap_length 0 (descriptors only): reports of "
            "statistics need one with bytes, or one less [[ring]]"
        )
    return max(having, key=lambda ring: ring.registers.read("extras", "crossings"))


def _report_ring(device: Device) -> Ring:
    """A ring that holds nothing but reports, and packets that cross thresholds."""
    number = len(device.rings)
    ring = device.open_ring(number, descriptors=_DESCRIPTORS, data_bytes=_DATA_BYTES)
    ring.registers.write("filter_ports", 0)
    ring.registers.write("extras", 1, "reports")
    ring.registers.write("extras", 1, "crossings")
    ring.enable()
    return ring


def _lines_of(encoded: Encoded, rows: Rows) -> list[dict[str, Any]]:
    rule = encoded.rule
    columns = {name: rows[name].tolist() for name in rows.dtype.names or () if name != "key"}
    lines: list[dict[str, Any]] = []
    for number, group in enumerate(group_texts(encoded, rows["key"])):
        line = {
            "rule": rule.name,
            "interval": seconds(columns["interval"][number] * rule.report_every) if rule.report_every else None,
            "group": group,
            "packets": columns["packets"][number],
            "bytes": columns["bytes"][number],
            "first": seconds(columns["first"][number]),
            "last": seconds(columns["last"][number]),
            "history": history_text(columns["history"][number]),
            "generation": columns["generation"][number],
            "final": columns["final"][number],
        }
        if rule.bidirectional:
            line["originator"] = "destination" if columns["reversed"][number] else "source"
        lines.append(line)
    return lines


def _line(line: dict[str, Any]) -> str:
    """Times are numbers in JSON, with all their digits."""
    parts = []
    for name, value in line.items():
        text = value if name in ("interval", "first", "last") and value is not None else _encode(value)
        parts.append(f'"{name}":{text}')
    return "{" + ",".join(parts) + "}\n"


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

"""From counted rows to the answers of tasks, and a card or a ring that is asked."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from sentinic.driver.filters import check_bytes, lacks
from sentinic.driver.reports import are_reports as any_reports
from sentinic.driver.ring import Bytes, Descriptors, Ring
from sentinic.driver.rules import Encoded
from sentinic.driver.settling import nothing, settle
from sentinic.driver.statistics import Statistics, are_reports, read_reports
from sentinic.errors import ConfigError, RingError
from sentinic.monitor.statistics.counting import ReportCollector, SoftwareCounter
from sentinic.monitor.statistics.groups import GroupValue, Rows, group_columns
from sentinic.monitor.statistics.tasks import (
    NOTHING_MISSING,
    Answer,
    Count,
    Distinct,
    Missing,
    Plan,
    Planned,
    Task,
    TopK,
)

_Item = TypeVar("_Item")
_Group = tuple[tuple[str, GroupValue], ...]


class _Open(NamedTuple):
    """What rows have said of an interval: packets and bytes by group, and values seen by group."""

    packets: defaultdict[_Group, int]
    bytes: defaultdict[_Group, int]
    seen: defaultdict[_Group, set[tuple[GroupValue, ...]]]


class Answers:
    """Asks a plan's tasks of what a card and its rings deliver.

    :meth:`poll` takes from the ring, as often as it is called; :meth:`ready` gives answers of intervals that are over,
    :meth:`close` takes the rest and gives all other answers.
    Who reads a ring himself, as he wants its packets too, gives :meth:`take` all that it delivers, calls :meth:`stop`,
    takes again, and then calls :meth:`close`.
    """

    def __init__(self, plan: Plan, statistics: Statistics | None, ring: Ring | None = None) -> None:
        """Sets the card's rules: ``statistics`` is its stage, needed when the plan puts anything there.

        ``ring`` is switched on, and read by nobody else: it delivers reports from now on, and the packets that are
        counted in software.  ``None``: all is given to :meth:`take`, and what software was not given is not missed.
        Raises :class:`ConfigError` when the ring gets no bytes of packets that software is to count, or no reports.
        """
        if statistics is None and plan.card_rules:
            raise ConfigError(
                f"answers must have the card's statistics: {len(plan.card_rules)} rules are planned there"
            )
        if ring is not None and plan.software_rules:
            check_bytes(ring, f"ring {ring.number}", "tasks counted in software")
        if ring is not None and plan.card_rules and not ring.snap_length:
            raise ConfigError(
                f"ring {ring.number}: snap_length must be at least 1 for the card's reports, not 0 (descriptors only)"
            )
        self.plan = plan
        self._ring = ring
        self._stopped = False
        self._last: list[tuple[Ring, int]] = []  # rings of others, and how far they hold reports
        self._tasks = {item.rule.name: planned.task for planned in plan.planned for item in planned.rules}
        self._open: dict[str, dict[int, _Open]] = {planned.task.name: {} for planned in plan.planned}
        self._answered: set[str] = set()
        # As the ring was set up in the beginning, and as it is when answers are given.
        self._lacking: dict[str, None] = {} if ring is None else dict.fromkeys(lacks(ring))
        self._statistics = statistics
        self.collector = ReportCollector(self._rows)
        self.counter = SoftwareCounter(plan.software_rules, self._rows)
        self._lost_before = self._lost()
        if statistics is not None:
            if ring is not None and plan.card_rules:
                ring.registers.write("extras", 1, "reports")
            statistics.replace(plan.card_rules, meanwhile=nothing if ring is None else self._watch_and_poll)
            self.collector.watch(statistics.running)

    def poll(self) -> int:
        """Take what the ring has delivered; how many descriptors that were.  Raises :class:`RingError` without one."""
        if self._ring is None:
            raise RingError("answers must have a ring to poll: give one, or give what rings deliver to take")
        descriptors, data = self._ring.poll()
        if len(descriptors):
            self.take(descriptors, data)
            self._ring.release(len(descriptors))
            self._ring.forward()
        return len(descriptors)

    def take(self, descriptors: Descriptors, data: Bytes) -> None:
        """Use what a ring delivered; ``data`` is its data ring."""
        reports = are_reports(descriptors, data)
        if reports.any():
            self.collector.take(read_reports(descriptors[reports], data))
            descriptors = descriptors[~reports]
        if self.plan.software_rules:
            self.counter.take(descriptors[~any_reports(descriptors)], data)

    def stop(self) -> None:
        """Have the card count no more, and report all it has; calling it again does nothing.

        What comes of that is taken from the ring.  Without one, rings hold the last reports then, and must be read
        meanwhile when they have no room for them.  Raises :class:`DeviceError` when nobody reads a ring that is full.
        """
        if self._stopped:
            return
        ring = self._ring
        meanwhile = nothing if ring is None else self.poll
        if self._statistics is not None:
            self._statistics.finish(meanwhile)
        elif ring is not None:
            settle(ring.device, meanwhile, rings=[ring])
        if ring is not None:
            end = ring.head()
            while ring.position < end and self.poll():
                pass
        elif self._statistics is not None and self.plan.card_rules:
            self._last = [(other, other.head()) for other in self._statistics.report_rings()]
        self._stopped = True

    def close(self) -> list[Answer]:
        """Stop: the answers, by task, then by interval.

        Raises :class:`RingError` when the rings hold reports that were not taken: take them, and close again.
        """
        self.stop()
        _check_taken(self._last)
        self.collector.close()
        self.counter.close()
        lost = self._missing_of_all()
        return [answer for planned in self.plan.planned for answer in self._answers(planned, lost, at_end=True)]

    def ready(self) -> list[Answer]:
        """Answers of intervals that are over, each once, by task, then by interval; :meth:`close` gives the others.

        In software an interval is over when a packet of a later one has been counted, on the card when reports of a
        later one have come, which is an interval after that.  ``missing`` is as known now.  Tasks with alternatives,
        and those without intervals, are answered at the end.  When time runs backwards a task may have several
        answers of one interval, whose counts add up.
        """
        over = [planned for planned in self.plan.planned if planned.task.every and len(planned.rules) == 1]
        if not any(self._open[planned.task.name] for planned in over):
            return []
        lost = self._missing_of_all()
        return [answer for planned in over for answer in self._answers(planned, lost, at_end=False)]

    def _missing_of_all(self) -> Missing:
        reports, packets = (now - before for now, before in zip(self._lost(), self._lost_before, strict=True))
        if self._ring is not None:
            self._lacking.update(dict.fromkeys(lacks(self._ring)))
        return Missing(
            reports_lost=max(reports, self.collector.lost), packets_lost=packets, ring_lacks=tuple(self._lacking)
        )

    def _answers(self, planned: Planned, lost: Missing, *, at_end: bool) -> list[Answer]:
        name = planned.task.name
        found, self._open[name] = self._open[name], {}
        self._answered |= {name} if found else set()
        missing = self._missing(planned, lost)
        if at_end and name not in self._answered and missing != NOTHING_MISSING:
            found[0] = _nothing_known()
        return [_answer(planned.task, interval, of_it, missing) for interval, of_it in sorted(found.items())]

    def _missing(self, planned: Planned, lost: Missing) -> Missing:
        if not planned.on_card:
            return replace(lost, reports_lost=0)
        totals = [self.collector.totals[item.rule.name] for item in planned.rules]
        return replace(
            lost,
            overflow_packets=sum(item.overflow_packets for item in totals),
            overflow_bytes=sum(item.overflow_bytes for item in totals),
            packets_lost=0,
            ring_lacks=(),
        )

    def _lost(self) -> tuple[int, int]:
        """Reports and packets, since the card began."""
        reports = 0 if self._statistics is None else self._statistics.reports_lost
        if self._ring is None:
            return reports, 0
        counters, name = self._ring.device.snapshot(), f"ring{self._ring.number}"
        return reports, counters[f"{name}.lost"] + counters[f"{name}.sampled_out"]

    def _watch_and_poll(self) -> None:
        assert self._statistics is not None
        self.collector.watch(self._statistics.running)
        self.poll()

    def _rows(self, encoded: Encoded, rows: Rows) -> None:
        task = self._tasks[encoded.rule.name]
        columns = group_columns(encoded, rows["key"])
        inner = [name.partition("/")[0] for name in task.measure.fields] if isinstance(task.measure, Distinct) else []
        outer = [name for name in columns if name not in inner]
        groups = _zipped([[(name, value) for value in columns[name]] for name in outer], len(rows))
        values = _zipped([columns[name] for name in inner], len(rows))
        for interval, group, value, packets, octets in zip(
            rows["interval"].tolist(), groups, values, rows["packets"].tolist(), rows["bytes"].tolist(), strict=True
        ):
            found = self._open[task.name].get(interval)
            if found is None:
                found = self._open[task.name][interval] = _nothing_known()
            found.packets[group] += packets
            found.bytes[group] += octets
            if inner:
                found.seen[group].add(value)


def _nothing_known() -> _Open:
    return _Open(defaultdict(int), defaultdict(int), defaultdict(set))


def _check_taken(ends: Sequence[tuple[Ring, int]]) -> None:
    """One ring that was read to its end is enough: each gets all reports."""
    left = [(ring.number, end - ring.page["descriptor_tail"]) for ring, end in ends]
    if left and all(count > 0 for _, count in left):
        number, count = left[0]
        raise RingError(
            f"ring {number} holds {count} descriptors, reports of statistics among them, that must be taken and "
            "released before answers are closed"
        )


def _zipped(columns: Sequence[list[_Item]], count: int) -> list[tuple[_Item, ...]]:
    return list(zip(*columns, strict=True)) if columns else [()] * count


def _answer(task: Task, interval: int, found: _Open, missing: Missing) -> Answer:
    measure = task.measure
    if isinstance(measure, Distinct):
        values = {group: len(seen) for group, seen in found.seen.items()}
    elif isinstance(measure, Count) or (isinstance(measure, TopK) and measure.by == "packets"):
        values = dict(found.packets)
    else:
        values = dict(found.bytes)
    order = sorted(values, key=lambda group: (-values[group], str(group)))
    if isinstance(measure, TopK):
        order = order[: measure.count]
    least = task.threshold
    return Answer(
        task.name,
        interval,
        tuple(order),
        tuple(values[group] for group in order),
        tuple(least is not None and values[group] >= least for group in order),
        missing,
    )

"""From counted rows to the answers of tasks, and a card or a ring that is asked."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from sentinic.driver.reports import are_reports as any_reports
from sentinic.driver.ring import Bytes, Descriptors
from sentinic.driver.rules import Encoded
from sentinic.driver.statistics import Statistics, are_reports, read_reports
from sentinic.monitor.statistics.counting import ReportCollector, SoftwareCounter
from sentinic.monitor.statistics.groups import GroupValue, Rows, group_columns
from sentinic.monitor.statistics.tasks import Answer, Count, Distinct, Plan, Task, TopK

_Item = TypeVar("_Item")
_Group = tuple[tuple[str, GroupValue], ...]


class _Open(NamedTuple):
    """What rows have said of an interval: packets and bytes by group, and values seen by group."""

    packets: defaultdict[_Group, int]
    bytes: defaultdict[_Group, int]
    seen: defaultdict[_Group, set[tuple[GroupValue, ...]]]


class Answers:
    """Asks a plan's tasks of what a card and its rings deliver.

    Give :meth:`take` all that the rings deliver, packets of one ring and reports; answers come at :meth:`close`.
    """

    def __init__(self, plan: Plan, statistics: Statistics | None) -> None:
        """Sets the card's rules: ``statistics`` is its stage, needed when the plan puts anything there."""
        self.plan = plan
        self._tasks = {item.rule.name: planned.task for planned in plan.planned for item in planned.rules}
        self._open: dict[str, dict[int, _Open]] = {planned.task.name: {} for planned in plan.planned}
        self._statistics = statistics
        self.collector = ReportCollector(self._rows)
        self.counter = SoftwareCounter(plan.software_rules, self._rows)
        if statistics is not None:
            statistics.replace(plan.card_rules)
            self.collector.watch(statistics.running)

    def take(self, descriptors: Descriptors, data: Bytes) -> None:
        """Use what a ring delivered; ``data`` is its data ring."""
        reports = are_reports(descriptors, data)
        if reports.any():
            self.collector.take(read_reports(descriptors[reports], data))
            descriptors = descriptors[~reports]
        if self.plan.software_rules:
            self.counter.take(descriptors[~any_reports(descriptors)], data)

    def stop(self) -> None:
        """Have the card report all it has: its rings hold the last reports then."""
        if self._statistics is not None:
            self._statistics.replace([])
            self._statistics.settle()

    def close(self) -> list[Answer]:
        """No more comes: the answers, by task, then by interval."""
        self.collector.close()
        self.counter.close()
        return [
            _answer(planned.task, interval, found)
            for planned in self.plan.planned
            for interval, found in sorted(self._open.pop(planned.task.name).items())
        ]

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
                found = self._open[task.name][interval] = _Open(defaultdict(int), defaultdict(int), defaultdict(set))
            found.packets[group] += packets
            found.bytes[group] += octets
            if inner:
                found.seen[group].add(value)


def _zipped(columns: Sequence[list[_Item]], count: int) -> list[tuple[_Item, ...]]:
    return list(zip(*columns, strict=True)) if columns else [()] * count


def _answer(task: Task, interval: int, found: _Open) -> Answer:
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
    )

"""Questions about traffic, in the spirit of Zeek's SumStats, and how they are answered.

::

    task = Task("fan-out", group=["source"], measure=Distinct("destination"), every=10**10, threshold=100)
    plan = make_plan([task], shape)         # shape: Statistics.shape, or None
    print(plan.explain())                   # which of them the card counts, and why the others not
    answers = Answers(plan, statistics, ring)  # sentinic.monitor.statistics.answers
    answers.poll()                          # again and again, as long as there is traffic
    for answer in answers.ready():          # of intervals that are over
        ...
    for answer in answers.close():          # the others, with what card and ring still held
        ...

A task becomes a rule, or one for each alternative of its match; what the rule counts is made its answer on the host.
The card and the software count by the same rules, so the answer is the same either way, as long as the ring takes
all packets (an answer says when the ring that it reads does not) and time does not run backwards across the end of an
interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from sentinic.driver.rule_fields import Value
from sentinic.driver.rules import Encoded, Rule, encode, encode_all
from sentinic.driver.statistics import StatisticsShape
from sentinic.errors import ConfigError
from sentinic.monitor.statistics.groups import GroupValue


@dataclass(frozen=True)
class Count:
    """Packets of each group."""


@dataclass(frozen=True)
class Sum:
    """Sum over each group's packets; only ``"bytes"``, on the wire without FCS, is known to all ways of counting."""

    of: str = "bytes"


@dataclass(frozen=True)
class Distinct:
    """Different values of some fields, together, among each group's packets."""

    fields: tuple[str, ...]

    def __init__(self, *fields: str) -> None:
        object.__setattr__(self, "fields", fields)


@dataclass(frozen=True)
class TopK:
    """The ``count`` groups with the most ``by`` (``packets`` or ``bytes``); equal ones in the order of their values."""

    count: int
    by: str = "bytes"


Measure = Count | Sum | Distinct | TopK
#: One value, or alternatives any of which will do.
Wanted = Value | Sequence[Value]


@dataclass(frozen=True)
class Task:
    """What is to be known.

    Parameters
    ----------
    name: what answers call it
    match: value by field name, as in a rule; several values of a field are alternatives
    group: fields that tell groups apart, as in a rule
    measure: what is wanted of each group
    every: an answer each so many ns of wire time; 0 for one at the end
    threshold: groups whose value reaches it are marked; ``None`` marks none
    bidirectional: both directions of a connection are one group
    """

    name: str
    match: Mapping[str, Wanted] = field(default_factory=dict)
    group: Sequence[str] = ()
    measure: Measure = field(default_factory=Count)
    every: int = 0
    threshold: int | None = None
    bidirectional: bool = False

    def rules(self) -> list[Rule]:
        """The rules that count for it: one for each combination of alternatives.

        Raises :class:`ConfigError` for a task that makes no sense; its match and group are checked with the rules.
        """
        where = f"task {self.name!r}"
        self._check(where)
        group = list(self.group)
        if isinstance(self.measure, Distinct):
            taken = {_bare(name) for name in group}
            for name in self.measure.fields:
                if _bare(name) in taken:
                    raise ConfigError(f"{where}: distinct {name} must not be one of the group's fields as well")
            group += self.measure.fields
        alternatives = list(product(*(_values(value, f"{where}: match: {key}") for key, value in self.match.items())))
        packets = self.threshold or 0 if isinstance(self.measure, Count) else 0
        octets = self.threshold or 0 if isinstance(self.measure, Sum) else 0
        whole = len(alternatives) == 1
        return [
            Rule(
                self.name if whole else f"{self.name}/{number}",
                dict(zip(self.match, values, strict=True)),
                tuple(group),
                self.every,
                # Alternatives reach a threshold together, which none of their rules sees.
                packets if whole else 0,
                octets if whole else 0,
                self.bidirectional,
            )
            for number, values in enumerate(alternatives)
        ]

    def _check(self, where: str) -> None:
        """Raise :class:`ConfigError` when something is of the wrong kind, or beyond its limit."""
        measure = self.measure
        if not isinstance(measure, Count | Sum | Distinct | TopK):
            raise ConfigError(f"{where}: measure must be Count(), Sum(), Distinct(...) or TopK(...), not {measure!r}")
        if not isinstance(self.match, Mapping):
            raise ConfigError(f"{where}: match must be values by field name, not {self.match!r}")
        if isinstance(self.group, str) or not isinstance(self.group, Sequence):
            raise ConfigError(f"{where}: group must be a list of fields, not {self.group!r}")
        if isinstance(measure, Distinct):
            if not measure.fields:
                raise ConfigError(f"{where}: distinct must name at least one field")
            if not all(isinstance(name, str) for name in (*measure.fields, *self.group)):
                raise ConfigError(f"{where}: distinct and group must be names of fields, not {measure.fields!r}")
        elif isinstance(measure, Sum) and measure.of != "bytes":
            raise ConfigError(f"{where}: sum must be of bytes, not of {measure.of!r}")
        elif isinstance(measure, TopK):
            if not _is_count(measure.count):
                raise ConfigError(f"{where}: top must be a whole number of groups from 1 on, not {measure.count!r}")
            if measure.by not in ("packets", "bytes"):
                raise ConfigError(f"{where}: top must be by packets or bytes, not {measure.by!r}")
        if self.threshold is not None and not _is_count(self.threshold):
            raise ConfigError(f"{where}: threshold must be a whole number from 1 on, not {self.threshold!r}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _bare(name: str) -> str:
    return name.partition("/")[0]


def _values(value: Wanted, where: str) -> list[Value]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value]  # a bad one is refused with its rule
    values = list(value)
    if not values:
        raise ConfigError(f"{where} must have at least one value")
    return values


@dataclass(frozen=True)
class Planned:
    """A task, its rules, and why they are not on the card (empty: they are)."""

    task: Task
    rules: tuple[Encoded, ...]
    reason: str

    @property
    def on_card(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Plan:
    """Tasks, in the order given."""

    planned: tuple[Planned, ...]

    @property
    def card_rules(self) -> list[Rule]:
        return [item.rule for planned in self.planned if planned.on_card for item in planned.rules]

    @property
    def software_rules(self) -> list[Encoded]:
        return [item for planned in self.planned if not planned.on_card for item in planned.rules]

    def explain(self) -> str:
        """A line a task: who counts it, and why."""
        lines = []
        for planned in self.planned:
            count = len(planned.rules)
            what = f"{count} rule{'s' if count > 1 else ''}"
            where = f"on the card ({what})" if planned.on_card else f"in software ({what}): {planned.reason}"
            lines.append(f"{planned.task.name}: {where}")
        return "\n".join(lines)


def make_plan(tasks: Sequence[Task], shape: StatisticsShape | None) -> Plan:
    """Put on the card what it can count, in the order of the tasks, and leave the rest to software.

    ``shape``: what the card holds, ``None`` when it has no statistics stage.  Raises :class:`ConfigError` for a bad
    task, or for two of one name.
    """
    encoded = [[encode(rule) for rule in _told_apart(task)] for task in tasks]
    encode_all([rule.rule for rules in encoded for rule in rules])
    left = shape.rules if shape is not None else 0
    planned = []
    for task, rules in zip(tasks, encoded, strict=True):
        reason = ""
        if shape is None:
            reason = "this card has no statistics stage"
        elif len(rules) > left:
            reason = f"of the card's {shape.rules} rules {left} are free"
        else:
            left -= len(rules)
        planned.append(Planned(task, tuple(rules), reason))
    return Plan(tuple(planned))


def _told_apart(task: Task) -> list[Rule]:
    """A task's rules.  Raises :class:`ConfigError` when a packet could count in two of them."""
    rules = task.rules()
    encoded = [encode(rule) for rule in rules]
    for number, one in enumerate(encoded):
        for two in encoded[:number]:
            if task.bidirectional:
                raise ConfigError(f"task {task.name!r}: match: a bidirectional task takes no alternatives")
            if not (one.value ^ two.value) & one.mask & two.mask:
                raise ConfigError(
                    f"task {task.name!r}: match: alternatives must exclude each other, as {one.rule.match} and "
                    f"{two.rule.match} do not"
                )
    return rules


@dataclass(frozen=True)
class Missing:
    """Why answers may fall short.

    Members
    -------
    overflow_packets, overflow_bytes: counted by the card in no group, as there was no room for reports
    reports_lost: reports of the card that did not come, with groups of whatever task that it counts
    packets_lost: that the ring had no room for, or left out as a sample, whatever they were; of a task that is
        counted in software
    ring_lacks: what keeps packets from the ring (:func:`sentinic.driver.filters.lacks`); of such a task, too
    """

    overflow_packets: int = 0
    overflow_bytes: int = 0
    reports_lost: int = 0
    packets_lost: int = 0
    ring_lacks: tuple[str, ...] = ()


NOTHING_MISSING = Missing()


@dataclass(frozen=True)
class Answer:
    """A task's answer for one interval.

    Members
    -------
    task: its name; interval: number of the interval, in units of ``every`` from wire time 0 on
    groups, values: one value a group, the largest first
    crossed: of each group, whether it reached the threshold
    missing: what is not in the values of the task's answers, all of them together

    When all groups of a task are missing, its answer is one of interval 0, without groups.
    """

    task: str
    interval: int
    groups: tuple[tuple[tuple[str, GroupValue], ...], ...]
    values: tuple[int, ...]
    crossed: tuple[bool, ...]
    missing: Missing = NOTHING_MISSING

    @property
    def exact(self) -> bool:
        """Whether nothing is missing: else there may be more groups, and higher values."""
        return self.missing == NOTHING_MISSING

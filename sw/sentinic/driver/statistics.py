"""The statistics stage of a card: rules set, changed and removed while traffic runs, and its reports as arrays.

::

    statistics = Statistics(device)
    statistics.replace([Rule("web", {"tcp_dst": 80}, ["ipv4_src"], report_every=10**10)])
    ring.registers.write("extras", 1, "reports")
    ...
    descriptors, data = ring.poll()
    groups = read_reports(descriptors[are_reports(descriptors, data)], data).groups
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentinic.abi.registers import STATISTICS, STATISTICS_KEY_WORDS
from sentinic.abi.statistics import FIELD_WORDS, GROUP, hashed_at
from sentinic.abi.tag import CROSSING, HEADERS, LOSS, PACKET, TAG_HEADER_BYTES, TCP
from sentinic.abi.verdicts import Content, Kind
from sentinic.driver.device import Device
from sentinic.driver.records import record_dtype, status_bits
from sentinic.driver.registers import RegisterBlock
from sentinic.driver.reports import hold, read_items, rows_at
from sentinic.driver.ring import Bytes, Descriptors, Ring
from sentinic.driver.rules import Encoded, Rule, encode_all
from sentinic.driver.secret import spreading_secret
from sentinic.driver.settling import CYCLES, Meanwhile, let_in, nothing, quiet
from sentinic.driver.stage import read_shape
from sentinic.driver.tags import tag_end
from sentinic.errors import ConfigError, DeviceError

KEY_BITS = 32 * STATISTICS_KEY_WORDS
#: dtypes of a group in a report and of the TLV ``crossing``, in network order.
GROUP_DTYPE = record_dtype(GROUP.record)
CROSSING_DTYPE = record_dtype(CROSSING.record)
#: Where groups count one by one: the field, and from which of its bits on.
_RUNS = (
    ("source_port", 0),
    ("destination_port", 0),
    ("source", 0),
    ("source", 8),
    ("destination", 0),
    ("destination", 8),
    ("eth_src", 0),
    ("eth_dst", 0),
    ("vlan_vid", 0),
)
#: How many times :data:`CYCLES` a change may take.  A sweep of the largest table takes 10,000 cycles.
_WAIT_STEPS = 10_000
_MOST_GENERATION = (1 << 32) - 1


@dataclass(frozen=True)
class StatisticsShape:
    """What a build holds: rules, groups in all tables together, and how many rules share a table."""

    rules: int
    groups: int
    rules_a_table: int


@dataclass(frozen=True)
class Running:
    """A rule on the card, and the generation that its reports carry."""

    rule: Encoded
    generation: int


class Statistics:
    """The statistics stage of ``device``: emptied when this is made, and keyed with a secret of its own.

    Members
    -------
    shape: what the build holds
    running: the rules set, by their number on the card
    listeners: called with ``running`` before each change of it takes effect: before a rule's first report can come
    """

    def __init__(self, device: Device, *, secret: int | None = None) -> None:
        """``secret``: the key of the tables' hash, 512 bits; random unless given, so that nobody can aim at a set.

        A random one spreads groups of consecutive ports, addresses or VLANs evenly (:func:`spreading_secret`).
        Raises :class:`StageMissingError` when the build has no such stage.
        """
        self._device = device
        self.shape = _shape(device)
        self._registers = RegisterBlock(STATISTICS, 1, device.transport.read, device.transport.write)
        # A later one of the same card goes on where this one ends, so that reports tell whose rules they are of.
        self._generation = self._registers.read("generation")
        if self._generation:
            self._generation = self._generation + 1 & _MOST_GENERATION
            self._registers.write("generation", self._generation)
        self._meanwhile: Meanwhile = nothing
        self.running: dict[int, Running] = {}
        self.listeners: list[Callable[[Mapping[int, Running]], object]] = []
        for number in range(self.shape.rules):
            self._apply(number, "remove", None)
        key = self._new_secret() if secret is None else secret
        if not 0 <= key < 1 << KEY_BITS:
            raise ConfigError(f"secret of the statistics must fit {KEY_BITS} bits, not {key.bit_length()}")
        for word in range(STATISTICS_KEY_WORDS):
            self._registers.write(f"hash_key{word}", key >> 32 * word & 0xFFFF_FFFF)

    def _new_secret(self) -> int:
        profile, shape = self._device.profile, self.shape
        sets = shape.groups // (shape.rules // shape.rules_a_table) // profile.statistics_ways
        index_bits = max(1, sets).bit_length() - 1
        runs = [hashed_at(name, profile.folded_statistics)[bit:] for name, bit in _RUNS]
        return spreading_secret(KEY_BITS, runs, index_bits)

    def check(self, rules: Sequence[Rule], where: str = "") -> list[Encoded]:
        """The words of rules that fit the card.  Raises :class:`ConfigError` when one is bad or they are too many."""
        return encode_all(rules, where, self.shape.rules)

    def replace(self, rules: Sequence[Rule], where: str = "", *, meanwhile: Meanwhile = nothing) -> None:
        """Let these be the rules; those that stay as they are go on counting.

        They have the lowest numbers, in this order, but for what stays, and for what has the name of one before it,
        which keep theirs.  ``meanwhile`` takes from the rings, unless another thread does: changes wait for reports,
        which wait for room.  Raises :class:`ConfigError` before anything is changed.
        """
        encoded = self.check(rules, where)
        numbers = self._numbers(encoded)
        with self._calling(meanwhile):
            for number in sorted(self.running.keys() - set(numbers)):
                self.remove(number)
            for number, rule in zip(numbers, encoded, strict=True):
                old = self.running.get(number)
                if old is None or old.rule != rule:
                    self._set(number, rule)

    def set(self, number: int, rule: Rule, where: str = "", *, meanwhile: Meanwhile = nothing) -> int:
        """Set or change one rule, from the next packet on; its generation.

        What the rule before it has counted is reported first; ``meanwhile`` as for :meth:`replace`.  ``running`` has
        the rule before it counts.  Raises :class:`ConfigError` before anything is changed.
        """
        self._check_number(number)
        others = [item.rule.rule for n, item in self.running.items() if n != number]
        with self._calling(meanwhile):
            return self._set(number, encode_all([*others, rule], where, self.shape.rules)[-1])

    def remove(self, number: int, *, meanwhile: Meanwhile = nothing) -> None:
        """Switch a rule off; what it has counted is reported; ``meanwhile`` as for :meth:`replace`."""
        self._check_number(number)
        with self._calling(meanwhile):
            self._apply(number, "remove", None)

    def report(self, number: int, *, meanwhile: Meanwhile = nothing) -> None:
        """Have the groups of a rule reported now; ``meanwhile`` as for :meth:`replace`.

        Counts begin anew, and thresholds with them, but for a cumulative rule.
        """
        self._check_number(number)
        with self._calling(meanwhile):
            self._apply(number, "report", self.running.get(number))

    @property
    def busy(self) -> bool:
        """Whether a change is pending or groups are being reported."""
        return bool(self._registers.read("status", "pending") or self._registers.read("status", "sweeping"))

    def settle(self) -> None:
        """Wait until no change is pending and all that is to be reported is in the rings.

        Consumers must take reports meanwhile, from every ring that gets them: those that find no room in one wait.
        Raises :class:`DeviceError` when that does not come to an end.
        """
        self._wait("sweeping")
        rings = self.report_rings()
        if not quiet(self._device, self._meanwhile, rings=rings, steps=_WAIT_STEPS):
            raise DeviceError(
                f"statistics: reports still wait after {_WAIT_STEPS} times {CYCLES} cycles: are all rings read "
                f"that get them ({', '.join(str(ring.number) for ring in rings)})?"
            )

    def finish(self, meanwhile: Meanwhile = nothing) -> None:
        """Remove all rules, when frames on their way are counted: the rings hold the last reports then.

        ``meanwhile`` takes from the rings, unless another thread does: changes and reports wait for room.  Raises
        :class:`DeviceError` when nobody reads.
        """
        with self._calling(meanwhile):
            if not let_in(self._device, meanwhile):
                raise DeviceError("statistics: frames still wait for room in a ring: are all rings read that are on?")
            self.replace([], meanwhile=meanwhile)
            self.settle()

    def report_rings(self) -> list[Ring]:
        """The rings that reports go to, each of them to all."""
        return [ring for ring in self._device.rings.values() if ring.registers.read("extras", "reports")]

    @property
    def reports_lost(self) -> int:
        """Reports, whatever they told, that no ring was there for, or that no ring got; since the card began."""
        return self._device.snapshot()["reports_lost"]

    def _check_number(self, number: int) -> None:
        if not 0 <= number < self.shape.rules:
            raise ConfigError(
                f"number of a statistics rule must be 0..{self.shape.rules - 1} on this card, not {number}"
            )

    def _set(self, number: int, encoded: Encoded) -> int:
        # What is staged is read when the change before takes effect.
        self._check_mine()
        self._wait("pending")
        self._generation = self._generation + 1 & _MOST_GENERATION
        rule, registers = encoded.rule, self._registers
        for kind in ("value", "mask", "group"):
            for word, value in zip(range(FIELD_WORDS), encoded.words(kind), strict=True):
                registers.write(f"{kind}{word}", value)
        registers.write("rule_flags", int(rule.bidirectional), "bidirectional")
        registers.write("rule_flags", int(rule.cumulative), "cumulative")
        registers.write("generation", self._generation)
        for name, value in (
            ("interval", rule.report_every),
            ("threshold_packets", rule.threshold_packets),
            ("threshold_bytes", rule.threshold_bytes),
        ):
            registers.write(f"{name}_low", value & 0xFFFF_FFFF)
            registers.write(f"{name}_high", value >> 32)
        self._apply(number, "set", Running(encoded, self._generation))
        return self._generation

    def _apply(self, number: int, what: str, then: Running | None) -> None:
        """Ask for a change, after which ``then`` runs: told before it does, also when that takes too long to wait."""
        self._check_mine()
        self._wait("pending")
        self._registers.write("rule", number)
        if then is None:
            self.running.pop(number, None)
        else:
            self.running[number] = then
        for listen in self.listeners:
            listen(self.running)
        self._registers.write("apply", 1, what)
        self._wait("pending")

    def _numbers(self, rules: Sequence[Encoded]) -> list[int]:
        """Where each of the rules goes."""
        found: dict[int, int] = {}
        for whole in (True, False):
            for number, item in self.running.items():
                alike = [
                    n
                    for n, new in enumerate(rules)
                    if (item.rule == new if whole else item.rule.rule.name == new.rule.name) and n not in found
                ]
                if alike and number not in found.values():
                    found[alike[0]] = number
        free = iter(sorted(set(range(self.shape.rules)) - set(found.values())))
        return [found[n] if n in found else next(free) for n in range(len(rules))]

    def _check_mine(self) -> None:
        if self._registers.read("generation") != self._generation:
            raise DeviceError(
                "statistics: the card was reset, or a later object has its rules: make a new one (Statistics(device))"
            )

    @contextmanager
    def _calling(self, meanwhile: Meanwhile) -> Iterator[None]:
        before = self._meanwhile
        self._meanwhile = before if meanwhile is nothing else meanwhile
        try:
            yield
        finally:
            self._meanwhile = before

    def _wait(self, field: str) -> None:
        device = self._device
        for _ in range(_WAIT_STEPS):
            if not self._registers.read("status", "pending") and not self._registers.read("status", field):
                return
            device.forward()  # reports may wait for room
            device.transport.step(CYCLES)
            self._meanwhile()
        raise DeviceError(f"statistics: still {field} after {_WAIT_STEPS} times {CYCLES} cycles: are reports read?")


def _shape(device: Device) -> StatisticsShape:
    values = read_shape(device, STATISTICS, "statistics")
    return StatisticsShape(values["rules"], 1 << values["groups_log2"], values["rules_a_table"])


class Reports(NamedTuple):
    """Heads of report frames and the groups in them, as ``REPORT_DTYPE`` and ``GROUP_DTYPE``, in order, copied."""

    heads: npt.NDArray[np.void]
    groups: npt.NDArray[np.void]


def are_reports(descriptors: Descriptors, data: Bytes) -> npt.NDArray[np.bool_]:
    """Which descriptors stand for report frames of statistics; ``data`` is the data ring."""
    return hold(descriptors, data, Content.GROUPS)


def read_reports(descriptors: Descriptors, data: Bytes) -> Reports:
    """The reports of descriptors that stand for nothing else; ``data`` is the data ring.

    Raises :class:`DeviceError` when one is not as the ABI says.
    """
    found = read_items(descriptors, data, Content.GROUPS)
    return Reports(found.heads, found.items)


def have_crossing(descriptors: Descriptors) -> npt.NDArray[np.bool_]:
    """Which packets' tags hold the TLV ``crossing``: those longer than what else is in them makes them."""
    status = descriptors["status"]
    words = np.full(len(status), TAG_HEADER_BYTES // 4 + HEADERS.words + PACKET.words)
    words += TCP.words * (status_bits(status, "tcp") != 0) + LOSS.words * (status_bits(status, "loss") != 0)
    found: npt.NDArray[np.bool_] = status_bits(status, "tag_words") == words + CROSSING.words
    found &= status_bits(status, "kind") == Kind.PACKET
    return found


def read_crossings(descriptors: Descriptors, data: Bytes) -> npt.NDArray[np.void]:
    """The TLV ``crossing`` of packets that have it, as ``CROSSING_DTYPE``, copied."""
    words = status_bits(descriptors["status"], "tag_words").astype(np.int64)
    return rows_at(data, tag_end(descriptors) - 4 * words + TAG_HEADER_BYTES, CROSSING_DTYPE)

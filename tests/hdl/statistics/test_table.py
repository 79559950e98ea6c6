"""The table of groups: what it reports adds up to what it was given, packet for packet, whatever leaves when."""

import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from amaranth.sim import Simulator

from sentinic_hdl.stages.statistics.table import Table, secret_bits
from tests.hdl.simulation import deep_expressions

# A component that refuses its parameters is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

EVENTS = ("syn", "handshake", "fin", "rst", "data", "ack")
CODES = {"syn": 1, "handshake": 2, "ack": 3, "data": 4, "fin": 5, "rst": 6}


@dataclass(frozen=True)
class Packet:
    key: int
    timestamp: int
    length: int
    events: frozenset[str]
    reversed: bool = False
    rule: int = 0


@dataclass
class Group:
    """A plain model of one group between two reports."""

    packets: list[Packet] = field(default_factory=list)

    def told(self, forward: bool | None = None) -> dict[str, int]:
        first_way = self.packets[0].reversed if forward is None else forward
        history: list[int] = []
        seen = 0
        for packet in self.packets:
            for event in EVENTS:
                if event in packet.events:
                    code = CODES[event] + 8 * (packet.reversed != first_way)
                    if not seen >> code & 1:
                        seen |= 1 << code
                        history.append(code)
        return {
            "packets": len(self.packets),
            "bytes": sum(packet.length for packet in self.packets),
            "first": self.packets[0].timestamp,
            "last": self.packets[-1].timestamp,
            "seen": seen,
            "history": sum(code << 4 * n for n, code in enumerate(history[:8])),
        }


def simulate(
    packets: list[Packet | None],
    *,
    sets: int,
    ways: int,
    rules: int = 1,
    thresholds: tuple[int, int] = (0, 0),
    seed: int = 1,
) -> tuple[list[dict[str, int]], list[tuple[int, int, int]]]:
    """Count ``packets`` (None: an idle cycle), a cycle each, then sweep all away.

    The reports in order, and of each packet whether it crossed a threshold and with what counts.
    """
    table = Table(rules=rules, sets=sets, ways=ways)
    secret = random.Random(seed).getrandbits(secret_bits(sets))
    reports: list[dict[str, int]] = []
    crossings: list[tuple[int, int, int]] = []
    names = ("packets", "bytes", "first", "last", "seen", "history", "key", "rule")

    async def watch(ctx):
        async for _, _, out in ctx.tick().sample(table.o):
            if out.valid:
                if out.report:
                    reports.append({name: int(out.record[name]) for name in names} | {"stale": int(out.stale)})
                if not out.sweep:
                    crossings.append((int(out.packets_crossed), int(out.bytes_crossed), int(out.packets)))

    async def drive(ctx):
        ctx.set(table.secret, secret)
        ctx.set(table.threshold_packets, thresholds[0])
        ctx.set(table.threshold_bytes, thresholds[1])
        while ctx.get(table.clearing):
            await ctx.tick()
        for packet in packets:
            ctx.set(table.valid, packet is not None)
            if packet is not None:
                ctx.set(table.i.sweep, 0)
                for name in ("key", "timestamp", "length", "reversed", "rule"):
                    ctx.set(table.i[name], getattr(packet, name))
                for event in EVENTS:
                    ctx.set(table.i.events[event], event in packet.events)
            await ctx.tick()
        ctx.set(table.valid, 0)
        await ctx.tick().repeat(8)
        for rule in range(rules):
            ctx.set(table.epochs[rule], 1)
        for number in range(sets):
            for _ in range(ways):
                ctx.set(table.valid, 1)
                ctx.set(table.i.sweep, 1)
                ctx.set(table.i.key, number)
                await ctx.tick()
        ctx.set(table.valid, 0)
        await ctx.tick().repeat(8)
        assert ctx.get(table.live) == 0

    with deep_expressions():
        _run(table, drive, watch)
    return reports, crossings


def _run(table: Table, drive, watch) -> None:
    simulator = Simulator(table)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_process(watch)
    simulator.run()


def traffic(seed: int, count: int, keys: int, *, idle: float = 0.0, rules: int = 1) -> list[Packet | None]:
    r = random.Random(seed)
    pool = [r.getrandbits(448) for _ in range(keys)]
    found: list[Packet | None] = []
    for n in range(count):
        while r.random() < idle:
            found.append(None)
        events = frozenset(event for event in EVENTS if r.random() < 0.2)
        found.append(
            Packet(r.choice(pool), 10 * n, r.randrange(60, 1500), events, r.random() < 0.4, r.randrange(rules))
        )
    return found


def check(packets: list[Packet | None], reports: list[dict[str, int]]) -> None:
    """Each group's reports, in order, tell of its packets, in order, and of no other."""
    groups: dict[tuple[int, int], list[Packet]] = defaultdict(list)
    for packet in packets:
        if packet:
            groups[packet.rule, packet.key].append(packet)
    for report in reports:
        mine = groups[report["rule"], report["key"]]
        told = Group(mine[: report["packets"]]).told()
        assert {name: report[name] for name in told} == told
        del mine[: report["packets"]]
    assert not any(groups.values())


@pytest.mark.parametrize(
    ("sets", "ways", "keys"), [(4, 2, 1), (4, 2, 5), (4, 2, 60), (2, 4, 3), (2, 4, 9), (2, 4, 300), (16, 3, 20)]
)
@pytest.mark.parametrize("idle", [0.0, 0.4])
def test_reports_tell_of_every_packet_once(sets: int, ways: int, keys: int, idle: float) -> None:
    packets = traffic(7 * sets + ways + keys, 250, keys, idle=idle)
    reports, _ = simulate(packets, sets=sets, ways=ways)
    check(packets, reports)


def test_rules_that_share_a_table_do_not_share_groups() -> None:
    packets = traffic(5, 300, 4, rules=4)
    reports, _ = simulate(packets, sets=8, ways=2, rules=4)
    check(packets, reports)


def test_a_table_large_enough_reports_each_group_once() -> None:
    packets = traffic(9, 200, 12)
    reports, _ = simulate(packets, sets=64, ways=4)
    check(packets, reports)
    assert len(reports) == 12
    assert all(report["stale"] for report in reports)


def test_a_new_group_with_every_packet_evicts_one_with_every_packet() -> None:
    packets = [Packet(n, n, 60, frozenset()) for n in range(1, 101)]
    reports, _ = simulate(packets, sets=2, ways=2)
    check(packets, reports)
    assert sum(not report["stale"] for report in reports) == 96


def test_the_packet_that_reaches_a_threshold_is_told_and_no_other() -> None:
    packets = [Packet(1 + n % 2, n, 100, frozenset()) for n in range(40)]
    _, crossings = simulate(packets, sets=8, ways=2, thresholds=(7, 1150))
    assert [n for n, (packets_crossed, _, _) in enumerate(crossings) if packets_crossed] == [12, 13]
    assert [n for n, (_, bytes_crossed, _) in enumerate(crossings) if bytes_crossed] == [22, 23]
    assert crossings[12][2] == 7


@pytest.mark.parametrize(("rules", "ways"), [(0, 2), (1, 1)])
def test_a_table_of_no_rule_or_one_way_is_refused(rules: int, ways: int) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Table(rules=rules, sets=4, ways=ways)

"""The folded table: what it reports adds up to what it was given, packet for packet, whatever leaves when."""

import random

import pytest
from amaranth.sim import Simulator

from sentinic_hdl.stages.statistics.folded.table import FoldedTable
from tests.hdl.statistics.test_table import Packet, check

# A component that refuses its parameters is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
LIMIT = 100
#: What a packet can be at the same time: one of the first line, or some of the second and one of the third.
ALONE = [frozenset[str](), frozenset({"ack"})]
FLAGS, OPENINGS = ("fin", "rst", "data"), ("", "syn", "handshake")


def events(r: random.Random) -> frozenset[str]:
    if r.random() < 0.3:
        return r.choice(ALONE)
    return frozenset({name for name in FLAGS if r.random() < 0.3} | {r.choice(OPENINGS)}) - {""}


def traffic(seed: int, count: int, keys: int, *, rules: int = 1) -> list[Packet]:
    r = random.Random(seed)
    pool = [r.getrandbits(448) for _ in range(keys)]
    return [
        Packet(r.choice(pool), 10 * n, r.randrange(60, 1500), events(r), r.random() < 0.4, r.randrange(rules))
        for n in range(count)
    ]


class Bench:
    """The table, told to count, to sweep, and to end intervals; its reports are taken now or later."""

    def __init__(self, *, sets: int, rules: int = 1, thresholds: tuple[int, int] = (0, 0), seed: int = 1) -> None:
        self.table = FoldedTable(rules=rules, sets=sets)
        self.sets, self.rules, self.thresholds = sets, rules, thresholds
        self.random = random.Random(seed)
        self.reports: list[dict[str, int]] = []
        self.crossings: list[tuple[int, int, int]] = []

    def run(self, drive) -> None:
        simulator = Simulator(self.table)
        simulator.add_clock(1e-6)

        async def main(ctx):
            ctx.set(self.table.threshold_packets, self.thresholds[0])
            ctx.set(self.table.threshold_bytes, self.thresholds[1])
            for _ in range(LIMIT):
                if not ctx.get(self.table.clearing):
                    break
                await ctx.tick()
            await drive(ctx)

        simulator.add_testbench(main)
        simulator.add_process(self._watch)
        simulator.run()

    async def _watch(self, ctx):
        table = self.table
        names = ("packets", "bytes", "first", "last", "history", "key", "rule")
        async for _, _, valid, ready, left, counted, crossed in ctx.tick().sample(
            table.left.valid, table.left.ready, table.left.payload, table.counted, table.crossed
        ):
            if valid and ready:
                low, high = int(left.seen) & 0x3F, int(left.seen) >> 6
                self.reports.append(
                    {name: int(left.record[name]) for name in names}
                    | {"seen": low << 1 | high << 9, "stale": int(left.stale), "swept": int(left.swept)}
                )
            if counted:
                self.crossings.append((int(crossed.any), int(crossed.of_bytes), int(crossed.value)))
            ctx.set(table.left.ready, self.random.random() < 0.5)

    async def count(self, ctx, packet: Packet) -> int:
        """Cycles until it is counted."""
        table = self.table
        ctx.set(table.i.valid, 1)
        for name in ("key", "timestamp", "length", "reversed", "rule"):
            ctx.set(table.i.p[name], getattr(packet, name))
        ctx.set(table.i.p.index, hash((packet.key, packet.rule)) % self.sets)
        for event in ("syn", "handshake", "fin", "rst", "data", "ack"):
            ctx.set(table.i.p.events[event], event in packet.events)
        for _ in range(LIMIT):
            _, _, ready = await ctx.tick().sample(table.i.ready)
            if ready:
                break
        else:
            raise AssertionError("the table takes no packet")
        ctx.set(table.i.valid, 0)
        return await self.rest(ctx)

    async def rest(self, ctx) -> int:
        for cycles in range(LIMIT):
            if ctx.get(self.table.idle):
                return cycles
            await ctx.tick()
        raise AssertionError("the table does not come to rest")

    async def sweep(self, ctx) -> None:
        for number in range(2 * self.sets):
            ctx.set(self.table.sweep, 1)
            ctx.set(self.table.sweep_record, number)
            _, _, swept = await ctx.tick().sample(self.table.swept)
            assert swept
            ctx.set(self.table.sweep, 0)
            await self.rest(ctx)


@pytest.mark.parametrize(("sets", "keys", "rules"), [(4, 1, 1), (4, 5, 1), (4, 60, 1), (2, 9, 3), (8, 4, 4)])
def test_reports_tell_of_every_packet_once(sets: int, keys: int, rules: int) -> None:
    bench = Bench(sets=sets, rules=rules)
    packets = traffic(sets + keys, 150, keys, rules=rules)

    async def drive(ctx):
        for packet in packets:
            await bench.count(ctx, packet)
        for rule in range(rules):
            ctx.set(bench.table.epochs[rule], 1)
        await bench.sweep(ctx)
        assert ctx.get(bench.table.live) == 0

    bench.run(drive)
    check(list(packets), bench.reports)


def test_a_new_group_takes_the_place_of_the_one_that_was_used_longer_ago() -> None:
    bench = Bench(sets=1)
    order = [1, 2, 1, 3, 1, 4, 3]  # 3 finds 2 the older one, 4 finds 3 so, the second 3 finds 1 so

    async def drive(ctx):
        for n, key in enumerate(order):
            await bench.count(ctx, Packet(key, n, 60, frozenset()))

    bench.run(drive)
    assert [report["key"] for report in bench.reports] == [2, 3, 1]
    assert not any(report["stale"] or report["swept"] for report in bench.reports)


def test_groups_of_a_cumulative_rule_go_on_and_are_told_only_after_they_counted() -> None:
    bench = Bench(sets=2)

    async def drive(ctx):
        table = bench.table
        ctx.set(table.cumulative, 1)
        for epoch in range(1, 4):
            if epoch != 3:
                await bench.count(ctx, Packet(7, epoch, 100, frozenset({("syn", "fin")[epoch - 1]})))
            ctx.set(table.epochs[0], epoch)
            await bench.sweep(ctx)
            assert ctx.get(table.live) == 1
        # The group is met again before the sweep has come to it.
        await bench.count(ctx, Packet(7, 9, 100, frozenset()))
        ctx.set(table.epochs[0], 0)
        await bench.count(ctx, Packet(7, 10, 100, frozenset()))
        ctx.set(table.final, 1)
        ctx.set(table.epochs[0], 1)
        await bench.sweep(ctx)
        assert ctx.get(table.live) == 0

    bench.run(drive)
    assert [(report["packets"], report["first"], report["last"]) for report in bench.reports] == [
        (1, 1, 1), (2, 1, 2), (3, 1, 9), (4, 1, 10),
    ]  # fmt: skip
    assert [report["history"] for report in bench.reports] == [0x1, 0x51, 0x51, 0x51]
    assert [report["seen"] for report in bench.reports] == [0x2, 0x22, 0x22, 0x22]


def test_the_packet_that_reaches_a_threshold_is_told_and_no_other() -> None:
    bench = Bench(sets=8, thresholds=(7, 1150))
    packets = [Packet(1 + n % 2, n, 100, frozenset()) for n in range(40)]

    async def drive(ctx):
        for packet in packets:
            await bench.count(ctx, packet)

    bench.run(drive)
    told = [(n, of_bytes, value) for n, (crossed, of_bytes, value) in enumerate(bench.crossings) if crossed]
    assert told == [(12, 0, 7), (13, 0, 7), (22, 1, 1200), (23, 1, 1200)]


def test_a_packet_takes_six_cycles_when_its_report_finds_room() -> None:
    bench = Bench(sets=4)
    cycles = []

    async def drive(ctx):
        for packet in traffic(3, 10, 2):
            cycles.append(1 + await bench.count(ctx, packet))

    bench.run(drive)
    assert set(cycles) == {6}


def test_a_table_of_no_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="rules must be at least 1, not 0"):
        FoldedTable(rules=0, sets=4)

"""The statistics stage: packets pass unchanged, rules count them, changes and intervals fall between two packets."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from amaranth.sim import Simulator

from sentinic.abi.profiles import BOARD, Profile
from sentinic.abi.registers import STATISTICS
from sentinic.abi.statistics import FIELD_WORDS, ReportFlag, field
from sentinic_hdl.stages.statistics import Statistics, unit
from sentinic_hdl.stages.statistics.folded import unit as folded
from tests.hdl.simulation import deep_expressions, read_register, write_register

# A component that refuses its parameters is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

#: Two rules a table, one table; so small that groups leave all the time.  Both schedules do the same.
SMALL = replace(
    BOARD, statistics_rules=2, statistics_rules_a_table=2, statistics_groups=16, statistics_ways=2, name="small"
)
SCHEDULES = {"folded": SMALL, "pipelined": replace(SMALL, folded_statistics=False)}
LIMIT = 20_000


@dataclass(frozen=True)
class Packet:
    timestamp: int
    source: int
    destination: int
    source_port: int = 1000
    destination_port: int = 80
    length: int = 60
    protocol: int = 17


@dataclass(frozen=True)
class Rule:
    """``match`` and ``group`` by field name: value, or mask."""

    match: dict[str, int]
    group: dict[str, int]
    interval: int = 0
    generation: int = 1
    bidirectional: bool = False
    cumulative: bool = False
    threshold_packets: int = 0


@pytest.fixture(params=list(SCHEDULES))
def profile(request: pytest.FixtureRequest) -> Profile:
    return SCHEDULES[request.param]


def words(values: dict[str, int]) -> list[int]:
    total = sum(value << field(name).lsb for name, value in values.items())
    return [total >> 32 * n & 0xFFFF_FFFF for n in range(FIELD_WORDS)]


def ones(*names: str) -> dict[str, int]:
    return {name: (1 << field(name).width) - 1 for name in names}


class Bench:
    """The stage between a source and a sink that stall at random, with its registers at hand."""

    def __init__(
        self,
        profile: Profile,
        *,
        seed: int,
        idle: float = 0.0,
        busy: float = 0.0,
        lossless: bool = True,
        slow: float = 0.0,
    ):
        self.stage = Statistics(profile)
        self.random = random.Random(seed)
        self.idle, self.busy, self.slow, self.lossless = idle, busy, slow, lossless
        self.out: list[tuple[int, int, int]] = []
        self.reports: list[dict[str, int]] = []
        self.cycles = 0

    def run(self, drive: Callable) -> None:
        simulator = Simulator(self.stage)
        simulator.add_clock(1e-6)

        async def main(ctx):
            ctx.set(self.stage.lossless, self.lossless)
            ctx.set(self.stage.reports.ready, 1)
            await drive(ctx)

        async def sink(ctx):
            ctx.set(self.stage.o.ready, 1)
            async for _, _, valid, ready, payload in ctx.tick().sample(
                self.stage.o.valid, self.stage.o.ready, self.stage.o.payload
            ):
                if valid and ready:
                    crossing = payload.crossing
                    self.out.append((int(payload.info.timestamp), int(crossing.rules), int(crossing.value)))
                self.cycles += 1
                ctx.set(self.stage.o.ready, self.random.random() >= self.busy)

        async def host(ctx):
            async for _, _, valid, ready, report in ctx.tick().sample(
                self.stage.reports.valid, self.stage.reports.ready, self.stage.reports.payload
            ):
                if valid and ready:
                    self.reports.append(
                        {name: int(report[name]) for name in ("rule", "flags", "generation", "packets", "bytes", "key")}
                        | {"first": int(report.first), "last": int(report.last)}
                    )
                ctx.set(self.stage.reports.ready, self.random.random() >= self.slow)

        simulator.add_testbench(main)
        simulator.add_process(sink)
        simulator.add_process(host)
        with deep_expressions():
            simulator.run()

    async def write(self, ctx, name: str, value: int) -> None:
        await write_register(ctx, self.stage.bus, STATISTICS.address(name), value)

    async def status(self, ctx) -> int:
        return await read_register(ctx, self.stage.bus, STATISTICS.address("status"))

    async def rest(self, ctx) -> None:
        for _ in range(LIMIT):
            if not await self.status(ctx):
                await ctx.tick().repeat(40)
                return
            await ctx.tick()
        raise AssertionError("the stage did not come to rest")

    async def set_rule(self, ctx, number: int, rule: Rule) -> None:
        await self.rest(ctx)
        masks = {name: (1 << field(name).width) - 1 for name in rule.match}
        for kind, values in (("value", rule.match), ("mask", masks), ("group", rule.group)):
            for n, word in enumerate(words(values)):
                await self.write(ctx, f"{kind}{n}", word)
        await self.write(ctx, "rule", number)
        await self.write(ctx, "rule_flags", rule.bidirectional | rule.cumulative << 1)
        await self.write(ctx, "generation", rule.generation)
        await self.write(ctx, "interval_low", rule.interval)
        await self.write(ctx, "threshold_packets_low", rule.threshold_packets)
        await self.write(ctx, "apply", 1)

    async def remove(self, ctx, number: int) -> None:
        await self.rest(ctx)
        await self.write(ctx, "rule", number)
        await self.write(ctx, "apply", 2)
        await self.rest(ctx)

    async def send(self, ctx, packets: list[Packet]) -> None:
        stage = self.stage
        for packet in packets:
            while self.random.random() < self.idle:
                await ctx.tick()
            meta = stage.i.p
            ctx.set(meta.info.timestamp, packet.timestamp)
            ctx.set(meta.info.wire_length, packet.length)
            ctx.set(meta.headers.source, packet.source)
            ctx.set(meta.headers.destination, packet.destination)
            ctx.set(meta.headers.source_port, packet.source_port)
            ctx.set(meta.headers.destination_port, packet.destination_port)
            ctx.set(meta.headers.protocol, packet.protocol)
            ctx.set(stage.i.valid, 1)
            for _ in range(LIMIT):
                _, _, ready = await ctx.tick().sample(stage.i.ready)
                if ready:
                    break
            else:
                raise AssertionError("the stage takes no packet")
            ctx.set(stage.i.valid, 0)
        await ctx.tick().repeat(30)


def key_of(names: dict[str, int]) -> int:
    return sum(value << field(name).lsb for name, value in names.items())


def random_packets(seed: int, count: int, hosts: int, *, step: int = 10) -> list[Packet]:
    r = random.Random(seed)
    return [
        Packet(
            1_000_000 + step * n, 1 + r.randrange(hosts), 100 + r.randrange(hosts), 1000 + r.randrange(3), 80,
            r.randrange(60, 1500),
        )
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(("idle", "busy", "slow"), [(0, 0, 0), (0.5, 0, 0.5), (0, 0.5, 0.9)])
def test_every_packet_passes_once_and_counts_in_each_rule(
    profile: Profile, idle: float, busy: float, slow: float
) -> None:
    bench = Bench(profile, seed=3, idle=idle, busy=busy, slow=slow)
    packets = random_packets(1, 100, 12)

    async def drive(ctx):
        await bench.set_rule(ctx, 0, Rule({"ip_proto": 17}, ones("source", "destination")))
        await bench.set_rule(ctx, 1, Rule({"destination": 105}, ones("source")))
        await bench.rest(ctx)
        await bench.send(ctx, packets)
        for number in (0, 1):
            await bench.remove(ctx, number)
        await ctx.tick().repeat(3000 if slow else 300)

    bench.run(drive)
    assert [timestamp for timestamp, _, _ in bench.out] == [packet.timestamp for packet in packets]
    wanted: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for packet in packets:
        keys = {0: key_of({"source": packet.source, "destination": packet.destination})}
        if packet.destination == 105:
            keys[1] = key_of({"source": packet.source})
        for rule, key in keys.items():
            wanted[rule, key][0] += 1
            wanted[rule, key][1] += packet.length
    told: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for report in bench.reports:
        told[report["rule"], report["key"]][0] += report["packets"]
        told[report["rule"], report["key"]][1] += report["bytes"]
    assert told == wanted
    assert not any(report["flags"] & ReportFlag.OVERFLOW for report in bench.reports)


def test_what_finds_no_room_is_in_the_overflow_and_nothing_waits(profile: Profile) -> None:
    bench = Bench(profile, seed=4, slow=0.995, lossless=False)
    packets = [Packet(1000 + n, n + 1, 9) for n in range(150)]

    async def drive(ctx):
        await bench.set_rule(ctx, 0, Rule({}, ones("source")))
        await bench.rest(ctx)
        await bench.send(ctx, packets)
        bench.slow = 0
        await bench.remove(ctx, 0)
        await ctx.tick().repeat(300)

    bench.run(drive)
    assert len(bench.out) == len(packets)
    overflow = [report for report in bench.reports if report["flags"] & ReportFlag.OVERFLOW]
    assert overflow
    assert sum(report["packets"] for report in bench.reports) == 150
    assert sum(report["bytes"] for report in bench.reports) == 150 * 60


@pytest.mark.parametrize("hosts", [6, 40])
def test_a_cumulative_rule_counts_nothing_twice_whatever_finds_no_room(
    profile: Profile, hosts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups are told in part, and then may not leave untold: who wants their place goes into the overflow instead."""
    monkeypatch.setattr(unit, "ENDURANCE", 100)
    monkeypatch.setattr(folded, "ENDURANCE", 100)
    bench = Bench(profile, seed=8, lossless=False)
    packets = random_packets(hosts, 400, hosts)

    async def drive(ctx):
        await bench.set_rule(ctx, 0, Rule({}, ones("source"), interval=700, cumulative=True))
        await bench.rest(ctx)
        for at in range(0, len(packets), 100):  # the host reads all, then nothing
            bench.slow = at // 100 % 2
            await bench.send(ctx, packets[at : at + 100])
            await ctx.tick().repeat(200)
        bench.slow = 0
        await ctx.tick().repeat(300)
        await bench.remove(ctx, 0)
        await ctx.tick().repeat(300)

    bench.run(drive)
    assert len(bench.out) == len(packets)
    told: Counter[int] = Counter()
    octets = overflow = 0
    before: dict[int, tuple[int, int, int]] = {}
    for report in bench.reports:
        if report["flags"] & ReportFlag.OVERFLOW:
            overflow += report["packets"]
            octets += report["bytes"]
            continue
        key, first = report["key"] >> field("source").lsb, report["first"]
        # What goes on counts what was told before once more.
        _, old_packets, old_octets = before.get(key, (0, 0, 0)) if before.get(key, (0,))[0] == first else (0, 0, 0)
        told[key] += report["packets"] - old_packets
        octets += report["bytes"] - old_octets
        before[key] = (first, report["packets"], report["bytes"])
    wanted = Counter(packet.source for packet in packets)
    assert overflow > 0 or hosts == 6
    assert told.total() + overflow == len(packets)
    assert octets == sum(packet.length for packet in packets)
    assert all(told[key] <= wanted[key] for key in told)
    if not overflow:
        assert told == wanted, "all of them stayed in the table, so all is told in the end"


def test_intervals_are_those_of_the_clock_and_their_sums_exact(profile: Profile) -> None:
    bench = Bench(profile, seed=5)
    interval = 1000
    packets = random_packets(2, 200, 5, step=90)
    packets += [replace(packet, timestamp=packet.timestamp + 123_456) for packet in packets[:50]]
    packets.sort(key=lambda packet: packet.timestamp)

    async def drive(ctx):
        await bench.set_rule(ctx, 0, Rule({}, ones("source"), interval=interval))
        await bench.rest(ctx)
        await bench.send(ctx, packets)
        await bench.remove(ctx, 0)
        await ctx.tick().repeat(300)

    bench.run(drive)
    assert len(bench.out) == len(packets)
    wanted = Counter((packet.timestamp // interval, packet.source) for packet in packets)
    told: Counter[tuple[int, int]] = Counter()
    for report in bench.reports:
        assert report["first"] // interval == report["last"] // interval
        told[report["first"] // interval, report["key"] >> field("source").lsb] += report["packets"]
    assert told == wanted


def test_both_directions_make_one_group_of_a_bidirectional_rule(profile: Profile) -> None:
    bench = Bench(profile, seed=6)
    packets = [
        Packet(1, 5, 3, 1000, 80),
        Packet(2, 3, 5, 80, 1000),
        Packet(3, 5, 3, 1000, 80),
        Packet(4, 5, 4, 1000, 80),
    ]

    async def drive(ctx):
        group = ones("source", "destination", "source_port", "destination_port")
        await bench.set_rule(ctx, 0, Rule({"destination_port": 80}, group, bidirectional=True))
        await bench.rest(ctx)
        await bench.send(ctx, packets)
        await bench.remove(ctx, 0)

    bench.run(drive)
    groups = {report["key"]: report for report in bench.reports}
    ends = {"source": 3, "destination": 5, "source_port": 80, "destination_port": 1000}
    assert groups[key_of(ends)]["packets"] == 3
    assert groups[key_of(ends)]["flags"] == ReportFlag.FINAL | ReportFlag.REVERSED
    assert groups[key_of(ends | {"source": 4})]["packets"] == 1


def test_a_rule_changed_in_traffic_loses_and_doubles_nothing(profile: Profile) -> None:
    bench = Bench(profile, seed=7)
    packets = random_packets(3, 240, 6)

    async def drive(ctx):
        for generation, first in enumerate(range(0, 240, 60), 1):
            names = ("source",) if generation % 2 else ("destination",)
            await bench.set_rule(ctx, 1, Rule({}, ones(*names), generation=generation))
            await bench.send(ctx, packets[first : first + 60])
        await bench.remove(ctx, 1)
        await ctx.tick().repeat(300)

    bench.run(drive)
    told: Counter[int] = Counter()
    for report in bench.reports:
        told[report["generation"]] += report["packets"]
    # A change takes effect between two packets; the first of a part may come before it.
    assert sum(told.values()) >= 240 - 1
    assert all(abs(told[generation] - 60) <= 1 for generation in range(1, 5)), told


def test_the_packet_that_crosses_a_threshold_says_so_once_an_interval(profile: Profile) -> None:
    bench = Bench(profile, seed=8)
    packets = [Packet(1000 + n, 7 + n % 2, 9) for n in range(40)]
    packets += [replace(packet, timestamp=packet.timestamp + 100_000) for packet in packets]

    async def drive(ctx):
        rule = Rule({}, ones("source"), interval=50_000, threshold_packets=5)
        await bench.set_rule(ctx, 1, rule)
        await bench.rest(ctx)
        await bench.send(ctx, packets)

    bench.run(drive)
    crossed = [(timestamp, rules, value) for timestamp, rules, value in bench.out if rules]
    assert crossed == [(1008, 2, 5), (1009, 2, 5), (101_008, 2, 5), (101_009, 2, 5)]


@pytest.mark.parametrize("both", [False, True])
def test_a_packet_that_hits_four_rules_takes_less_than_a_gigabits_smallest_frames_leave(both: bool) -> None:
    profile = replace(SMALL, statistics_rules=4, statistics_rules_a_table=4, statistics_groups=64)
    bench = Bench(profile, seed=9, lossless=False)
    # Each in a new group, and turned round if rules may.
    packets = [Packet(1000 + n, 1 << 100 | n, 9) for n in range(20)]
    cycles = []

    async def drive(ctx):
        for number in range(4):
            await bench.set_rule(ctx, number, Rule({}, ones("source", "destination"), bidirectional=both))
        await bench.rest(ctx)
        before = bench.cycles
        await bench.send(ctx, packets)
        cycles.append(bench.cycles - before - 30)
        for number in range(4):
            await bench.remove(ctx, number)
        await ctx.tick().repeat(400)

    bench.run(drive)
    # 84 bytes on the wire, at 62.5 MHz.
    assert cycles[0] / len(packets) <= (40 if both else 30)
    assert sum(report["packets"] for report in bench.reports) == 4 * len(packets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statistics_rules": 17}, "statistics_rules must be 1..16, not 17"),
        ({"statistics_rules": 0}, "statistics_rules must be 1..16, not 0"),
        ({"statistics_rules": 6}, "statistics_rules_a_table must divide the 6 rules, not be 4"),
        ({"statistics_rules": 8, "folded_statistics": True}, "statistics_rules_a_table must be 8, all, not 4"),
        ({"statistics_ways": 4, "folded_statistics": True}, "statistics_ways must be 2, not 4"),
    ],
)
def test_a_profile_that_cannot_be_built_is_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Statistics(replace(BOARD, **changes))

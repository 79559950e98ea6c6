"""The statistics stage: packets pass unchanged, rules count them, changes and intervals fall between two packets."""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from sentinic.abi.profiles import BOARD, Profile
from sentinic.abi.statistics import ReportFlag, field
from sentinic_hdl.stages.statistics import Statistics
from tests.hdl.statistics.bench import SMALL, Bench, Packet, Rule, key_of, ones, random_packets

# A component that refuses its parameters is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


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


@pytest.mark.parametrize("cumulative", [False, True])
def test_what_is_asked_for_is_reported_at_once_and_the_rule_goes_on(profile: Profile, cumulative: bool) -> None:
    bench = Bench(profile, seed=10)
    packets = [Packet(1000 + n, 1 + n % 2, 9) for n in range(30)]
    told = []

    async def drive(ctx):
        await bench.set_rule(ctx, 1, Rule({}, ones("source"), generation=7, cumulative=cumulative))
        await bench.rest(ctx)
        for at in (0, 12, 24):
            await bench.send(ctx, packets[at : at + 12])
            for _ in range(2):  # the second time there is nothing new
                await bench.report(ctx, 1)
                await bench.rest(ctx)
                told.append([(item["packets"], item["flags"]) for item in bench.reports])
                assert {item["generation"] for item in bench.reports} <= {7}
                bench.reports.clear()
        await bench.remove(ctx, 1)

    bench.run(drive)
    counts = (6, 12, 15) if cumulative else (6, 6, 3)
    assert told == [wanted for count in counts for wanted in ([(count, ReportFlag.DEMAND)] * 2, [])]
    # All had been told; of a cumulative rule how much that is.
    assert [(item["packets"], item["flags"]) for item in bench.reports] == [(30, ReportFlag.OVERFLOW)] * cumulative


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
    assert cycles[0] / len(packets) <= (41 if both else 31)
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

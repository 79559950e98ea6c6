"""Why a group is reported: to make room for another, at the end of an interval or of its rule, or on demand."""

import random
from collections import OrderedDict
from typing import NamedTuple

import pytest

from sentinic.abi.profiles import Profile
from sentinic.abi.registers import STATISTICS_KEY_WORDS
from sentinic.abi.statistics import ReportFlag, field
from tests.hdl.statistics.bench import Bench, Packet, Rule, ones

EVICTED, FINAL, INTERVAL, DEMAND, REVERSED = (
    ReportFlag.EVICTED,
    ReportFlag.FINAL,
    ReportFlag.INTERVAL,
    ReportFlag.DEMAND,
    ReportFlag.REVERSED,
)
LSB = field("source").lsb


class Told(NamedTuple):
    source: int
    packets: int
    flags: int


def told(bench: Bench, rule: int = 0) -> list[Told]:
    """What ``rule`` has reported since the last call for it, in that order."""
    found = [
        Told(item["key"] >> LSB & (1 << 128) - 1, item["packets"], item["flags"])
        for item in bench.reports
        if item["rule"] == rule
    ]
    bench.reports[:] = [item for item in bench.reports if item["rule"] != rule]
    return found


def packets_from(time: int, *sources: int) -> list[Packet]:
    """One a nanosecond."""
    return [Packet(time + n, source, 9) for n, source in enumerate(sources)]


def test_a_group_that_makes_room_is_marked_evicted_and_one_reported_for_another_reason_is_not(
    profile: Profile,
) -> None:
    """Without a secret all groups of a rule share a set, of two."""
    bench = Bench(profile, seed=1)
    steps: dict[str, list[Told]] = {}

    async def drive(ctx):
        async def done(name: str) -> None:
            await bench.rest(ctx)
            steps[name] = told(bench)

        await bench.set_rule(ctx, 0, Rule({}, ones("source"), interval=1000))
        await done("set")
        await bench.send(ctx, packets_from(1000, 1, 2, 1))
        await done("there is room")
        await bench.send(ctx, packets_from(1010, 3, 4))
        await done("there is none")
        await bench.report(ctx, 0)
        await done("on demand")
        await bench.send(ctx, packets_from(1020, 5, 6))
        await done("room again")
        await bench.send(ctx, packets_from(2000, 7))
        await done("the interval ends")
        await bench.send(ctx, packets_from(2010, 8, 9))
        await done("no room in the next one")
        await bench.set_rule(ctx, 0, Rule({}, ones("source"), generation=2))
        await bench.taken(ctx)
        await done("another rule")
        await bench.send(ctx, packets_from(2020, 1, 2, 3))
        await done("no room for its groups")
        await bench.remove(ctx, 0)
        await done("no rule")

    bench.run(drive)
    assert {name: sorted(found) for name, found in steps.items()} == {
        "set": [],
        "there is room": [],
        "there is none": [(1, 2, EVICTED), (2, 1, EVICTED)],
        "on demand": [(3, 1, DEMAND), (4, 1, DEMAND)],
        "room again": [],
        "the interval ends": [(5, 1, INTERVAL), (6, 1, INTERVAL)],
        "no room in the next one": [(7, 1, EVICTED)],
        "another rule": [(8, 1, FINAL), (9, 1, FINAL)],
        "no room for its groups": [(1, 1, EVICTED)],
        "no rule": [(2, 1, FINAL), (3, 1, FINAL)],
    }


@pytest.mark.parametrize("ended", ["interval", "rule"])
def test_a_group_whose_place_is_taken_after_its_interval_or_rule_is_over_is_of_that_and_not_evicted(
    profile: Profile, ended: str
) -> None:
    """By this secret all are in the last set, so that packets find it full of groups that no sweep has come to."""
    bench = Bench(profile, seed=2)
    before, after = packets_from(1000, 1, 2), packets_from(2000, 4, 8)

    async def drive(ctx):
        for word in range(STATISTICS_KEY_WORDS):
            await bench.write(ctx, f"hash_key{word}", 0xFFFF_FFFF)
        await bench.set_rule(ctx, 0, Rule({}, ones("source"), interval=1000 if ended == "interval" else 0))
        await bench.rest(ctx)
        if ended == "interval":
            await bench.send(ctx, before + after)
        else:
            await bench.send(ctx, before)
            await bench.set_rule(ctx, 0, Rule({}, ones("source"), generation=2))
            await bench.send(ctx, after)
        await bench.rest(ctx)
        assert sorted(told(bench)) == [(source, 1, INTERVAL if ended == "interval" else FINAL) for source in (1, 2)]
        await bench.remove(ctx, 0)
        assert sorted(told(bench)) == [(4, 1, FINAL), (8, 1, FINAL)]

    bench.run(drive)


def test_a_group_of_a_cumulative_rule_is_marked_evicted_only_if_it_has_counted_since_it_was_told(
    profile: Profile,
) -> None:
    bench = Bench(profile, seed=3)
    steps: list[list[Told]] = []

    async def drive(ctx):
        await bench.set_rule(ctx, 0, Rule({}, ones("source"), cumulative=True))
        await bench.rest(ctx)
        await bench.send(ctx, packets_from(1000, 1, 1, 2))
        await bench.report(ctx, 0)
        await bench.rest(ctx)
        steps.append(sorted(told(bench)))
        for source in (1, 3, 4):
            await bench.send(ctx, packets_from(1000 + 10 * source, source))
            steps.append(told(bench))
        await bench.remove(ctx, 0)
        steps.append(sorted(told(bench)))

    bench.run(drive)
    assert steps == [
        [(1, 2, DEMAND), (2, 1, DEMAND)],
        [],
        [],  # 2 has left
        [(1, 3, EVICTED)],
        [(0, 6, ReportFlag.OVERFLOW), (3, 1, FINAL), (4, 1, FINAL)],  # and what the rule has counted in all
    ]


def test_a_group_that_its_other_end_began_says_so_when_it_is_evicted(profile: Profile) -> None:
    bench = Bench(profile, seed=4)
    packets = [Packet(1, 5, 3), Packet(2, 3, 6, 80, 1000), Packet(3, 3, 7), Packet(4, 3, 8)]

    async def drive(ctx):
        await bench.set_rule(ctx, 0, Rule({}, ones("source", "destination"), bidirectional=True))
        await bench.rest(ctx)
        await bench.send(ctx, packets)
        await bench.rest(ctx)

    bench.run(drive)
    assert [item["flags"] for item in bench.reports] == [EVICTED | REVERSED, EVICTED]


@pytest.mark.parametrize(("idle", "slow"), [(0, 0), (0.5, 0.8)])
def test_in_traffic_those_are_evicted_whose_last_packet_is_longest_ago_and_no_others(
    profile: Profile, idle: float, slow: float
) -> None:
    """Both rules' groups by a plain list of two each, in the order of their last packets."""
    bench = Bench(profile, seed=5, idle=idle, slow=slow)
    r = random.Random(6)
    packets = [Packet(1000 + n, r.choice((1, 1, 1, 2, 3, 4)), 100 + r.randrange(2)) for n in range(100)]

    async def drive(ctx):
        await bench.set_rule(ctx, 0, Rule({}, ones("source")))
        await bench.set_rule(ctx, 1, Rule({"destination": 101}, ones("source"), generation=2))
        await bench.rest(ctx)
        await bench.send(ctx, packets)
        for number in (0, 1):
            await bench.remove(ctx, number)
        await ctx.tick().repeat(1000 if slow else 300)

    bench.run(drive)
    reports = {rule: told(bench, rule) for rule in (0, 1)}
    for rule, mine in reports.items():
        table: OrderedDict[int, int] = OrderedDict()
        left = []
        for packet in packets:
            if rule and packet.destination != 101:
                continue
            if packet.source not in table and len(table) == 2:
                left.append((*table.popitem(last=False), EVICTED))
            table[packet.source] = table.get(packet.source, 0) + 1
            table.move_to_end(packet.source)
        assert len(left) > 20
        assert mine[: len(left)] == left
        assert sorted(mine[len(left) :]) == sorted((*item, FINAL) for item in table.items())

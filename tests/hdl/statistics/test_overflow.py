"""What finds no room on the way to the host: the sum over reports is exact, whichever rule counted when."""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from sentinic.abi.profiles import Profile
from sentinic.abi.statistics import ReportFlag, field
from sentinic_hdl.stages.statistics import unit
from sentinic_hdl.stages.statistics.folded import unit as folded
from tests.hdl.statistics.bench import Bench, Packet, Rule, ones, random_packets

HOSTS = 12


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (unit, folded):
        monkeypatch.setattr(module, "ENDURANCE", 100)


class Sums:
    """What reports say of each generation: of its groups, and in all."""

    def __init__(self, reports: list[dict[str, int]], cumulative: set[int]) -> None:
        self.told: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.overflow: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.groups: Counter[tuple[int, int]] = Counter()
        before: dict[tuple[int, int], tuple[int, int, int]] = {}
        for report in reports:
            generation, counts = report["generation"], [report["packets"], report["bytes"]]
            if report["flags"] & ReportFlag.OVERFLOW:
                if generation in cumulative:  # all that the rule has taken
                    self.overflow[generation] = [n - m for n, m in zip(counts, self.told[generation], strict=True)]
                else:
                    self.overflow[generation] = self._sum(self.overflow[generation], counts)
                continue
            group = (generation, report["key"])
            if generation in cumulative:
                first, *old = before.get(group, (-1, 0, 0))
                before[group] = (report["first"], *counts)
                if first == report["first"]:
                    counts = [n - m for n, m in zip(counts, old, strict=True)]
            assert min(counts) >= 0
            self.told[generation] = self._sum(self.told[generation], counts)
            self.groups[group] += counts[0]

    @staticmethod
    def _sum(one: list[int], two: list[int]) -> list[int]:
        return [n + m for n, m in zip(one, two, strict=True)]

    def all(self, generation: int) -> list[int]:
        return self._sum(self.told[generation], self.overflow[generation])


def sent(packets: list[Packet]) -> list[int]:
    return [len(packets), sum(packet.length for packet in packets)]


@pytest.mark.parametrize("hosts", [6, 40])
def test_a_cumulative_rule_counts_nothing_twice_whatever_finds_no_room(profile: Profile, hosts: int) -> None:
    """Groups are told in part, and then may not leave untold: who wants their place goes into the overflow instead."""
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
    sums = Sums(bench.reports, {1})
    assert sums.all(1) == sent(packets)
    wanted = Counter(packet.source for packet in packets)
    told = {key >> field("source").lsb: count for (_, key), count in sums.groups.items()}
    assert all(told[key] <= wanted[key] for key in told)
    assert (told == wanted) == (sums.overflow[1] == [0, 0])
    assert hosts == 6 or sums.overflow[1][0] > 0


@pytest.mark.parametrize("then", ["removed", "plain", "cumulative"])
def test_what_a_cumulative_rule_leaves_untold_counts_once(profile: Profile, then: str) -> None:
    """Nobody reads as it goes, so its groups, told in part before, find no room."""
    bench = Bench(profile, seed=11, lossless=False)
    packets = random_packets(4, 450, HOSTS)
    rule = Rule({}, ones("source"), interval=1000, cumulative=True)

    async def drive(ctx):
        await bench.set_rule(ctx, 0, rule)
        await bench.rest(ctx)
        await bench.send(ctx, packets[:100])
        bench.slow = 1
        await bench.send(ctx, packets[100:300])
        if then == "removed":
            await bench.switch_off(ctx, 0)
        else:
            await bench.set_rule(ctx, 0, replace(rule, generation=2, cumulative=then == "cumulative"))
            await bench.taken(ctx)
        await bench.send(ctx, packets[300:])
        await ctx.tick().repeat(500)
        bench.slow = 0
        await ctx.tick().repeat(500)
        await bench.remove(ctx, 0)
        await ctx.tick().repeat(500)

    bench.run(drive)
    sums = Sums(bench.reports, {1, 2} if then == "cumulative" else {1})
    assert sums.overflow[1][0] > 0
    assert sums.all(1) == sent(packets[:300])
    assert sums.all(2) == ([0, 0] if then == "removed" else sent(packets[300:]))


def test_what_found_no_room_stays_with_the_rule_that_counted_it(profile: Profile) -> None:
    """Groups of both rules of one number find no room while the first one's are told."""
    bench = Bench(profile, seed=12, lossless=False)
    packets = random_packets(5, 400, 60)

    async def drive(ctx):
        await bench.set_rule(ctx, 0, Rule({}, ones("source")))
        await bench.rest(ctx)
        bench.slow = 1
        await bench.send(ctx, packets[:200])
        await bench.set_rule(ctx, 0, Rule({}, ones("destination"), generation=2))
        await bench.taken(ctx)
        await bench.send(ctx, packets[200:])
        bench.slow = 0
        await ctx.tick().repeat(500)
        await bench.remove(ctx, 0)
        await ctx.tick().repeat(500)

    bench.run(drive)
    sums = Sums(bench.reports, set())
    assert sums.overflow[1][0] > 0 < sums.overflow[2][0]
    assert sums.all(1) == sent(packets[:200])
    assert sums.all(2) == sent(packets[200:])


def test_a_change_waits_for_what_the_one_before_has_left_and_packets_do_not(profile: Profile) -> None:
    bench = Bench(profile, seed=13, lossless=False)
    packets = random_packets(6, 300, 60)
    seen = []

    async def drive(ctx):
        await bench.set_rule(ctx, 0, Rule({}, ones("source")))
        await bench.rest(ctx)
        bench.slow = 1
        await bench.send(ctx, packets[:100])
        for generation in (2, 3, 4):  # a place is kept for what finds none, if only one
            await bench.set_rule(ctx, 0, Rule({}, ones("source"), generation=generation))
            await ctx.tick().repeat(500)
            seen.append(await bench.status(ctx) & 1)
            if seen[-1]:
                break
            await bench.send(ctx, packets[100:150])
        await bench.send(ctx, packets[200:])
        seen.append(await bench.status(ctx) & 1)
        bench.slow = 0
        await bench.taken(ctx)
        await bench.remove(ctx, 0)
        await ctx.tick().repeat(500)

    bench.run(drive)
    assert seen[-2:] == [1, 1]
    sums = Sums(bench.reports, set())
    assert sums.all(1) == sent(packets[:100])
    assert sum(sums.all(generation)[0] for generation in range(1, 5)) == len(bench.out)

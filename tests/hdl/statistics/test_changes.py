"""When intervals end: with packets, by time alone, and at the end of time."""

from collections.abc import Callable
from typing import Any

import pytest
from amaranth.sim import Simulator

from sentinic.abi.statistics import ReportFlag
from sentinic_hdl.stages.statistics.changes import GRACE_NS, QUIET_CYCLES, Changes

SET = 1
NOW = 1_700_000_000_000_000_000
LENGTH = 1_000_000
#: As the two schedules have it: pipelined and folded.
KINDS = {"pipelined": {"settle": 10}, "folded": {"settle": 1, "looked": True}}
END = (1 << 64) - 1


def simulate(kind: str, bench: Callable[[Any, Changes], Any]) -> None:
    changes = Changes(rules=2, **KINDS[kind])
    simulator = Simulator(changes)
    simulator.add_clock(1e-8)

    async def run(ctx: Any) -> None:
        await bench(ctx, changes)

    simulator.add_testbench(run)
    simulator.run()


async def set_rule(ctx: Any, changes: Changes, length: int = LENGTH) -> None:
    ctx.set(changes.between, 1)
    ctx.set(changes.ask, SET)
    ctx.set(changes.length, length)
    await ctx.tick()
    ctx.set(changes.ask, 0)
    for _ in range(100):
        await ctx.tick()
    assert not ctx.get(changes.pending)


async def let_in(ctx: Any, changes: Changes, timestamp: int) -> tuple[int, int]:
    """A packet that waits until it may begin; the intervals that ended before it, and for how many cycles it waited."""
    ctx.set(changes.valid, 1)
    ctx.set(changes.timestamp, timestamp)
    ends = waited = 0
    while True:
        await ctx.delay(1e-9)
        ends += ctx.get(changes.sweep) & 1
        begins = ctx.get(changes.seen) and not ctx.get(changes.stop)
        await ctx.tick()
        if begins:
            break
        waited += 1
        assert waited < 1000, "it never begins"
    ctx.set(changes.valid, 0)
    await ctx.tick()  # packets do not come back to back where they are looked at for two cycles
    return ends, waited


async def ends_within(ctx: Any, changes: Changes, cycles: int) -> list[int]:
    """Cycles, counted from now, in which an interval of rule 0 ends."""
    found = []
    for cycle in range(cycles):
        await ctx.delay(1e-9)
        if ctx.get(changes.sweep) & 1:
            assert ctx.get(changes.reason) == ReportFlag.INTERVAL
            assert not ctx.get(changes.final)
            found.append(cycle)
        await ctx.tick()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_time_alone_ends_an_interval_once_it_has_been_quiet(kind: str) -> None:
    async def bench(ctx: Any, changes: Changes) -> None:
        await set_rule(ctx, changes)
        ctx.set(changes.time, NOW)
        assert await let_in(ctx, changes, NOW) != (0, 0)
        ctx.set(changes.time, NOW + LENGTH)  # past the end, but a packet may be on its way
        assert not await ends_within(ctx, changes, 2 * QUIET_CYCLES)
        ctx.set(changes.time, NOW + LENGTH + GRACE_NS)
        assert len(await ends_within(ctx, changes, 500)) == 1
        for n in range(2, 6):
            ctx.set(changes.time, NOW + n * LENGTH + GRACE_NS)
            assert len(await ends_within(ctx, changes, 500)) == 1, "quiet is quiet until a packet comes"
        ctx.set(changes.time, NOW + 100 * LENGTH)
        assert await let_in(ctx, changes, NOW + 5 * LENGTH + 1) == (0, int(KINDS[kind].get("looked", 0)))
        (first,) = await ends_within(ctx, changes, 2 * QUIET_CYCLES)
        assert first >= QUIET_CYCLES

    simulate(kind, bench)


@pytest.mark.parametrize("kind", KINDS)
def test_time_alone_ends_nothing_on_a_card_that_waits_for_the_host(kind: str) -> None:
    async def bench(ctx: Any, changes: Changes) -> None:
        ctx.set(changes.lossless, 1)
        await set_rule(ctx, changes)
        await let_in(ctx, changes, NOW)
        ctx.set(changes.time, NOW + 10 * LENGTH + GRACE_NS)
        assert not await ends_within(ctx, changes, 2 * QUIET_CYCLES)

    simulate(kind, bench)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clock_that_has_just_begun_ends_nothing(kind: str) -> None:
    """Time less the grace would be before the first time there is."""

    async def bench(ctx: Any, changes: Changes) -> None:
        await set_rule(ctx, changes)
        await let_in(ctx, changes, 5)
        ctx.set(changes.time, GRACE_NS - 1)
        assert not await ends_within(ctx, changes, 2 * QUIET_CYCLES)

    simulate(kind, bench)


@pytest.mark.parametrize("kind", KINDS)
def test_a_packet_that_comes_while_time_ends_an_interval_waits_for_that_and_no_longer(kind: str) -> None:
    async def bench(ctx: Any, changes: Changes) -> None:
        await set_rule(ctx, changes)
        for cycle in range(30):
            start = NOW + 1000 * cycle * LENGTH
            ctx.set(changes.time, start)
            await let_in(ctx, changes, start)
            assert not await ends_within(ctx, changes, QUIET_CYCLES + 10)
            ctx.set(changes.time, start + LENGTH + GRACE_NS)
            ended = len(await ends_within(ctx, changes, cycle))
            more, waited = await let_in(ctx, changes, start + LENGTH + 1)
            assert ended + more == 1, "the packet is past the end, too"
            assert waited < 40

    simulate(kind, bench)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("length", "last"),
    [(10 * 10**9, END - 10**9), (1 << 63, 1 << 63), (LENGTH, END), (END, END), (1, END), (3, END - 1)],
)
def test_an_interval_past_the_end_of_time_does_not_end(kind: str, length: int, last: int) -> None:
    async def bench(ctx: Any, changes: Changes) -> None:
        await set_rule(ctx, changes, length)
        for timestamp in (NOW, NOW + 1, last, last, last, NOW + 2, last):
            _, waited = await let_in(ctx, changes, timestamp)
            assert waited < 200
        assert (await let_in(ctx, changes, last))[0] == 0

    simulate(kind, bench)

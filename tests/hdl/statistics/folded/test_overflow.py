"""The overflow of the folded schedule: every count is told once, under the generation that made it."""

import random
from collections import defaultdict

import pytest
from amaranth.sim import Simulator

from sentinic_hdl.stages.statistics.folded.overflow import Overflow

RULES = 3


@pytest.mark.parametrize("seed", range(8))
def test_what_is_told_of_each_generation_is_what_found_no_room(seed: int) -> None:
    r = random.Random(seed)
    dut = Overflow(rules=RULES)
    generations, cumulative = list(range(1, RULES + 1)), [r.random() < 0.5 for _ in range(RULES)]
    kinds = dict(zip(generations, cumulative, strict=True))
    missing: dict[int, list[int]] = defaultdict(lambda: [0, 0])  # of plain generations
    counted: dict[int, list[int]] = defaultdict(lambda: [0, 0])  # by cumulative ones
    told: dict[int, list[list[int]]] = defaultdict(list)
    seen: set[tuple[int, int]] = set()  # generation and rule
    rules_of = dict(zip(generations, range(RULES), strict=True))

    async def cycle(ctx) -> bool:
        """Whether something was told."""
        ctx.set(dut.told, 0)
        telling = ctx.get(dut.telling)
        if telling and r.random() < 0.5:
            ctx.set(dut.told, 1)
            out = dut.o.counts
            told[ctx.get(out.generation)].append([ctx.get(out.packets), ctx.get(out.bytes)])
            seen.add((ctx.get(out.generation), ctx.get(dut.o.rule)))
        await ctx.tick()
        for signal in (dut.lost, dut.counted, dut.turned_away, dut.closed, dut.closes, dut.tell, dut.stop):
            ctx.set(signal, 0)
        return bool(telling)

    async def lose(ctx, rule: int, generation: int, *, closed: bool) -> None:
        packets, octets = r.randrange(1, 9), r.randrange(60, 9000)
        if not kinds[generation]:
            missing[generation] = [missing[generation][0] + packets, missing[generation][1] + octets]
        ctx.set(dut.lost, 1)
        ctx.set(dut.closed, closed)
        ctx.set(dut.rule, rule)
        ctx.set(dut.counts, {"packets": packets, "bytes": octets, "generation": generation})
        await cycle(ctx)

    async def count(ctx, rule: int) -> None:
        length, generation, away = r.randrange(60, 1500), generations[rule], r.random() < 0.3
        sums = counted if kinds[generation] else missing
        if kinds[generation] or away:
            sums[generation] = [sums[generation][0] + 1, sums[generation][1] + length]
        for signal, value in ((dut.counted, 1), (dut.turned_away, away), (dut.rule, rule), (dut.length, length)):
            ctx.set(signal, value)
        await cycle(ctx)

    async def some(ctx, gone: tuple[int, int] | None) -> None:
        for _ in range(r.randrange(12)):
            rule = r.randrange(RULES)
            if gone is not None and (not kinds[gone[1]] or gone[1] in counted) and r.random() < 0.4:
                await lose(ctx, *gone, closed=True)
            elif r.random() < 0.4 and not cumulative[rule]:
                await lose(ctx, rule, generations[rule], closed=False)
            else:
                await count(ctx, rule)
            for _ in range(r.randrange(1, 3)):
                await cycle(ctx)

    async def drive(ctx) -> None:
        ctx.set(dut.cumulative, sum(flag << n for n, flag in enumerate(cumulative)))
        for n, generation in enumerate(generations):
            ctx.set(dut.generations[n], generation)
        for turn in range(60):
            await some(ctx, None)
            last = turn >= 60 - RULES  # all are forgotten in the end
            ctx.set(dut.stop, 1)
            if last or r.random() < 0.6:
                rule = RULES - 60 + turn if last else r.randrange(RULES)
                gone = (rule, generations[rule])
                ctx.set(dut.closes, 1 << rule)
                await cycle(ctx)
                generations[rule], cumulative[rule] = 100 + turn, r.random() < 0.5
                kinds[100 + turn], rules_of[100 + turn] = cumulative[rule], rule
                ctx.set(dut.cumulative, sum(flag << n for n, flag in enumerate(cumulative)))
                ctx.set(dut.generations[rule], 100 + turn)
                await some(ctx, gone)
            else:
                await cycle(ctx)
            ctx.set(dut.tell, 1)
            await cycle(ctx)
            while ctx.get(dut.closing):
                await some(ctx, None)
                await cycle(ctx)
        await ctx.tick().repeat(2)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    ended = [generation for generation in kinds if generation not in generations]
    assert len(ended) > 10
    for generation in ended:
        if kinds[generation]:
            assert told[generation][-1:] == ([counted[generation]] if generation in counted else [])
        else:
            assert [sum(column) for column in zip(*told[generation], strict=True)] == missing.get(generation, [])
    assert seen <= set(rules_of.items())

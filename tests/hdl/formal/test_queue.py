"""A queue in parts hands out what came in: all of it, once, in order, as the stream rules say."""

from pathlib import Path

import pytest

from sentinic_hdl import queue as queues
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.prove import mutant, prove_up_to, refute

pytestmark = pytest.mark.slow

#: Odd, so that the last part is not full.
WIDTH, PARTS, DEPTH = 3, 2, 2
#: Every place of the memory is written and read twice within so many cycles.
CYCLES = 16


def in_parts(dut) -> Bench:
    bench = Bench()
    bench.add("dut", dut, free=True)
    # One may be in the output register, besides.
    queue = bench.in_order(dut.i, dut.o, most=DEPTH + 1)
    bench.assume(bench.rules(dut.i).kept, because="the block before keeps the stream rules")
    taken, given = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready

    bench.check(queue.kept)
    bench.check(bench.rules(dut.o).kept)
    writing = bench.inner("dut.writing")
    bench.check(dut.level == queue.inside + writing.any())
    # Where there was room, each of an item's parts goes in as it is offered.
    bench.check(~bench.past(dut.room & (writing == 0) & dut.i.valid) | ((writing == 1) & dut.i.ready))
    bench.check(dut.room | (queue.inside + 1 >= DEPTH))
    bench.cover(queue.following & (queue.ahead == DEPTH) & given & bench.past(taken))
    bench.cover(~dut.room & bench.past(taken))
    return bench


def test_a_queue_in_parts_is_a_queue(tmp_path: Path) -> None:
    prove_up_to(in_parts(queues.Queue(WIDTH, depth=DEPTH, parts=PARTS)), tmp_path, cycles=CYCLES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("held.eq(Cat(held[width:], fifo.r_data))", "held.eq(Cat(fifo.r_data, held[width:]))"),
        ("fifo.w_en & fifo.w_rdy):", "fifo.w_en):"),
        ("fifo.r_en.eq(~self.o.valid | self.o.ready)", "fifo.r_en.eq(1)"),
        ("(writing == 0)\n", "(writing == parts - 1)\n"),
        ("(self._depth - 1) * parts", "self._depth * parts"),
    ],
    ids=["swaps", "overflows", "loses", "miscounts", "promises too much"],
)
def test_a_broken_queue_in_parts_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    broken = mutant(queues.__name__, before, after).Queue(WIDTH, depth=DEPTH, parts=PARTS)
    refute(in_parts(broken), tmp_path, cycles=CYCLES)


@pytest.mark.parametrize("parts", [0, 3, -2])
def test_parts_that_are_no_power_of_two_are_refused(parts: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        queues.Queue(WIDTH, depth=DEPTH, parts=parts)

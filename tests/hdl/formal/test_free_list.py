"""The free list hands out each free cell, and no other; none is lost, none handed out twice."""

from pathlib import Path

import pytest
from amaranth.hdl import Array, Mux, Signal

from sentinic_hdl import store
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow


def free_list_invariants(bench: Bench, path: str, used, number) -> None:
    """Each cell is in one place: in use, never used, or waiting in the FIFO."""
    cells = len(used)
    fresh = bench.inner(f"{path}.fresh")
    waiting = bench.queue(f"{path}.fifo", depth=cells)
    for cell in range(cells):
        bench.invariant(sum((there & (item == cell) for there, item in waiting), used[cell] + (fresh <= cell)) == 1)
    for there, item in waiting:
        bench.invariant(~there | (item < cells))
    bench.invariant(bench.inner(f"{path}.any_fresh") == (fresh != cells))
    bench.invariant((fresh <= cells) & (sum((there for there, _ in waiting), number) == fresh))


def free_list(dut, *, cells: int) -> Bench:
    bench = Bench()
    m = bench.m
    bench.add("dut", dut, free=True)
    used = Array(Signal(name=f"used{n}") for n in range(cells))
    number = Signal(range(cells + 1))
    taken = dut.o.valid & dut.o.ready
    with m.If(taken):
        m.d.sync += used[dut.o.payload].eq(1)
    with m.If(dut.i.valid):
        m.d.sync += used[dut.i.payload].eq(0)
    m.d.sync += number.eq(number + taken - dut.i.valid)

    bench.assume(
        ~dut.i.valid | ((dut.i.payload < cells) & used[dut.i.payload]), because="the store gives back what it took"
    )
    rules = bench.rules(dut.o)
    bench.check(rules.kept)
    bench.check(~dut.o.valid | ((dut.o.payload < cells) & ~used[dut.o.payload]))
    bench.check(number == sum(used))
    # Whatever is free can be had at once, but for a cell given back in the cycle before.
    bench.check(dut.o.valid | (cells - number == bench.past(dut.i.valid)))
    every = Signal()
    with m.If(number == cells):
        m.d.sync += every.eq(1)
    bench.cover(every & (number == 0))
    bench.cover(every & dut.i.valid & dut.o.valid & dut.o.ready & bench.past(dut.i.valid & dut.o.valid & dut.o.ready))

    free_list_invariants(bench, "dut", used, number)
    fresh, stays, back, first = (bench.inner(f"dut.{name}") for name in ("fresh", "stays", "fifo.r_rdy", "fifo.r_data"))
    bench.invariant(~stays | (rules.waiting & (fresh != cells)))
    bench.invariant(~rules.waiting | Mux(stays, rules.offered == fresh, back & (rules.offered == first)))
    return bench


@pytest.mark.parametrize("cells", [3, 4])
def test_no_cell_is_lost_or_handed_out_twice(cells: int, tmp_path: Path) -> None:
    prove(free_list(store.FreeList(cells=cells), cells=cells), tmp_path, k=1, cover=10)


@pytest.mark.parametrize(
    ("cells", "before", "after"),
    [
        (2, "if cells < 3:", "if cells < 2:"),
        (3, "fifo.r_en.eq(self.o.ready & ~from_fresh)", "fifo.r_en.eq(self.o.ready)"),
        (3, "Mux(from_fresh, fresh, fifo.r_data)", "Mux(any_fresh, fresh, fifo.r_data)"),
        (3, "(stays | ~fifo.r_rdy)", "~fifo.r_rdy"),
    ],
    ids=["two cells", "loses cells", "mixes new and used", "takes an offer back"],
)
def test_a_free_list_that_loses_cells_is_found_out(cells: int, before: str, after: str, tmp_path: Path) -> None:
    changed = mutant(store.__name__, before, after)
    refute(free_list(changed.FreeList(cells=cells), cells=cells), tmp_path, cycles=10)

"""A register slice is a queue of two that takes and gives one a cycle; a register is a queue of one that does."""

from pathlib import Path

import pytest

from sentinic_hdl import slice as slices
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

WIDTH = 4


def queue_of_two(dut) -> Bench:
    bench = Bench()
    bench.add("dut", dut, free=True)
    queue = bench.in_order(dut.i, dut.o, most=2)
    bench.assume(bench.rules(dut.i).kept, because="the block before keeps the stream rules")

    bench.check(bench.rules(dut.o).kept)
    bench.check(queue.kept)
    bench.check(dut.i.ready | (queue.inside == 2))
    bench.check(dut.o.valid | (queue.inside == 0))
    bench.cover(queue.following & (queue.ahead == 1) & bench.past(queue.inside == 2))

    full, kept = bench.inner("dut.full"), bench.inner("dut.kept")
    bench.invariant(queue.inside == dut.o.valid + full)
    bench.invariant(~full | dut.o.valid)
    bench.invariant(~queue.following | (queue.ahead < queue.inside))
    bench.invariant(~(queue.following & (queue.ahead == 0)) | (dut.o.payload == queue.item))
    bench.invariant(~(queue.following & (queue.ahead == 1)) | (kept == queue.item))
    return bench


def test_a_slice_is_a_queue_of_two(tmp_path: Path) -> None:
    prove(queue_of_two(slices.Slice(WIDTH)), tmp_path)


def queue_of_one(dut) -> Bench:
    bench = Bench()
    bench.add("dut", dut, free=True)
    queue = bench.in_order(dut.i, dut.o, most=1)
    bench.assume(bench.rules(dut.i).kept, because="the block before keeps the stream rules")

    bench.check(bench.rules(dut.o).kept)
    bench.check(queue.kept)
    bench.check(dut.i.ready == ((queue.inside == 0) | dut.o.ready))
    bench.check(dut.o.valid == queue.inside)
    bench.cover(queue.following & bench.past(dut.i.valid & dut.i.ready & dut.o.valid & dut.o.ready))

    bench.invariant(~queue.following | ((queue.inside == 1) & (queue.ahead == 0) & (dut.o.payload == queue.item)))
    return bench


def test_a_register_is_a_queue_of_one(tmp_path: Path) -> None:
    prove(queue_of_one(slices.Register(WIDTH)), tmp_path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("self.i.ready.eq(~self.o.valid | self.o.ready)", "self.i.ready.eq(1)"),
        ("self.i.ready.eq(~self.o.valid | self.o.ready)", "self.i.ready.eq(~self.o.valid)"),
        ("self.o.valid.eq(self.i.valid)", "self.o.valid.eq(self.o.valid | self.i.valid)"),
    ],
    ids=["overflows", "pauses", "repeats"],
)
def test_a_broken_register_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(queue_of_one(mutant(slices.__name__, before, after).Register(WIDTH)), tmp_path, cycles=8)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("self.o.payload.eq(kept)", "self.o.payload.eq(self.i.payload)"),
        ("self.i.ready.eq(~full)", "self.i.ready.eq(1)"),
        ("full | self.i.valid", "self.i.valid"),
    ],
    ids=["forgets", "overflows", "loses"],
)
def test_a_broken_slice_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(queue_of_two(mutant(slices.__name__, before, after).Slice(WIDTH)), tmp_path, cycles=8)

"""Ring selection: every packet is given up once, or goes to each of its rings once; and what is offered stays."""

from pathlib import Path

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Signal

from sentinic.abi.profiles import MAX_FRAME_BYTES, MIN_FRAME_BYTES
from sentinic_hdl.meta import PacketMeta
from sentinic_hdl.rings import select
from sentinic_hdl.rings.types import copy_shape
from sentinic_hdl.store import cells_of
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow


def selecting(dut) -> Bench:
    bench = Bench()
    m = bench.m
    bench.add("dut", dut, free=True)
    bench.assume(bench.rules(dut.i).kept, because="the FIFO before keeps the stream rules")
    offered, given_up = bench.rules(dut.o), bench.rules(dut.release)
    bench.check(offered.kept)
    bench.check(given_up.kept)

    # A packet is known by its first cell.  Of any one cell: the packet that has it, and what became of it.
    taken = dut.i.valid & dut.i.ready
    released = dut.release.valid & dut.release.ready
    copied = dut.o.valid & dut.o.ready
    cell = Signal(len(dut.release.p.cell))
    inside, got_copy = Signal(), Signal()
    length, ring = Signal(len(dut.i.p.info.length)), Signal(len(dut.o.p.ring))
    m.d.comb += cell.eq(AnyConst(len(cell)))
    comes = taken & (dut.i.p.cell == cell)
    ends = (released & (dut.release.p.cell == cell)) | (copied & (dut.o.p.meta.cell == cell) & dut.o.p.last)
    with m.If(comes):
        m.d.sync += [inside.eq(1), got_copy.eq(0), length.eq(dut.i.p.info.length)]
    with m.Elif(ends):
        m.d.sync += inside.eq(0)
    with m.If(copied & (dut.o.p.meta.cell == cell)):
        m.d.sync += [got_copy.eq(1), ring.eq(dut.o.p.ring)]
    bench.assume(~(dut.i.valid & (dut.i.p.cell == cell)) | ~inside, because="the store gives a cell to one frame")
    bench.assume(~dut.i.valid | (dut.i.p.cell < SMALL.store_cells), because="the store has no others")
    size = dut.i.p.info.length
    bench.assume((size >= MIN_FRAME_BYTES) & (size <= MAX_FRAME_BYTES), because="the ports drop all others")

    gives = dut.release.valid & (dut.release.p.cell == cell)
    copies = dut.o.valid & (dut.o.p.meta.cell == cell)
    bench.check(~(gives | copies) | inside)
    bench.check(~gives | ~(copies | got_copy))
    bench.check(~gives | (dut.release.p.cells == cells_of(SMALL, length)))
    bench.check(~(copies & got_copy) | (dut.o.p.ring > ring))
    bench.check(~copies | ((dut.o.p.captured <= length) & (dut.o.p.meta.info.length == length)))
    bench.check(~copies | (dut.o.p.bare == (dut.o.p.captured == 0)))
    # Nothing is kept for ever, nor forgotten.
    meta_valid, placed, begun = (bench.inner(f"dut.{name}") for name in ("meta_valid", "placed", "begun"))
    bench.check(~inside | meta_valid | placed | dut.o.valid | dut.release.valid)
    # A packet that goes nowhere keeps nobody waiting.
    copying = bench.inner("dut.taking").any()
    bench.check(dut.i.ready | copying | (dut.release.valid & ~dut.release.ready) | (dut.pause & dut.congested))
    # Whatever ends here is counted once, in the cycle in which it is first offered.
    bench.check(dut.fates.as_value().any() == (dut.release.valid & ~given_up.waiting))
    bench.check(sum(dut.fates.as_value()) <= 1)

    bench.cover(released & bench.past(released) & gives & taken)
    bench.cover(copies & got_copy & dut.o.p.last & dut.o.ready)
    bench.cover(copies & got_copy & dut.o.p.bare & bench.past(copies & ~dut.o.p.bare))
    bench.cover(given_up.waiting & ~dut.congested & bench.past(dut.congested))

    # --- What induction has to know: where the packet is ---
    meta, copy = PacketMeta(bench.inner("dut.meta")), copy_shape(SMALL)(bench.inner("dut.copy"))
    todo = bench.inner("dut.todo")
    deciding = meta_valid & (meta.cell == cell)
    placing = placed & (copy.meta.cell == cell)
    bench.invariant(~(deciding | placing | copies | gives) | inside)
    bench.invariant(~inside | deciding | (placing & copy.last) | (copies & dut.o.p.last) | gives)
    bench.invariant(~gives | ~(deciding | placing | copies | got_copy))
    bench.invariant(~begun | (meta_valid & todo.any()))
    bench.invariant(~(deciding & ~begun) | ~(placing | copies | got_copy))
    bench.invariant(~placing | (copy.last == ~deciding))
    bench.invariant(~copies | (dut.o.p.last == ~(deciding | placing)))
    bench.invariant(~(placing & copies) | (copy.ring > dut.o.p.ring))
    bench.invariant(~(placing & got_copy) | (copy.ring > ring))
    for n in range(SMALL.rings):
        left = deciding & begun & todo[n]
        for there, number in ((placing, copy.ring), (copies, dut.o.p.ring), (got_copy, ring)):
            bench.invariant(~(left & there) | (n > number))
    bench.invariant(~deciding | (meta.info.length == length))
    for n in range(SMALL.rings):
        captured, bare = bench.inner(f"dut.captured{n}"), bench.inner(f"dut.taken_bare{n}")
        bench.invariant(~deciding | ((captured <= length) & (bare == (captured == 0))))
    bench.invariant(~placing | ((copy.meta.info.length == length) & (copy.captured <= length)))
    bench.invariant(~placing | (copy.bare == (copy.captured == 0)))
    bench.invariant(~meta_valid | (meta.cell < SMALL.store_cells))
    bench.invariant((length >= MIN_FRAME_BYTES) & (length <= MAX_FRAME_BYTES) | ~inside)
    return bench


def test_every_packet_is_given_up_or_copied(tmp_path: Path) -> None:
    prove(selecting(select.Select(profile=SMALL)), tmp_path, k=2, cover=12)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("release_ready.eq(~self.release.valid | self.release.ready)", "release_ready.eq(1)"),
        ("copy.last.eq(~rest.any())", "copy.last.eq(1)"),
    ],
    ids=["forgets what it gave up", "ends a packet twice"],
)
def test_a_selection_that_loses_packets_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(selecting(mutant(select.__name__, before, after).Select(profile=SMALL)), tmp_path, cycles=8)

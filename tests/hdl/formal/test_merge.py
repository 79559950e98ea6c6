"""Merging makes one stream of whole frames of two, and lets no port starve."""

from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.hdl import Mux, Signal

from sentinic_hdl.ingress import merge
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

#: Less than the card has, so that it runs out soon.
PATIENCE = 3


def merging(module) -> Bench:
    bench = Bench()
    m = bench.m
    with patch.object(module, "PATIENCE", PATIENCE):
        dut = bench.add("dut", module.Merge(profile=SMALL), free=True)
    inputs = (dut.i0, dut.i1)
    frames = [bench.frames(SMALL, i) for i in inputs]
    offered = [bench.rules(i) for i in inputs]
    for rules in (*frames, *offered):
        bench.assume(rules.kept, because="the ports keep them, by their own proof")
    out, merged = bench.rules(dut.o), bench.frames(SMALL, dut.o)
    taken = [i.valid & i.ready for i in inputs]

    bench.check(out.kept)
    bench.check(merged.kept)
    # What leaves is what one port gave, in the same cycle.
    bench.check((dut.o.valid & dut.o.ready) == (taken[0] | taken[1]))
    bench.check(~(taken[0] & taken[1]))
    for i, moves in zip(inputs, taken, strict=True):
        bench.check(~moves | (dut.o.payload.as_value() == i.payload.as_value()))
    bench.check(~(dut.i0.valid | dut.i1.valid) | dut.o.valid | merged.inside)
    # Frames of the other port while one waits.
    waits = [Signal(range(PATIENCE + 3), name=f"waits{n}") for n in range(2)]
    for n in range(2):
        with m.If(taken[n] | ~inputs[n].valid):
            m.d.sync += waits[n].eq(0)
        with m.Elif(taken[1 - n] & dut.o.p.first):
            m.d.sync += waits[n].eq(waits[n] + 1)
        bench.check(waits[n] <= PATIENCE)
    bench.cover(bench.past(taken[0] & dut.i0.p.last) & taken[1] & ~dut.i1.p.last & dut.i0.valid)
    bench.cover(waits[1] == 2)

    # --- What induction has to know ---
    locked, owner = bench.inner("dut.locked"), bench.inner("dut.owner")
    last_served, passed_over = bench.inner("dut.last_served"), bench.inner("dut.passed_over")
    bench.invariant(locked == (merged.inside | out.waiting))
    for n, frame in enumerate(frames):
        bench.invariant(frame.inside == (merged.inside & (owner == n)))
        bench.invariant(~(out.waiting & (owner == n)) | offered[n].waiting)
        bench.invariant(
            ~(frame.inside & merged.inside)
            | ((frame.index == merged.index) & (frame.info.as_value() == merged.info.as_value()))
        )
        bench.invariant(frame.inside | (frame.index == 0))
        bench.invariant(waits[n] <= Mux(last_served == n, 0, passed_over))
    bench.invariant(merged.inside | (merged.index == 0))
    # Who was passed over still waits, and a choice made when there was none left went to it.
    bench.invariant(passed_over <= PATIENCE)
    bench.invariant((passed_over == 0) | Mux(last_served, offered[0].waiting, offered[1].waiting))
    bench.invariant(~merged.inside | (owner == last_served))
    bench.invariant(~(locked & ~merged.inside & (passed_over == PATIENCE)) | (owner != last_served))
    return bench


def test_frames_stay_whole_and_no_port_starves(tmp_path: Path) -> None:
    prove(merging(merge), tmp_path, k=1, cover=6)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("locked.eq(~(self.o.ready & self.o.p.last))", "locked.eq(~self.o.ready)"),
        ("with m.If(self.o.valid):", "with m.If(self.o.valid & self.o.ready):"),
        ("passed_over.eq(self.i0.valid & self.i1.valid)", "passed_over.eq(0)"),
    ],
    ids=["mixes frames", "changes its mind", "passes over too often"],
)
def test_a_merge_that_breaks_frames_or_starves_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(merging(mutant(merge.__name__, before, after)), tmp_path, cycles=8)

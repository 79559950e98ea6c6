"""Merging makes one stream of whole frames of two, and lets no port starve."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.hdl import Mux, Signal

from sentinic.abi.profiles import Profile
from sentinic_hdl.ingress import merge
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

#: Less than the card has, so that it runs out soon.
PATIENCE = 3


#: A smallest frame in one beat, so that nothing may take a cycle more.
WIDE = replace(SMALL, name="wide proof", data_width=512)


def merging(module, profile: Profile = SMALL) -> Bench:
    bench = Bench()
    m = bench.m
    with patch.object(module, "SLACK", 1):
        dut = bench.add("dut", module.Merge(profile=replace(profile, port_frames=PATIENCE - 1)), free=True)
    inputs = (dut.i0, dut.i1)
    frames = [bench.frames(profile, i) for i in inputs]
    offered = [bench.rules(i) for i in inputs]
    for rules in (*frames, *offered):
        bench.assume(rules.kept, because="the ports keep them, by their own proof")
    out, merged = bench.rules(dut.o), bench.frames(profile, dut.o)
    taken = [i.valid & i.ready for i in inputs]

    bench.check(out.kept)
    bench.check(merged.kept)
    # What leaves is what one port gave, in the same cycle.
    bench.check((dut.o.valid & dut.o.ready) == (taken[0] | taken[1]))
    bench.check(~(taken[0] & taken[1]))
    for i, moves in zip(inputs, taken, strict=True):
        bench.check(~moves | (dut.o.payload.as_value() == i.payload.as_value()))
    both = dut.i0.valid & dut.i1.valid
    waiting = both & ~dut.o.valid & ~merged.inside
    bench.check(~(dut.i0.valid | dut.i1.valid) | dut.o.valid | merged.inside | waiting)
    bench.check(~waiting | (0 if profile is WIDE else ~bench.past(waiting)))
    # Of two that are there when one begins, the earlier goes, but for the other's patience.
    times = [i.p.info.timestamp for i in inputs]
    begins = both & dut.o.valid & ~merged.inside & ~out.waiting
    patient = bench.inner("dut.passed_over") < PATIENCE
    served = bench.inner("dut.chosen")
    bench.check(~(begins & patient) | Mux(served, times[1] <= times[0], times[0] <= times[1]))
    bench.cover(begins & patient & served & (times[0] > times[1]))
    # Frames of the other port while one waits.
    waits = [Signal(range(PATIENCE + 3), name=f"waits{n}") for n in range(2)]
    for n in range(2):
        with m.If(taken[n] | ~inputs[n].valid):
            m.d.sync += waits[n].eq(0)
        with m.Elif(taken[1 - n] & dut.o.p.first):
            m.d.sync += waits[n].eq(waits[n] + 1)
        bench.check(waits[n] <= PATIENCE)
    ended = bench.past(taken[0] & dut.i0.p.last)
    turn = ended if profile is WIDE else bench.past(ended & waiting)
    bench.cover(turn & taken[1] & dut.i1.p.first & dut.i0.valid)
    bench.cover(waits[1] == 2)

    # --- What induction has to know ---
    if profile is not WIDE:
        known, earlier = bench.inner("dut.known"), bench.inner("dut.earlier")
        equal = times[0] == times[1]
        right = earlier == Mux(equal, ~bench.inner("dut.last_served"), times[1] < times[0])
        bench.invariant(~(known & both & ~merged.inside & ~out.waiting) | right)
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


@pytest.mark.parametrize("profile", [SMALL, WIDE], ids=lambda profile: profile.name)
def test_frames_stay_whole_and_no_port_starves(profile: Profile, tmp_path: Path) -> None:
    prove(merging(merge, profile), tmp_path, k=1, cover=10)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("locked.eq(~(self.o.ready & self.o.p.last))", "locked.eq(~self.o.ready)"),
        ("with m.If(self.o.valid):", "with m.If(self.o.valid & self.o.ready):"),
        ("passed_over.eq(both)", "passed_over.eq(0)"),
        ("known.eq(both & ~locked & ~self.o.valid)", "known.eq(both & ~locked)"),
        ("known.eq(both & ~locked & ~self.o.valid)", "known.eq(0)"),
        ("~difference[64])", "difference[64])"),
    ],
    ids=[
        "mixes frames",
        "changes its mind",
        "passes over too often",
        "compares what has gone",
        "waits for ever",
        "takes the later first",
    ],
)
def test_a_merge_that_breaks_frames_or_starves_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(merging(mutant(merge.__name__, before, after)), tmp_path, cycles=12)

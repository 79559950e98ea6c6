"""Two readers of the packet store: each asks, in its turn, for what it wants, and gets the beats of that."""

from pathlib import Path

import pytest
from amaranth.hdl import Mux, Signal

from sentinic_hdl import readers
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow


def reading(dut) -> Bench:
    bench = Bench()
    m = bench.m
    bench.add("dut", dut, free=True)
    asks, outs = (dut.ask, dut.peek), (dut.o, dut.peeked)
    for ask in asks:
        bench.assume(bench.rules(ask).kept, because="dispatch and the stage keep the stream rules")
    store = bench.rules(dut.beats)
    bench.assume(store.kept, because="the store keeps the stream rules, by its own proof")
    bench.check(bench.rules(dut.read).kept)
    for out in outs:
        bench.check(bench.rules(out).kept)
    asked, came = dut.read.valid & dut.read.ready, dut.beats.valid & dut.beats.ready

    # The store: it takes a command when the last beat of the one before is offered no more, or taken.
    due = Signal(len(dut.read.p.beats))
    m.d.sync += due.eq(Mux(asked, dut.read.p.beats, due - came))
    bench.assume(~dut.beats.valid | (due != 0), because="the store gives what it was asked for")
    bench.assume(~asked | (due == came), because="the store takes a command behind the last beat of the one before")

    # What is asked is what one of them asks; what comes is for the one that asked.
    bench.check(asked == sum(ask.valid & ask.ready for ask in asks))
    owner = Signal()
    with m.If(asked):
        m.d.sync += owner.eq(dut.peek.ready)
    for n, (ask, out) in enumerate(zip(asks, outs, strict=True)):
        bench.check(~(ask.valid & ask.ready) | (dut.read.payload.as_value() == ask.payload.as_value()))
        bench.check(out.valid == (dut.beats.valid & (owner == n)))
        bench.check(~out.valid | (out.payload == dut.beats.payload))
        bench.check(~(out.valid & out.ready) | dut.beats.ready)
    bench.check(came == sum(out.valid & out.ready for out in outs))
    # The stage waits for no more than the command that is offered already.
    bench.check(~(dut.peek.valid & bench.past(dut.peek.valid & asked) & dut.read.ready) | dut.peek.ready)
    bench.cover((due != 0) & ~owner & asked & dut.peek.ready & bench.past(came))
    bench.cover((due != 0) & owner & asked & dut.ask.ready)

    # --- What induction has to know ---
    bench.invariant(bench.inner("dut.owner") == owner)
    waits, stayed = bench.inner("dut.stays"), bench.inner("dut.stayed")
    bench.invariant(~waits | Mux(stayed, *(bench.rules(ask).waiting for ask in (dut.peek, dut.ask))))
    return bench


def test_each_reads_what_it_asked_for(tmp_path: Path) -> None:
    prove(reading(readers.Readers(profile=SMALL)), tmp_path, k=2, cover=10)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Mux(stays, stayed, self.peek.valid)", "self.peek.valid"),
        ("owner.eq(peeking)", "owner.eq(self.peek.valid)"),
        ("self.beats.valid & ~owner", "self.beats.valid & ~peeking"),
        ("Mux(owner, self.peeked.ready, self.o.ready)", "self.o.ready"),
        ("self.read.ready & ~peeking", "self.read.ready"),
    ],
    ids=["changes its mind", "takes it for the other's", "turns too soon", "drops beats", "asks for both"],
)
def test_readers_that_mix_what_they_read_are_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(reading(mutant(readers.__name__, before, after).Readers(profile=SMALL)), tmp_path, cycles=8)

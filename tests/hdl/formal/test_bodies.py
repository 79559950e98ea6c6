"""Bodies asks the one that has the bytes, once, and hands beats back in the order of the asks."""

from pathlib import Path

import pytest
from amaranth.hdl import Mux, Signal

from sentinic_hdl.rings import bodies
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow


def asking(dut) -> Bench:
    bench = Bench()
    m = bench.m
    bench.add("dut", dut, free=True)
    ask = bench.rules(dut.ask)
    reads, beats = (dut.store_read, dut.report_read), (dut.store_beats, dut.report_beats)
    bench.assume(ask.kept, because="the writer keeps the stream rules, by its own proof")
    for source in beats:
        bench.assume(bench.rules(source).kept, because="store and reports keep the stream rules")
    for out in (*reads, dut.o):
        bench.check(bench.rules(out).kept)
    asked, came = dut.ask.valid & dut.ask.ready, dut.o.valid & dut.o.ready
    size, of_report = dut.ask.p.frame.beats, dut.ask.p.report

    # An ask goes to the one that has it, when it is taken, and as it is; so does a beat come.
    for n, (read, source) in enumerate(zip(reads, beats, strict=True)):
        bench.check((read.valid & read.ready) == (asked & (of_report == n)))
        bench.check(~read.valid | (read.payload.as_value() == dut.ask.p.frame.as_value()))
        bench.check(~(source.valid & source.ready) | (came & (dut.o.payload == source.payload)))
    bench.check(came == sum(source.valid & source.ready for source in beats))
    # Each gives the beats it was asked for, later and in order.
    due = [Signal(len(size) + 4, name=f"due{n}") for n in range(2)]
    for n, source in enumerate(beats):
        m.d.sync += due[n].eq(due[n] + Mux(asked & (of_report == n), size, 0) - (source.valid & source.ready))
        bench.assume(~source.valid | (due[n] != 0), because="store and reports give what they were asked for")
        bench.check(due[n] <= 3 << len(size))

    # Any one ask is followed: beats to come before its own, of all and of its source, and its own.
    follow, followed, its_kind = Signal(name="follow"), Signal(name="followed"), Signal(name="its_kind")
    ahead, of_source, own = Signal.like(due[0], name="ahead"), Signal.like(due[0], name="of_source"), Signal.like(size)
    bench.drive(follow)
    mine = came & (ahead == 0)
    source_came = Mux(
        its_kind, dut.report_beats.valid & dut.report_beats.ready, dut.store_beats.valid & dut.store_beats.ready
    )
    with m.If(~followed):
        with m.If(asked & follow & (size != 0)):
            m.d.sync += [
                followed.eq(1),
                its_kind.eq(of_report),
                ahead.eq(due[0] + due[1] - came),
                of_source.eq(Mux(of_report, due[1], due[0]) - came),
                own.eq(size),
            ]
    with m.Else():
        m.d.sync += [
            ahead.eq(ahead - (came & ~mine)),
            of_source.eq(of_source - (source_came & (of_source != 0))),
            own.eq(own - mine),
            followed.eq(~(mine & (own == 1))),
        ]
    bench.check(~(followed & mine) | (source_came & (of_source == 0)))
    bench.check(~(followed & came & ~mine) | ~source_came | (of_source != 0))

    # Nobody waits longer than for the other's beats, and a cycle; nor at all if the one before was of its kind.
    ready = Mux(of_report, dut.report_read.ready, dut.store_read.ready)
    none_due, last_kind = (due[0] == 0) & (due[1] == 0), Signal(name="last_kind")
    with m.If(asked):
        m.d.sync += last_kind.eq(of_report)
    bench.check(~(bench.past(dut.ask.valid & none_due) & ask.waiting & ready) | dut.ask.ready)
    few = (due[0] >> (len(size) + 1) == 0) & (due[1] >> (len(size) + 1) == 0)
    bench.check(~(dut.ask.valid & ~ask.waiting & few & ready & (of_report == last_kind)) | dut.ask.ready)

    bench.cover(followed & mine & its_kind & (own == 1) & bench.past(came) & dut.ask.valid & ~of_report)
    bench.cover(asked & ~of_report & bench.past(bench.past(came & its_kind & followed)))

    # --- What induction has to know ---
    turn, away = bench.inner("dut.of_report"), bench.inner("dut.away")
    bench.invariant(away == Mux(turn, due[1], due[0]))
    bench.invariant(Mux(turn, due[0], due[1]) == 0)
    bench.invariant(~followed | ((its_kind == turn) & (own != 0) & (of_source == ahead) & (ahead + own <= away)))
    bench.invariant((turn == last_kind) | (ask.waiting & (ask.offered.report == turn)))
    return bench


def test_each_gets_what_it_asked_for(tmp_path: Path) -> None:
    prove(asking(bodies.Bodies(profile=SMALL)), tmp_path, k=1, cover=10)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(self.ask.p.report == of_report) & ~away[-1]", "~away[-1]"),
        ("self.store_beats.ready.eq(self.o.ready & ~of_report)", "self.store_beats.ready.eq(~of_report)"),
        ("& (away == 0)", ""),
        ("- came)", ")"),
        ("may_ask & ~self.ask.p.report", "may_ask"),
        ("self.ask.p.frame.beats) + 2", "self.ask.p.frame.beats) + 0"),
    ],
    ids=["does not wait", "drops beats", "turns too soon", "never turns", "asks both", "counts too few"],
)
def test_bodies_that_mix_packets_and_reports_are_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(asking(mutant(bodies.__name__, before, after).Bodies(profile=SMALL)), tmp_path, cycles=8)

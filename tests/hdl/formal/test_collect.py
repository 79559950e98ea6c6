"""What the parser hands on keeps the stream rules, one record a frame."""

from pathlib import Path

import pytest
from amaranth.hdl import Signal

from sentinic_hdl.parser import collect
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

DEPTH = 4


def records(module) -> Bench:
    bench = Bench()
    m = bench.m
    dut = bench.add("dut", module.Collector(depth=DEPTH), free=True)
    inside = Signal(range(DEPTH + 2))  # frames between ``check`` and ``o``
    leaves = dut.o.valid & dut.o.ready
    m.d.sync += inside.eq(inside + dut.check.valid - leaves)
    # A frame's place is free again when its record is in the output register.
    bench.assume(inside + dut.check.valid <= DEPTH, because="the parser counts the frames in flight")

    offered = bench.rules(dut.o)
    bench.check(offered.kept)
    bench.check(~dut.o.valid | (inside != 0))
    bench.check(dut.o.valid | (inside == bench.past(dut.check.valid)))
    # A record is the one that its part was written for: that of the frame's number.
    followed, number, before, flow_hash = Signal(name="followed"), Signal(2), Signal(range(DEPTH + 1)), Signal(32)
    follow = Signal(name="follow")
    bench.drive(follow)
    bench.assume(dut.flow_hash.valid == dut.check.valid, because="this proof has them come together")
    with m.If(~followed):
        m.d.sync += [
            followed.eq(follow & dut.check.valid),
            before.eq(inside - leaves),
            flow_hash.eq(dut.flow_hash.payload),
        ]
        m.d.sync += number.eq(bench.inner("dut.w_flow_hash"))
    with m.Elif(leaves):
        m.d.sync += [before.eq(before - 1), followed.eq(before != 0)]
    its_turn = followed & (before == 0) & dut.o.valid
    bench.check(~its_turn | (dut.o.p.headers.flow_hash == flow_hash))
    bench.cover(its_turn & bench.past(leaves) & (inside == 3))

    # --- What induction has to know ---
    complete, w_at, r_at = bench.inner("dut.complete"), bench.inner("dut.w_flow_hash"), bench.inner("dut.r_address")
    bench.invariant(complete + dut.o.valid == inside)
    bench.invariant(w_at == (r_at + complete)[:2])
    bench.invariant(~followed | (before < inside))
    stored = followed & (before >= dut.o.valid)
    bench.invariant(~stored | (number == (r_at + before - dut.o.valid)[:2]))
    bench.invariant(~stored | (bench.word("dut.flow_hash", number) == flow_hash))
    return bench


def test_each_frame_has_its_own_record_and_it_stays(tmp_path: Path) -> None:
    prove(records(collect), tmp_path, k=1, cover=8)


@pytest.mark.parametrize(
    ("before", "after"),
    [("r_port.en.eq(r_en)", "r_port.en.eq(1)"), ("with m.Elif(self.o.ready):", "with m.Else():")],
    ids=["changes what it offers", "takes it back"],
)
def test_a_collector_that_changes_its_mind_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(records(mutant(collect.__name__, before, after)), tmp_path, cycles=6)

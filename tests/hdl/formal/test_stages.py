"""Each stage passes metas on: all of them, in order, by the stream rules.  The pattern for a new stage's proof."""

from pathlib import Path

import pytest

from sentinic_hdl.stages import passthrough
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow


def pass_through(dut) -> Bench:
    bench = Bench()
    bench.add("dut", dut, free=True)
    queue = bench.in_order(dut.i, dut.o, most=1)
    bench.assume(bench.rules(dut.i).kept, because="the stage before keeps the stream rules")

    bench.check(bench.rules(dut.o).kept)
    bench.check(queue.kept)
    bench.check(dut.i.ready | ~dut.o.ready)  # one a cycle
    bench.cover(bench.past(queue.following & dut.o.ready) & dut.o.valid & dut.o.ready)

    bench.invariant(dut.o.valid == queue.inside)
    bench.invariant(~queue.following | (dut.o.valid & (queue.ahead == 0) & (dut.o.payload == queue.item)))
    return bench


def test_the_pass_through_stage_passes_every_meta_on(tmp_path: Path) -> None:
    prove(pass_through(passthrough.PassThrough(SMALL)), tmp_path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("~self.o.valid | self.o.ready", "~self.o.valid | self.o.ready | self.i.valid"),
        ("self.o.valid.eq(self.i.valid)", "self.o.valid.eq(1)"),
    ],
    ids=["overwrites", "repeats"],
)
def test_a_stage_that_loses_or_repeats_metas_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(pass_through(mutant(passthrough.__name__, before, after).PassThrough(SMALL)), tmp_path, cycles=6)

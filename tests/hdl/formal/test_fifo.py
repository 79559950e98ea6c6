"""Every FIFO of the card hands out what came in: all of it, once, in order, and its level is right.

One behind block RAM never reads the word that it writes in the same cycle; ``emit`` tells synthesis so.
"""

from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.hdl import Cat, Fragment, Mux, Signal
from amaranth.lib import fifo
from amaranth.lib.fifo import FIFOInterface, SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import flipped

from sentinic.abi.profiles import PROFILES
from sentinic_hdl.card import Card
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

#: A FIFO never looks at its items, so narrow ones stand for all.
WIDTH = 4
#: A deeper FIFO is proved at a half, a quarter, ... of its depth: the same logic with narrower pointers, and the solver
#: ends.
DEEPEST = 2048


def fifos_of_the_card() -> set[tuple[str, int]]:
    """Kinds and depths of the FIFOs in both profiles; of those beyond ``DEEPEST`` what stands for them."""
    found = set()
    build = FIFOInterface.__init__

    def record(self, *, width, depth):
        build(self, width=width, depth=depth)
        while depth > DEEPEST:
            depth //= 2
        found.add((type(self).__name__, depth))

    with patch.object(FIFOInterface, "__init__", record):
        for profile in PROFILES.values():
            Fragment.get(Card(profile), None)
    return found


def add_queue(bench: Bench, name: str, dut: FIFOInterface) -> Signal:
    """Claim of ``dut`` that it is a queue.

    Returns what a cover should ask for: an item came through behind others.
    """
    m = bench.m
    depth = dut.depth
    bench.add(name, dut)
    bench.drive(dut.w_en, dut.w_data, dut.r_en)
    queue = bench.in_order(flipped(dut.w_stream), dut.r_stream, most=depth)
    inside, following, ahead = queue.inside, queue.following, queue.ahead
    write, read = dut.w_en & dut.w_rdy, dut.r_en & dut.r_rdy
    waited = bench.past((inside != 0) & ~read)

    bench.check(queue.kept)
    bench.check(bench.rules(dut.r_stream).kept)
    bench.check((dut.level == inside) & (dut.w_level == inside) & (dut.r_level == inside))
    # Nothing gets stuck, and but one place may be out of use.
    bench.check(~waited | dut.r_rdy)
    bench.check(dut.w_rdy | (inside >= depth - 1))
    seen = Signal()
    behind = min(2, depth - 1)
    with m.If(bench.past(following & (ahead == behind) & read) & read & write):
        m.d.sync += seen.eq(1)

    # Where the item lies.
    buffered = type(dut).__name__ == "SyncFIFOBuffered"  # a mutant, too
    places = depth - 1 if buffered else depth
    level = bench.inner(f"{name}.inner_level") if buffered else dut.level
    produce, consume = bench.inner(f"{name}.produce"), bench.inner(f"{name}.consume")
    out = dut.r_rdy if buffered else 0  # one is in the output register
    if buffered:
        w_en, w_addr, r_en, r_addr = (
            bench.inner(f"{name}.{port}") for port in ("w_port__en", "w_port__addr", "r_port__en", "r_port__addr")
        )
        bench.check(~(w_en & r_en & (w_addr == r_addr)))
    place = Signal(range(places))
    with m.If(~following):
        m.d.sync += place.eq(produce)
    in_memory = following & (ahead >= out)
    word = bench.word(f"{name}.storage", place)
    bench.invariant((produce < places) & (consume < places) & (place < places))
    bench.invariant(
        level
        == Mux(
            produce > consume,
            produce - consume,
            Mux((produce == consume) & (level == 0), 0, produce - consume + places),
        )
    )
    bench.invariant(level + out == inside)
    bench.invariant(~following | (ahead < inside))
    bench.invariant(~in_memory | (word == queue.item))
    bench.invariant(~in_memory | (ahead - out == Mux(place >= consume, place - consume, place - consume + places)))
    return seen


def test_every_fifo_is_a_queue(tmp_path: Path) -> None:
    bench = Bench()
    seen = []
    for kind, depth in sorted(fifos_of_the_card()):
        seen.append(
            add_queue(
                bench,
                f"{kind.lower()}_{depth}",
                {"SyncFIFO": SyncFIFO, "SyncFIFOBuffered": SyncFIFOBuffered}[kind](width=WIDTH, depth=depth),
            )
        )
    bench.cover(Cat(seen).all())
    prove(bench, tmp_path, k=2, cover=12)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("SyncFIFO", "self.w_rdy.eq(self.level != self.depth)", "self.w_rdy.eq(1)"),
        ("SyncFIFO", "consume.eq(_incr(consume, self.depth))", "consume.eq(_incr(produce, self.depth))"),
        ("SyncFIFOBuffered", "self.w_rdy.eq(inner_level != inner_depth)", "self.w_rdy.eq(1)"),
        ("SyncFIFOBuffered", "self.level.eq(inner_level + self.r_rdy)", "self.level.eq(inner_level)"),
    ],
    ids=["overflows", "reorders", "buffered, overflows", "buffered, miscounts"],
)
def test_a_broken_fifo_is_found_out(kind: str, before: str, after: str, tmp_path: Path) -> None:
    bench = Bench()
    add_queue(bench, "dut", getattr(mutant(fifo.__name__, before, after), kind)(width=WIDTH, depth=4))
    refute(bench, tmp_path, cycles=10)

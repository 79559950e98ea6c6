"""A SYN that was held comes back as it was, whatever it said; and what goes into the stage comes out once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Module, Mux, Signal, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.syn_offload import Reason
from sentinic.abi.verdicts import Kind
from sentinic_hdl.meta import PacketMeta, Quote
from sentinic_hdl.rings import compose
from sentinic_hdl.stages.syn_offload import stage, table, types
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, prove_up_to, refute

pytestmark = pytest.mark.slow

#: Cells that a SYN of every length that can be held fits into.
PROFILE = replace(SMALL, cell_bytes=256)


class HeldAndRestored(wiring.Component):
    """A SYN that is entered, held and given back at once."""

    def __init__(self, parts):
        self._parts = parts
        super().__init__({"meta": In(PacketMeta), "shared": In(1), "back": Out(PacketMeta), "holdable": Out(1)})

    def elaborate(self, platform):
        m = Module()
        parts = self._parts
        op, record, held = Signal(parts.Op), Signal(parts.Record), Signal(parts.held_shape(PROFILE))
        reverse, key = Signal(), Signal(parts.Key)
        m.d.comb += [
            *parts.op_of(PROFILE, self.meta, Signal(Quote), op, enabled=1),
            self.holdable.eq(op.syn),
            reverse.eq(parts.is_reversed(op)),
            key.eq(parts.key_of(op, reverse)),
            *parts.enter(op, key, reverse, record),
            *parts.held_of(self.meta, held, shared=self.shared),
            *parts.restored(record, held, Reason.ANSWERED, self.back),
        ]
        return m


def held_and_restored(parts) -> Bench:
    bench = Bench()
    dut = bench.add("dut", HeldAndRestored(parts), free=True)
    bench.assume(dut.meta.cell < PROFILE.store_cells, because="the store has no other cells")
    bench.assume(~dut.meta.headers.quotes_tcp, because="only ICMP quotes")
    # What the parser leaves 0 where there is no VLAN tag need not be 0 here: all of it comes back.
    expected = Signal(PacketMeta)
    bench.m.d.comb += [
        expected.eq(dut.meta),
        expected.kind.eq(Kind.REGENERATED),
        expected.reason.eq(Reason.ANSWERED),
        expected.shared.eq(dut.shared),
        expected.crossing.value.eq(dut.meta.info.timestamp),
    ]
    bench.check(~dut.holdable | (dut.back.as_value() == expected.as_value()))
    bench.cover(dut.holdable & (dut.meta.headers.ip_version == 2) & (dut.meta.headers.vlan_count == 2))
    bench.cover(dut.holdable & (dut.meta.headers.source > dut.meta.headers.destination))
    return bench


def test_a_syn_that_was_held_comes_back_as_it_was(tmp_path: Path) -> None:
    prove(held_and_restored(types), tmp_path, k=1, cover=1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("headers.mpls_count == 0", "headers.mpls_count[1:] == 0"),
        ("~headers.ip_length[IP_LENGTH_BITS:].any()", "~headers.ip_length[IP_LENGTH_BITS + 1 :].any()"),
        ("info.length.any() & (info.length <= profile.cell_bytes)", "info.length.any()"),
        ("Mux(record.reversed, high, low), Mux(record.reversed, low, high)", "low, high"),
        ("held.congestion.eq(headers.tcp_flags[6:])", "held.congestion.eq(0)"),
    ],
    ids=["labels", "long packet", "long frame", "other way", "flags"],
)
def test_a_syn_that_comes_back_otherwise_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(held_and_restored(mutant(types.__name__, before, after)), tmp_path, cycles=1)


#: Two sets of two attempts, and four packets at once.
TINY = replace(SMALL, syn_attempts=4, syn_ways=2)
#: Enough for a SYN to be held, another in its place, and both to be given back.
CYCLES = 9


class AnyAttempts(wiring.Component):
    """A table that holds and gives back whatever it likes, as long as it gives back what it holds, a cycle later.

    That the table is one is seen in ``tests/hdl/syn_offload/test_table.py``.
    """

    def __init__(self, *, sets: int, ways: int):
        real = table.Attempts(sets=sets, ways=ways)
        real._MustUse__used = True
        super().__init__(real.signature)

    def elaborate(self, platform):
        m = Module()
        out, slots = self.o, 4
        held, left = Signal(slots), Signal(slots)
        valid, may_hold = Signal(), Signal()
        m.d.sync += [valid.eq(self.valid), may_hold.eq(self.i.syn & ~self.i.sweep), held.eq(left)]
        give, hold, absorb = Signal(), Signal(), Signal()
        m.d.comb += [give.eq(AnySeq(1)), hold.eq(AnySeq(1)), absorb.eq(AnySeq(1)), out.slot.eq(AnySeq(2))]
        there = held.bit_select(out.slot, 1)
        m.d.comb += [
            out.valid.eq(valid),
            out.give.eq(valid & give & there),
            out.hold.eq(valid & hold & may_hold & (~there | out.give)),
            out.absorb.eq(valid & absorb & may_hold & ~out.give & ~out.hold),
            out.reason.eq(Mux(out.give, Mux(AnySeq(1), Reason.ANSWERED, Reason.EXPIRED), Reason.NONE)),
            left.eq((held & ~(out.give << out.slot)) | (out.hold << out.slot)),
            self.inserted.eq(out.hold),
            self.holding.eq(sum(left)),
            self.live.eq(self.holding),
            self.clearing.eq(0),
        ]
        return m


class Tracked(NamedTuple):
    """Any one packet, known by its cell, and how many there are."""

    bench: Bench
    cell: Signal
    inside: Signal
    copied: Signal  # it went on raw, and waits
    packets: Signal


def conserving(dut, *, busy: Callable[[Bench], ValueLike], folded: bool = False) -> Tracked:
    """Each packet comes out once.  ``busy``: the stage is at work; ``folded``: on one packet at a time."""
    bench = Bench()
    m = bench.m
    bench.add("dut", dut, free=True)
    bench.assume(bench.rules(dut.i).kept, because="the stage before keeps the stream rules")
    bench.assume((dut.i.p.kind == Kind.PACKET) & (dut.i.p.reason == 0), because="nothing was held before")
    bench.assume(~dut.i.p.raw & ~dut.i.p.shared, because="nothing was held before")
    bench.assume(dut.i.p.cell < TINY.store_cells, because="the store has no other cells")
    bench.assume(dut.lossless == AnyConst(1), because="it is set before traffic")
    taken = dut.records.valid & dut.records.ready
    bench.assume(
        ~dut.reporting | bench.past(dut.reporting | taken), because="only records that were taken are on their way"
    )
    bench.check(bench.rules(dut.o).kept)
    bench.check(bench.rules(dut.records).kept)

    cell, inside, packets = Signal(2), Signal(), Signal(3)
    m.d.comb += cell.eq(AnyConst(2))
    # A SYN that waits may go on raw as well, before it goes on: that once at most, and the one that follows says so.
    extra, copied = compose.is_extra(dut.o.p), Signal()
    comes, moves = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
    goes = moves & ~extra
    if "quotes" in dut.signature.members:
        # Each error takes its quote along, and nothing else does.
        bench.assume(bench.rules(dut.quotes).kept, because="the parser keeps the stream rules")
        bench.check((dut.quotes.valid & dut.quotes.ready) == (comes & dut.i.p.headers.quotes_tcp))
    with m.If(comes & (dut.i.p.cell == cell)):
        m.d.sync += inside.eq(1)
    with m.Elif(goes & (dut.o.p.cell == cell)):
        m.d.sync += inside.eq(0)
    m.d.sync += packets.eq(packets + comes - goes)
    with m.If(moves & (dut.o.p.cell == cell)):
        m.d.sync += copied.eq(extra)
    offered = dut.o.valid & (dut.o.p.cell == cell)
    bench.check(~offered | ((dut.o.p.shared & ~extra) == copied))
    bench.check(~(offered & extra) | dut.o.p.raw & (dut.o.p.kind == Kind.PACKET))
    bench.check(~(offered & dut.o.p.raw & ~extra) | (dut.o.p.kind == Kind.PACKET))
    bench.assume(~(dut.i.valid & (dut.i.p.cell == cell)) | ~inside, because="the store gives a cell to one frame")
    bench.assume(~dut.i.valid | (packets < TINY.store_cells), because="the store has no more")

    bench.check(~(dut.o.valid & (dut.o.p.cell == cell)) | inside)
    # What waits for records is not offered.
    moving = busy(bench) | dut.o.valid | dut.hurry
    bench.check(moving | (packets == dut.holding))
    bench.check(dut.holding <= packets)
    given = goes & (dut.o.p.kind == Kind.REGENERATED)
    bench.cover(given & (dut.o.p.cell == cell) & (True if folded else bench.past(given)))
    bench.cover(goes & (dut.o.p.kind == Kind.VOID))
    bench.cover(given & (dut.o.p.cell == cell) & copied)
    bench.cover(goes & (dut.o.p.cell == cell) & dut.o.p.raw)
    bench.cover(taken & (True if folded else bench.past(goes & (dut.o.p.kind == Kind.VOID))))
    return Tracked(bench, cell, inside, copied, packets)


def around(module) -> Bench:
    """``module``'s stage around any table, made small."""
    with (
        patch.object(module, "Attempts", AnyAttempts),
        patch.object(module, "LATENCY", 1),
        patch.object(module, "DEPTH", 6),
        patch.object(module, "SWEEP_MARGIN", 2),
        patch.object(module, "CROWD", 0),
        patch.object(module, "RECORDS", 2),
        patch.object(module, "ended_of", lambda *_: []),  # what records say is seen elsewhere
    ):
        return conserving(module.SynOffload(TINY), busy=lambda bench: bench.inner("dut.inside") != 0).bench


def test_what_goes_into_the_stage_comes_out_once_for_so_many_cycles(tmp_path: Path) -> None:
    prove_up_to(around(stage), tmp_path, cycles=CYCLES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("passing_on.eq(here.packet & (~here.hold | copying))", "passing_on.eq(here.packet)"),
        ("held_of(arriving, write.data, shared=copying)", "held_of(arriving, write.data, shared=self.raw_wanted)"),
        ("(moves & ~(giving & passing_on))", "moves"),
        ("passing.eq((~giving & ~passing_on) | (moves", "passing.eq((~giving & ~passing_on) | (self.o.ready"),
        ("write.en.eq(step & here.hold)", "write.en.eq(step & here.hold & ~here.give)"),
        ("room & ~gap & known),\n            self.i", "room & ~gap),\n            self.i"),
        ("room & ~gap) & known)", "room & ~gap))"),
    ],
    ids=[
        "passes what it holds",
        "takes for copied what was not",
        "forgets what comes behind",
        "does not wait for records",
        "holds the one before",
        "takes an error twice",
        "takes an error without its quote",
    ],
)
def test_a_stage_that_loses_or_doubles_packets_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(around(mutant(stage.__name__, before, after)), tmp_path, cycles=CYCLES)

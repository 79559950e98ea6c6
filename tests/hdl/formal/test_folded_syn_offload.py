"""SYN offload in its folded schedule: what goes in comes out once, whatever table, hash and reader say."""

from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring

from sentinic.abi.verdicts import Kind
from sentinic_hdl.meta import PacketMeta
from sentinic_hdl.rings import compose
from sentinic_hdl.stages.syn_offload.expiry import Expiry
from sentinic_hdl.stages.syn_offload.folded import stage
from sentinic_hdl.stages.syn_offload.folded.key_hash import KeyHash
from sentinic_hdl.stages.syn_offload.folded.places import Places
from sentinic_hdl.stages.syn_offload.folded.reader import HeaderReader
from sentinic_hdl.stages.syn_offload.folded.types import Op, kept_shape
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.prove import mutant, prove, refute_step
from tests.hdl.formal.test_syn_offload import TINY, Tracked, conserving

pytestmark = pytest.mark.slow

#: Enough for a SYN to be held and to be given back.
CYCLES = 28
SLOTS = range(4)
#: Where a packet is in hand, or a sweep; where what is kept of its record is at hand, too.
AT_WORK = ("LOOK", "SCAN", "CHOOSE", "FETCH", "BEGIN", "READ SYN", "DECIDE")
FETCHED = ("BEGIN", "READ SYN", "DECIDE")


def like(component):
    """The base of a component that looks like this one from outside."""
    component._MustUse__used = True
    return component.signature


class AnyPlaces(wiring.Component):
    """Means whatever record it likes; of each it knows whether it holds a SYN."""

    def __init__(self, *, sets: int, ways: int):
        super().__init__(like(Places(sets=sets, ways=ways)))
        self._sets, self._ways = sets, ways

    def elaborate(self, platform):
        m = Module()
        holding = Array(Signal(name=f"holding{n}") for n in range(self._sets * self._ways))
        index = Signal.like(self.index, name="set")
        with m.If(self.load):
            m.d.sync += index.eq(self.index)
        place = Signal.like(self.place, name="any_place")
        also = Signal()
        m.d.comb += [place.eq(AnySeq(len(place))), also.eq(AnySeq(1)), self.found.eq(AnySeq(1))]
        chosen = holding[index * self._ways + place]
        with m.If(self.choose):
            m.d.sync += [
                self.place.eq(place),
                self.there.eq(also | chosen),
                self.held.eq(chosen),
                self.hit.eq(AnySeq(1) & (also | chosen)),
                self.over.eq(AnySeq(1)),
            ]
        with m.If(self.decide & (self.insert | self.give)):
            m.d.sync += [
                holding[index * self._ways + self.place].eq(self.insert),
                self.holding.eq(self.holding + self.insert - self.give),
            ]
        m.d.comb += [self.live.eq(self.holding), self.clearing.eq(0)]
        return m


class AnyHash(wiring.Component):
    def __init__(self, *, bits: int):
        super().__init__(like(KeyHash(bits=bits)))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.done.eq(AnySeq(1) & self.valid), self.hash.eq(AnySeq(len(self.hash)))]
        return m


class AnyReader(wiring.Component):
    def __init__(self, *, profile):
        super().__init__(like(HeaderReader(profile=profile)))

    def elaborate(self, platform):
        m = Module()
        reading = Signal()
        m.d.sync += reading.eq(self.start | (reading & AnySeq(1)))
        port = self.headers.source.port
        m.d.comb += [self.busy.eq(reading), self.found.eq(AnySeq(1)), port.eq(AnyConst(len(port)))]
        return m


class AnyExpiry(wiring.Component):
    def __init__(self, *, sets: int, ways: int, depth: int):
        super().__init__(like(Expiry(sets=sets, ways=ways, depth=depth)))

    def elaborate(self, platform):
        m = Module()
        sweep = self.sweep.as_value()
        m.d.comb += [self.due.eq(AnySeq(1)), self.flushing.eq(AnySeq(1)), sweep.eq(AnySeq(len(sweep)))]
        return m


def entered(meta, _, shared, kept) -> list:
    return [kept.cell.eq(meta.cell), kept.shared.eq(shared)]


def read_back(kept, _, __, held) -> list:
    return [held.cell.eq(kept.cell), held.shared.eq(kept.shared)]


def restored(_, held, reason, back) -> list:
    return [
        back.cell.eq(held.cell),
        back.kind.eq(Kind.REGENERATED),
        back.reason.eq(reason),
        back.shared.eq(held.shared),
    ]


def located(seen: Tracked) -> Bench:
    """What induction has to know: where the packet is."""
    bench, cell = seen.bench, seen.cell
    kept_of = kept_shape(TINY)

    def in_state(*names: str):
        return Cat(bench.in_state("dut.fsm", name) for name in names).any()

    meta, op = PacketMeta(bench.inner("dut.meta")), Op(bench.inner("dut.op"))
    place, index = bench.inner("dut.places.place"), bench.inner("dut.set_index")
    holding = Cat(bench.inner(f"dut.places.holding{n}") for n in SLOTS)
    words = [kept_of(bench.word("dut.kept", n)) for n in SLOTS]
    old, slot = kept_of(bench.inner("dut.old")), Cat(place, index)
    passing = in_state("PASS") | (in_state("GIVE") & bench.inner("dut.passing"))
    in_hand, extra = in_state(*AT_WORK) & ~op.sweep, passing & compose.is_extra(meta)

    # It is in hand, goes out, is given back, or waits in one of the slots.
    waits = Cat(holding[n] & (words[n].cell == cell) for n in SLOTS)
    fresh = (in_hand | (passing & ~extra)) & (meta.cell == cell)
    given = in_state("GIVE") & (old.cell == cell)
    bench.invariant(~(in_hand | passing) | (meta.cell < TINY.store_cells))
    bench.invariant(seen.inside == sum(waits) + fresh + given)
    bench.invariant(seen.packets == sum(holding) + in_hand + (passing & ~extra) + in_state("GIVE"))
    bench.invariant(bench.inner("dut.places.holding") == sum(holding))

    # It went on raw, or is about to.
    about = extra & (meta.cell == cell)
    bench.invariant(~about | (waits.any() & ~seen.copied))
    bench.invariant(~(fresh | ~seen.inside) | ~seen.copied)
    bench.invariant(~given | (old.shared == seen.copied))
    for n in SLOTS:
        bench.invariant(~waits[n] | (words[n].shared == (seen.copied | about)))
    bench.invariant(~(in_hand | (passing & meta.raw)) | (meta.kind == Kind.PACKET))
    bench.invariant(~in_hand | (~meta.raw & ~meta.shared & (meta.reason == 0)))
    bench.invariant(~(passing & meta.shared) | meta.raw)

    # The record at hand is that of the slot.
    at_hand = Array(words[n].as_value() for n in SLOTS)[slot]
    bench.invariant(~in_state(*FETCHED) | (old.as_value() == at_hand))
    bench.invariant(~in_state("FETCH", *FETCHED) | (bench.inner("dut.places.held") == Array(holding)[slot]))
    bench.invariant(~in_state("FETCH", *FETCHED) | bench.inner("dut.places.there") | ~Array(holding)[slot])
    bench.invariant(~in_state(*AT_WORK[1:]) | (bench.inner("dut.places.set") == index))
    bench.invariant(~(in_state(*AT_WORK) & op.sweep) | ~op.syn)
    return bench


def around(module) -> Bench:
    """``module``'s stage around any table, hash, reader and expiry.

    What a packet is, any bits of it say; of a SYN that is held only the cell is kept, and whether it went on raw.
    """
    with (
        patch.object(module, "is_holdable", lambda _, meta: meta.link[0]),
        patch.object(module, "may_quote", lambda meta: meta.link[1]),
        patch.object(module, "is_tcp", lambda meta: meta.link[2]),
        patch.object(module, "quote_job", lambda *_: AnySeq(1)),
        patch.object(module, "syn_job", lambda *_: []),
        patch.object(module, "enter", entered),
        patch.object(module, "read_back", read_back),
        patch.object(module, "restored", restored),
        patch.object(module, "Places", AnyPlaces),
        patch.object(module, "KeyHash", AnyHash),
        patch.object(module, "HeaderReader", AnyReader),
        patch.object(module, "Expiry", AnyExpiry),
        patch.object(module, "RECORDS", 2),
        patch.object(module, "ended_of", lambda *_: []),  # what records say is seen elsewhere
    ):
        return located(
            conserving(module.FoldedSynOffload(TINY), busy=lambda bench: ~bench.inner("dut.resting"), folded=True)
        )


def test_what_goes_into_the_stage_comes_out_once(tmp_path: Path) -> None:
    prove(around(stage), tmp_path, k=2, cover=CYCLES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("with m.If(op.sweep | (fate.insert & ~self.raw_wanted)):", "with m.If(op.sweep):"),
        ("enter(meta, fingerprint, self.raw_wanted, entered)", "enter(meta, fingerprint, 0, entered)"),
        (
            'm.next = "REST"\n                    with m.If(passing):',
            'm.next = "REST"\n                    with m.If(0):',
        ),
        ("self.o.valid.eq(offered & ~ended.waits)", "self.o.valid.eq(offered)"),
        ("m.d.comb += decided.eq(1)\n", "m.d.comb += decided.eq(~fate.insert)\n"),
        ("write.en.eq(decided & (fate.insert | fate.absorb))", "write.en.eq(decided & fate.absorb)"),
        ("read.en.eq(scanning | fetching)", "read.en.eq(1)"),
        (
            "with m.If(fate.give):\n                        m.next",
            "with m.If(fate.give & op.sweep):\n                        m.next",
        ),
    ],
    ids=[
        "passes what it holds",
        "takes for not copied what was",
        "forgets what comes behind",
        "does not wait for records",
        "takes another for held that is not",
        "does not keep what it holds",
        "gives back the one behind",
        "forgets what it held",
    ],
)
def test_a_stage_that_loses_or_doubles_packets_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute_step(around(mutant(stage.__name__, before, after)), tmp_path)

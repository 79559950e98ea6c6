"""Ring selection never promises more room than a ring has, whatever the host does with its tails in its own time."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.hdl import Mux, Signal

from sentinic.abi.descriptor import HEADROOM, SLOT_ALIGNMENT
from sentinic.abi.profiles import MAX_FRAME_BYTES, MIN_FRAME_BYTES, Profile
from sentinic.abi.reports import REPORT_HEAD_BYTES
from sentinic.abi.verdicts import Kind
from sentinic_hdl.meta import PacketMeta
from sentinic_hdl.rings import report_copies, select
from sentinic_hdl.rings.reports import SLOT_BYTES
from sentinic_hdl.rings.types import copy_shape
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

#: Decides first, and makes the copies then.
IN_PARTS = replace(SMALL, name="proof in parts", queue_parts=8)
#: The second ring, which may have to wait until the first has its copy.
RING = 1
#: Slots of the data ring: the fewest that there are ever room in.  Descriptors: likewise.
SLOTS, DESCRIPTORS = 2048, 32
#: Slots that a copy takes at most.
MOST = (HEADROOM + MAX_FRAME_BYTES) // SLOT_ALIGNMENT


def slots_of(captured):
    slots = HEADROOM // SLOT_ALIGNMENT + ((captured + SLOT_ALIGNMENT - 1) >> 6)
    return Mux(captured == 0, 0, slots)  # a descriptor alone has no slot


def room(module, profile: Profile = SMALL) -> Bench:
    bench = Bench()
    m = bench.m
    dut = bench.add("dut", module.Select(profile=profile), free=True)
    config = dut.rings[RING]
    data_head, descriptor_head = bench.inner(f"dut.data_head{RING}"), bench.inner(f"dut.descriptor_head{RING}")
    slots, descriptors = Signal.like(data_head), Signal.like(descriptor_head)
    m.d.comb += [slots.eq(data_head - config.data_tail), descriptors.eq(descriptor_head - config.descriptor_tail)]

    size = dut.i.p.info.length
    bench.assume((size >= MIN_FRAME_BYTES) & (size <= MAX_FRAME_BYTES), because="the ports drop all others")
    reports = {name: bench.rules(getattr(dut, name)) for name in ("report", "attempts")}
    for name, rules in reports.items():
        bench.assume(rules.kept, because="the reports keep the stream rules")
        length = getattr(dut, name).p.info.length
        bench.assume((length >= REPORT_HEAD_BYTES) & (length <= SLOT_BYTES), because="the reports make no others")
    bench.assume(config.data_mask == SLOTS - 1, because="the host sets up a ring before it enables it")
    bench.assume(config.descriptor_mask == DESCRIPTORS - 1, because="the host sets up a ring before it enables it")
    started, on = bench.past(config.start), bench.past(config.enable)
    for tail, used in ((config.data_tail, slots), (config.descriptor_tail, descriptors)):
        given_back = (tail - bench.past(tail))[: len(tail)]
        bench.assume(Mux(started, tail == 0, given_back <= bench.past(used)), because="the host gives back what it got")
    promised = Signal(4)
    bench.assume(
        ~config.start | (~config.enable & (promised == 0)), because="the ring switch waits for what is under way"
    )
    bench.assume(~config.enable | on | started, because="the ring switch starts before it enables")

    bench.check(slots <= SLOTS)
    bench.check(descriptors <= DESCRIPTORS)
    mine = dut.o.valid & (dut.o.p.ring == RING)
    bench.check(~mine | (dut.o.p.slot + slots_of(dut.o.p.captured) <= SLOTS))
    # The next slot begins behind this one.
    loaded = mine & ~bench.rules(dut.o).waiting & ~started
    bare = dut.o.p.bare
    bench.check(~mine | (bare == (dut.o.p.captured == 0)))
    bench.check(~(loaded & bare) | (data_head == bench.past(data_head)))
    bench.check(~loaded | bare | (data_head[:11] == (dut.o.p.slot + slots_of(dut.o.p.captured))[:11]))
    # While the ring is on, its copies are all of one kind, but for plain segments.
    plain = dut.o.p.plain
    bench.check(~mine | ~plain | bare)
    some, some_bare = Signal(), Signal()
    with m.If(config.start):
        m.d.sync += some.eq(0)
    with m.Elif(mine & ~plain):
        m.d.sync += [some.eq(1), some_bare.eq(bare)]
    bench.check(~(mine & some) | plain | (bare == some_bare))
    # ``taken`` tells of each copy before it comes.
    m.d.sync += promised.eq(promised + dut.taken[RING] - (mine & dut.o.ready))
    bench.check(~mine | (promised != 0))
    bench.cover(mine & (dut.o.p.meta.kind == Kind.REPORT) & bench.past(mine & dut.o.ready))
    bench.cover(config.enable & (descriptors == 2) & bench.past(dut.o.valid & dut.o.ready) & mine)
    bench.cover(loaded & bare & bench.past(mine & dut.o.ready))
    bench.cover(loaded & ~bare & bench.past(mine & plain & dut.o.ready))
    bench.cover(dut.ring_events.lost[RING] & (config.descriptor_tail == 3))

    # --- What induction has to know ---
    meta, copy = PacketMeta(bench.inner("dut.meta")), copy_shape(SMALL)(bench.inner("dut.copy"))
    meta_valid, placed, begun, todo = (bench.inner(f"dut.{n}") for n in ("meta_valid", "placed", "begun", "todo"))
    copy_slots, has_room = bench.inner("dut.slots"), bench.inner("dut.room")[RING]
    bench.invariant(~meta_valid | ((meta.info.length >= MIN_FRAME_BYTES) & (meta.info.length <= MAX_FRAME_BYTES)))
    for n in range(SMALL.rings):
        wanted, wanted_slots = bench.inner(f"dut.captured{n}"), bench.inner(f"dut.slots{n}")
        bench.invariant(~meta_valid | ((wanted <= MAX_FRAME_BYTES) & (wanted_slots == slots_of(wanted))))
        bench.invariant(~meta_valid | (bench.inner(f"dut.taken_bare{n}") == (wanted == 0)))
    bench.invariant(~placed | ((copy.captured <= MAX_FRAME_BYTES) & (copy_slots == slots_of(copy.captured))))
    bench.invariant(~placed | (copy.bare == (copy.captured == 0)))
    bench.invariant(~placed | ~copy.plain | copy.bare)
    bench.invariant(~dut.o.valid | (dut.o.p.captured <= MAX_FRAME_BYTES))
    bench.invariant(~begun | (meta_valid & todo.any()))
    # A report that has begun was offered, and still is.
    reports_todo = 0
    for name, rules in reports.items():
        report_begun, report_todo, wanting = (
            bench.inner(f"dut.{name}_{what}") for what in ("begun", "todo", "wanting")
        )
        bench.invariant(report_begun == report_todo.any())
        bench.invariant(~report_begun | rules.waiting)
        if profile is SMALL:
            bench.invariant(~report_begun | ~report_todo[0])
        reports_todo = reports_todo | report_todo[RING]
        bench.invariant(~(report_todo[RING] | (wanting[RING] & config.enable)) | ~bench.inner(f"dut.bare{RING}"))
    bench.invariant(~(bench.inner("dut.report_begun") & bench.inner("dut.attempts_begun")))
    # Copies that were decided upon and that the heads do not know of.
    coming, placing = Signal(2), Signal()
    m.d.comb += placing.eq(placed & (copy.ring == RING))
    m.d.comb += coming.eq((begun & todo[RING]) + reports_todo + placing)
    bench.invariant(promised == coming + mine)
    seen_descriptors, seen_slots = bench.inner(f"dut.descriptors_used{RING}"), bench.inner(f"dut.slots_used{RING}")
    bench.invariant(descriptors + coming <= DESCRIPTORS)
    bench.invariant(descriptors + coming <= seen_descriptors + 3)
    bench.invariant(~has_room | (descriptors + coming + 8 <= DESCRIPTORS))

    # The kind is the ring's, but for plain segments; without bytes its data ring stays empty.
    kind, packets_kind = bench.inner(f"dut.bare{RING}"), bench.inner(f"dut.taken_bare{RING}")
    matched = bench.inner("dut.matched")[RING]
    bench.invariant(~(meta_valid & (matched | (begun & todo[RING]))) | (packets_kind == kind))
    bench.invariant(~placing | copy.plain | (copy.bare == kind))
    bench.invariant((~mine | plain | (bare == kind)) & (~some | (some_bare == kind)))
    bench.invariant(~kind | (slots == 0))

    # So many copies from the head on take at most this much, as but one of them can come to the ring's end.
    position = data_head[:11]

    def taken_by(copies):
        return Mux(kind, 0, MOST * copies + Mux(position + MOST * copies > SLOTS, MOST - 1, 0))

    bench.invariant(slots + taken_by(coming) <= SLOTS)
    bench.invariant(slots + taken_by(coming + 2) <= seen_slots + MOST * 6 - 1)
    bench.invariant(~has_room | (slots + taken_by(coming + 1) <= SLOTS))
    return bench


@pytest.mark.parametrize("profile", [SMALL, IN_PARTS], ids=lambda profile: profile.name)
def test_no_ring_is_ever_overrun(profile: Profile, tmp_path: Path) -> None:
    prove(room(select, profile), tmp_path, k=1, cover=16)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(taking & decided.replicate(profile.rings)) |", "(rest & decided.replicate(profile.rings)) |"),
        (" | groups.taken | attempts.taken)", ")"),
        ("slots.eq(HEADROOM // SLOT_ALIGNMENT + ((report.info.length", "slots.eq(((report.info.length"),
        ("+ ((length + SLOT_ALIGNMENT - 1) >> 6)", "+ (length >> 6)"),
        ("m.If(mine & ~copy.bare)", "m.If(mine)"),
        (
            "m.If(self.rings[n].start):\n                m.d.sync += self._bare",
            "m.If(1):\n                m.d.sync += self._bare",
        ),
    ],
    ids=[
        "does not tell of a copy",
        "does not tell of a report",
        "cuts a report's slot",
        "overlaps slots",
        "gives descriptors slots",
        "changes its mind",
    ],
)
def test_a_selection_that_overruns_a_ring_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(room(mutant(select.__name__, before, after)), tmp_path, cycles=8)


def test_a_selection_that_gives_descriptors_reports_is_found_out(tmp_path: Path) -> None:
    changed = mutant(report_copies.__name__, "& ~select.fault[n] & ~bare[n]", "& ~select.fault[n]")
    with patch.object(select, "ReportCopies", changed.ReportCopies):
        bench = room(select)
    refute(bench, tmp_path, cycles=8)

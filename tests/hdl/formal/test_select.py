"""Ring selection: every packet is given up once, or goes to each of its rings once; and what is offered stays."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Cat, Const, Mux, Signal

from sentinic.abi.profiles import MAX_FRAME_BYTES, MIN_FRAME_BYTES, Profile
from sentinic.abi.verdicts import Kind
from sentinic_hdl.meta import PacketMeta
from sentinic_hdl.rings import compose, extra_copies, report_copies, select
from sentinic_hdl.rings.types import copy_shape
from sentinic_hdl.store import cells_of
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow


#: Places for what ends behind extra copies, fewer than the card's.
QUEUED = 3


#: The next packet comes in some cycles after the one before has left, not in the same.
IN_PARTS = replace(SMALL, name="proof in parts", queue_parts=8)


def selecting(module, profile: Profile = SMALL, extra=extra_copies) -> Bench:
    """Any one packet, and others in between: any, and SYNs that go raw to some rings and come again later (extra)."""
    bench = Bench()
    m = bench.m
    with patch.object(module, "extra_copies", extra), patch.object(extra, "ENDS", QUEUED):
        dut = bench.add("dut", module.Select(profile=profile), free=True)
    bench.assume(bench.rules(dut.i).kept, because="the FIFO before keeps the stream rules")
    for reports in (dut.report, dut.attempts):
        bench.assume(bench.rules(reports).kept, because="the reports keep the stream rules")
    bench.assume(~dut.i.valid | (dut.i.p.kind != Kind.REPORT), because="a packet is no report")
    bench.assume(~(dut.i.valid & dut.i.p.raw) | (dut.i.p.kind == Kind.PACKET), because="what goes raw goes as it came")
    offered, given_up = bench.rules(dut.o), bench.rules(dut.release)
    bench.check(offered.kept)
    bench.check(given_up.kept)

    # A packet is known by its first cell.  Of any one cell: the packet that has it, and what became of it.
    taken = dut.i.valid & dut.i.ready
    released = dut.release.valid & dut.release.ready
    packet = (dut.o.p.meta.kind != Kind.REPORT) & ~compose.is_extra(dut.o.p.meta)
    copied = dut.o.valid & dut.o.ready & packet
    cell = Signal(len(dut.release.p.cell))
    inside, got_copy = Signal(), Signal()
    length, ring, shared = Signal(len(dut.i.p.info.length)), Signal(len(dut.o.p.ring)), Signal()
    m.d.comb += cell.eq(AnyConst(len(cell)))
    comes = taken & (dut.i.p.cell == cell) & ~compose.is_extra(dut.i.p)
    ends = (released & (dut.release.p.cell == cell)) | (copied & (dut.o.p.meta.cell == cell) & dut.o.p.last)
    with m.If(comes):
        m.d.sync += [inside.eq(1), got_copy.eq(0), length.eq(dut.i.p.info.length), shared.eq(dut.i.p.shared)]
    with m.Elif(ends):
        m.d.sync += inside.eq(0)
    with m.If(copied & (dut.o.p.meta.cell == cell)):
        m.d.sync += [got_copy.eq(1), ring.eq(dut.o.p.ring)]
    bench.assume(~(dut.i.valid & (dut.i.p.cell == cell)) | ~inside, because="the store gives a cell to one frame")
    bench.assume(~dut.i.valid | (dut.i.p.cell < SMALL.store_cells), because="the store has no others")
    size = dut.i.p.info.length
    bench.assume((size >= MIN_FRAME_BYTES) & (size <= MAX_FRAME_BYTES), because="the ports drop all others")
    bench.assume(~dut.i.p.shared | (size <= SMALL.cell_bytes), because="what waits in SYN offload has one cell")

    gives = dut.release.valid & (dut.release.p.cell == cell)
    copies = dut.o.valid & packet & (dut.o.p.meta.cell == cell)
    bench.check(~(gives | copies) | inside)
    bench.check(~gives | ~(copies | got_copy))
    bench.check(~gives | (dut.release.p.cells == cells_of(SMALL, length)))
    bench.check(~(copies & got_copy) | (dut.o.p.ring > ring))
    bench.check(~copies | ((dut.o.p.captured <= length) & (dut.o.p.meta.info.length == length)))
    bench.check(~copies | (dut.o.p.bare == (dut.o.p.captured == 0)))
    # Nothing is kept for ever, nor forgotten.
    meta_valid, placed, begun = (bench.inner(f"dut.{name}") for name in ("meta_valid", "placed", "begun"))
    queued = bench.inner("dut.ends.r_rdy") | bench.inner("dut.ends.inner_level").any()
    bench.check(~inside | meta_valid | placed | dut.o.valid | dut.release.valid | queued)
    # A packet that goes nowhere keeps nobody waiting.
    copying = bench.inner("dut.copy_valid")
    waits = dut.pause & (bench.inner("dut.sampled") & ~dut.fault).any()
    full = ~bench.inner("dut.ends.w_rdy")
    if profile.queue_parts > 1:  # it is decided of in one cycle, and copied or gone in the next
        copying = meta_valid & (bench.inner("dut.taking").any() | bench.inner("dut.meta_done"))
    bench.check(dut.i.ready | copying | (dut.release.valid & ~dut.release.ready) | waits | full)
    # A card that pauses loses nothing to a ring that can be written.
    bench.check(~(bench.inner("dut.decided") & dut.pause) | ~(bench.inner("dut.lost") & ~dut.fault).any())
    # What a stage has ended goes nowhere, and is counted as that.
    bench.check(~copies | (dut.o.p.meta.kind != Kind.VOID))
    # Whatever ends here is counted once; an extra copy ends nothing.
    meta, copy = PacketMeta(bench.inner("dut.meta")), copy_shape(SMALL)(bench.inner("dut.copy"))
    decided, taking = bench.inner("dut.decided"), bench.inner("dut.taking")
    ends_here = decided & ~taking.any() & ~compose.is_extra(meta)
    bench.check(dut.fates.as_value().any() == bench.past(ends_here))
    bench.check(sum(dut.fates.as_value()) <= 1)

    # Extra copies of the packet, which were made before it came: none is still to be read when it is given back.
    unread, before = Signal(4), Signal(4)  # of all packets; up to the last of this one
    has_bytes = dut.o.valid & compose.is_extra(dut.o.p.meta) & ~dut.o.p.bare
    its_own = has_bytes & (dut.o.p.meta.cell == cell)
    m.d.sync += unread.eq(unread + (has_bytes & dut.o.ready) - dut.extra_read)
    with m.If(its_own & dut.o.ready):
        m.d.sync += before.eq(unread + 1 - dut.extra_read)
    with m.Elif(dut.extra_read & before.any()):
        m.d.sync += before.eq(before - 1)
    bench.assume(~dut.extra_read | unread.any(), because="the writer reads what it has taken")
    bench.check(~gives | ~(its_own | before.any()))
    waits_for_it, waited = Signal(), Signal()  # an extra copy was made of the packet that comes next
    m.d.comb += waits_for_it.eq(dut.i.valid & (dut.i.p.cell == cell))
    with m.If(taken & waits_for_it):
        m.d.sync += waited.eq(compose.is_extra(dut.i.p))
    bench.assume(~(waits_for_it & waited) | dut.i.p.shared, because="SYN offload says so when a SYN was copied")

    bench.cover(released & bench.past(released) & gives & (taken if profile.queue_parts == 1 else 1))
    bench.cover(copies & got_copy & dut.o.p.last & dut.o.ready)
    bench.cover(copies & got_copy & dut.o.p.bare & bench.past(copies & ~dut.o.p.bare))
    bench.cover(given_up.waiting & ~dut.congested & bench.past(dut.congested))

    # --- What induction has to know: where the packet is ---
    todo = bench.inner("dut.todo")
    deciding = meta_valid & (meta.cell == cell) & ~compose.is_extra(meta)
    placing = placed & (copy.meta.kind != Kind.REPORT) & (copy.meta.cell == cell) & ~compose.is_extra(copy.meta)
    bench.invariant(~deciding | (meta.shared == shared))
    bench.invariant(~(inside & shared) | (length <= SMALL.cell_bytes))
    bench.invariant(~(meta_valid & meta.shared) | (meta.info.length <= SMALL.cell_bytes))
    bench.invariant(~inside | ~(meta_valid & compose.is_extra(meta) & (meta.cell == cell)))
    # The queue: a place for each extra copy that is to be read, or was and is not yet told from it.
    news, queue = bench.inner("dut.news"), bench.queue("dut.ends", depth=QUEUED)
    flags = [there & item[-1] for there, item in queue]
    places = [there & ~item[-1] for there, item in queue]
    placing_extra = placed & compose.is_extra(copy.meta) & ~copy.bare
    bench.invariant(~placed | (copy.meta.kind != Kind.REPORT) | ~copy.meta.shared)
    total = Signal(5)
    m.d.comb += total.eq(placing_extra + has_bytes + unread)
    bench.invariant(sum(places) == total + news)
    last = Signal(5)  # the place of the last of its own
    m.d.comb += last.eq(Mux(placing_extra & (copy.meta.cell == cell), total, Mux(its_own, unread + 1, before)))
    bench.assume(~waits_for_it | waited | (last == 0), because="the store reads in order, and then gives a cell anew")
    bench.invariant(before <= unread)
    bench.invariant(~(inside & ~shared) | (last == 0))
    bench.invariant(~(inside & waited))
    bench.invariant(~(meta_valid & compose.is_extra(meta) & (meta.cell == cell)) | waited)
    bench.invariant(~gives | (last == 0))
    mine = [flag & (item[:-1] == cell) for flag, (_, item) in zip(flags, queue, strict=True)]
    ending = Signal()
    m.d.comb += ending.eq(Cat(mine).any())
    bench.invariant(sum(mine) <= 1)
    bench.invariant(~ending | (inside & shared & ~(deciding | placing | copies | gives | got_copy)))
    for n, own in enumerate(mine):
        bench.invariant(~own | (last == 0) | (last + news <= sum(places[:n], Const(0, 1))))
    bench.cover(gives & shared & bench.past(dut.extra_read & ending))
    bench.invariant(~meta_valid | (meta.kind != Kind.REPORT))
    bench.invariant(~(deciding | placing | copies | gives) | inside)
    bench.invariant(~inside | deciding | (placing & copy.last) | (copies & dut.o.p.last) | gives | ending)
    bench.invariant(~gives | ~(deciding | placing | copies | got_copy))
    bench.invariant(~begun | (meta_valid & todo.any()))
    ended, matched = bench.inner("dut.ended"), bench.inner("dut.matched")
    bench.invariant(~meta_valid | (ended == ((meta.kind == Kind.VOID) | meta.raw)))
    bench.invariant(~(meta_valid & (meta.kind == Kind.VOID)) | ~(matched.any() | begun))
    bench.invariant(~placed | (copy.meta.kind != Kind.VOID))
    bench.invariant(~(deciding & ~begun) | ~(placing | copies | got_copy))
    bench.invariant(~placing | (copy.last == ~deciding))
    bench.invariant(~copies | (dut.o.p.last == ~(deciding | placing)))
    bench.invariant(~(placing & copies) | (copy.ring > dut.o.p.ring))
    bench.invariant(~(placing & got_copy) | (copy.ring > ring))
    for n in range(SMALL.rings):
        left = deciding & begun & todo[n]
        for there, number in ((placing, copy.ring), (copies, dut.o.p.ring), (got_copy, ring)):
            bench.invariant(~(left & there) | (n > number))
    bench.invariant(~deciding | (meta.info.length == length))
    for n in range(SMALL.rings):
        captured, bare = bench.inner(f"dut.captured{n}"), bench.inner(f"dut.taken_bare{n}")
        bench.invariant(~deciding | ((captured <= length) & (bare == (captured == 0))))
    bench.invariant(~placing | ((copy.meta.info.length == length) & (copy.captured <= length)))
    bench.invariant(~placing | (copy.bare == (copy.captured == 0)))
    bench.invariant(~meta_valid | (meta.cell < SMALL.store_cells))
    bench.invariant((length >= MIN_FRAME_BYTES) & (length <= MAX_FRAME_BYTES) | ~inside)
    return bench


#: Reports of each kind: the bit of a ring that wants them, and the other kind.
REPORTS = {"report": ("reports", "attempts"), "attempts": ("attempts", "report")}


def reporting(module, name: str, profile: Profile = SMALL) -> Bench:
    """Any one report of a kind, known by its place, with packets and the other kind in between.

    On a card that pauses, reports of attempts wait for room as others do.
    """
    bench = Bench()
    m = bench.m
    dut = bench.add("dut", module.Select(profile=profile), free=True)
    bench.assume(bench.rules(dut.i).kept, because="the FIFO before keeps the stream rules")
    bench.assume(~dut.i.valid | (dut.i.p.kind != Kind.REPORT), because="a packet is no report")
    extra, other_name = REPORTS[name]
    source, other = getattr(dut, name), getattr(dut, other_name)
    lost = getattr(dut, f"{name}_lost")
    offered, report, others = bench.rules(source), source.p, bench.rules(other)
    bench.assume(offered.kept & others.kept, because="the reports keep the stream rules")
    bench.check(bench.rules(dut.o).kept)

    cell = Signal(len(report.cell))
    m.d.comb += cell.eq(AnyConst(len(cell)))
    bench.assume(~other.valid | (other.p.cell != cell), because="each kind has places of its own")
    if name == "attempts":
        bench.assume(dut.pause, because="else a ring that is full goes without")
    offers = source.valid & (report.cell == cell)
    taken = offers & source.ready & ~lost
    copies = dut.o.valid & (dut.o.p.meta.kind == Kind.REPORT) & (dut.o.p.meta.cell == cell)
    copied, ring = copies & dut.o.ready, dut.o.p.ring
    inside, got, info = Signal(), Signal(SMALL.rings), Signal(len(report.info.as_value()))
    with m.If(taken):
        m.d.sync += inside.eq(1)
    with m.Elif(copied & dut.o.p.last):
        m.d.sync += inside.eq(0)
    with m.If(copied):
        m.d.sync += got.eq(Mux(dut.o.p.last, 0, got | (1 << ring)))
    with m.If(offers):
        m.d.sync += info.eq(report.info.as_value())
    bench.assume(~(offers & inside), because="a place is used again when its report was read")

    # Rings that have been there for reports since before the report was offered, and when it was taken.
    there, steady, due = (Signal(SMALL.rings, name=name) for name in ("there", "steady", "due"))
    for n, (config, fault) in enumerate(zip(dut.rings, dut.fault, strict=True)):
        enabled = config.enable & ~config.start
        m.d.comb += there[n].eq(enabled & getattr(config, extra) & ~fault & ~bench.inner(f"dut.bare{n}"))
    now = Signal(SMALL.rings, name="steady_now")
    before = bench.past(there)
    m.d.comb += now.eq(there & Mux(offered.waiting, steady, before))
    m.d.sync += steady.eq(now)
    with m.If(taken):
        m.d.sync += due.eq(now)

    bench.check(~copies | inside | offers)
    bench.check(~(copies & dut.o.p.last) | inside)
    bench.check(~copies | (ring < SMALL.rings) & ~got.bit_select(ring, 1))
    bench.check(~(copies & dut.o.p.last) | (((got | (1 << ring)) & due) == due))
    bench.check(~copies | ((dut.o.p.meta.info.as_value() == info) & ~dut.o.p.bare))
    bench.check(~copies | (dut.o.p.captured == dut.o.p.meta.info.length))
    bench.check(~lost | (source.valid & source.ready & ~now.any()))
    bench.check(~(lost & offers) | ~(got.any() | copies | inside))
    placed, copy = bench.inner("dut.placed"), copy_shape(SMALL)(bench.inner("dut.copy"))
    placing = placed & (copy.meta.kind == Kind.REPORT) & (copy.meta.cell == cell)
    bench.check(~inside | (placing & copy.last) | (copies & dut.o.p.last))
    bench.cover(copied & got.any() & dut.o.p.last)
    bench.cover(lost)
    bench.cover(lost & bench.past(offered.waiting))

    # --- What induction has to know ---
    begun, todo, wanting = (bench.inner(f"dut.{name}_{what}") for what in ("begun", "todo", "wanting"))
    begins = bench.past(
        Cat(c.enable & getattr(c, extra) for c in dut.rings)
        & ~dut.fault
        & ~Cat(bench.inner("dut.bare0"), bench.inner("dut.bare1"))
    )
    going = begun & offers
    bench.invariant(~bench.inner("dut.meta_valid") | (PacketMeta(bench.inner("dut.meta")).kind != Kind.REPORT))
    bench.invariant(wanting == begins)
    bench.invariant(((before & wanting) == before) & ((steady & before) == steady))
    bench.invariant(begun == todo.any())
    bench.invariant(~begun | offered.waiting)
    other_begun, other_todo = (bench.inner(f"dut.{other_name}_{what}") for what in ("begun", "todo"))
    bench.invariant(other_begun == other_todo.any())
    bench.invariant(~other_begun | others.waiting)
    bench.invariant(~(begun & other_begun))
    bench.invariant(~offered.waiting | (offered.offered.as_value() == report.as_value()))
    bench.invariant(~(placing | copies | got.any()) | inside | going)
    bench.invariant(~(inside & begun & offers))
    bench.invariant(~placing | (copy.last == inside))
    bench.invariant(~copies | (dut.o.p.last == (inside & ~placing)))
    bench.invariant(~(placing & copies) | (copy.ring != ring))
    bench.invariant(~placing | ~got.bit_select(copy.ring, 1))
    bench.invariant(
        ~placing | (copy.meta.info.as_value() == info) & ~copy.bare & (copy.captured == copy.meta.info.length)
    )
    bench.invariant(~going | (info == report.info.as_value()))
    sent = Signal(SMALL.rings, name="sent")
    m.d.comb += sent.eq(got | Mux(placing, 1 << copy.ring, 0) | Mux(copies, 1 << ring, 0))
    bench.invariant(~going | ((todo & sent) == 0) & (((todo | sent) & steady) == steady))
    bench.invariant(~inside | ((sent & due) == due))
    if profile is SMALL:
        bench.invariant(~going | sent.any())
    return bench


@pytest.mark.parametrize("profile", [SMALL, IN_PARTS], ids=lambda profile: profile.name)
def test_every_packet_is_given_up_or_copied(profile: Profile, tmp_path: Path) -> None:
    prove(selecting(select, profile), tmp_path, k=2, cover=12)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Mux(groups.copy, groups.rest, rest)).any()", "Mux(groups.copy, groups.rest, 0)).any()"),
        ("copy_ready.eq(place_ready & ~report_copy &", "copy_ready.eq(place_ready &"),
        ("m.If(~taking.any() & ~extra)", "m.If(~taking.any())"),
        ("(~room | congested.replicate(profile.rings))", "congested.replicate(profile.rings)"),
    ],
    ids=[
        "ends a packet twice",
        "puts a report in its place",
        "counts what comes again",
        "waits for no ring",
    ],
)
def test_a_selection_that_loses_packets_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(selecting(mutant(select.__name__, before, after)), tmp_path, cycles=8)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("free.eq(~release.valid | release.ready)", "free.eq(1)"),
        ("skipping.eq(ends.r_rdy & ~ends.r_data[-1] & ~unread)", "skipping.eq(ends.r_rdy & ~ends.r_data[-1])"),
        ("news + extra_read - skipping", "news + extra_read"),
        ("at_once.eq(gone & ~meta.shared)", "at_once.eq(gone)"),
    ],
    ids=[
        "forgets what it gave up",
        "gives back what is still read",
        "takes news of a copy for news of another",
        "gives back at once",
    ],
)
def test_a_selection_that_gives_back_wrongly_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(selecting(select, extra=mutant(extra_copies.__name__, before, after)), tmp_path, cycles=8)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(begun if at_leisure else", "(1 if at_leisure else"),
        ("m.d.sync += meta_valid.eq(0)", "pass"),
    ],
    ids=["copies before it has decided", "takes it twice"],
)
def test_a_selection_at_leisure_that_loses_packets_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(selecting(mutant(select.__name__, before, after), IN_PARTS), tmp_path, cycles=8)


@pytest.mark.parametrize("profile", [SMALL, IN_PARTS], ids=lambda profile: profile.name)
@pytest.mark.parametrize("name", REPORTS)
def test_every_report_goes_to_its_rings_or_is_lost(name: str, profile: Profile, tmp_path: Path) -> None:
    prove(reporting(select, name, profile), tmp_path, k=1, cover=12)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("taking.eq(Mux(self.begun, todo, self.first & enabled))", "taking.eq(self.first & enabled)"),
        ("self.copy & ready & ~self.rest.any(), self.may_begin", "self.copy & ready, self.may_begin"),
        ("self.lost.eq(self.may_begin & ~taking.any())", "self.lost.eq(self.may_begin & ~self.wanting.all())"),
    ],
    ids=["begins again", "lets go too soon", "loses what it sends"],
)
def test_a_selection_that_loses_reports_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    with patch.object(select, "ReportCopies", mutant(report_copies.__name__, before, after).ReportCopies):
        bench = reporting(select, "report")
    refute(bench, tmp_path, cycles=8)


def test_a_selection_that_ends_a_report_twice_is_found_out(tmp_path: Path) -> None:
    changed = mutant(select.__name__, "Mux(groups.copy, groups.rest, rest)", "Mux(groups.copy, 0, rest)")
    refute(reporting(changed, "report"), tmp_path, cycles=8)

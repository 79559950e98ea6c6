"""An ingress port passes whole good frames on, unchanged and in order, and tells of each frame what became of it."""

from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Mux, Signal
from amaranth.utils import ceil_log2

from sentinic.abi.profiles import MIN_FRAME_BYTES
from sentinic_hdl.axi import MacUser
from sentinic_hdl.ingress import port
from sentinic_hdl.meta import FrameInfo
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

#: Frames of at most four beats, in a buffer of eight, and no room besides what the pipeline needs.
LONGEST = 32
SKID = 3
BEATS = LONGEST // SMALL.beat_bytes
DEPTH = SMALL.port_fifo_bytes // SMALL.beat_bytes
PORT = 1


def ingress(module) -> Bench:
    bench = Bench()
    m = bench.m
    with patch.object(module, "MAX_FRAME_BYTES", LONGEST), patch.object(module, "_SKID_BEATS", SKID):
        dut = bench.add("dut", module.IngressPort(profile=SMALL, port=PORT))
    mac, events = dut.mac, dut.events
    bench.drive(mac.tdata, mac.tkeep, mac.tlast, mac.tuser, mac.tvalid, dut.o.ready, dut.enable)
    m.d.comb += dut.pause.eq(AnyConst(1))
    keep = mac.tkeep
    bench.assume(
        ~mac.tvalid | (keep[0] & ((keep & (keep + 1))[:8] == 0) & (mac.tlast | keep.all())),
        because="a MAC fills all beats but the last, from byte 0",
    )

    # --- The frame that comes in, as the MAC sees it; it is decided upon two cycles after its last beat ---
    moves = mac.tvalid & mac.tready
    place, size = Signal(range(BEATS + 2)), Signal(range(LONGEST + 2))  # beats and bytes before this one, saturating
    total = Signal(range(LONGEST + SMALL.beat_bytes + 2))
    user, first_user = Signal(MacUser), Signal(MacUser)
    m.d.comb += [total.eq(size + sum(keep)), user.eq(Mux(place == 0, mac.tuser, first_user))]
    with m.If(moves):
        m.d.sync += [
            place.eq(Mux(mac.tlast, 0, Mux(place > BEATS, place, place + 1))),
            size.eq(Mux(mac.tlast, 0, Mux(total > LONGEST, LONGEST + 1, total))),
            first_user.eq(user),
        ]
    arrived, last, error = (bench.past(value) for value in (moves, mac.tlast, mac.tuser.error))
    length, ended = bench.past(total), arrived & last
    final, bad = bench.past(length), bench.past(error)
    reasons = (events.runt, events.oversize, events.error, events.overflow)
    bench.check(events.received == bench.past(ended))
    bench.check(sum(reasons) <= events.received)
    bench.check(~events.received | (events.error == bad))
    bench.check(~events.received | (events.runt == (~bad & (final < MIN_FRAME_BYTES))))
    bench.check(~events.received | (events.oversize == (~bad & (final > LONGEST))))
    bench.check(~(events.overflow & dut.pause))
    bench.check(~mac.tready | bench.past(dut.enable))
    accepted = bench.inner("dut.infos.w_en")
    bench.check(bench.past(accepted) == (events.received & ~sum(reasons).any()))

    # --- What goes out ---
    out, frames = bench.rules(dut.o), bench.frames(SMALL, dut.o)
    bench.check(out.kept)
    bench.check(frames.kept)
    bench.check(~dut.o.valid | ((dut.o.p.info.port == PORT) & (dut.o.p.info.wire_length >= dut.o.p.info.length)))
    bench.check(~dut.o.valid | ((dut.o.p.info.length >= MIN_FRAME_BYTES) & (dut.o.p.info.length <= LONGEST)))

    # One beat is followed from the MAC on: in the input register, in memory with its frame not yet decided upon, in
    # memory with so many whole frames before its own.
    follow, followed, decided = Signal(), Signal(), Signal()
    beat, number, before = Signal(SMALL.data_width), Signal(range(BEATS + 2)), Signal(range(DEPTH + 1))
    info = Signal(FrameInfo)
    inside = Signal(range(DEPTH + 1))  # frames accepted that have not left
    leaves = dut.o.valid & dut.o.ready & dut.o.p.last
    registered = Signal()  # the followed beat is still there
    bench.drive(follow)
    m.d.sync += [inside.eq(inside + accepted - leaves), registered.eq(0)]
    with m.If(~followed):
        with m.If(moves & follow):
            m.d.sync += [followed.eq(1), decided.eq(0), registered.eq(1), beat.eq(mac.tdata), number.eq(place)]
    with m.Elif(~decided):
        with m.If(ended):
            m.d.sync += [
                followed.eq(accepted),
                decided.eq(1),
                before.eq(inside - leaves),
                info.eq(bench.inner("dut.info")),
            ]
    with m.Elif(leaves):
        m.d.sync += [before.eq(before - 1), followed.eq(before != 0)]
    its_turn = Signal()
    m.d.comb += its_turn.eq(followed & decided & (before == 0) & dut.o.valid)
    bench.check(~(its_turn & (frames.index == number)) | (dut.o.p.data == beat))
    bench.check(~its_turn | (dut.o.p.info.as_value() == info.as_value()))
    entered, timestamp = FrameInfo(bench.inner("dut.info")), bench.past(user.timestamp)
    bench.check(~accepted | ((entered.length == length) & (entered.timestamp == timestamp)))
    bench.check(~dut.o.valid | (inside != 0))

    one_left = Signal()
    with m.If(leaves):
        m.d.sync += one_left.eq(1)
    bench.cover(one_left & its_turn & (number == 1) & (frames.index == 1))
    bench.cover(events.overflow)
    bench.cover(events.oversize & dut.o.valid)

    # --- What induction has to know ---
    # The input register, and what of its frame was processed before it.
    before_place, before_size, before_first = bench.past(place), bench.past(size), bench.past(first_user)
    bench.invariant(bench.inner("dut.beat_valid") == arrived)
    bench.invariant(~arrived | (bench.inner("dut.beat_last") == last))
    bench.invariant(~arrived | (bench.inner("dut.beat_user")[0] == error))
    count = bench.inner("dut.beat_count")
    bench.invariant(~arrived | (count + before_size == length))
    bench.invariant(~arrived | Mux(last, (count >= 1) & (count <= SMALL.beat_bytes), count == SMALL.beat_bytes))
    processed, seen_user = Signal.like(place), Signal(MacUser)
    m.d.comb += [
        processed.eq(Mux(arrived, before_place, place)),
        seen_user.eq(Mux(arrived, before_first, first_user)),
    ]
    for bytes_, beats in ((size, place), (before_size, before_place), (bench.inner("dut.length"), processed)):
        bench.invariant((beats <= BEATS + 1) & (bytes_ == Mux(beats > BEATS, LONGEST + 1, SMALL.beat_bytes * beats)))
    bench.invariant(bench.inner("dut.first") == (processed == 0))
    bench.invariant((processed == 0) | (bench.inner("dut.first_user") == seen_user.as_value()))
    bench.invariant(~arrived | (place == Mux(last, 0, Mux(before_place > BEATS, BEATS + 1, before_place + 1))))
    arrived_user = Mux(before_place == 0, bench.inner("dut.beat_user"), before_first)
    bench.invariant(~arrived | last | (first_user.as_value() == arrived_user))

    # The buffer: whole frames, then what there is of the next.
    written, committed, read, remaining, spoilt = (
        bench.inner(f"dut.{name}") for name in ("written", "committed", "read", "remaining", "spoilt")
    )
    entries = [(there, FrameInfo(entry)) for there, entry in bench.queue("dut.infos", depth=SMALL.port_frames)]

    def beats_of(record):
        return ((record.length - 1)[:5] >> ceil_log2(SMALL.beat_bytes)) + 1

    def good(record):
        return (
            (record.length >= MIN_FRAME_BYTES)
            & (record.length <= LONGEST)
            & (record.port == PORT)
            & (record.wire_length >= record.length)
        )

    unfinished, whole, used = Signal(range(DEPTH + 1)), Signal(range(64)), Signal(range(DEPTH + 1))
    frames_inside = sum(there for there, _ in entries)
    fits = ~spoilt & (processed <= BEATS)
    m.d.comb += [
        used.eq(written - read),
        unfinished.eq(written - committed),
        whole.eq(sum((Mux(there, beats_of(entry), 0) for there, entry in entries), remaining)),
    ]
    for there, entry in entries:
        bench.invariant(~there | good(entry))
    bench.invariant((used <= DEPTH) & (used == whole + unfinished))
    bench.invariant((unfinished <= processed) & (unfinished <= BEATS))
    bench.invariant(~fits | (unfinished == processed))
    bench.invariant(inside == frames_inside + dut.o.valid)
    # A port that may pause does so in time.
    bench.invariant(~dut.pause | (~spoilt & (used + arrived + mac.tready <= DEPTH - SKID + 2)))
    bench.invariant(~dut.pause | (frames_inside + arrived + mac.tready <= SMALL.port_frames - SKID + 2))

    # The beat that is offered.
    current = FrameInfo(bench.inner("dut.held_info"))
    bench.invariant(dut.o.valid | ((remaining == 0) & (frames.index == 0)))
    bench.invariant(~dut.o.valid | (good(current) & (beats_of(current) == frames.index + 1 + remaining)))
    bench.invariant(~dut.o.valid | ((dut.o.p.first == (frames.index == 0)) & (dut.o.p.last == (remaining == 0))))
    bench.invariant(frames.inside == (frames.index != 0))
    bench.invariant(~frames.inside | (frames.info.as_value() == current.as_value()))
    bench.invariant(~out.waiting | dut.o.valid)

    # Where the followed beat is.
    at = Signal.like(written)
    with m.If(registered):
        m.d.sync += at.eq(written)
    there_still = bench.word("dut.memory", at[: ceil_log2(DEPTH)]) == beat
    bench.invariant(~registered | (followed & ~decided & arrived & (bench.inner("dut.beat") == beat)))
    bench.invariant(~registered | (number == processed))
    bench.invariant(~arrived | (MacUser(arrived_user).timestamp == timestamp))
    undecided = followed & ~decided & ~registered
    bench.invariant(~undecided | (number < processed) | (processed > BEATS))
    bench.invariant(~(undecided & fits) | ((at == (committed + number)[: len(at)]) & there_still))
    waits = followed & decided
    bench.invariant(~waits | (before < inside))
    begin, turn = read + remaining, dut.o.valid
    for there, entry in entries:
        mine = Signal(name="mine")
        m.d.comb += mine.eq(waits & there & (before == turn))
        bench.invariant(~mine | ((at == (begin + number)[: len(at)]) & there_still & (number < beats_of(entry))))
        bench.invariant(~mine | (entry.as_value() == info.as_value()))
        begin, turn = begin + Mux(there, beats_of(entry), 0), turn + there
    bench.invariant(~its_turn | ((at == (read - 1 - frames.index + number)[: len(at)]) & (number < beats_of(current))))
    bench.invariant(~its_turn | (frames.index >= number) | there_still)
    return bench


def test_good_frames_pass_and_others_are_counted(tmp_path: Path) -> None:
    prove(ingress(port), tmp_path, k=1, cover=24)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("m.d.sync += written.eq(committed)", "m.d.sync += written.eq(written)"),
        ("runt = total < MIN_FRAME_BYTES", "runt = total < MIN_FRAME_BYTES - 1"),
        ("r_port.en.eq(step)", "r_port.en.eq(1)"),
    ],
    ids=["keeps what is bad", "lets a runt pass", "changes what it offers"],
)
def test_a_port_that_spoils_frames_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(ingress(mutant(port.__name__, before, after)), tmp_path, cycles=12)

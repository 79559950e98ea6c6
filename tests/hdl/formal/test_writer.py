"""The DMA writer keeps to AXI4, and a descriptor is written when its packet's bytes were answered for."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.hdl import Array, Mux, Signal
from amaranth.utils import ceil_log2

from sentinic.abi.descriptor import DESCRIPTOR, HEADROOM
from sentinic.abi.profiles import MAX_FRAME_BYTES, MIN_FRAME_BYTES, Profile
from sentinic.abi.verdicts import Kind
from sentinic_hdl.rings import compose, writer
from sentinic_hdl.rings.types import ask_shape
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

#: Queues between the writer's parts, shorter than the card's.
QUEUED = 4
#: The wide card's data path: other limits of a burst, and a descriptor in one beat.
WIDE = replace(SMALL, name="wide proof", data_width=512, cell_bytes=128)


def sequence_invariants(bench: Bench, beat_bytes: int) -> tuple:
    """Of the part that sends beats.  Returns the beats left of its burst, and whether these are the packet's last."""
    names = ("burst_left", "in_descriptor", "in_packet", "composed", "at", "last_beat", "end", "first_beat")
    burst_left, in_descriptor, in_packet, composed, beat, last_beat, end, first_beat = (
        bench.inner(f"dut.{name}") for name in names
    )
    running = in_descriptor != 0
    bench.invariant(~composed | ((end > HEADROOM) & (end <= HEADROOM + MAX_FRAME_BYTES)))
    bench.invariant(~composed | (first_beat <= HEADROOM // beat_bytes))
    bench.invariant(~composed | in_packet | (beat == first_beat))
    bench.invariant(~in_packet | (composed & (beat <= last_beat)))
    bench.invariant(
        ~running | ((in_descriptor < DESCRIPTOR.size // beat_bytes) & (burst_left == in_descriptor) & ~in_packet)
    )
    bench.invariant(running | (burst_left == 0) | (in_packet & (beat + burst_left - 1 <= last_beat)))
    return burst_left, (burst_left != 0) & (beat + burst_left - 1 == last_beat)


def queue_is_right(bench: Bench, path: str, *, depth: int):
    """The pointers of the ``SyncFIFO`` at ``path``, whose depth is a power of two."""
    level, produce, consume = (bench.inner(f"{path}.{name}") for name in ("level", "produce", "consume"))
    return (level <= depth) & (produce == (consume + level)[: len(produce)])


def making_of(bench: Bench, beats: int):
    """Beats of the descriptor that is being made."""
    return bench.inner("dut.making") if beats > 1 else 0


def add_writer(bench: Bench, module, profile):
    """A writer with free inputs, but for what its neighbours see to."""
    with patch.object(module, "OUTSTANDING", QUEUED), patch.object(module, "PENDING", QUEUED):
        dut = bench.add("dut", module.Writer(profile=profile), free=True)
    copies = bench.rules(dut.i)
    bench.assume(copies.kept, because="the register before keeps the stream rules")
    # The store is asked for a copy that is still there when it is composed.
    # Extra copies come before it; each of them with bytes is told of once, when it has them.
    asked, extra = bench.inner("dut.asked"), compose.is_extra(dut.i.p.meta)
    last = dut.i.p.last & ~extra
    unread = Signal(2)
    composed, composed_extra = bench.inner("dut.composed"), bench.inner("dut.composed_extra")
    news = bench.inner("dut.done") & composed_extra
    compose_now, begun = bench.inner("dut.compose_now"), bench.inner("dut.begun")
    bench.m.d.sync += unread.eq(unread + (compose_now & extra) - news)
    bench.check(unread == (composed & composed_extra))
    bench.check(dut.events.extra_read == bench.past(news))
    bench.check(~dut.i.ready | dut.i.valid)
    bench.invariant(~asked | (copies.waiting & ~dut.i.p.bare))
    # It is told once to release a packet, behind all that is read of it: with the last copy, bytes or not.
    asks, asks_ready = bench.inner("dut.asks.w_en"), bench.inner("dut.asks.w_rdy")
    ask = ask_shape(profile)(bench.inner("dut.ask"))
    release = ask.frame.release
    told, taken = asks & asks_ready & release, dut.i.valid & dut.i.ready & last
    early = Signal(2)  # releases told of before their copy is taken
    bench.m.d.sync += early.eq(early + told - taken)
    bench.check(early == ((asked | begun) & last))
    bench.invariant(queue_is_right(bench, "dut.asks", depth=module.ASKS))
    # No descriptor is lost for want of room.
    level, room = bench.inner("dut.pending.level"), bench.inner("dut.room")
    for name in ("pending", "descriptors"):
        bench.check(~bench.inner(f"dut.{name}.w_en") | bench.inner(f"dut.{name}.w_rdy"))
    bench.invariant(~room | (level <= QUEUED - 2))
    # What is sent of one is there: of those that wait, all of them but what was sent, and of the next what was made.
    beats = DESCRIPTOR.size // profile.beat_bytes
    running, making = bench.inner("dut.in_descriptor"), making_of(bench, beats)
    bench.check(~bench.inner("dut.sending_descriptor") | bench.inner("dut.descriptors.r_rdy"))
    bench.queue("dut.descriptors", depth=QUEUED * beats)
    (going, _), *_ = bench.queue("dut.pending", depth=QUEUED)
    beats_there = bench.inner("dut.descriptors.level")
    bench.invariant(beats_there == beats * level - Mux(running != 0, beats - running, 0) + making)
    bench.invariant((running == 0) | going)
    if beats > 1:
        # A copy stays until it is sent as far as its own words go; that does not wait for the copy to go.
        made, tagging = bench.inner("dut.made"), bench.inner("dut.tagging")
        bench.invariant(~begun | (copies.waiting & (asked | dut.i.p.bare)))
        length, words = bench.inner("dut.tag_length"), profile.beat_bytes // 4
        bench.invariant(~asked | (bench.inner("dut.told") == length))
        bench.invariant(~asked | (bench.inner("dut.coming") == (HEADROOM // 4 - length) // words))
        bench.invariant(begun | (~made & ~tagging & (making == 0)))
        bench.invariant(~made | (making == 0))
        bench.invariant(~tagging | (composed & ~dut.i.p.bare))
        bench.invariant(~begun | made | (level <= QUEUED - 1))
    bench.assume(bench.rules(dut.body).kept, because="the store keeps them, by its own proof")
    captured, bare = dut.i.p.captured, dut.i.p.bare
    bench.assume(
        Mux(bare, captured == 0, (captured >= MIN_FRAME_BYTES) & (captured <= MAX_FRAME_BYTES)),
        because="select cuts to no less, or to nothing",
    )
    # The reports are asked for reports, and for nothing without beats, which they could not read.
    report = dut.i.p.meta.kind == Kind.REPORT
    bench.assume(~(report & bare), because="select gives no report to a ring of descriptors")
    bench.check(~asks | (ask.report == report))
    bench.check(~(dut.read.valid & dut.read.p.report) | (dut.read.p.frame.beats != 0))
    queue = [bench.word("dut.asks.storage", n) for n in range(module.ASKS)]
    level, consume = bench.inner("dut.asks.level"), bench.inner("dut.asks.consume")
    for n, word in enumerate(queue):
        there = ((n - consume)[: len(consume)]) < level
        command = ask_shape(profile)(word)
        bench.invariant(~(there & command.report) | (command.frame.beats != 0))
    for ring in dut.rings:
        bench.assume((ring.data_base[:6] == 0) & (ring.descriptor_base[:6] == 0), because="the host aligns its rings")
    return dut


def writing(module, profile=SMALL) -> Bench:
    bench = Bench()
    m = bench.m
    dut, beat_bytes = add_writer(bench, module, profile), profile.beat_bytes
    dma = dut.dma

    # --- AXI4 ---
    address = bench.channel(dma.awvalid, dma.awready, [dma.awaddr, dma.awlen])
    data = bench.channel(dma.wvalid, dma.wready, [dma.wdata, dma.wstrb, dma.wlast])
    for watch in (address, data, bench.rules(dut.read)):
        bench.check(watch.kept)
    bench.assume(bench.channel(dma.bvalid, dma.bready, [dma.bresp]).kept, because="memory holds its answers")
    bench.check(~dma.awvalid | ((dma.awsize == ceil_log2(beat_bytes)) & (dma.awburst == 1) & (dma.awid == 0)))
    bench.check(~dma.awvalid | (dma.awaddr[: ceil_log2(beat_bytes)] == 0))
    bench.check(~dma.awvalid | (dma.awaddr[:12] + beat_bytes * (dma.awlen + 1) <= 4096))
    # Stricter than AXI4: a burst's address is offered with its first beat, and one burst at a time.
    begins, offers = dma.awvalid & ~address.waiting, dma.wvalid & ~data.waiting
    left, now_left = Signal(9), Signal(9)  # beats of the burst not yet offered
    m.d.comb += now_left.eq(Mux(begins, dma.awlen + 1, left))
    m.d.sync += left.eq(now_left - offers)
    bench.check(~begins | (offers & (left == 0)))
    bench.check(~offers | ((now_left != 0) & (dma.wlast == (now_left == 1))))
    # Answers: one a burst, when memory has both its address and its last beat; none is refused.
    addresses, lasts, answered = Signal(4), Signal(4), dma.bvalid & dma.bready
    m.d.sync += [
        addresses.eq(addresses + (dma.awvalid & dma.awready) - answered),
        lasts.eq(lasts + (dma.wvalid & dma.wready & dma.wlast) - answered),
    ]
    bench.assume(~dma.bvalid | ((addresses != 0) & (lasts != 0)), because="memory answers whole bursts")
    bench.check(~dma.bvalid | dma.bready)
    bench.cover(begins & (dma.awlen == 1) & bench.past(answered))
    bench.cover(begins & (dma.awaddr[:12] == 0) & (dma.awlen == 6))

    # --- What induction has to know ---
    burst_left, _ = sequence_invariants(bench, beat_bytes)
    bench.invariant(now_left - offers == burst_left)
    bench.invariant(~dma.wvalid | (dma.wlast == (burst_left == 0)))
    bench.invariant(~bench.inner("dut.composed") | (bench.inner("dut.packet_address")[:6] == 0))
    bench.invariant(~bench.inner("dut.in_packet") | (bench.inner("dut.address")[: ceil_log2(beat_bytes)] == 0))
    outstanding = bench.queue("dut.awaited", depth=QUEUED)
    waiting = sum(there for there, _ in outstanding)
    bench.invariant(waiting == addresses + dma.awvalid)
    bench.invariant(waiting == lasts + ((burst_left != 0) | (dma.wvalid & dma.wlast)))
    return bench


def descriptors(module) -> Bench:
    """Any one packet is followed from its first burst to its descriptor."""
    bench = Bench()
    m = bench.m
    dut = add_writer(bench, module, SMALL)
    dma = dut.dma
    names = ("go_packet", "go_descriptor", "in_packet", "done", "void", "in_descriptor", "composed", "compose_now")
    go_packet, go_descriptor, in_packet, done, void, in_descriptor, composed, compose_now = (
        bench.inner(f"dut.{name}") for name in names
    )
    pending = bench.queue("dut.pending", depth=QUEUED)
    bare = pending[0][1][0]  # the descriptor that goes has no packet with it
    go_alone, go_behind = go_descriptor & bare, go_descriptor & ~bare
    bench.check(~go_alone | ~void)
    ring = Signal(1, name="ring")  # of the packet that is composed
    with m.If(compose_now):
        m.d.sync += ring.eq(dut.i.p.ring)
    answered, failed_now = dma.bvalid & dma.bready, dma.bresp != 0
    bursts = Signal(range(QUEUED + 2))  # without an answer
    m.d.sync += bursts.eq(bursts + (go_packet | go_descriptor) - answered)
    bench.assume(~dma.bvalid | (bursts != 0), because="memory answers whole bursts")
    unwritten = Signal(range(QUEUED + 1))  # packets begun whose descriptor is not
    begins = go_packet & ~in_packet
    m.d.sync += unwritten.eq(unwritten + begins - go_behind)

    # The followed packet: whether it is, and is still being sent; bursts without an answer, before its own and its own;
    # packets whose descriptors come before its own; its ring; whether an answer was an error.
    follow, followed, sending = Signal(name="follow"), Signal(name="followed"), Signal(name="sending")
    earlier, own = Signal(range(QUEUED + 1), name="earlier"), Signal(range(QUEUED + 1), name="own")
    before, its_ring, failed = (
        Signal(range(QUEUED + 1), name="before"),
        Signal(1, name="its_ring"),
        Signal(name="failed"),
    )
    bench.drive(follow)
    with m.If(~followed):
        m.d.sync += [
            followed.eq(begins & follow),
            sending.eq(~done),
            earlier.eq(bursts - answered),
            own.eq(1),
            before.eq(unwritten),
            its_ring.eq(ring),
            failed.eq(0),
        ]
    with m.Else():
        with m.If(done):
            m.d.sync += sending.eq(0)
        m.d.sync += [
            earlier.eq(earlier - (answered & (earlier != 0))),
            own.eq(own + (go_packet & sending) - (answered & (earlier == 0) & (own != 0))),
            failed.eq(failed | (answered & (earlier == 0) & (own != 0) & failed_now)),
        ]
        with m.If(go_behind):
            m.d.sync += [before.eq(before - 1), followed.eq(before != 0)]

    its_descriptor = followed & go_behind & (before == 0)
    bench.check(~its_descriptor | (~sending & (earlier == 0) & (own == 0)))
    bench.check(~its_descriptor | (void == failed))
    bench.check(~go_behind | (unwritten != 0))
    bench.check(~bench.inner("dut.results.w_en") | bench.inner("dut.results.w_rdy"))
    entry = Array([(dut.heads[n] & dut.rings[n].descriptor_mask)[:24] for n in range(SMALL.rings)])[its_ring]
    base = Array([ring.descriptor_base for ring in dut.rings])[its_ring]
    place = bench.past((base + (entry << 6))[:64])
    bench.check(~bench.past(its_descriptor) | (dma.awvalid & (dma.awaddr == place)))
    bench.cover(its_descriptor & void)
    bench.cover(go_alone & bench.past(in_descriptor == 1))

    # --- What induction has to know ---
    _, finishing = sequence_invariants(bench, SMALL.beat_bytes)
    running, beginning = in_descriptor != 0, in_packet & ~finishing
    level, consume = bench.inner("dut.results.level"), bench.inner("dut.results.consume")
    waiting = bench.queue("dut.awaited", depth=QUEUED)
    packet_failed = bench.inner("dut.packet_failed")
    bench.invariant(queue_is_right(bench, "dut.results", depth=QUEUED))
    bench.invariant(bursts == sum(there for there, _ in waiting))
    bench.invariant(~running | pending[0][0])
    # Descriptors wait in the order of their copies; the last that has a packet with it may be of the one composed.
    begun, made = bench.inner("dut.begun"), bench.inner("dut.made")
    behind = [(there & ~item[0], item[1]) for there, item in pending]
    behind.append((begun & ~made & ~dut.i.p.bare, dut.i.p.ring))
    running_behind, next_one = running & ~bare, composed & ~in_packet
    bench.invariant(unwritten + running_behind + next_one == sum(there for there, _ in behind))
    # Packets are numbered from the next to get a descriptor: first those that were answered, then those whose last
    # burst waits for its answer, then the one that has bursts to come.
    position, number = 0, level
    for there, item in waiting:
        end, descriptor = item[0] & there, item[1]
        data = there & ~descriptor
        mine = followed & (number == before)
        bench.invariant(~there | ~(end & descriptor))
        bench.invariant(~data | (number < unwritten))
        bench.invariant(~(mine & end) | ((earlier + own == position + 1) & (own != 0)))
        bench.invariant(~(mine & data) | (position >= earlier))
        bench.invariant(~(followed & there & (position >= earlier) & (position < earlier + own)) | (mine & data))
        position, number = position + there, number + end
    bench.invariant(unwritten == number + beginning)
    bench.invariant(~followed | (before < unwritten))
    bench.invariant(~(followed & beginning & (before == number)) | (earlier + own == bursts))
    bench.invariant((level != unwritten) | ~packet_failed)
    bench.invariant(~(followed & (before < level)) | ((earlier == 0) & (own == 0)))
    result = bench.word("dut.results.storage", (consume + before)[: len(consume)])
    bench.invariant(~(followed & (before < level)) | (result == ~failed))
    bench.invariant(~(followed & (before == level)) | ((failed == packet_failed) & ((earlier == 0) | ~failed)))
    bench.invariant(~(followed & (before > level)) | ~failed)
    bench.invariant(~followed | (sending == (in_packet & (before + 1 == unwritten))))
    turn = 0
    for there, its in behind:
        bench.invariant(~(followed & there & (turn == before + running_behind)) | (its == its_ring))
        bench.invariant(~(next_one & there & (turn == unwritten + running_behind)) | (its == ring))
        turn = turn + there
    return bench


@pytest.mark.parametrize("profile", [SMALL, WIDE], ids=lambda profile: profile.name)
def test_bursts_keep_to_axi4(profile: Profile, tmp_path: Path) -> None:
    prove(writing(writer, profile), tmp_path, k=1, cover=12)


def test_a_descriptor_is_written_when_its_packet_was_answered_for(tmp_path: Path) -> None:
    prove(descriptors(writer), tmp_path, k=1, cover=28)


@pytest.mark.parametrize(
    ("bench", "before", "after"),
    [
        (writing, "at_address[beat_log2:12])", "at_address[beat_log2:11])"),
        (writing, "Mux(idle, burst == 1, burst_left == 1)", "Mux(idle, burst == 1, burst_left == 2)"),
        (descriptors, "& (results.r_rdy | pending_head.bare)", ""),
        (descriptors, "~results.r_data[0] & ~pending_head.bare", "~results.r_data[0]"),
        (descriptors, "ask.frame.release.eq(last)", "ask.frame.release.eq(1)"),
        (descriptors, "ask.report.eq(report)", "ask.report.eq(report & self.i.p.last)"),
        (partial(writing, profile=WIDE), "PENDING - 3", "PENDING - 1"),
        (descriptors, "making == beats - 1", "making == beats - 2"),
        (descriptors, "results.w_data.eq(~(failed | packet_failed))", "results.w_data.eq(~failed)"),
    ],
    ids=[
        "crosses 4 KiB",
        "ends a burst early",
        "does not wait",
        "voids what cannot fail",
        "releases too often",
        "asks the wrong one",
        "loses a descriptor",
        "makes a part of it",
        "forgets an error",
    ],
)
def test_a_writer_that_breaks_a_rule_is_found_out(bench, before: str, after: str, tmp_path: Path) -> None:
    refute(bench(mutant(writer.__name__, before, after)), tmp_path, cycles=20)

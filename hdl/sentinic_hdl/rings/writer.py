"""The DMA writer: a copy's bytes into its slot, then, once memory has confirmed them, its descriptor."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sentinic.abi.descriptor import DESCRIPTOR, HEADROOM
from sentinic.abi.profiles import MAX_FRAME_BYTES, Profile
from sentinic.abi.verdicts import Kind
from sentinic_hdl.axi import AxiWrite
from sentinic_hdl.meta import LENGTH_BITS
from sentinic_hdl.rings import compose
from sentinic_hdl.rings.types import RingConfig, ask_shape, copy_shape
from sentinic_hdl.store import cells_of

#: Bursts that may wait for their response.
OUTSTANDING = 64
#: Packets whose descriptor may wait for the response of their bytes.
PENDING = 32
#: Commands that may wait for the store.
ASKS = 2
_BURST_BYTES = 4096  # no AXI4 burst crosses such a boundary
_OKAY = 0


class WriterEvents(data.Struct):
    """One cycle's news."""

    data_beat: 1
    descriptor_beat: 1
    response_error: 1
    delivered: 1  # a packet or report, at its last copy: some ring has it
    failed: 1  # a packet or report, at its last copy: no ring has it
    copy_written: 1  # a copy; ``ring`` and ``captured`` tell which
    copy_failed: 1
    extra_read: 1  # an extra copy (:func:`compose.is_extra`) with bytes has them all
    of_report: 1  # all of this is of a report
    ring: 4
    captured: LENGTH_BITS


class Writer(wiring.Component):
    """Writes copies and descriptors by AXI4, in order, one beat a cycle as long as memory takes them.

    A descriptor is written when the responses of its packet's bytes are in, so a reader that sees its phase bit sees
    the packet.  A ``bare`` copy has no bytes to wait for: where a descriptor is one beat, one goes out a cycle.

    A failed write of bytes leaves a descriptor of kind ``VOID``; a failed write of a descriptor faults its
    ring until that is switched off and on.

    Members
    -------
    i: copies
    read: what to read
    body: the beats read
    dma: the bus
    rings: the ring's registers
    fault: a bit a ring
    heads: descriptors written, a ring
    events: for the counters
    """

    def __init__(self, *, profile: Profile):
        self._profile = profile
        super().__init__(
            {
                "i": In(stream.Signature(copy_shape(profile))),
                "read": Out(stream.Signature(ask_shape(profile))),
                "body": In(stream.Signature(profile.data_width)),
                "dma": Out(AxiWrite(profile.data_width)),
                "rings": In(RingConfig()).array(profile.rings),
                "fault": Out(profile.rings),
                "heads": Out(data.ArrayLayout(32, profile.rings)),
                "events": Out(WriterEvents),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self._profile
        beat_bytes = profile.beat_bytes
        beat_words = beat_bytes // 4
        beat_log2 = ceil_log2(beat_bytes)
        ring_bits = ceil_log2(profile.rings)
        descriptor_beats = DESCRIPTOR.size // beat_bytes

        ticket = data.StructLayout({"ring": ring_bits, "last": 1, "extra": 1, "report": 1, "captured": LENGTH_BITS})
        pending_shape = data.StructLayout({"bare": 1, "ticket": ticket})
        m.submodules.pending = pending = SyncFIFOBuffered(width=pending_shape.size, depth=PENDING)
        m.submodules.descriptors = descriptors = SyncFIFOBuffered(
            width=profile.data_width, depth=PENDING * descriptor_beats
        )
        m.submodules.asks = asks = SyncFIFO(width=ask_shape(profile).size, depth=ASKS)
        ask = Signal(ask_shape(profile))
        # An extra copy ends nothing: the packet comes again later, or is given back when the extra copies are read.
        report = Signal()
        extra = Signal()
        last = Signal()
        m.d.comb += [
            report.eq(compose.is_report(self.i.p)),
            extra.eq(compose.is_extra(self.i.p.meta)),
            last.eq(self.i.p.last & ~extra),
        ]

        # --- Compose: what is sent of a copy, after the store was asked for the body. ---
        # What enables so many registers is known a cycle ahead: the store is asked while the packet before is still
        # being sent, and a packet is composed when that one is gone.  Its descriptor goes on at once, to wait for the
        # answer to its bytes; a copy that is a descriptor alone is done with that.
        asked = Signal()
        composed = Signal()
        composed_extra = Signal()
        compose_now = Signal()
        pass_now = Signal()
        begun = Signal()  # the copy that is offered was composed or passed, and stays (``_in_beats``)
        room = Signal()  # for a descriptor, and another in the cycle before
        composed_next = Signal()  # the sequencer takes what is composed
        length, length_statement = compose.tag_words(self.i.p)
        m.d.comb += length_statement
        first_beat = Signal(range(HEADROOM // beat_bytes + 1))
        told, first = length, (HEADROOM // 4 - length) >> ceil_log2(beat_words)
        first_in_time = first
        if descriptor_beats > 1:
            # In beats, a copy with a tag is there a cycle before it is begun.
            told = Signal.like(length)
            coming = Signal.like(first_beat)
            m.d.sync += [told.eq(length), coming.eq(first)]
            first = coming
        packet_address = Signal(64)
        at = Signal(range((HEADROOM + MAX_FRAME_BYTES) // beat_bytes + 2))  # the beat that goes out next
        end = Signal(LENGTH_BITS + 1)  # bytes from the slot's start to the frame's end
        tag_end = Signal(range(compose.TAGGED_WORDS + 1))
        base = Array([self.rings[n].data_base for n in range(profile.rings)])[self.i.p.ring]
        m.d.comb += [
            compose_now.eq(asked & ~begun & ~composed & room),
            pass_now.eq(self.i.valid & ~begun & self.i.p.bare & room & asks.w_rdy),
            # Nothing is read for a descriptor alone, but the store releases the packet only behind what is.
            asks.w_en.eq(Mux(self.i.p.bare, pass_now & last, self.i.valid & ~asked)),
            ask.report.eq(report),
            ask.frame.cell.eq(self.i.p.meta.cell),
            ask.frame.beats.eq((self.i.p.captured + beat_bytes - 1) >> beat_log2),
            ask.frame.cells.eq(cells_of(profile, self.i.p.meta.info.length)),
            ask.frame.release.eq(last),
            asks.w_data.eq(ask),
            self.read.valid.eq(asks.r_rdy),
            self.read.payload.eq(asks.r_data),
            asks.r_en.eq(self.read.ready),
        ]
        with m.If(composed_next):
            m.d.sync += composed.eq(0)
        with m.If(self.i.ready):
            m.d.sync += asked.eq(0)
        with m.Elif(asks.w_en & asks.w_rdy & ~self.i.p.bare):
            m.d.sync += asked.eq(1)
        with m.If(compose_now):
            m.d.sync += [
                composed.eq(1),
                composed_extra.eq(extra),
                packet_address.eq(base + Cat(Const(0, 6), self.i.p.slot)),
                first_beat.eq(first),
                at.eq(first),
                end.eq(self.i.p.captured + HEADROOM),
                # A report's own words begin where a packet's tag would end.
                tag_end.eq(HEADROOM // 4 + Mux(report, 0, 3 + self.i.p.meta.headers.vlan_count)),
            ]
        entry = Signal(pending_shape)
        m.d.comb += [
            entry.bare.eq(self.i.p.bare),
            entry.ticket.ring.eq(self.i.p.ring),
            entry.ticket.last.eq(last),
            entry.ticket.extra.eq(extra),
            entry.ticket.report.eq(report),
            entry.ticket.captured.eq(self.i.p.captured),
            pending.w_data.eq(entry),
        ]
        m.d.sync += room.eq(pending.w_level <= PENDING - 3)

        # --- Queues between the parts. ---
        m.submodules.results = results = SyncFIFO(width=1, depth=PENDING)
        awaited_shape = data.StructLayout({"packet_end": 1, "descriptor": 1, "void": 1, "ticket": ticket})
        m.submodules.awaited = awaited = SyncFIFOBuffered(width=awaited_shape.size, depth=OUTSTANDING)
        awaiting = Signal(awaited_shape)
        m.d.comb += awaited.w_data.eq(awaiting)

        # --- Sequence: which beat goes out next. ---
        address = Signal(64)  # of the next beat of the packet
        last_beat = Signal.like(at)
        m.d.comb += last_beat.eq((end - 1) >> beat_log2)
        in_packet = Signal()
        in_descriptor = Signal(range(descriptor_beats + 1))
        burst_left = Signal(9)  # beats of the running burst still to send, 0 between bursts
        out_ready = Signal()  # the W register takes a beat
        m.d.comb += out_ready.eq(~self.dma.wvalid | self.dma.wready)
        address_ready = Signal()
        m.d.comb += address_ready.eq(~self.dma.awvalid | self.dma.awready)

        can_begin = Signal()
        m.d.comb += can_begin.eq(out_ready & address_ready & awaited.w_rdy)
        idle = burst_left == 0
        pending_head = Signal(pending_shape)
        m.d.comb += pending_head.eq(pending.r_data)

        go_descriptor = Signal()
        go_packet = Signal()
        at_address = Signal(64)
        from_body = Signal()
        m.d.comb += [
            go_descriptor.eq(idle & ~in_packet & can_begin & pending.r_rdy & (results.r_rdy | pending_head.bare)),
            at_address.eq(Mux(in_packet, address, packet_address + Cat(Const(0, beat_log2), first_beat))),
            from_body.eq(at >= HEADROOM // beat_bytes),
        ]
        body_ok = ~from_body | self.body.valid
        sending_packet = Signal()
        sending_descriptor = Signal()
        continuing = ~idle & out_ready
        descriptor_running = in_descriptor != 0
        may_begin = idle & can_begin & ~go_descriptor & composed
        wants_packet = Signal()
        m.d.comb += [
            wants_packet.eq(may_begin | (continuing & ~descriptor_running)),
            go_packet.eq(may_begin & body_ok),
            sending_packet.eq(wants_packet & body_ok),
            sending_descriptor.eq(go_descriptor | (continuing & descriptor_running)),
        ]

        # Burst length: to the packet's end, the 4 KiB boundary or 256 beats, whichever comes first.
        to_boundary = Signal(range(_BURST_BYTES // beat_bytes + 1))
        to_end = Signal.like(at)
        limit = min(256, _BURST_BYTES // beat_bytes)
        burst = Signal(9)
        m.d.comb += [
            to_boundary.eq(_BURST_BYTES // beat_bytes - at_address[beat_log2:12]),
            to_end.eq(last_beat - at + 1),
            burst.eq(Mux(to_end < to_boundary, to_end, to_boundary)),
        ]
        if limit < _BURST_BYTES // beat_bytes:
            short = Signal(9)
            m.d.comb += short.eq(
                Mux(
                    to_end < to_boundary,
                    Mux(to_end < limit, to_end, limit),
                    Mux(to_boundary < limit, to_boundary, limit),
                )
            )
            burst = short

        done = Signal()
        m.d.comb += [
            done.eq(sending_packet & (at == last_beat)),
            composed_next.eq(done),
            self.body.ready.eq(wants_packet & from_body),
        ]

        # The packet's beat.
        begin, last_word = Signal(), Signal()
        m.d.comb += [
            begin.eq(compose_now | pass_now),
            last_word.eq(sending_packet & (done | (Cat(Const(0, ceil_log2(beat_words)), at + 1) >= tag_end))),
        ]
        if descriptor_beats == 1:
            m.d.comb += [
                self.i.ready.eq(begin),
                descriptors.w_data.eq(compose.descriptor_bits(self.i.p, length)),
                descriptors.w_en.eq(begin),
                pending.w_en.eq(begin),
            ]
            tagged = self._at_once(m, length, at, compose_now)
        else:
            tagged = self._in_beats(
                m, told, first_in_time, begin, begun, sending_packet, last_word, pending, descriptors
            )
        lanes = []
        for lane, word in enumerate(tagged):
            place = Signal(len(at) + ceil_log2(beat_words), name=f"lane_place{lane}")
            m.d.comb += place.eq(Cat(Const(lane, ceil_log2(beat_words)), at))
            lanes.append(Mux(place < tag_end, word, self.body.payload[32 * lane : 32 * lane + 32]))
        tail = Signal(beat_log2 + 1)  # bytes of the last beat, 0 meaning all
        m.d.comb += tail.eq(end[:beat_log2])
        strobe = Mux((at == last_beat) & (tail != 0), (1 << tail) - 1, (1 << beat_bytes) - 1)[:beat_bytes]

        # The descriptor's beat.
        target = pending_head.ticket.ring
        head = Array([self.heads[n] for n in range(profile.rings)])[target]
        mask = Array([self.rings[n].descriptor_mask for n in range(profile.rings)])[target]
        descriptor_base = Array([self.rings[n].descriptor_base for n in range(profile.rings)])[target]
        void = Signal()
        running_void = Signal()
        phase = Signal()
        descriptor_beat = Signal(profile.data_width)
        status_beat, status_at = divmod(8 * DESCRIPTOR.member("status").offset, profile.data_width)
        kind_lsb = status_at + DESCRIPTOR.bit("status", "kind").lsb
        phase_lsb = status_at + DESCRIPTOR.bit("status", "phase").lsb
        which = Signal(range(descriptor_beats + 1))
        m.d.comb += [
            void.eq(Mux(descriptor_running, running_void, ~results.r_data[0] & ~pending_head.bare)),
            phase.eq((head & (mask + 1)) == 0),
            which.eq(Mux(descriptor_running, descriptor_beats - in_descriptor, 0)),
            descriptor_beat.eq(descriptors.r_data),
        ]
        with m.If(which == status_beat):
            m.d.comb += descriptor_beat[phase_lsb].eq(phase)
            with m.If(void):
                m.d.comb += descriptor_beat[kind_lsb : kind_lsb + 2].eq(Kind.VOID)
        descriptor_done = Signal()
        m.d.comb += [
            descriptor_done.eq(sending_descriptor & (which == descriptor_beats - 1)),
            pending.r_en.eq(descriptor_done),
            descriptors.r_en.eq(sending_descriptor),
            results.r_en.eq(go_descriptor & ~pending_head.bare),
        ]

        # Output registers.
        with m.If(self.dma.awready):
            m.d.sync += self.dma.awvalid.eq(0)
        with m.If(self.dma.wready):
            m.d.sync += self.dma.wvalid.eq(0)
        m.d.comb += [self.dma.awsize.eq(beat_log2), self.dma.awburst.eq(1)]
        with m.If(sending_packet):
            m.d.sync += [
                self.dma.wvalid.eq(1),
                self.dma.wdata.eq(Cat(lanes)),
                self.dma.wstrb.eq(strobe),
                self.dma.wlast.eq(Mux(idle, burst == 1, burst_left == 1)),
                burst_left.eq(Mux(idle, burst, burst_left) - 1),
                at.eq(at + 1),
                address.eq(at_address + beat_bytes),
                in_packet.eq(~done),
            ]
        with m.Elif(sending_descriptor):
            m.d.sync += [
                self.dma.wvalid.eq(1),
                self.dma.wdata.eq(descriptor_beat),
                self.dma.wstrb.eq(~0),
                self.dma.wlast.eq(descriptor_done),
                burst_left.eq(descriptor_beats - 1 - which),
                in_descriptor.eq(Mux(descriptor_done, 0, descriptor_beats - 1 - which)),
                running_void.eq(void),
            ]
        with m.If(go_packet):
            m.d.sync += [self.dma.awvalid.eq(1), self.dma.awaddr.eq(at_address), self.dma.awlen.eq(burst - 1)]
        with m.Elif(go_descriptor):
            m.d.sync += [
                self.dma.awvalid.eq(1),
                self.dma.awaddr.eq(descriptor_base + Cat(Const(0, 6), (head & mask)[:24])),
                self.dma.awlen.eq(descriptor_beats - 1),
            ]

        m.d.comb += [
            awaited.w_en.eq(go_packet | go_descriptor),
            awaiting.packet_end.eq(go_packet & (burst == to_end)),
            awaiting.descriptor.eq(go_descriptor),
            awaiting.void.eq(void),
            awaiting.ticket.eq(pending_head.ticket),
        ]
        for n in range(profile.rings):
            with m.If(self.rings[n].start):
                m.d.sync += self.heads[n].eq(0)
            with m.Elif(descriptor_done & (target == n)):
                m.d.sync += self.heads[n].eq(self.heads[n] + 1)

        self._responses(m, awaited, awaited_shape, results)
        m.d.sync += [
            self.events.extra_read.eq(done & composed_extra),
            self.events.data_beat.eq(sending_packet),
            self.events.descriptor_beat.eq(sending_descriptor),
        ]
        return m

    def _at_once(self, m, length, at, compose_now):
        """The words at ``at``, of all that may be a tag's, which a copy leaves in registers when it is composed."""
        words = [Signal(32, name=f"word{n}") for n in range(compose.TAGGED_WORDS)]
        with m.If(compose_now):
            m.d.sync += [word.eq(v) for word, v in zip(words, compose.slot_words(self.i.p, length), strict=True)]
        beat_words = self._profile.beat_bytes // 4
        tagged = [Signal(32, name=f"lane{lane}") for lane in range(beat_words)]
        for lane, value in enumerate(tagged):
            with m.Switch(at):
                for beat, word in enumerate(words[lane::beat_words]):
                    with m.Case(beat):
                        m.d.comb += value.eq(word)
        return tagged

    def _in_beats(self, m, length, first, begin, begun, sent, last_word, pending, descriptors):
        """The words at ``at``, each chosen when it is sent, as the beats of the descriptor are when they are queued.

        The copy stays at the door until its tag is sent and its descriptor made.
        """
        lanes, width = self._profile.beat_bytes // 4, self._profile.data_width
        beats = 8 * DESCRIPTOR.size // width
        making = Signal(range(beats))  # which beat of the descriptor
        making_bit = Signal(beats, init=1)  # the same, a bit for each
        made = Signal()  # all of it
        tagging = Signal()
        descriptor = compose.descriptor_bits(self.i.p, length)
        m.d.comb += [
            # One that is a descriptor alone takes as many cycles as it has beats.
            self.i.ready.eq((made | pending.w_en) & begun & ~tagging),
            descriptors.w_data.eq(_chosen(making_bit, [descriptor.word_select(n, width) for n in range(beats)])),
            descriptors.w_en.eq(begin | (begun & ~made)),
            pending.w_en.eq(descriptors.w_en & (making == beats - 1)),
        ]
        with m.If(descriptors.w_en):
            m.d.sync += [making.eq(making + 1), making_bit.eq(making_bit.rotate_left(1))]
        with m.If(pending.w_en):
            m.d.sync += made.eq(1)
        with m.If(last_word):
            m.d.sync += tagging.eq(0)
        with m.If(begin):
            m.d.sync += [begun.eq(1), tagging.eq(~self.i.p.bare)]
        with m.If(self.i.ready):
            m.d.sync += [begun.eq(0), made.eq(0)]
        # The words of the next beat are chosen while this one is sent, and where they are is known by then.
        choices = compose.slot_choices(self.i.p, length)
        words = []
        for lane in range(lanes):
            choice = Signal(len(choices), name=f"choice{lane}")
            behind = Signal(compose.BACK_BITS, name=f"behind{lane}")
            with m.If(begin | (sent & begun)):
                m.d.sync += [
                    choice.eq(compose.slot_choice(m, self.i.p, length, behind)),
                    behind.eq(behind - lanes),
                ]
            with m.Elif(~begun):
                m.d.sync += behind.eq(compose.words_behind(self.i.p, Cat(Const(lane, ceil_log2(lanes)), first)))
            words.append(_chosen(choice, choices))
        return words

    def _responses(self, m, awaited, awaited_shape, results):
        """Responses come in the order of the bursts: one ID."""
        head = Signal(awaited_shape)
        packet_failed = Signal()  # a burst of this packet before its last
        # A copy of this packet is written, or of the report whose copies go between two of its.
        any_copy = Signal()
        any_report = Signal()
        so_far = Signal()
        failed = Signal()
        answered = Signal()
        m.d.comb += [
            head.eq(awaited.r_data),
            self.dma.bready.eq(awaited.r_rdy),
            answered.eq(self.dma.bvalid & self.dma.bready),
            awaited.r_en.eq(answered),
            failed.eq(self.dma.bresp != _OKAY),
            results.w_data.eq(~(failed | packet_failed)),
            results.w_en.eq(answered & head.packet_end),
        ]
        events = self.events
        m.d.sync += [
            events[name].eq(0) for name in ("response_error", "delivered", "failed", "copy_written", "copy_failed")
        ]
        written = Signal()
        m.d.comb += [
            written.eq(~failed & ~head.void),
            so_far.eq(Mux(head.ticket.report, any_report, any_copy)),
        ]
        with m.If(answered):
            m.d.sync += events.response_error.eq(failed)
            with m.If(head.descriptor):
                m.d.sync += [
                    events.copy_written.eq(written),
                    events.copy_failed.eq(~written),
                    events.ring.eq(head.ticket.ring),
                    events.of_report.eq(head.ticket.report),
                    events.captured.eq(head.ticket.captured),
                    events.delivered.eq(head.ticket.last & (so_far | written)),
                    events.failed.eq(head.ticket.last & ~(so_far | written)),
                ]
                for mine, is_mine in ((any_copy, ~head.ticket.report), (any_report, head.ticket.report)):
                    with m.If(is_mine):
                        m.d.sync += mine.eq((mine | (written & ~head.ticket.extra)) & ~head.ticket.last)
            with m.Else():
                m.d.sync += packet_failed.eq((packet_failed | failed) & ~head.packet_end)
        for n in range(self._profile.rings):
            with m.If(self.rings[n].start):
                m.d.sync += self.fault[n].eq(0)
            with m.Elif(answered & head.descriptor & failed & (head.ticket.ring == n)):
                m.d.sync += self.fault[n].eq(1)


def _chosen(choice, values):
    """The one of ``values`` whose bit in ``choice`` is set, or 0."""
    return reduce(or_, (value & choice[n].replicate(len(value)) for n, value in enumerate(values)))

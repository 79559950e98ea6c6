"""Which rings take a packet: filter, spreading, sampling, room; one copy a ring that does."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.descriptor import HEADROOM, SLOT_ALIGNMENT
from sentinic.abi.profiles import Profile
from sentinic.abi.registers import RING_MARGIN_DESCRIPTORS, RING_MARGIN_SLOTS
from sentinic.abi.syn_offload import UNANSWERED
from sentinic.abi.verdicts import Kind
from sentinic_hdl.meta import LENGTH_BITS, PacketMeta
from sentinic_hdl.rings import compose, extra_copies
from sentinic_hdl.rings.report_copies import ReportCopies
from sentinic_hdl.rings.types import SLOT_BITS, RingConfig, SelectFates, copy_shape, report_frame, ring_events
from sentinic_hdl.store import release_shape

#: A ring's snap length never cuts the link and VLAN headers that the tag is put behind, or leaves no byte at all.
MIN_SNAP_BYTES = 64
#: Cycles that a report of statistics could go in, but for a packet's copy, before it goes instead of one.
REPORT_PATIENCE = 15


class Select(wiring.Component):
    """Decides, for each packet, which rings take it.

    One packet a cycle that no ring takes; one copy a cycle otherwise.  Three cycles from ``i`` to ``o``.  Where
    queues are in parts, which give and take no item a cycle either, both take one more.

    A report goes to each ring that is there for its kind, in a cycle in which no packet's copy leaves, or after some
    cycles instead of one: packets that no ring takes never wait for it.  One of statistics waits until all these rings
    have room.  One of attempts waits for packets' copies, however long, and until it is its turn; for room too if
    ``pause``, else a ring that is full goes without.  A report for which there is no ring is lost.

    A ring whose snap length is 0 when it is switched on gets descriptors only (``bare``): its packets take no slot.
    Nor do plain segments (:func:`compose.is_plain`) at a ring that asks for it, behind which nothing is lost untold.
    A packet that a ring wants and that finds it full is lost to that ring alone.  When the DMA bus is behind
    (``congested``), the packet is lost to all.  With ``pause`` it waits for either, unless the ring cannot be written.

    A SYN of an attempt that nobody answered has no copy while others wait (``busy``), so that these never wait for many
    of it.  What a stage has ended (``Kind.VOID``) goes to no ring.

    A SYN that waits or ends in SYN offload goes raw to the rings with ``raw_syns``, under the same condition.  Of one
    that waits these are extra copies (:func:`compose.is_extra`): it comes again later, for all other rings, and is
    counted then.  If no ring takes it, it is given back when the extra copies before it have been read, and counts as
    delivered if there were any.

    Members
    -------
    i: packets
    report, attempts: reports of statistics, and of attempts that nobody answered
    o: copies, for :class:`Writer`
    release: packets that no ring takes
    report_lost, attempts_lost: there is no ring for the report offered; it is taken
    attempts_wanted: there is a ring for reports of attempts
    raw_wanted: there is one for raw SYNs
    rings: the ring's registers
    fault: rings that must not be written
    congested: there is no room for the copies of another packet behind ``o``
    busy: copies wait behind ``o``
    attempts_turn: a report of attempts may go: few copies wait behind ``o``, and no packet that it must not overtake
    fates: packets that end here
    ring_events: per ring
    taken: a bit a ring: a packet was decided for it
    extra_read: an extra copy with bytes has been read
    done: a packet leaves
    unreported: a bit a port: a SYN that nobody answered, and that a ring wanted, goes to none
    """

    def __init__(self, *, profile: Profile):
        self._profile = profile
        # In parts, there is time to decide first, and make the copies then.
        self._at_leisure = int(profile.queue_parts > 1)
        super().__init__(
            {
                "i": In(stream.Signature(PacketMeta)),
                "report": In(stream.Signature(report_frame(profile))),
                "report_lost": Out(1),
                "attempts": In(stream.Signature(report_frame(profile))),
                "attempts_lost": Out(1),
                "attempts_wanted": Out(1),
                "raw_wanted": Out(1),
                "o": Out(stream.Signature(copy_shape(profile))),
                "release": Out(stream.Signature(release_shape(profile))),
                "rings": In(RingConfig()).array(profile.rings),
                "fault": In(profile.rings),
                "congested": In(1),
                "busy": In(1),
                "attempts_turn": In(1),
                "pause": In(1),
                "fates": Out(SelectFates),
                "ring_events": Out(ring_events(profile)),
                "taken": Out(profile.rings),
                "extra_read": In(1),
                "done": Out(1),
                "unreported": Out(profile.ports),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self._profile
        rings = range(profile.rings)

        # Stage 1: match every ring's filter.
        meta = Signal(PacketMeta)
        matched = Signal(profile.rings)
        match = Signal(profile.rings)
        meta_valid = Signal()
        meta_done = Signal()
        # What leaves is known late; in parts, the next one is not there yet when it does.
        m.d.comb += self.i.ready.eq(~meta_valid | (meta_done if profile.queue_parts == 1 else 0))
        told = Signal(profile.rings)  # whatever else it is, it crosses a threshold
        matches = []
        for n in rings:
            config = self.rings[n]
            headers = self.i.p.headers
            scaled = Signal(23, name=f"scaled{n}")
            m.d.comb += scaled.eq(headers.flow_hash[16:] * config.spread_count)
            matches.append(
                config.enable
                & config.filter_ports.bit_select(self.i.p.info.port, 1)
                & config.filter_protocols.bit_select(headers.protocol_class, 1)
                & config.filter_verdicts.bit_select(headers.verdict, 1)
                & ((config.spread_count[1:] == 0) | (scaled[16:] == config.spread_index))
            )
        crosses, given = compose.crosses(self.i.p), compose.is_regenerated(self.i.p)
        crossings = Cat(self.rings[n].enable & self.rings[n].crossings & crosses for n in rings)
        # Which rings it is for, whatever they filter: a SYN that was held, those that had it when it came have no more.
        raw = Signal(profile.rings)
        allowed = Signal(profile.rings)
        in_vain = Signal()
        m.d.comb += [
            raw.eq(Cat(config.raw_syns for config in self.rings)),
            allowed.eq(
                Mux(self.i.p.raw, raw, Mux(self.i.p.kind == Kind.VOID, 0, ~(raw & self.i.p.shared.replicate(len(raw)))))
            ),
            in_vain.eq(given & Cat(self.i.p.reason == reason for reason in UNANSWERED).any()),
        ]
        m.d.sync += self.raw_wanted.eq((Cat(config.enable for config in self.rings) & raw & ~self.fault).any())
        ended = Signal()  # a stage has ended it; it may go to rings that want raw SYNs
        unanswered = Signal()  # a SYN that was held in vain
        yielding = Signal()  # has no copy while others wait
        # How much of it each ring would take, and the room that needs, before it is known which ring that is.
        taken_bytes, taken_slots, taken_bare, taken_plain = [], [], [], []
        plain = Signal()
        m.d.comb += plain.eq(compose.is_plain(self.i.p))
        # Settled when the ring is switched on, so that a packet is never looked at as one kind and placed as the other.
        self._bare = [Signal(name=f"bare{n}") for n in rings]
        for n in rings:
            captured, slots = Signal(LENGTH_BITS, name=f"captured{n}"), Signal(9, name=f"slots{n}")
            bare, spare = Signal(name=f"taken_bare{n}"), Signal(name=f"taken_plain{n}")
            taken_bytes.append(captured)
            taken_slots.append(slots)
            taken_bare.append(bare)
            taken_plain.append(spare)
            with m.If(self.rings[n].start):
                m.d.sync += self._bare[n].eq(self.rings[n].snap_length == 0)
            snap, length = Signal(LENGTH_BITS, name=f"snap{n}"), Signal(LENGTH_BITS, name=f"length{n}")
            m.d.comb += [
                snap.eq(Mux(self.rings[n].snap_length < MIN_SNAP_BYTES, MIN_SNAP_BYTES, self.rings[n].snap_length)),
                length.eq(Mux(self.i.p.info.length < snap, self.i.p.info.length, snap)),
            ]
            with m.If(self.i.ready & self.i.valid):
                m.d.sync += [
                    captured.eq(length),
                    slots.eq(HEADROOM // SLOT_ALIGNMENT + ((length + SLOT_ALIGNMENT - 1) >> 6)),
                    bare.eq(self._bare[n]),
                    spare.eq(plain & self.rings[n].bare_plain),
                ]
                with m.If(self._bare[n]):
                    m.d.sync += [captured.eq(0), slots.eq(0)]
        wanted = taken_bytes, taken_slots, taken_bare, taken_plain
        # A packet that waits here is not for a ring that was switched off meanwhile, nor for what it is switched on as.
        enabled = Cat(self.rings[n].enable for n in rings)
        here, crossed = Signal(profile.rings), Signal(profile.rings)
        m.d.comb += match.eq(matched & enabled)
        m.d.sync += matched.eq(match)
        with m.If(self.i.ready):
            m.d.sync += meta_valid.eq(self.i.valid)
        with m.Elif(meta_done):
            m.d.sync += meta_valid.eq(0)
        with m.If(self.i.ready & self.i.valid):
            m.d.comb += [
                here.eq((Cat(matches) | crossings) & allowed),
                crossed.eq(crossings),
            ]
            m.d.sync += [
                meta.eq(self.i.payload),
                matched.eq(here),
                told.eq(crossed),
                ended.eq((self.i.p.kind == Kind.VOID) | self.i.p.raw),
                unanswered.eq(in_vain),
                yielding.eq(in_vain | self.i.p.raw),
            ]

        # Stage 2: sample, look for room, and emit a copy a cycle, lowest ring first.
        room = self._room(m)
        begun = Signal()
        todo = Signal(profile.rings)
        sampled = Signal(profile.rings)
        taking = Signal(profile.rings)
        chosen = Signal(range(profile.rings))
        rest = Signal(profile.rings)
        hold = Signal()  # a paused card waits for the bus, and for all its rings
        congested = Signal()
        copy_valid = Signal()
        copy_ready = Signal()
        release_ready = Signal()
        counts = [Signal(16, name=f"sample_count{n}") for n in rings]
        due = Signal(profile.rings, init=~0)  # the count is 0: what hangs on it is far to go
        m.d.comb += [
            sampled.eq(match & (told | due)),
            congested.eq(self.congested | (yielding & self.busy)),
            hold.eq(self.pause & (sampled & ~self.fault & (~room | congested.replicate(profile.rings))).any() & ~begun),
            taking.eq(Mux(begun, todo, sampled & room & ~congested.replicate(profile.rings))),
            rest.eq(taking & (taking - 1)),
        ]
        for n in reversed(rings):
            with m.If(taking[n]):
                m.d.comb += chosen.eq(n)
        first = meta_valid & ~begun & ~hold
        extra = Signal()
        at_leisure = self._at_leisure
        m.d.comb += [
            extra.eq(compose.is_extra(meta)),
            copy_valid.eq(meta_valid & (begun if at_leisure else ~hold & taking.any())),
        ]
        with m.If(meta_valid & ~hold):
            with m.If(~taking.any()):
                m.d.comb += meta_done.eq(release_ready)
            with m.Elif(copy_valid & copy_ready):
                m.d.comb += meta_done.eq(~rest.any())
                m.d.sync += [begun.eq(rest.any()), todo.eq(rest)]
            with m.Elif(first & at_leisure):
                m.d.sync += [begun.eq(1), todo.eq(taking)]
        ends = extra_copies.give_back(
            m, profile, self.release, self.extra_read, meta, meta_valid & ~hold & ~taking.any(), extra, release_ready
        )

        place_ready = Signal()
        report_copy = Signal()
        frame = Signal(report_frame(profile))
        # Of a packet and a report in the same cycle, ``taken`` could tell but one.
        undecided = meta_valid & ~begun if at_leisure else 0
        groups, attempts = self._reports(m, room, place_ready, undecided, begun | copy_valid)
        m.d.comb += [
            report_copy.eq(groups.copy | attempts.copy),
            copy_ready.eq(place_ready & ~report_copy & (~extra | ends.w_rdy)),
            frame.eq(Mux(attempts.copy, self.attempts.payload, self.report.payload)),
            self.done.eq(meta_valid & meta_done),
        ]

        # What is counted is counted once a packet: in the cycle in which it leaves this stage, or its first copy does.
        decided = Signal()
        lost = Signal(profile.rings)
        m.d.comb += [
            decided.eq(first & Mux(taking.any(), copy_ready | at_leisure, release_ready)),
            lost.eq(sampled & ~taking),
            self.taken.eq((taking & decided.replicate(profile.rings)) | groups.taken | attempts.taken),
        ]
        fate = Signal(SelectFates)
        with m.If(taking.any()):
            m.d.comb += fate.delivered.eq(1)
        with m.Elif(~match.any()):
            m.d.comb += [fate.offloaded.eq(ended), fate.filtered.eq(~ended)]
        with m.Elif(~sampled.any()):
            m.d.comb += fate.sampled_out.eq(1)
        with m.Else():
            m.d.comb += [fate.congested.eq((sampled & room).any()), fate.ring_full.eq(~(sampled & room).any())]
        earlier = extra_copies.earlier_fates(m, profile, self.i, meta, fate, decided & extra)
        m.d.sync += [self.fates.eq(0), self.ring_events.eq(0), self.unreported.eq(0)]
        with m.If(decided):
            m.d.sync += [self.ring_events.sampled_out.eq(match & ~sampled), self.ring_events.lost.eq(lost)]
            with m.If(~taking.any() & ~extra):
                m.d.sync += [
                    self.fates.eq(fate),
                    self.unreported.eq((unanswered & sampled.any() & ~earlier.delivered) << meta.info.port),
                ]
                # Where no other ring wants it, what became of its extra copies counts; a record tells more than none.
                with m.If(earlier.delivered | (earlier.as_value().any() & ~match.any() & ~ended)):
                    m.d.sync += self.fates.eq(earlier)
            for n in rings:
                with m.If(match[n] & ~told[n]):
                    again = Signal(name=f"sample_again{n}")
                    m.d.comb += again.eq(counts[n] + 1 >= self.rings[n].sample)
                    m.d.sync += [counts[n].eq(Mux(again, 0, counts[n] + 1)), due[n].eq(again)]
        for n in rings:
            with m.If(self.rings[n].start):
                m.d.sync += [counts[n].eq(0), due[n].eq(1)]

        source = {
            "valid": (copy_valid & (~extra | ends.w_rdy)) | report_copy,
            "ready": place_ready,
            "report": report_copy,
            "frame": frame,
            "ring": Mux(attempts.copy, attempts.chosen, Mux(groups.copy, groups.chosen, chosen)),
            "last": ~Mux(attempts.copy, attempts.rest, Mux(groups.copy, groups.rest, rest)).any(),
        }
        marking = self._place(m, meta, wanted, source, lost, decided)
        m.d.comb += [
            ends.w_data.eq(Cat(meta.cell[: len(self.release.p.cell)], ~extra)),
            ends.w_en.eq(Mux(extra, marking, meta_valid & ~hold & ~taking.any() & meta.shared)),
        ]
        return m

    def _reports(self, m, room, ready, undecided, busy):
        """Copies of reports, of statistics and of attempts.

        ``ready``: there is a place, which they share with packets; ``undecided``: with one that is decided upon now;
        ``busy``: with one that has a copy to go now.
        """
        at_leisure = self._at_leisure
        groups = ReportCopies(m, self, "report", "reports", self._bare, ready, at_leisure=at_leisure)
        attempts = ReportCopies(m, self, "attempts", "attempts", self._bare, ready, at_leisure=at_leisure)
        # Where packets come in every cycle, each that has to wait is late for ever.  Where the bus is behind, cycles in
        # which a report could go instead of a packet come one by one.
        waited = Signal(range(REPORT_PATIENCE + 1))
        ripe, its_turn = Signal(), Signal()
        m.d.comb += its_turn.eq(self._at_leisure | ~busy | (waited == REPORT_PATIENCE))
        with m.If(~self.report.valid | self.report.ready):
            m.d.sync += waited.eq(0)
        with m.Elif(ripe & ~its_turn):
            m.d.sync += waited.eq(waited + 1)
        m.d.comb += [
            ripe.eq(
                self.report.valid
                & ~groups.begun
                & ~attempts.begun
                & ~undecided
                & ~(groups.wanting & ~room).any()
                & ~self.congested
            ),
            groups.may_begin.eq(ripe & its_turn),
            groups.first.eq(groups.wanting),
            attempts.may_begin.eq(
                self.attempts.valid
                & ~attempts.begun
                & ~(groups.may_begin if at_leisure else groups.copy)
                & ~groups.begun
                & ~undecided
                & ~busy
                & self.attempts_turn
                & Mux(self.pause, ~(attempts.wanting & ~room).any(), attempts.first.any() | ~attempts.wanting.any())
            ),
            attempts.first.eq(Mux(self.pause, attempts.wanting, attempts.wanting & room)),
            self.attempts_wanted.eq(attempts.wanting.any()),
            self.report_lost.eq(groups.lost),
            self.attempts_lost.eq(attempts.lost),
        ]
        return groups, attempts

    def _room(self, m):
        """A bit a ring: it has room, with a margin for what was decided in the last cycles."""
        profile = self._profile
        self._descriptor_head = [Signal(32, name=f"descriptor_head{n}") for n in range(profile.rings)]
        self._data_head = [Signal(SLOT_BITS, name=f"data_head{n}") for n in range(profile.rings)]
        room = Signal(profile.rings)
        for n in range(profile.rings):
            config = self.rings[n]
            descriptors = Signal(32, name=f"descriptors_used{n}")
            slots = Signal(SLOT_BITS, name=f"slots_used{n}")
            m.d.sync += [
                descriptors.eq(self._descriptor_head[n] - config.descriptor_tail),
                slots.eq(self._data_head[n] - config.data_tail),
                room[n].eq(
                    config.enable
                    & ~self.fault[n]
                    & (descriptors + RING_MARGIN_DESCRIPTORS <= config.descriptor_mask)
                    & ((slots + RING_MARGIN_SLOTS <= config.data_mask) | self._bare[n])
                ),
            ]
        return room

    def _place(self, m, meta, wanted, source, lost, decided):
        """Stage 3: give the copy its place in the data ring.

        Returns whether there is one, of a packet, whose bytes are to be read.
        """
        profile = self._profile
        taken_bytes, taken_slots, taken_bare, taken_plain = wanted
        since = [Signal(32, name=f"lost_since{n}") for n in range(profile.rings)]
        telling, untold = Signal(profile.rings), Signal(profile.rings)
        plain = Signal()
        bare = Signal()
        copy = Signal(copy_shape(profile))
        slots = Signal(9)
        placed = Signal()
        forward = Signal()
        m.d.comb += [
            source["ready"].eq(~placed | ~self.o.valid | self.o.ready),
            forward.eq(placed & (~self.o.valid | self.o.ready)),
        ]
        report, chosen = source["frame"], source["ring"]
        m.d.comb += [
            untold.eq(Cat(each.any() for each in since) & ~telling),
            plain.eq(Array(taken_plain)[chosen] & ~untold.bit_select(chosen, 1)),
            bare.eq(plain | Array(taken_bare)[chosen]),
        ]
        with m.If(source["ready"]):
            m.d.sync += placed.eq(source["valid"])
        with m.If(source["ready"] & source["valid"]):
            m.d.sync += [
                copy.meta.eq(meta),
                copy.ring.eq(chosen),
                copy.captured.eq(Mux(plain, 0, Array(taken_bytes)[chosen])),
                copy.bare.eq(bare),
                copy.plain.eq(plain),
                copy.last.eq(source["last"]),
                slots.eq(Mux(plain, 0, Array(taken_slots)[chosen])),
            ]
            with m.If(source["report"]):
                # All else of it is 0: a register's reset, where a choice would be a table a bit.
                m.d.sync += [
                    copy.meta.eq(0),
                    copy.meta.kind.eq(Kind.REPORT),
                    copy.meta.cell.eq(report.cell),
                    copy.meta.info.eq(report.info),
                    copy.captured.eq(report.info.length),
                    copy.bare.eq(0),
                    copy.plain.eq(0),
                    slots.eq(HEADROOM // SLOT_ALIGNMENT + ((report.info.length + SLOT_ALIGNMENT - 1) >> 6)),
                ]

        head = Signal(SLOT_BITS)
        mask = Signal(SLOT_BITS)
        offset = Signal(SLOT_BITS + 1)
        start = Signal(SLOT_BITS)
        m.d.comb += [
            head.eq(Array(self._data_head)[copy.ring]),
            mask.eq(Array([self.rings[n].data_mask for n in range(profile.rings)])[copy.ring]),
            offset.eq((head & mask) + slots - 1),
            # A slot never wraps: what is left at the end of the ring is skipped.
            start.eq(Mux(offset > mask, (head | mask) + 1, head)),
        ]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(placed)
        with m.If(forward):
            m.d.sync += [
                self.o.payload.eq(copy),
                self.o.p.slot.eq(start & mask),
                self.o.p.lost.eq(Array(since)[copy.ring]),
            ]
        for n in range(profile.rings):
            mine = forward & (copy.ring == n)
            with m.If(self.rings[n].start):
                m.d.sync += [self._data_head[n].eq(0), self._descriptor_head[n].eq(0), since[n].eq(0)]
            with m.Else():
                with m.If(mine):
                    m.d.sync += self._descriptor_head[n].eq(self._descriptor_head[n] + 1)
                with m.If(mine & ~copy.bare):
                    m.d.sync += self._data_head[n].eq(start + slots)
                m.d.comb += telling[n].eq(mine & compose.tells_loss(copy))
                with m.If(decided & lost[n]):
                    m.d.sync += since[n].eq(Mux(telling[n], 1, since[n] + 1))
                with m.Elif(telling[n]):
                    m.d.sync += since[n].eq(0)
        return source["ready"] & source["valid"] & ~source["report"] & ~bare

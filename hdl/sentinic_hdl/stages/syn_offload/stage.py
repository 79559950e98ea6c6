"""The SYN offload stage: SYNs wait here until somebody answers, or their time is over."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from sentinic.abi.profiles import Profile
from sentinic.abi.registers import SYN_OFFLOAD
from sentinic.abi.syn_offload import UNANSWERED, Reason
from sentinic.abi.verdicts import Kind
from sentinic_hdl.csr.bank import RegisterBank
from sentinic_hdl.meta import PacketMeta, Quote
from sentinic_hdl.stages.syn_offload.clock import PacketClock
from sentinic_hdl.stages.syn_offload.expiry import Expiry
from sentinic_hdl.stages.syn_offload.records import Records
from sentinic_hdl.stages.syn_offload.table import LATENCY, Attempts
from sentinic_hdl.stages.syn_offload.types import (
    SECRET_WORDS,
    Record,
    ended_of,
    held_of,
    held_shape,
    is_error,
    is_tcp,
    op_of,
    restored,
    secret_bits,
    stage_members,
)

#: Packets and sweeps inside: more than there are cycles from entry to exit.
DEPTH = 16
#: Of these, the last that are for packets alone.
SWEEP_MARGIN = 4
#: Outcomes that may wait while a SYN that is held goes on raw: with more, packets behind it would be held up.
CROWD = 4
#: Cycles that a sweep waits for a cycle without a packet before it takes one, where that loses nothing.
PATIENCE = 63
#: Cycles from one sweep to the next where a SYN that goes on may be lost: so few on their way do not meet.
SWEEP_PACE = 8
#: Cycles that a sweep waits there for the bus, before it expects no more of it.
BUS_PATIENCE = 1023
#: Records that may wait for the reports: as many as come while one is closed, and handed over.
RECORDS = 64


class SynOffload(wiring.Component):
    """Holds SYNs, and gives each back just before whatever else comes of its 5-tuple, or when its time is over.

    What goes in comes out, once: at once, later as ``Kind.REGENERATED`` (with ``reason`` and, in ``crossing``, what
    came of it), or at once as ``Kind.VOID``, an end, when it is a SYN that is held already.  Order is kept but for the
    SYNs held.

    With ``raw_wanted``, a SYN that is held goes on at once as well, as it came, ``raw`` and ``shared``.  One that takes
    the place of another needs a second cycle of ``o`` for that: without ``lossless`` it has none while more than
    ``CROWD`` packets wait; then it comes later for all, and is not ``shared``.  One that comes again is ``raw``, not
    an end, if the first was.

    Takes a packet a cycle; one that a held SYN goes before takes two cycles of ``o``.  Sweeps of attempts that are over
    use cycles without a packet, as long as there is room for records; only with ``lossless``, or when all attempts are
    to end, they take one in ``PATIENCE`` and one.  Where a SYN that goes on may be lost they are ``SWEEP_PACE`` cycles
    apart, and wait for the bus.  Switched off and empty, a packet passes in one cycle; else in seven.

    In compact mode a SYN that nobody answered comes out as ``Kind.VOID``, too, and as a record.  One for which there is
    no room is counted, and told of by nothing.  With ``lossless`` it waits for room instead, and so does what comes
    behind it, until its record is gone: then records come where the SYNs would have come.

    Members as in :class:`StageSignature`, and

    time: wire time, ns
    behind: copies wait for the bus, almost as many as leave a SYN in vain without one
    lossless: time moves with packets only, and nothing may be lost
    quotes: what packets with ``quotes_tcp`` quote, in their order; they wait for it
    records: attempts that nobody answered, in compact mode
    wanted: somebody takes records
    raw_wanted: somebody takes raw SYNs
    reporting: records taken are still on their way
    hurry: packets wait for that
    holding: SYNs held, each with a cell of the packet store
    attempts: what became of them, for the counters
    """

    def __init__(self, profile: Profile):
        self._profile = profile
        super().__init__(
            {
                **stage_members(profile),
                "quotes": In(stream.Signature(Quote)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self._profile
        sets = profile.syn_attempts // profile.syn_ways
        m.submodules.bank = bank = RegisterBank(block=SYN_OFFLOAD)
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        m.submodules.table = table = Attempts(sets=sets, ways=profile.syn_ways)
        m.submodules.expiry = expiry = Expiry(
            sets=sets, ways=profile.syn_ways, depth=max(16, profile.syn_attempts // 4)
        )
        timeout = Cat(bank.timeout_low, bank.timeout_high)
        enabled, flush = Signal(), Signal()
        reporting = Signal()  # records wait, here or behind
        m.d.comb += [
            enabled.eq(bank.control[0] & ~table.clearing),
            flush.eq(bank.action_strobe[0]),
            bank.shape.eq(ceil_log2(profile.syn_attempts) | profile.syn_ways << 8 | profile.cell_bytes << 16),
            bank.status.eq(Cat(table.clearing, expiry.flushing, reporting)),
            bank.holding.eq(table.holding),
            table.secret.eq(Cat(getattr(bank, f"hash_key{n}") for n in range(SECRET_WORDS))[: secret_bits(sets)]),
            table.timeout.eq(expiry.horizon_timeout),
            expiry.timeout.eq(timeout),
            expiry.insert.eq(table.inserted),
            expiry.index.eq(table.inserted_index),
            expiry.at.eq(table.inserted_at),
            expiry.flush.eq(flush),
            self.holding.eq(table.holding),
        ]
        m.submodules.clock = clock = PacketClock()
        m.d.comb += [
            clock.valid.eq(self.i.valid),
            clock.timestamp.eq(self.i.p.info.timestamp),
            clock.time.eq(self.time),
            clock.lossless.eq(self.lossless),
            expiry.now.eq(clock.now),
        ]

        m.submodules.ended = ended = Records(depth=RECORDS)

        # --- In ---
        m.submodules.metas = metas = SyncFIFOBuffered(width=PacketMeta.as_shape().size, depth=DEPTH)
        inside = Signal(range(DEPTH + 1))  # packets and sweeps whose outcome is to come
        empty, idle, direct, room, gap = Signal(), Signal(), Signal(), Signal(), Signal()
        known = Signal()  # what the packet quotes is here
        going, sweeping, leaving, passing = Signal(), Signal(), Signal(), Signal()
        looking, may_sweep, spacing = Signal(), Signal(), Signal()
        m.d.comb += [
            empty.eq((inside == 0) & (table.live == 0)),
            expiry.empty.eq(empty),
            idle.eq(~bank.control[0] & ~expiry.flushing & empty),
            known.eq(~self.i.p.headers.quotes_tcp | self.quotes.valid),
            self.quotes.ready.eq(self.i.valid & self.i.ready & self.i.p.headers.quotes_tcp),
            room.eq(inside != DEPTH - 1),
            direct.eq(self.i.valid & idle & passing & known),
            going.eq(self.i.valid & ~idle & room & ~gap & known),
            self.i.ready.eq(Mux(idle, passing, room & ~gap) & known),
            metas.w_data.eq(self.i.payload),
            metas.w_en.eq(going),
            looking.eq(going & (is_tcp(self.i.p) | is_error(self.i.p))),
            # A sweep needs the place of a packet, and that of the SYN that it may give back.
            may_sweep.eq(~idle & ~table.clearing & (inside < DEPTH - SWEEP_MARGIN) & ~ended.crowded & ~spacing),
            sweeping.eq(expiry.due & may_sweep & ~going),
            expiry.done.eq(sweeping),
        ]
        m.d.sync += inside.eq(inside + (going | sweeping) - leaving)
        waited, harmless = Signal(range(PATIENCE + 1)), Signal()  # that a packet waits for a sweep
        m.d.comb += harmless.eq(self.lossless | expiry.flushing)
        with m.If(sweeping | ~expiry.due | idle):
            m.d.sync += [waited.eq(0), gap.eq(0)]
        with m.Elif(waited != PATIENCE):
            m.d.sync += waited.eq(waited + 1)
        with m.Else():
            m.d.sync += gap.eq(may_sweep & harmless)

        # A SYN in vain has no copy while others wait for the bus.  So one goes on after another, while few wait.
        pace, patience = Signal(range(SWEEP_PACE)), Signal(range(BUS_PATIENCE + 1))
        losing = Signal()
        m.d.sync += losing.eq(~self.lossless & ~bank.control[1])
        m.d.comb += spacing.eq(losing & ((pace != 0) | (self.behind & (patience != BUS_PATIENCE))))
        m.d.sync += pace.eq(Mux(sweeping, SWEEP_PACE - 1, Mux(pace == 0, 0, pace - 1)))
        with m.If(sweeping | ~expiry.due | ~self.behind):
            m.d.sync += patience.eq(0)
        with m.Elif(patience != BUS_PATIENCE):
            m.d.sync += patience.eq(patience + 1)

        op = table.i
        m.d.comb += op_of(profile, self.i.p, self.quotes.p, op, enabled=enabled)
        m.d.comb += [
            op.sweep.eq(sweeping),
            op.index.eq(expiry.sweep.index),
            op.flush.eq(sweeping & expiry.sweep.flush),
            op.now.eq(Mux(sweeping, expiry.sweep.now, self.i.p.info.timestamp)),
        ]
        m.d.comb += table.valid.eq(looking | sweeping)

        # --- Outcomes, in the order of what they are of ---
        outcome_shape = data.StructLayout(
            {"packet": 1, "give": 1, "hold": 1, "absorb": 1, "reason": 3, "slot": range(profile.syn_attempts)}
        )
        m.submodules.outcomes = outcomes = SyncFIFOBuffered(width=outcome_shape.size, depth=DEPTH)
        m.submodules.given = given = SyncFIFOBuffered(width=Record.as_shape().size, depth=DEPTH)
        began, packets = Signal(LATENCY), Signal(LATENCY)
        m.d.sync += [began.eq(Cat(going | sweeping, began)), packets.eq(Cat(going, packets))]
        outcome, here = Signal(outcome_shape), Signal(outcome_shape)
        m.d.comb += [outcome[name].eq(table.o.valid & table.o[name]) for name in ("give", "hold", "absorb")]
        m.d.comb += [outcome[name].eq(table.o[name]) for name in ("reason", "slot")]  # of what is given, or held
        m.d.comb += [
            outcome.packet.eq(packets[-1]),
            outcomes.w_data.eq(outcome),
            outcomes.w_en.eq(began[-1]),
            given.w_data.eq(table.o.record),
            given.w_en.eq(table.o.valid & table.o.give),
            here.eq(outcomes.r_data),
        ]

        # --- Out ---
        # What is held is written, and what is given back read, in the order of their outcomes: a slot that is taken
        # anew in the same cycle gives what was in it.
        m.submodules.held = held = Memory(shape=held_shape(profile), depth=profile.syn_attempts, init=[])
        write, read = held.write_port(), held.read_port()
        meta, record, reason = Signal(PacketMeta), Signal(Record), Signal.like(here.reason)
        giving, passing_on, step = Signal(), Signal(), Signal()
        ending = Signal()  # what is given is a record, and ends here
        copying = Signal()  # what is held goes on raw, too
        absorbing = Signal()  # what is passed on is held already, as what is read
        waits, moves = Signal(), Signal()
        arriving = Signal(PacketMeta)
        m.d.comb += [
            moves.eq(self.o.ready & ~waits),
            passing.eq((~giving & ~passing_on) | (moves & ~(giving & passing_on))),
            step.eq(outcomes.r_rdy & passing),
            leaving.eq(step),
            outcomes.r_en.eq(step),
            arriving.eq(metas.r_data),
            metas.r_en.eq(step & here.packet),
            given.r_en.eq(step & here.give),
            write.addr.eq(here.slot),
            write.en.eq(step & here.hold),
            read.addr.eq(here.slot),
            read.en.eq(step & (here.give | here.absorb)),
            copying.eq(here.hold & self.raw_wanted & (self.lossless | ~here.give | (outcomes.level <= CROWD))),
        ]
        m.d.comb += held_of(arriving, write.data, shared=copying)
        with m.If(moves):
            m.d.sync += giving.eq(0)
            with m.If(~giving):
                m.d.sync += passing_on.eq(0)
        with m.If(step):
            m.d.sync += [
                giving.eq(here.give),
                passing_on.eq(here.packet & (~here.hold | copying)),
                reason.eq(here.reason),
            ]
            with m.If(here.give):
                m.d.sync += [
                    record.eq(given.r_data),
                    ending.eq(bank.control[1] & Cat(here.reason == reason for reason in UNANSWERED).any()),
                ]
            with m.If(here.packet):
                m.d.sync += [
                    meta.eq(arriving),
                    meta.raw.eq(here.hold),
                    meta.shared.eq(here.hold),
                    absorbing.eq(here.absorb),
                ]
        with m.If(direct):
            m.d.sync += [meta.eq(self.i.payload), passing_on.eq(1), absorbing.eq(0)]
        back = Signal(PacketMeta)
        m.d.comb += restored(record, read.data, reason, back)
        with m.If(ending):
            m.d.comb += back.kind.eq(Kind.VOID)
        # A SYN that comes again is raw where the first was; where that comes later, it tells of this one.
        passed = Signal(PacketMeta)
        m.d.comb += passed.eq(meta)
        with m.If(absorbing & read.data.shared):
            m.d.comb += passed.raw.eq(1)
        with m.Elif(absorbing):
            m.d.comb += passed.kind.eq(Kind.VOID)
        m.d.comb += [
            self.o.valid.eq((giving | passing_on) & ~waits),
            self.o.payload.eq(Mux(giving, back, passed)),
        ]

        # --- Records ---
        m.d.comb += ended_of(record, read.data, reason, ended.entry)
        m.d.comb += [
            ended.offered.eq(giving | passing_on),
            ended.is_record.eq(giving & ending),
            ended.moves.eq(moves),
            ended.lossless.eq(self.lossless),
            ended.wanted.eq(self.wanted),
            ended.behind.eq(self.reporting),
            waits.eq(ended.waits),
            reporting.eq(ended.reporting),
            self.hurry.eq(ended.hurry),
        ]
        wiring.connect(m, wiring.flipped(self.records), ended.o)

        m.d.sync += self.attempts.eq(0)
        with m.If(ended.recorded | ended.unreported):
            m.d.sync += [
                self.attempts.recorded.eq(ended.recorded),
                self.attempts.unreported.eq(ended.unreported),
                self.attempts.ended_port.eq(record.port),
            ]
        with m.If(step):
            m.d.sync += [
                self.attempts.hold.eq(here.hold),
                self.attempts.absorb.eq(here.absorb),
                self.attempts.uncopied.eq(here.hold & self.raw_wanted & ~copying),
                self.attempts.port.eq(arriving.info.port),
                self.attempts.reason.eq(Mux(here.give, here.reason, Reason.NONE)),
                self.attempts.given_port.eq(data.View(Record, given.r_data).port),
            ]
        return m


__all__ = ["SynOffload"]

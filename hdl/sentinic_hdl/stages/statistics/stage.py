"""The statistics stage: packets pass it unchanged; rules count them in groups and tell of thresholds."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile
from sentinic.abi.registers import STATISTICS
from sentinic.abi.statistics import FIELD_WORDS
from sentinic_hdl.csr.bank import RegisterBank
from sentinic_hdl.csr.file import RegisterFile, split
from sentinic_hdl.meta import Crossing, PacketMeta
from sentinic_hdl.parts import part
from sentinic_hdl.queue import Queue
from sentinic_hdl.stages.base import StageSignature
from sentinic_hdl.stages.statistics.changes import Changes
from sentinic_hdl.stages.statistics.folded import FoldedUnit
from sentinic_hdl.stages.statistics.table import secret_bits
from sentinic_hdl.stages.statistics.types import Sample, report_shape, sample_of
from sentinic_hdl.stages.statistics.unit import LATENCY, Unit

#: Packets inside: more than there are cycles from entry to exit.
DEPTH = 16
#: Cycles from a packet's entry to the units' outcome: theirs, and one to them.
PIPELINE = LATENCY + 1
#: Cycles from the units' last sign of life until nothing moves around them.
LINGER = 3


class Statistics(wiring.Component):
    """Counts packets by rules; one packet a cycle, or one in as many cycles as rules share a table.

    Without a rule a packet passes in one cycle.

    A change of a rule, and the end of an interval, take effect between two packets: the stage lets those inside leave,
    some ten cycles, and goes on, at the end of an interval after two more cycles a rule (:class:`Changes`).  What was
    counted before then is reported by a sweep of the table, while packets pass.  A change waits for the sweep before to
    end, and for what the change before has left untold to be on its way, while packets pass.

    With ``folded_statistics`` a packet takes as many cycles as :class:`FoldedUnit` says, and one more.  A change takes
    128 more; the tables' secret is what it was at the last change.

    Parameters
    ----------
    profile: ``folded_statistics`` chooses the schedule
    clock_gates: units that sleep have a clock each; those of the folded schedule never sleep

    Members as in :class:`StageSignature`, and

    time: wire time, ns
    lossless: wait for room for reports rather than let them go into the overflow
    reports: groups for the host
    awake, gate_clk: with ``clock_gates``, which units' clocks are to tick, and these clocks
    """

    def __init__(self, profile: Profile, clock_gates: bool = False):
        rules, shared = profile.statistics_rules, profile.statistics_rules_a_table
        most = Crossing.as_shape()["rules"].width
        if not 1 <= rules <= most:
            raise ValueError(f"statistics_rules must be 1..{most}, not {rules}")
        if shared < 1 or rules % shared:
            raise ValueError(f"statistics_rules_a_table must divide the {rules} rules, not be {shared}")
        if profile.folded_statistics and shared != rules:
            raise ValueError(f"statistics_rules_a_table must be {rules}, all, not {shared}")
        if profile.folded_statistics and profile.statistics_ways != 2:
            raise ValueError(f"statistics_ways must be 2, not {profile.statistics_ways}")
        self._profile = profile
        self._clock_gates = clock_gates and not profile.folded_statistics
        self.gates = rules // shared if self._clock_gates else 0
        super().__init__(
            {
                **StageSignature().members,
                "time": In(64),
                "lossless": In(1),
                "reports": Out(stream.Signature(report_shape(profile))),
                **({"awake": Out(self.gates), "gate_clk": In(1).array(self.gates)} if self._clock_gates else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self._profile
        rules = profile.statistics_rules
        m.submodules.changes = changes = Changes(
            rules=rules, settle=1 if profile.folded_statistics else PIPELINE + 2, looked=profile.folded_statistics
        )
        registers, staged = split(STATISTICS, "hash_key0") if profile.folded_statistics else (STATISTICS, None)
        m.submodules.bank = bank = RegisterBank(block=registers)
        pending, sweeping, closing = Signal(), Signal(), Signal()
        m.d.comb += [
            changes.time.eq(self.time),
            changes.lossless.eq(self.lossless),
            changes.ask.eq(bank.apply_strobe),
            changes.rule.eq(bank.rule),
            changes.length.eq(Cat(bank.interval_low, bank.interval_high)),
            changes.sweeping.eq(sweeping),
            changes.closing.eq(closing),
            bank.status.eq(Cat(pending, sweeping | closing)),
            bank.shape.eq(
                rules | (profile.statistics_groups.bit_length() - 1) << 8 | profile.statistics_rules_a_table << 16
            ),
        ]
        if profile.folded_statistics:
            m.submodules.file = file = RegisterFile(block=staged)
            self._share_bus(m, bank.bus, file.bus)
            self._folded(m, bank, file, changes, pending, sweeping, closing)
        else:
            wiring.connect(m, wiring.flipped(self.bus), bank.bus)
            m.d.comb += pending.eq(changes.pending)
            self._pipelined(m, platform, bank, changes, sweeping, closing)
        return m

    def _share_bus(self, m, *windows):
        for window in windows:
            m.d.comb += [
                getattr(window, name).eq(getattr(self.bus, name))
                for name in ("address", "access", "read", "write", "write_data")
            ]
        m.d.comb += [
            self.bus.hit.eq(Cat(window.hit for window in windows).any()),
            self.bus.read_data.eq(reduce(or_, (window.read_data for window in windows))),
        ]

    def _folded(self, m, bank, file, changes, pending, sweeping, closing):
        """One packet at a time, which stays at the door; what changes is loaded word by word."""
        m.submodules.unit = unit = FoldedUnit(profile=self._profile)
        begun, done = Signal(), Signal()
        # Two half words of each word of the file.
        loading, half = Signal(), Signal(range(2 * file.words))
        sample = Signal(Sample)
        # What is to be done after a stop is known late: it is done a cycle later, in which no packet begins.
        change, sweep = Signal.like(changes.change), Signal.like(changes.sweep)
        acting = change.any() | sweep.any()
        m.d.sync += [
            change.eq(changes.change),
            sweep.eq(changes.sweep),
            unit.reason.eq(changes.reason),
            unit.final.eq(changes.final),
        ]
        m.d.comb += [
            sample_of(self.i.p, sample),
            changes.valid.eq(self.i.valid & ~begun),
            changes.timestamp.eq(self.i.p.info.timestamp),
            unit.start.eq(changes.valid & changes.seen & ~changes.stop & ~loading & ~acting),
            self.i.ready.eq(done & self.o.ready),
            self.o.valid.eq(done),
            self.o.payload.eq(self.i.payload),
            self.o.p.crossing.eq(unit.crossing),
            unit.i.eq(sample),
            unit.enabled.eq(changes.enabled),
            unit.lossless.eq(self.lossless),
        ]
        with m.If(self.i.ready):
            m.d.sync += [begun.eq(0), done.eq(0)]
        with m.Elif(unit.start):
            m.d.sync += begun.eq(1)
        with m.Elif(begun & unit.ending):
            m.d.sync += done.eq(1)

        m.d.comb += [
            changes.between.eq(~unit.busy & ~loading),
            sweeping.eq(unit.sweeping | file.clearing | sweep.any()),
            closing.eq(unit.closing),
            pending.eq(changes.pending | loading | change.any()),
            unit.change.eq(change),
            unit.sweep.eq(sweep),
            unit.flags.eq(bank.rule_flags),
            unit.thresholds.packets.eq(Cat(bank.threshold_packets_low, bank.threshold_packets_high)),
            unit.thresholds.bytes.eq(Cat(bank.threshold_bytes_low, bank.threshold_bytes_high)),
            unit.generation.eq(bank.generation),
            file.word.eq(half[1:]),
            Cat(unit.load.half, unit.load.kind).eq(half),
            unit.load.data.eq(file.data.word_select(half[0], len(unit.load.data))),
            unit.load_valid.eq(loading & file.granted),
        ]
        with m.If(change.any()):
            m.d.sync += loading.eq(1)
            for n in range(len(change)):
                with m.If(change[n]):
                    m.d.sync += unit.load_rule.eq(n)
        with m.If(unit.load_valid):
            m.d.sync += half.eq(half + 1)
            with m.If(half.all()):
                m.d.sync += loading.eq(0)
        wiring.connect(m, unit.reports, wiring.flipped(self.reports))

    def _pipelined(self, m, platform, bank, changes, sweeping, closing):
        """A packet a cycle and rule of a table; what changes, changes in one cycle.

        All that goes to the units and comes from them goes through registers that hold while no rule is on and no unit
        has anything to do.
        """
        profile = self._profile
        shared = profile.statistics_rules_a_table
        tables = profile.statistics_rules // shared
        sets = profile.statistics_groups // tables // profile.statistics_ways
        gated = self._clock_gates
        units = [
            Unit(profile=profile, rules=shared, sets=sets, ways=profile.statistics_ways, clock_gated=gated)
            for _ in range(tables)
        ]
        secret = Cat(getattr(bank, f"hash_key{n}") for n in range(16))[: secret_bits(sets)]
        lively, busy, active = Signal(range(LINGER + 1), init=LINGER), Signal(), Signal()
        m.d.comb += active.eq((lively != 0) | changes.change.any() | changes.sweep.any())
        with m.If(changes.enabled.any() | changes.change.any() | changes.sweep.any() | busy):
            m.d.sync += lively.eq(LINGER)
        with m.Elif(lively != 0):
            m.d.sync += lively.eq(lively - 1)
        valid, change, sweep = Signal(tables), Signal(len(changes.change)), Signal(len(changes.sweep))
        reason, final = Signal.like(changes.reason), Signal()
        taken, its_turn = Signal(Sample), Signal(range(max(2, shared)))
        for n, unit in enumerate(units):
            clock = self.gate_clk[n] if gated else None
            m.submodules[f"unit{n}"] = part(platform, "statistics_unit", unit, clock=clock)
            mine = slice(n * shared, (n + 1) * shared)
            m.d.comb += [
                unit.secret.eq(secret),
                unit.lossless.eq(self.lossless),
                unit.valid.eq(valid[n]),
                unit.rule.eq(its_turn),
                unit.i.eq(taken),
                unit.change.eq(change[mine]),
                unit.flags.eq(bank.rule_flags),
                *(
                    getattr(unit, name)[k].eq(getattr(bank, f"{name}{k}"))
                    for name in ("value", "mask", "group")
                    for k in range(FIELD_WORDS)
                ),
                unit.thresholds[0].eq(bank.threshold_packets_low),
                unit.thresholds[1].eq(bank.threshold_packets_high),
                unit.thresholds[2].eq(bank.threshold_bytes_low),
                unit.thresholds[3].eq(bank.threshold_bytes_high),
                unit.generation.eq(bank.generation),
                unit.sweep.eq(sweep[mine]),
                unit.reason.eq(reason),
                unit.final.eq(final),
            ]
            m.d.comb += [
                unit.wake.eq(unit.valid | unit.change.any() | unit.sweep.any()),
                unit.awake.eq(unit.wake | unit.busy),
            ]
            if gated:
                m.d.comb += self.awake[n].eq(unit.awake)

        # In parts, one goes in with each rule's turn.
        parts = shared if self._profile.queue_parts == shared else 1
        m.submodules.metas = metas = Queue(PacketMeta, depth=DEPTH, parts=parts)
        m.submodules.results = results = SyncFIFOBuffered(width=Crossing.as_shape().size, depth=DEPTH)
        sample = Signal(Sample)
        turn = Signal(range(max(2, shared)))
        idle, direct, open_gate, going = Signal(), Signal(), Signal(), Signal()
        held, full, free, load = Signal(PacketMeta), Signal(), Signal(), Signal()
        gap, room, swept = Signal(), Signal(init=1), Signal(init=1)
        last_turn = turn == shared - 1
        m.d.comb += [
            # Without a rule, and with nothing to wait for, a packet goes straight to the register at the end.
            idle.eq(~active & (metas.level == 0)),
            free.eq(~full | self.o.ready),
            direct.eq(self.i.valid & idle & free & ~changes.stop),
            open_gate.eq(metas.room & ~changes.stop & ~gap & (~self.lossless | room)),
            going.eq(self.i.valid & ~idle & ((turn != 0) | open_gate)),
            self.i.ready.eq(Mux(idle, free & ~changes.stop, ((turn != 0) | open_gate) & last_turn)),
            changes.valid.eq(self.i.valid),
            changes.timestamp.eq(self.i.p.info.timestamp),
            changes.between.eq(turn == 0),
            sweeping.eq(swept),
            metas.i.payload.eq(self.i.payload),
            metas.i.valid.eq(going & (last_turn if parts == 1 else 1)),
        ]
        with m.If(going):
            m.d.sync += turn.eq(Mux(last_turn, 0, turn + 1))
        enabled = [changes.enabled[n * shared : (n + 1) * shared] for n in range(tables)]
        wanted = Cat(mine.bit_select(turn, 1) if shared > 1 else mine for mine in enabled)
        with m.If(active):
            m.d.comb += sample_of(self.i.p, sample)
            m.d.sync += [
                valid.eq(Mux(going, wanted, 0)),
                its_turn.eq(turn),
                change.eq(changes.change),
                sweep.eq(changes.sweep),
                reason.eq(changes.reason),
                final.eq(changes.final),
                busy.eq(Cat(unit.awake for unit in units).any()),
                gap.eq(Cat(unit.gap for unit in units).any()),
                room.eq(Cat(unit.room for unit in units).all()),
                swept.eq(Cat(*(unit.sweeping for unit in units), changes.sweep, sweep).any()),
                closing.eq(Cat(unit.closing for unit in units).any()),
            ]
            with m.If(going):
                m.d.sync += taken.eq(sample)
        self._crossings(m, units, active, going, results, shared)
        both = metas.o.valid & results.r_rdy
        m.d.comb += [
            load.eq(direct | (both & free)),
            metas.o.ready.eq(both & free),
            results.r_en.eq(both & free),
            self.o.valid.eq(full),
            self.o.payload.eq(held),
        ]
        with m.If(free):
            m.d.sync += full.eq(load)
        with m.If(load):
            with m.If(idle):
                m.d.sync += [held.eq(self.i.payload), held.crossing.eq(0)]
            with m.Else():
                m.d.sync += [held.eq(metas.o.payload), held.crossing.eq(results.r_data)]
        self._gather(m, units, active, shared)

    def _crossings(self, m, units, active, going, results, shared):
        """The thresholds that a packet crosses in any of its rules, once all have seen it."""
        found, so_far = Signal(Crossing), Signal(Crossing)
        turn = Signal(range(max(2, shared)))
        crossed = Cat(unit.o.crossed for unit in units)
        m.d.comb += [found.eq(so_far), results.w_data.eq(found)]
        with m.If(active):
            with m.If(crossed.any()):
                rules = Cat(Cat(crossed[n] & (turn == k) for k in range(shared)) for n in range(len(units)))
                m.d.comb += found.rules.eq(so_far.rules | rules)
                # The lowest rule's count is told; rules of one table come one after another, the lowest first.
                with m.If(~so_far.rules.any()):
                    for unit in reversed(units):
                        with m.If(unit.o.crossed):
                            m.d.comb += [found.value.eq(unit.o.value), found.of_bytes.eq(unit.o.of_bytes)]
        ended = Signal(PIPELINE)
        m.d.sync += ended.eq(Cat(going, ended))
        with m.If(ended[-1]):
            with m.If(turn == shared - 1):
                m.d.comb += results.w_en.eq(1)
                m.d.sync += [turn.eq(0), so_far.eq(0)]
            with m.Else():
                m.d.sync += [turn.eq(turn + 1), so_far.eq(found)]

    def _gather(self, m, units, active, shared):
        """One report after another, of the units in turn, as fast as they are taken; a unit has one in two cycles."""
        count = len(units)
        have = Cat(unit.reports.valid for unit in units)
        # Those after the one that was last come first; of these the lowest bit.
        after, among, chosen = Signal(count), Signal(count), Signal(count)
        free = Signal()
        m.d.comb += [
            among.eq(Mux((have & after).any(), have & after, have)),
            chosen.eq(among & (~among + 1)),
            free.eq(active & (~self.reports.valid | self.reports.ready)),
        ]
        with m.If(self.reports.ready):
            m.d.sync += self.reports.valid.eq(0)
        with m.If(free & have.any()):
            m.d.sync += [self.reports.valid.eq(1), after.eq(~(chosen | (chosen - 1)))]
            for n, unit in enumerate(units):
                with m.If(chosen[n]):
                    m.d.sync += [
                        self.reports.payload.eq(unit.reports.payload),
                        self.reports.p.rule.eq(unit.reports.p.rule + n * shared),
                    ]
        for n, unit in enumerate(units):
            m.d.comb += unit.reports.ready.eq(free & chosen[n])

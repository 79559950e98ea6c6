"""The statistics stage: packets pass it unchanged; rules count them in groups and tell of thresholds."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile
from sentinic.abi.registers import STATISTICS
from sentinic.abi.statistics import FIELD_WORDS, ReportFlag
from sentinic_hdl.csr.bank import RegisterBank
from sentinic_hdl.meta import Crossing, PacketMeta
from sentinic_hdl.parts import part
from sentinic_hdl.stages.base import StageSignature
from sentinic_hdl.stages.statistics.intervals import Intervals
from sentinic_hdl.stages.statistics.table import secret_bits
from sentinic_hdl.stages.statistics.types import Sample, report_shape, sample_of
from sentinic_hdl.stages.statistics.unit import LATENCY, Unit

#: Packets inside: more than there are cycles from entry to exit.
DEPTH = 16
#: Cycles without a packet after which time alone may end an interval, and how much later than its end.
QUIET_CYCLES = 4096
GRACE_NS = 1 << 20


class Statistics(wiring.Component):
    """Counts packets by rules; one packet a cycle, or one in as many cycles as rules share a table.

    A change of a rule, and the end of an interval, take effect between two packets: the stage lets those inside leave,
    some ten cycles, and goes on, at the end of an interval after two more cycles a rule (:class:`Intervals`).  What was
    counted before then is reported by a sweep of the table, while packets pass.  A change waits for the sweep before to
    end.

    Members as in :class:`StageSignature`, and

    time: wire time, ns
    lossless: wait for room for reports rather than let them go into the overflow
    reports: groups for the host
    awake, gate_clk: with ``clock_gates``, which units' clocks are to tick, and these clocks
    """

    def __init__(self, profile: Profile, clock_gates: bool = False):
        self._profile, self._clock_gates = profile, clock_gates
        self.gates = profile.statistics_rules // profile.statistics_rules_a_table
        super().__init__(
            {
                **StageSignature().members,
                "time": In(64),
                "lossless": In(1),
                "reports": Out(stream.Signature(report_shape(profile))),
                **({"awake": Out(self.gates), "gate_clk": In(1).array(self.gates)} if clock_gates else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self._profile
        rules, shared = profile.statistics_rules, profile.statistics_rules_a_table
        tables = rules // shared
        sets = profile.statistics_groups // tables // profile.statistics_ways
        asked, asked_rule = Signal(3), Signal(8)  # set, remove, report
        asked_set = asked[0]
        m.submodules.bank = bank = RegisterBank(block=STATISTICS)
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        gated = self._clock_gates
        units = [
            Unit(profile=profile, rules=shared, sets=sets, ways=profile.statistics_ways, clock_gated=gated)
            for _ in range(tables)
        ]
        secret = Cat(getattr(bank, f"hash_key{n}") for n in range(16))[: secret_bits(sets)]
        enabled = [Signal(name=f"enabled{n}") for n in range(rules)]
        change, sweep = Signal(rules), Signal(rules)
        reason, final = Signal(8), Signal()
        for n, unit in enumerate(units):
            clock = self.gate_clk[n] if gated else None
            m.submodules[f"unit{n}"] = part(platform, "statistics_unit", unit, clock=clock)
            mine = slice(n * shared, (n + 1) * shared)
            m.d.comb += [
                unit.secret.eq(secret),
                unit.lossless.eq(self.lossless),
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

        # --- Packets ---
        m.submodules.metas = metas = SyncFIFOBuffered(width=PacketMeta.as_shape().size, depth=DEPTH)
        m.submodules.results = results = SyncFIFOBuffered(width=Crossing.as_shape().size, depth=DEPTH)
        sample = Signal(Sample)
        m.d.comb += sample_of(self.i.p, sample)
        turn = Signal(range(max(2, shared)))
        open_gate, going = Signal(), Signal()
        last_turn = turn == shared - 1
        stopping = Signal()
        m.d.comb += [
            open_gate.eq(
                metas.w_rdy
                & ~stopping
                & ~Cat(unit.gap for unit in units).any()
                & (~self.lossless | Cat(unit.room for unit in units).all())
            ),
            going.eq(self.i.valid & ((turn != 0) | open_gate)),
            self.i.ready.eq(((turn != 0) | open_gate) & last_turn),
            metas.w_data.eq(self.i.payload),
            metas.w_en.eq(going & last_turn),
        ]
        with m.If(going):
            m.d.sync += turn.eq(Mux(last_turn, 0, turn + 1))
        for n, unit in enumerate(units):
            wanted = Cat(enabled[n * shared : (n + 1) * shared]).bit_select(turn, 1) if shared > 1 else enabled[n]
            m.d.comb += [unit.valid.eq(going & wanted), unit.rule.eq(turn), unit.i.eq(sample)]
        self._crossings(m, units, going, results, shared)
        both = metas.r_rdy & results.r_rdy
        m.d.comb += [
            self.o.valid.eq(both),
            self.o.payload.eq(metas.r_data),
            self.o.p.crossing.eq(results.r_data),
            metas.r_en.eq(both & self.o.ready),
            results.r_en.eq(both & self.o.ready),
        ]

        # --- Time and changes ---
        m.submodules.intervals = intervals = Intervals(rules=rules)
        quiet = Signal(range(QUIET_CYCLES + 1))
        timed = Signal()
        with m.If(self.i.valid | stopping):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != QUIET_CYCLES):
            m.d.sync += quiet.eq(quiet + 1)
        m.d.comb += [
            timed.eq((quiet == QUIET_CYCLES) & ~self.lossless),
            intervals.now.eq(Mux(self.i.valid, self.i.p.info.timestamp, self.time - GRACE_NS)),
        ]
        m.d.comb += [
            intervals.rule.eq(asked_rule),
            intervals.length.eq(Mux(asked_set, Cat(bank.interval_low, bank.interval_high), 0)),
        ]
        with m.If(bank.apply_strobe.any()):
            m.d.sync += [asked.eq(bank.apply_strobe), asked_rule.eq(bank.rule)]
        sweeping = Cat(unit.sweeping for unit in units).any()
        drained = Signal(range(LATENCY + 3))
        m.d.comb += [
            bank.status.eq(Cat(asked.any(), sweeping)),
            bank.shape.eq(rules | (profile.statistics_groups.bit_length() - 1) << 8 | shared << 16),
        ]
        # Registers between the late and what they stop: no packet of the next interval passes meanwhile.
        late = Signal()
        m.d.comb += [
            late.eq((self.i.valid | timed) & intervals.late),
            stopping.eq(((turn == 0) & (late | asked.any())) | ~intervals.ready),
        ]
        with m.If(stopping & (turn == 0)):
            with m.If(drained != LATENCY + 2):
                m.d.sync += drained.eq(drained + 1)
        with m.Else():
            m.d.sync += drained.eq(0)
        act = Signal()
        m.d.comb += act.eq((drained == LATENCY + 2) & ~sweeping & intervals.ready & stopping)
        m.d.comb += reason.eq(ReportFlag.INTERVAL)
        with m.If(act):
            m.d.sync += drained.eq(0)
            with m.If(asked.any()):
                m.d.sync += asked.eq(0)
                m.d.comb += [
                    final.eq(~asked[2]),
                    reason.eq(Mux(asked[2], ReportFlag.DEMAND, ReportFlag.FINAL)),
                    intervals.set.eq(~asked[2] & (asked_rule < rules)),
                ]
                for n in range(rules):
                    with m.If(asked_rule == n):
                        m.d.comb += [sweep[n].eq(1), change[n].eq(~asked[2])]
                        with m.If(~asked[2]):
                            m.d.sync += enabled[n].eq(asked_set)
            with m.Else():
                m.d.comb += intervals.advance.eq(1)
        with m.If(intervals.ended):
            m.d.comb += sweep.eq(intervals.rules)

        self._gather(m, units, shared)
        return m

    def _crossings(self, m, units, going, results, shared):
        """The thresholds that a packet crosses in any of its rules, once all have seen it."""
        found, so_far = Signal(Crossing), Signal(Crossing)
        turn = Signal(range(max(2, shared)))
        crossed = Cat(unit.o.crossed for unit in units)
        m.d.comb += [found.eq(so_far), results.w_data.eq(found)]
        with m.If(crossed.any()):
            rules = Cat(Cat(crossed[n] & (turn == k) for k in range(shared)) for n in range(len(units)))
            m.d.comb += found.rules.eq(so_far.rules | rules)
            # The lowest rule's count is told; rules of one table come one after another, the lowest first.
            with m.If(~so_far.rules.any()):
                for unit in reversed(units):
                    with m.If(unit.o.crossed):
                        m.d.comb += [found.value.eq(unit.o.value), found.of_bytes.eq(unit.o.of_bytes)]
        ended = Signal(LATENCY)
        m.d.sync += ended.eq(Cat(going, ended))
        with m.If(ended[-1]):
            with m.If(turn == shared - 1):
                m.d.comb += results.w_en.eq(1)
                m.d.sync += [turn.eq(0), so_far.eq(0)]
            with m.Else():
                m.d.sync += [turn.eq(turn + 1), so_far.eq(found)]

    def _gather(self, m, units, shared):
        """One report after another, of the units in turn."""
        count = len(units)
        if count == 1:
            wiring.connect(m, units[0].reports, wiring.flipped(self.reports))
            return
        have = Cat(unit.reports.valid for unit in units)
        # Those after the one that was last come first; of these the lowest bit.
        after, among, chosen = Signal(count), Signal(count), Signal(count)
        free = Signal()
        m.d.comb += [
            among.eq(Mux((have & after).any(), have & after, have)),
            chosen.eq(among & (~among + 1)),
            free.eq(~self.reports.valid | self.reports.ready),
        ]
        with m.If(free):
            m.d.sync += self.reports.valid.eq(have.any())
            with m.If(have.any()):
                m.d.sync += after.eq(~(chosen | (chosen - 1)))
                for n, unit in enumerate(units):
                    with m.If(chosen[n]):
                        m.d.sync += [
                            self.reports.payload.eq(unit.reports.payload),
                            self.reports.p.rule.eq(unit.reports.p.rule + n * shared),
                        ]
        for n, unit in enumerate(units):
            m.d.comb += unit.reports.ready.eq(free & chosen[n])

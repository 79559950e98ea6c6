"""The statistics stage: packets pass it unchanged; rules count them in groups and tell of thresholds."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
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
from sentinic_hdl.stages.statistics.types import (
    BYTES_BITS,
    EPOCH_BITS,
    PACKETS_BITS,
    RuleConfig,
    Sample,
    report_shape,
    sample_of,
)
from sentinic_hdl.stages.statistics.unit import LATENCY, Unit

#: Packets inside: more than there are cycles from entry to exit.
DEPTH = 16
#: Cycles without a packet after which time alone may end an interval, and how much later than its end.
QUIET_CYCLES = 4096
GRACE_NS = 1 << 20


class Statistics(wiring.Component):
    """Counts packets by rules; one packet a cycle, or one in as many cycles as rules share a table.

    A change of a rule, and the end of an interval, take effect between two packets: the stage lets those inside leave,
    some ten cycles, and goes on.  What was counted before then is reported by a sweep of the table, while packets pass.
    A change waits for the sweep before to end.

    Members as in :class:`StageSignature`, and

    time: wire time, ns
    lossless: wait for room for reports rather than let them go into the overflow
    reports: groups for the host
    """

    def __init__(self, profile: Profile):
        self._profile = profile
        super().__init__(
            {
                **StageSignature().members,
                "time": In(64),
                "lossless": In(1),
                "reports": Out(stream.Signature(report_shape(profile))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self._profile
        rules, shared = profile.statistics_rules, profile.statistics_rules_a_table
        tables = rules // shared
        sets = profile.statistics_groups // tables // profile.statistics_ways
        m.submodules.bank = bank = RegisterBank(block=STATISTICS)
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        units = [Unit(profile=profile, rules=shared, sets=sets, ways=profile.statistics_ways) for _ in range(tables)]
        secret = Cat(getattr(bank, f"hash_key{n}") for n in range(16))[: secret_bits(sets)]
        config = Signal(data.ArrayLayout(RuleConfig, rules))
        state = {
            "generation": Signal(data.ArrayLayout(32, rules)),
            "generations": Signal(data.ArrayLayout(32, rules)),
            "reasons": Signal(data.ArrayLayout(8, rules)),
            "epochs": Signal(data.ArrayLayout(EPOCH_BITS, rules)),
        }
        finals, interval = Signal(rules), Signal(data.ArrayLayout(64, rules))
        sweep = Signal(rules)
        for n, unit in enumerate(units):
            m.submodules[f"unit{n}"] = part(platform, "statistics_unit", unit)
            mine = slice(n * shared, (n + 1) * shared)
            m.d.comb += [
                unit.first.eq(n * shared),
                unit.secret.eq(secret),
                unit.lossless.eq(self.lossless),
                unit.finals.eq(finals[mine]),
                unit.sweep.eq(sweep[mine].any()),
                unit.configs.eq(Cat(config[k] for k in range(rules)[mine])),
                *(getattr(unit, name).eq(Cat(array[k] for k in range(rules)[mine])) for name, array in state.items()),
            ]

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
        for unit in units:
            m.d.comb += [unit.valid.eq(going), unit.rule.eq(turn), unit.i.eq(sample)]
        self._crossings(m, units, results, shared)
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
        for n in range(rules):
            m.d.comb += intervals.interval[n].eq(Mux(config[n].enable, interval[n], 0))
        asked, asked_rule = Signal(3), Signal(8)  # set, remove, report
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
            late.eq((self.i.valid | timed) & intervals.late.any()),
            stopping.eq(((turn == 0) & (late | asked.any())) | ~intervals.ready),
        ]
        with m.If(stopping & (turn == 0)):
            with m.If(drained != LATENCY + 2):
                m.d.sync += drained.eq(drained + 1)
        with m.Else():
            m.d.sync += drained.eq(0)
        act = Signal()
        m.d.comb += act.eq((drained == LATENCY + 2) & ~sweeping & intervals.ready & stopping)
        with m.If(act):
            m.d.sync += drained.eq(0)
            with m.If(asked.any()):
                m.d.sync += asked.eq(0)
                for n in range(rules):
                    with m.If(asked_rule == n):
                        self._apply(m, bank, n, asked, config, interval, state, finals, sweep, intervals)
            with m.Else():
                m.d.comb += intervals.advance.eq(1)
                for n in range(rules):
                    with m.If(intervals.late[n]):
                        self._turn_over(m, n, state, sweep)
                        m.d.sync += [finals[n].eq(0), state["reasons"][n].eq(ReportFlag.INTERVAL)]

        self._gather(m, units)
        return m

    def _turn_over(self, m, n, state, sweep):
        m.d.comb += sweep[n].eq(1)
        m.d.sync += [
            state["epochs"][n].eq(state["epochs"][n] + 1),
            state["generations"][n].eq(state["generation"][n]),
        ]

    def _apply(self, m, bank, n, asked, config, interval, state, finals, sweep, intervals):
        """What the host asked for rule ``n``, from the staged registers."""
        words = range(FIELD_WORDS)
        self._turn_over(m, n, state, sweep)
        m.d.sync += [
            finals[n].eq(~asked[2]),
            state["reasons"][n].eq(Mux(asked[2], ReportFlag.DEMAND, ReportFlag.FINAL)),
        ]
        with m.If(~asked[2]):
            m.d.comb += intervals.forget[n].eq(1)
            m.d.sync += [
                config[n].enable.eq(asked[0]),
                config[n].bidirectional.eq(bank.rule_flags[0]),
                config[n].cumulative.eq(bank.rule_flags[1]),
                config[n].value.eq(Cat(getattr(bank, f"value{k}") for k in words)),
                config[n].mask.eq(Cat(getattr(bank, f"mask{k}") for k in words)),
                config[n].group.eq(Cat(getattr(bank, f"group{k}") for k in words)),
                config[n].threshold_packets.eq(
                    Cat(bank.threshold_packets_low, bank.threshold_packets_high)[:PACKETS_BITS]
                ),
                config[n].threshold_bytes.eq(Cat(bank.threshold_bytes_low, bank.threshold_bytes_high)[:BYTES_BITS]),
                interval[n].eq(Cat(bank.interval_low, bank.interval_high)),
                state["generation"][n].eq(bank.generation),
            ]

    def _crossings(self, m, units, results, shared):
        """The thresholds that a packet crosses in any of its rules, once all have seen it."""
        found, so_far = Signal(Crossing), Signal(Crossing)
        turn = Signal(range(max(2, shared)))
        m.d.comb += found.eq(so_far)
        for unit in reversed(units):
            with m.If(unit.o.crossed):
                # The lowest rule's count is told; rules of one table come one after another, the lowest first.
                with m.If(~so_far.rules.any()):
                    m.d.comb += [found.value.eq(unit.o.value), found.of_bytes.eq(unit.o.of_bytes)]
        rules = Const(0, 16)
        for unit in units:
            rules = rules | Mux(unit.o.crossed, (Const(1, 16) << unit.o.rule)[:16], 0)
        m.d.comb += [found.rules.eq(so_far.rules | rules), results.w_data.eq(found)]
        with m.If(units[0].o.valid):
            with m.If(turn == shared - 1):
                m.d.comb += results.w_en.eq(1)
                m.d.sync += [turn.eq(0), so_far.eq(0)]
            with m.Else():
                m.d.sync += [turn.eq(turn + 1), so_far.eq(found)]

    def _gather(self, m, units):
        """One report after another, of the units in turn."""
        count = len(units)
        if count == 1:
            wiring.connect(m, units[0].reports, wiring.flipped(self.reports))
            return
        turn, chosen = Signal(range(count)), Signal(range(count))
        have = Cat(unit.reports.valid for unit in units)
        m.d.comb += chosen.eq(turn)
        for distance in reversed(range(count)):
            for n in range(count):
                with m.If((turn == n) & have[(n + distance) % count]):
                    m.d.comb += chosen.eq((n + distance) % count)
        free = Signal()
        m.d.comb += free.eq(~self.reports.valid | self.reports.ready)
        with m.If(free):
            m.d.sync += [
                self.reports.valid.eq(have.any()),
                self.reports.payload.eq(Array(unit.reports.payload.as_value() for unit in units)[chosen]),
            ]
            with m.If(have.any()):
                m.d.sync += turn.eq(Mux(chosen == count - 1, 0, chosen + 1))
        for n, unit in enumerate(units):
            m.d.comb += unit.reports.ready.eq(free & (chosen == n))

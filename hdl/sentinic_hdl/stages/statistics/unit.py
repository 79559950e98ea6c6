"""One or more rules with their table: matching, counting, sweeping, and the queue of reports."""

from itertools import pairwise

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile
from sentinic.abi.statistics import ReportFlag
from sentinic_hdl.stages.statistics.table import Table, secret_bits
from sentinic_hdl.stages.statistics.types import (
    BYTES_BITS,
    EPOCH_BITS,
    PACKETS_BITS,
    Fields,
    RuleConfig,
    Sample,
    ends,
    report_shape,
    turned_round,
)

#: Cycles from a sample to its outcome.
LATENCY = 6
#: Reports that may wait; as many as there may be samples in flight are kept free when nothing may be lost.
QUEUE = 32
#: Cycles that a sweep waits for a gap between packets before it asks for one.
PATIENCE = 15
#: Cycles that a sweep waits for room in the queue, on a card that must not wait for the host.
ENDURANCE = 1 << 14


class Verdict(data.Struct):
    """What a sample did to a rule."""

    valid: 1
    rule: 4
    crossed: 1
    of_bytes: 1
    value: 64


class Unit(wiring.Component):
    """Counts samples for its rules: one sample and rule a cycle.

    A group leaves as a report, into a queue; when that is full the group's counts go into the rule's overflow, which is
    reported at the end of the next sweep.  A sweep visits every set of the table, in cycles in which no sample comes.

    Members
    -------
    valid, rule, i: a sample for a rule of this unit
    first: number of its first rule among all
    configs: the rules
    generations, finals, reasons: of each rule's stale records: generation, whether they are to be forgotten, why
    generation: of each rule's fresh records
    epochs: of each rule; only changed while nothing is in flight
    secret: key of the hash
    lossless: a report is never dropped into the overflow; ``room`` tells whether a sample may come
    sweep: begin a sweep
    sweeping: a sweep is under way, or the table is being cleared
    gap: a cycle without a sample is wanted
    o: what became of the sample, ``LATENCY`` cycles after it
    reports: groups for the host
    """

    def __init__(self, *, profile: Profile, rules: int, sets: int, ways: int):
        self._profile, self._rules = profile, rules
        self._sets, self._ways = sets, ways
        super().__init__(
            {
                "valid": In(1),
                "rule": In(range(max(2, rules))),
                "first": In(4),
                "i": In(Sample),
                "configs": In(data.ArrayLayout(RuleConfig, rules)),
                "generation": In(data.ArrayLayout(32, rules)),
                "generations": In(data.ArrayLayout(32, rules)),
                "finals": In(rules),
                "reasons": In(data.ArrayLayout(8, rules)),
                "epochs": In(data.ArrayLayout(EPOCH_BITS, rules)),
                "secret": In(secret_bits(sets)),
                "lossless": In(1),
                "room": Out(1),
                "sweep": In(1),
                "sweeping": Out(1),
                "gap": Out(1),
                "o": Out(Verdict),
                "reports": Out(stream.Signature(report_shape(profile))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rules = self._rules
        m.submodules.table = table = Table(rules=rules, sets=self._sets, ways=self._ways)
        m.d.comb += [
            table.secret.eq(self.secret),
            table.epochs.eq(self.epochs),
            table.cumulative.eq(Cat(self.configs[n].cumulative for n in range(rules))),
            table.final.eq(self.finals),
        ]
        for bits in ("threshold_packets", "threshold_bytes"):
            m.d.comb += getattr(table, bits).eq(
                Array(self.configs[n][bits] for n in range(rules))[table.threshold_rule]
            )
        sweep_now, sweep_set = self._sweeper(m, table)
        self._match(m, table, sweep_now, sweep_set)
        self._reports(m, table)
        return m

    def _match(self, m, table, sweep_now, sweep_set):
        """Cycle 1: does the rule match, and by what would it group.  Cycle 2: the key, the lower end first."""
        config = Signal(RuleConfig)
        turned = turned_round(self.i.fields)
        forward, backward = self.i.fields.as_value(), turned.as_value()
        hits = Signal(2)
        for n in range(self._rules):
            with m.If(self.rule == n):
                m.d.comb += config.eq(self.configs[n])
        valid1, rule1, sample1, sweep1, both1 = Signal(), Signal(4), Signal(Sample), Signal(), Signal()
        key1, turned1 = Signal(Fields), Signal(Fields)
        # A rule that is off costs a simulator next to nothing.
        with m.If(self.valid & config.enable):
            m.d.comb += hits.eq(
                Cat(
                    ~((forward ^ config.value) & config.mask).any(),
                    config.bidirectional & ~((backward ^ config.value) & config.mask).any(),
                )
            )
            m.d.sync += [
                sample1.eq(self.i),
                rule1.eq(self.rule),
                both1.eq(config.bidirectional),
                key1.eq(forward & config.group),
                turned1.eq(backward & config.group),
            ]
        m.d.sync += [valid1.eq(hits.any()), sweep1.eq(sweep_now)]

        valid2 = Signal()
        first, second = ends(key1)
        swap = Signal()
        m.d.comb += swap.eq(both1 & (first > second))
        m.d.sync += valid2.eq(valid1 | sweep1)
        with m.If(sweep1):
            m.d.sync += [table.i.sweep.eq(1), table.i.key.eq(sweep_set)]
        with m.Elif(valid1):
            m.d.sync += [
                table.i.sweep.eq(0),
                table.i.rule.eq(rule1),
                table.i.key.eq(Mux(swap, turned1, key1)),
                table.i.reversed.eq(swap),
                table.i.timestamp.eq(sample1.timestamp),
                table.i.length.eq(sample1.length),
                table.i.events.eq(sample1.events),
            ]
        m.d.comb += table.valid.eq(valid2)

        # What the sample did, at a fixed time after it.
        asked = Signal(LATENCY)
        rule_then = [Signal(4, name=f"rule_then{n}") for n in range(LATENCY)]
        m.d.sync += asked.eq(Cat(self.valid, asked))
        m.d.sync += [rule_then[0].eq(self.rule), *(b.eq(a) for a, b in pairwise(rule_then))]
        outcome = table.o
        m.d.comb += [
            self.o.valid.eq(asked[-1]),
            self.o.rule.eq(rule_then[-1] + self.first),
            self.o.crossed.eq(outcome.valid & ~outcome.sweep & (outcome.packets_crossed | outcome.bytes_crossed)),
            self.o.of_bytes.eq(~outcome.packets_crossed),
            self.o.value.eq(Mux(outcome.packets_crossed, outcome.packets, outcome.bytes)),
        ]

    def _sweeper(self, m, table):
        """Visits the sets one after another, each until it holds no stale record."""
        number = Signal(range(self._sets))
        now = Signal()
        waiting, waited = Signal(), Signal(range(PATIENCE + 1))
        endured = Signal(range(ENDURANCE + 1))
        self._forced = forced = Signal()
        self._queue_room = room = Signal()
        self._swept = swept = Signal()
        running = Signal()
        m.d.comb += [
            self.sweeping.eq(running | table.clearing),
            forced.eq(~self.lossless & (endured == ENDURANCE)),
            now.eq(running & ~waiting & ~self.valid & (room | forced)),
            self.gap.eq(running & ~waiting & (waited == PATIENCE)),
        ]
        with m.If(self.sweep & ~running):
            m.d.sync += [running.eq(table.live.any()), number.eq(0), endured.eq(0), swept.eq(~table.live.any())]
        with m.Elif(running):
            with m.If(now):
                m.d.sync += [waiting.eq(1), waited.eq(0)]
            with m.Elif(~waiting & (waited != PATIENCE)):
                m.d.sync += waited.eq(waited + 1)
            with m.If(~waiting & ~room & (endured != ENDURANCE)):
                m.d.sync += endured.eq(endured + 1)
            with m.If(table.o.valid & table.o.sweep):
                m.d.sync += waiting.eq(0)
                with m.If(~table.o.more):
                    m.d.sync += number.eq(number + 1)
                    with m.If((number == self._sets - 1) | ~table.live.any()):
                        m.d.sync += [running.eq(0), swept.eq(1)]
        return now, number

    def _reports(self, m, table):
        rules = self._rules
        layout = report_shape(self._profile)
        m.submodules.queue = queue = SyncFIFOBuffered(width=layout.size, depth=QUEUE)
        outcome = table.o
        group, overflow = Signal(layout), Signal(layout)
        rule = outcome.record.rule if rules > 1 else Const(0, 1)
        reasons, generations, fresh = (
            Array(array[n] for n in range(rules)) for array in (self.reasons, self.generations, self.generation)
        )
        m.d.comb += [
            group.rule.eq(rule + self.first),
            group.flags.eq(
                Mux(outcome.stale, reasons[rule], Mux(outcome.sweep, 0, ReportFlag.EVICTED))
                | Mux(outcome.record.reversed, ReportFlag.REVERSED, 0)
            ),
            group.generation.eq(Mux(outcome.stale, generations[rule], fresh[rule])),
        ]
        for name in ("key", "packets", "bytes", "first", "last", "seen", "history"):
            m.d.comb += group[name].eq(outcome.record[name])
        offered = Signal()
        m.d.comb += [
            offered.eq(outcome.valid & outcome.report),
            queue.w_data.eq(group),
            queue.w_en.eq(offered),
            self.reports.valid.eq(queue.r_rdy),
            self.reports.payload.eq(queue.r_data),
            queue.r_en.eq(self.reports.ready),
        ]
        margin = LATENCY + 2
        m.d.sync += self._queue_room.eq(queue.level < QUEUE - margin - 2)
        m.d.comb += self.room.eq(self._queue_room)

        # What finds no room.
        lost_packets = Signal(data.ArrayLayout(PACKETS_BITS, rules))
        lost_bytes = Signal(data.ArrayLayout(BYTES_BITS, rules))
        lost_generation = Signal(data.ArrayLayout(32, rules))
        lost = Cat(lost_packets[n].any() for n in range(rules))
        which = Signal(range(max(2, rules)))
        for n in reversed(range(rules)):
            with m.If(lost[n]):
                m.d.comb += which.eq(n)
        m.d.comb += [
            overflow.rule.eq(which + self.first),
            overflow.flags.eq(ReportFlag.OVERFLOW),
            overflow.generation.eq(Array(lost_generation[n] for n in range(rules))[which]),
            overflow.packets.eq(Array(lost_packets[n] for n in range(rules))[which]),
            overflow.bytes.eq(Array(lost_bytes[n] for n in range(rules))[which]),
        ]
        with m.If(offered & ~queue.w_rdy):
            for n in range(rules):
                with m.If(rule == n):
                    m.d.sync += [
                        lost_packets[n].eq(lost_packets[n] + outcome.record.packets),
                        lost_bytes[n].eq(lost_bytes[n] + outcome.record.bytes),
                        lost_generation[n].eq(group.generation),
                    ]
        with m.Elif(self._swept & lost.any() & ~offered & queue.w_rdy):
            m.d.comb += [queue.w_data.eq(overflow), queue.w_en.eq(1)]
            for n in range(rules):
                with m.If(which == n):
                    m.d.sync += [lost_packets[n].eq(0), lost_bytes[n].eq(0)]
        with m.Elif(self._swept & ~lost.any()):
            m.d.sync += self._swept.eq(0)


__all__ = ["LATENCY", "Unit", "Verdict"]

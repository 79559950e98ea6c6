"""One or more rules with their table: matching, counting, sweeping, and the queue of reports."""

from amaranth.hdl import Array, Cat, Const, EnableInserter, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile
from sentinic.abi.statistics import FIELD_WORDS, ReportFlag
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
LATENCY = 7
#: Reports that may wait; as many as there may be samples in flight are kept free when nothing may be lost.
QUEUE = 32
#: Cycles that a sweep waits for a gap between packets before it asks for one.
PATIENCE = 15
#: Cycles that a sweep waits for room in the queue, on a card that must not wait for the host.
ENDURANCE = 1 << 14
#: Cycles that a unit stays awake after the last cause, until nothing moves in it.
LINGER = 15


class Verdict(data.Struct):
    """What a sample did to a rule."""

    crossed: 1
    of_bytes: 1
    value: 64


class Unit(wiring.Component):
    """Counts samples for its rules: one sample and rule a cycle.

    A group leaves as a report, into a queue; when that is full the group's counts go into the rule's overflow, which is
    reported at the end of the next sweep.  What a rule that has been changed has left in the table is reported, and
    overflows, as its own.  A sweep visits every set of the table, in cycles in which no sample comes.

    With nothing in it and nothing to report a unit sleeps: no register in it changes while it is not ``awake``, which
    it has to be when it is to ``wake`` and as long as it is ``busy``.

    Parameters
    ----------
    clock_gated: the unit is asleep because its clock stands still, and not because its registers hold

    Members
    -------
    valid, rule, i: a sample for a rule of this unit, which is on
    change: rules, one at most, that become ``flags``, ``value``, ``mask``, ``group``, ``thresholds`` (of
        packets and bytes, two words each) and ``generation``
    sweep: rules whose counts so far are to be reported, for ``reason``, and forgotten if ``final``: a sweep begins;
        like ``change`` only while nothing is in flight and no sweep under way
    secret: key of the hash
    lossless: a report is never dropped into the overflow; ``room`` tells whether a sample may come
    sweeping: a sweep is under way, or the table is being cleared
    closing: what the rule that was forgotten last has left is not all on its way; no other may be
    gap: a cycle without a sample is wanted
    wake: ``valid``, ``change`` or ``sweep``
    busy: something is under way inside
    awake: registers may change at the coming edge
    o: what became of the sample, ``LATENCY`` cycles after it
    reports: groups for the host; rules are numbered from 0 in each unit
    """

    def __init__(self, *, profile: Profile, rules: int, sets: int, ways: int, clock_gated: bool = False):
        self._profile, self._rules = profile, rules
        self._sets, self._ways = sets, ways
        self._clock_gated = clock_gated
        super().__init__(
            {
                "valid": In(1),
                "rule": In(range(max(2, rules))),
                "i": In(Sample),
                "change": In(rules),
                "flags": In(2),
                "value": In(32).array(FIELD_WORDS),
                "mask": In(32).array(FIELD_WORDS),
                "group": In(32).array(FIELD_WORDS),
                "thresholds": In(32).array(4),
                "generation": In(32),
                "sweep": In(rules),
                "reason": In(8),
                "final": In(1),
                "secret": In(secret_bits(sets)),
                "lossless": In(1),
                "room": Out(1, init=1),
                "sweeping": Out(1),
                "closing": Out(1),
                "gap": Out(1),
                "wake": In(1),
                "busy": Out(1),
                "awake": In(1),
                "o": Out(Verdict),
                "reports": Out(stream.Signature(report_shape(profile))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rules = self._rules
        m.submodules.table = table = Table(rules=rules, sets=self._sets, ways=self._ways)
        self._rule_state(m, table)
        valid, rule, sample = Signal(), Signal.like(self.rule), Signal(Sample)
        m.d.sync += valid.eq(self.valid)
        with m.If(self.valid):
            m.d.sync += [rule.eq(self.rule), sample.eq(self.i)]
        sweep_now, sweep_set = self._sweeper(m, table, valid)
        self._match(m, table, valid, rule, sample, sweep_now, sweep_set)
        reporting = self._reports(m, table)

        # What goes on inside keeps it awake by this too, so there is no more to ask.
        linger = Signal(range(LINGER + 1), init=LINGER)
        m.d.comb += self.busy.eq(linger != 0)
        with m.If(self.wake | self.sweeping | reporting):
            m.d.sync += linger.eq(LINGER)
        with m.Else():
            m.d.sync += linger.eq(linger - 1)
        return m if self._clock_gated else EnableInserter(self.awake)(m)

    def _rule_state(self, m, table):
        """The rules; and of each one's records those that are fresh and those that are stale."""
        rules = range(self._rules)
        self._configs = configs = [Signal(RuleConfig, name=f"config{n}") for n in rules]
        self._fresh = [Signal(32, name=f"generation{n}") for n in rules]
        self._stale = [Signal(32, name=f"stale_generation{n}") for n in rules]
        self._reasons = [Signal(8, name=f"reason{n}") for n in rules]
        for n in rules:
            epoch, final = Signal(EPOCH_BITS, name=f"epoch{n}"), Signal(name=f"final{n}")
            with m.If(self.sweep[n]):
                m.d.sync += [
                    epoch.eq(epoch + 1),
                    self._stale[n].eq(self._fresh[n]),
                    self._reasons[n].eq(self.reason),
                    final.eq(self.final),
                ]
            with m.If(self.change[n]):
                m.d.sync += [
                    Cat(configs[n].bidirectional, configs[n].cumulative).eq(self.flags),
                    configs[n].value.eq(Cat(self.value)),
                    configs[n].mask.eq(Cat(self.mask)),
                    configs[n].group.eq(Cat(self.group)),
                    configs[n].threshold_packets.eq(Cat(self.thresholds[:2])),
                    configs[n].threshold_bytes.eq(Cat(self.thresholds[2:])),
                    self._fresh[n].eq(self.generation),
                ]
            m.d.comb += [
                table.epochs[n].eq(epoch),
                table.cumulative[n].eq(configs[n].cumulative),
                table.final[n].eq(final),
            ]
        m.d.comb += table.secret.eq(self.secret)
        for bits in ("threshold_packets", "threshold_bytes"):
            m.d.comb += getattr(table, bits).eq(Array(config[bits] for config in configs)[table.threshold_rule])

    def _match(self, m, table, valid, rule, sample, sweep_now, sweep_set):
        """Cycle 2: does the rule match, and by what would it group.  Cycle 3: the key, the lower end first."""
        if self._rules == 1:
            (config,) = self._configs
        else:
            config = Signal(RuleConfig)
            for n in range(self._rules):
                with m.If(rule == n):
                    m.d.comb += config.eq(self._configs[n])
        forward, backward = sample.fields.as_value(), Signal(Fields.size)
        hits = Signal(2)
        valid1, rule1, sample1, sweep1, both1 = Signal(), Signal(4), Signal(Sample), Signal(), Signal()
        key1, turned1 = Signal(Fields), Signal(Fields)
        with m.If(valid):
            m.d.comb += backward.eq(turned_round(sample.fields))
            m.d.comb += hits.eq(
                Cat(
                    ~((forward ^ config.value) & config.mask).any(),
                    config.bidirectional & ~((backward ^ config.value) & config.mask).any(),
                )
            )
            m.d.sync += [
                sample1.eq(sample),
                rule1.eq(rule),
                both1.eq(config.bidirectional),
                key1.eq(forward & config.group),
                turned1.eq(backward & config.group),
            ]
        m.d.sync += [valid1.eq(hits.any()), sweep1.eq(sweep_now)]

        valid2 = Signal()
        first, second = ends(key1)
        swap = Signal()
        with m.If(valid1 & both1):
            m.d.comb += swap.eq(first > second)
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

        outcome = table.o
        m.d.comb += [
            self.o.crossed.eq(outcome.valid & ~outcome.sweep & (outcome.packets_crossed | outcome.bytes_crossed)),
            self.o.of_bytes.eq(~outcome.packets_crossed),
            self.o.value.eq(Mux(outcome.packets_crossed, outcome.packets, outcome.bytes)),
        ]

    def _sweeper(self, m, table, valid):
        """Visits the sets one after another, each until it holds no stale record."""
        number = Signal(range(self._sets))
        now = Signal()
        waiting, waited = Signal(), Signal(range(PATIENCE + 1))
        endured = Signal(range(ENDURANCE + 1))
        forced = Signal()
        self._swept = swept = Signal()
        running = Signal()
        m.d.comb += [
            self.sweeping.eq(running | table.clearing),
            now.eq(running & ~waiting & ~valid & (self.room | forced)),
        ]
        # In a register: what changes outside is to be seen at an edge alone.
        m.d.sync += forced.eq(~self.lossless & (endured == ENDURANCE))
        with m.If(self.sweep.any() & ~running):
            m.d.sync += [running.eq(table.live.any()), number.eq(0), endured.eq(0), swept.eq(~table.live.any())]
        with m.Elif(running):
            with m.If(now):
                m.d.sync += [waiting.eq(1), waited.eq(0), self.gap.eq(0)]
            with m.Elif(~waiting & (waited != PATIENCE)):
                m.d.sync += [waited.eq(waited + 1), self.gap.eq(waited == PATIENCE - 1)]
            with m.If(~waiting & ~self.room & (endured != ENDURANCE)):
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
        offered, fits, told, taken = Signal(), Signal(), Signal(), Signal()
        self._untold = Signal()
        rule = outcome.record.rule if rules > 1 else Const(0, 1)
        reasons, generations, fresh = Array(self._reasons), Array(self._stale), Array(self._fresh)
        with m.If(offered):
            m.d.comb += [
                group.rule.eq(rule),
                group.flags.eq(
                    Mux(outcome.stale, reasons[rule], Mux(outcome.sweep, 0, ReportFlag.EVICTED))
                    | Mux(outcome.record.reversed, ReportFlag.REVERSED, 0)
                ),
                group.generation.eq(Mux(outcome.stale, generations[rule], fresh[rule])),
            ]
            for name in ("key", "packets", "bytes", "first", "last", "seen", "history"):
                m.d.comb += group[name].eq(outcome.record[name])
        m.d.comb += [
            offered.eq(outcome.valid & outcome.report),
            queue.w_data.eq(group),
            # The last place is for what finds none, or it would find none for ever.
            fits.eq(queue.level < QUEUE - 1),
            queue.w_en.eq(offered & fits),
            self.reports.valid.eq(queue.r_rdy & ~taken),
            self.reports.payload.eq(queue.r_data),
            queue.r_en.eq(taken),
        ]
        m.d.sync += taken.eq(queue.r_rdy & ~taken & self.reports.ready)
        # Samples in flight, and those that come before a register each way has told of it.
        margin = LATENCY + 4
        m.d.sync += self.room.eq(queue.level < QUEUE - margin - 3)
        m.d.comb += table.room.eq(self.room | self.lossless)

        self._overflow(m, table, overflow, lost=offered & ~fits, told=told)
        m.d.comb += told.eq(self._untold & queue.w_rdy & ~(offered & fits))
        with m.If(told):
            m.d.comb += [queue.w_data.eq(overflow), queue.w_en.eq(1)]
        return offered | queue.r_rdy | self._swept

    def _overflow(self, m, table, report, *, lost, told):
        """What reports of groups found no room for: a count for each rule, and one for the rule that changed last.

        Of a cumulative rule, whose groups have been told in part, it is all that the rule has counted, which is told
        at its end in any case.  At the end of a sweep the counts are told one after another, as there is room:
        ``report``, if ``self._untold``.
        """
        rules, outcome = self._rules, table.o
        packets = [Signal(PACKETS_BITS, name=f"packets{n}") for n in range(rules + 1)]
        octets = [Signal(BYTES_BITS, name=f"octets{n}") for n in range(rules + 1)]
        short = Signal(rules + 1)  # to be told: groups fall short of it
        closed, closed_generation, closed_cumulative = Signal(range(max(2, rules))), Signal(32), Signal()
        which = Signal(range(rules + 1))
        m.d.comb += [
            self._untold.eq(self._swept & short.bit_select(which, 1) & ~self.sweep.any()),
            report.rule.eq(Mux(which == rules, closed, which)),
            report.flags.eq(ReportFlag.OVERFLOW),
            report.generation.eq(Array([*self._fresh, closed_generation])[which]),
            report.packets.eq(Array(packets)[which]),
            report.bytes.eq(Array(octets)[which]),
        ]
        rule = outcome.record.rule if rules > 1 else Const(0, 1)
        of_closed = outcome.stale & table.final.bit_select(rule, 1)
        for n in range(rules + 1):
            gone, counted, turned_away, cleared = (
                Signal(name=f"{name}{n}") for name in ("gone", "counted", "turned_away", "cleared")
            )
            if n < rules:
                cumulative = self._configs[n].cumulative
                mine = outcome.valid & ~outcome.sweep & (outcome.rule == n)
                m.d.comb += [
                    turned_away.eq(mine & outcome.turned_away),
                    counted.eq(mine & (cumulative | outcome.turned_away)),
                    gone.eq(lost & ~of_closed & (rule == n)),
                ]
                m.d.comb += cleared.eq(told & (which == n) & ~cumulative)
            else:
                cumulative = closed_cumulative
                m.d.comb += [cleared.eq(told & (which == n)), gone.eq(lost & of_closed)]
            for total, one, of_group in (
                (packets[n], 1, outcome.record.packets),
                (octets[n], outcome.length, outcome.record.bytes),
            ):
                more = Mux(counted, one, Mux(gone & ~cumulative, of_group, 0))
                with m.If(counted | gone | cleared):
                    m.d.sync += total.eq(Mux(cleared, 0, total) + more)
            with m.If(gone | turned_away):
                m.d.sync += short[n].eq(1)
            with m.Elif(cleared):
                m.d.sync += short[n].eq(0)

        with m.If(self.sweep.any()):
            m.d.sync += which.eq(0)
        with m.Elif(self._swept & (told | ~short.bit_select(which, 1))):
            m.d.sync += which.eq(which + 1)
            with m.If(which == rules):
                m.d.sync += [which.eq(0), self._swept.eq(0), self.closing.eq(0)]
        for n in range(rules):
            with m.If(self.sweep[n] & self.final):
                m.d.sync += [
                    self.closing.eq(1),
                    closed.eq(n),
                    closed_generation.eq(self._fresh[n]),
                    closed_cumulative.eq(self._configs[n].cumulative),
                    packets[rules].eq(packets[n]),
                    octets[rules].eq(octets[n]),
                    short[rules].eq(short[n] | (self._configs[n].cumulative & packets[n].any())),
                    packets[n].eq(0),
                    octets[n].eq(0),
                    short[n].eq(0),
                ]


__all__ = ["LATENCY", "Unit", "Verdict"]

"""All rules with their table, one packet at a time: matching, counting, sweeping, and the queue of reports."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from sentinic.abi.profiles import Profile
from sentinic.abi.statistics import REVERSE, Event, ReportFlag
from sentinic_hdl.meta import Crossing
from sentinic_hdl.stages.statistics.folded.matcher import Load, Matcher
from sentinic_hdl.stages.statistics.folded.overflow import Overflow
from sentinic_hdl.stages.statistics.folded.table import FoldedTable, left_shape
from sentinic_hdl.stages.statistics.types import BYTES_BITS, EPOCH_BITS, PACKETS_BITS, Sample, report_shape
from sentinic_hdl.stages.statistics.unit import ENDURANCE

#: Reports that may wait, in distributed RAM.
QUEUE = 16
FLAG_BITS = max(ReportFlag).bit_length()


class Thresholds(data.Struct):
    packets: PACKETS_BITS  # 0 for none
    bytes: BYTES_BITS


class FoldedUnit(wiring.Component):
    """Counts a packet for all rules that it hits, then takes the next one.

    A packet takes four cycles for each rule that is on, eight if that counts it turned round, or six for each rule that
    it hits if that is more, and some cycles before and after: 31 if it hits four rules, 41 if it is turned round for
    all of them.

    A group leaves as a report, into a queue; when that is full the group's counts go into the rule's overflow, which is
    reported at the end of the next sweep.  A sweep looks at every record of the table, one with each packet, and one
    every four cycles between packets.

    Members
    -------
    start: there is a packet: ``i`` stays until not ``busy``
    enabled: rules that are on
    crossing: which thresholds the packet has crossed, when no more ``busy``
    load, load_valid, load_rule: half words of rules and secret, as :class:`Matcher` takes them
    change: a rule, one at most, whose ``flags``, ``thresholds`` and ``generation`` are now these
    sweep: rules whose counts so far are to be reported, for ``reason``, and forgotten if ``final``: a sweep begins;
        like ``change`` and ``load_valid`` only while not ``busy``, and no sweep under way
    lossless: packets wait for room for reports, which then are never dropped into the overflow
    sweeping: a sweep is under way, or the table is being cleared
    closing: what the rule that was forgotten last has left is not all on its way; no other may be
    busy: the packet has not been counted by all rules
    ending: in the next cycle it has been, if it has not yet
    reports: groups for the host
    """

    def __init__(self, *, profile: Profile):
        rules = profile.statistics_rules
        self._rules, self._sets = rules, profile.statistics_groups // profile.statistics_ways
        super().__init__(
            {
                "start": In(1),
                "i": In(Sample),
                "enabled": In(rules),
                "crossing": Out(Crossing),
                "load": In(Load),
                "load_valid": In(1),
                "load_rule": In(range(max(2, rules))),
                "change": In(rules),
                "flags": In(2),
                "thresholds": In(Thresholds),
                "generation": In(32),
                "sweep": In(rules),
                "reason": In(8),
                "final": In(1),
                "lossless": In(1),
                "sweeping": Out(1),
                "closing": Out(1),
                "busy": Out(1),
                "ending": Out(1),
                "reports": Out(stream.Signature(report_shape(profile))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rules = self._rules
        m.submodules.matcher = matcher = Matcher(rules=rules, index_bits=exact_log2(self._sets))
        m.submodules.table = table = FoldedTable(rules=rules, sets=self._sets)
        bidirectional = self._rule_state(m, table)
        m.d.comb += [
            matcher.load.eq(self.load),
            matcher.load_valid.eq(self.load_valid),
            matcher.load_rule.eq(self.load_rule),
            matcher.start.eq(self.start),
            matcher.fields.eq(self.i.fields),
            matcher.enabled.eq(self.enabled),
            matcher.bidirectional.eq(bidirectional),
            table.i.valid.eq(matcher.o.valid),
            matcher.o.ready.eq(table.i.ready),
            self.busy.eq(matcher.busy | matcher.o.valid | table.counting),
            self.ending.eq(~matcher.busy & ~matcher.o.valid & (~table.counting | table.ending)),
        ]
        for name in ("rule", "key", "reversed", "index"):
            m.d.comb += table.i.p[name].eq(matcher.o.p[name])
        for name in ("timestamp", "length", "events"):
            m.d.comb += table.i.p[name].eq(getattr(self.i, name))

        # The lowest rule's count is told; the rules come one after another, the lowest first.
        with m.If(self.start):
            m.d.sync += self.crossing.eq(0)
        with m.Elif(table.counted & table.crossed.any):
            m.d.sync += self.crossing.rules.bit_select(table.threshold_rule, 1).eq(1)
            with m.If(~self.crossing.rules.any()):
                m.d.sync += [
                    self.crossing.value.eq(table.crossed.value),
                    self.crossing.of_bytes.eq(table.crossed.of_bytes),
                ]

        room, swept = Signal(), Signal()
        self._sweeper(m, table, room, swept, matcher.first | ~(matcher.busy | matcher.o.valid))
        self._reports(m, table, room, swept)
        return m

    def _rule_state(self, m: Module, table: FoldedTable) -> Value:
        """Of each rule's records those that are fresh and those that are stale; which rules are bidirectional."""
        rules = range(self._rules)
        self._fresh = [Signal(32, name=f"generation{n}") for n in rules]
        self._stale = [Signal(32, name=f"stale_generation{n}") for n in rules]
        self._reasons = [Signal(FLAG_BITS, name=f"reason{n}") for n in rules]
        bidirectional, cumulative, number = Signal(self._rules), Signal(self._rules), Signal(range(self._rules))
        m.submodules.thresholds = thresholds = Memory(shape=Thresholds, depth=self._rules, init=[])
        write, read = thresholds.write_port(), thresholds.read_port(domain="comb")
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
                m.d.comb += [number.eq(n), write.en.eq(1)]
                m.d.sync += [
                    Cat(bidirectional[n], cumulative[n]).eq(self.flags),
                    self._fresh[n].eq(self.generation),
                ]
            m.d.comb += [table.epochs[n].eq(epoch), table.final[n].eq(final)]
        m.d.comb += [
            write.addr.eq(number),
            write.data.eq(self.thresholds),
            read.addr.eq(table.threshold_rule),
            table.threshold_packets.eq(read.data.packets),
            table.threshold_bytes.eq(read.data.bytes),
            table.cumulative.eq(cumulative),
        ]
        return bidirectional

    def _sweeper(self, m: Module, table: FoldedTable, room: Value, swept: Signal, spare: Value) -> None:
        """Looks at the records one after another, when there is time to ``spare``."""
        records = 2 * self._sets
        number = Signal(range(records + 1))
        running, forced = Signal(), Signal()
        endured = Signal(range(ENDURANCE + 1))
        m.d.comb += [
            self.sweeping.eq(running | table.clearing),
            table.sweep.eq(running & (number != records) & (room | forced) & spare),
            table.sweep_record.eq(number),
            forced.eq(~self.lossless & (endured == ENDURANCE)),
        ]
        with m.If(self.sweep.any()):
            m.d.sync += [running.eq(1), number.eq(0), endured.eq(0)]
        with m.Elif(running):
            with m.If(~room & (endured != ENDURANCE)):
                m.d.sync += endured.eq(endured + 1)
            with m.If(table.swept):
                m.d.sync += number.eq(number + 1)
            with m.Elif(table.idle & ((number == records) | ~table.live.any())):
                m.d.sync += running.eq(0)
                m.d.comb += swept.eq(1)

    def _reports(self, m: Module, table: FoldedTable, room: Value, swept: Signal) -> None:
        rules = self._rules
        left = table.left.p
        layout = data.StructLayout({"left": left_shape(rules), "flags": FLAG_BITS, "generation": 32})
        m.submodules.queue = queue = SyncFIFO(width=layout.size, depth=QUEUE)
        rule = left.record.rule if rules > 1 else Const(0, 1)
        reasons, generations, fresh = Array(self._reasons), Array(self._stale), Array(self._fresh)
        entry = Signal(layout)
        m.d.comb += [
            room.eq(queue.w_rdy),
            table.room.eq(queue.w_rdy | self.lossless),
            table.left.ready.eq(queue.w_rdy | ~self.lossless),
            queue.w_data.eq(entry),
            entry.left.eq(left),
            entry.flags.eq(
                Mux(left.stale, reasons[rule], Mux(left.swept, 0, ReportFlag.EVICTED))
                | Mux(left.record.reversed, ReportFlag.REVERSED, 0)
            ),
            entry.generation.eq(Mux(left.stale, generations[rule], fresh[rule])),
        ]

        m.submodules.overflow = overflow = Overflow(rules=rules)
        m.d.comb += [
            overflow.rule.eq(Mux(table.left.valid, rule, table.threshold_rule)),
            overflow.closed.eq(left.stale & table.final.bit_select(rule, 1)),
            overflow.lost.eq(table.left.valid & ~queue.w_rdy & ~self.lossless),
            overflow.counts.packets.eq(left.record.packets),
            overflow.counts.bytes.eq(left.record.bytes),
            overflow.counts.generation.eq(entry.generation),
            overflow.counted.eq(table.counted),
            overflow.turned_away.eq(table.turned_away),
            overflow.length.eq(table.length),
            overflow.cumulative.eq(table.cumulative),
            overflow.generations.eq(Cat(self._fresh)),
            overflow.closes.eq(Mux(self.final, self.sweep, 0)),
            self.closing.eq(overflow.closing),
            overflow.tell.eq(swept),
            overflow.stop.eq(self.sweep.any()),
        ]
        with m.If(table.left.valid):
            m.d.comb += queue.w_en.eq(queue.w_rdy)
        with m.Elif(overflow.telling):
            m.d.comb += [
                queue.w_en.eq(queue.w_rdy),
                overflow.told.eq(queue.w_rdy),
                entry.left.record.rule.eq(overflow.o.rule),
                entry.left.record.packets.eq(overflow.o.counts.packets),
                entry.left.record.bytes.eq(overflow.o.counts.bytes),
                entry.flags.eq(ReportFlag.OVERFLOW),
                entry.generation.eq(overflow.o.counts.generation),
            ]

        told, out = data.View(layout, queue.r_data), self.reports
        free = Signal()
        m.d.comb += [free.eq(~out.valid | out.ready), queue.r_en.eq(free)]
        with m.If(free):
            kinds = len(Event) - 1
            seen = told.left.seen
            m.d.sync += [
                out.valid.eq(queue.r_rdy),
                out.p.rule.eq(told.left.record.rule),
                out.p.flags.eq(told.flags),
                out.p.generation.eq(told.generation),
                # Event 0 is none, so is bit 0.
                out.p.seen.eq(Cat(Const(0, 1), seen[:kinds], Const(0, REVERSE - kinds), seen[kinds:])),
                *(
                    out.p[name].eq(told.left.record[name])
                    for name in ("key", "packets", "bytes", "first", "last", "history")
                ),
            ]
            # Of an overflow the rest is what the table last read.
            with m.If(told.flags & ReportFlag.OVERFLOW):
                m.d.sync += [out.p[name].eq(0) for name in ("key", "first", "last", "seen", "history")]


__all__ = ["FoldedUnit", "Thresholds"]

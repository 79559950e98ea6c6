"""The groups of one or more rules: a set-associative table that counts a packet a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from sentinic.abi.statistics import FIELD_WORDS, HISTORY_EVENTS, REVERSE, Event
from sentinic_hdl.stages.statistics.types import (
    BYTES_BITS,
    EPOCH_BITS,
    PACKETS_BITS,
    Events,
    record_shape,
)

KEY_BITS = 32 * FIELD_WORDS
#: In the order in which a packet's events are noted.
EVENTS = (
    ("syn", Event.SYN),
    ("handshake", Event.HANDSHAKE),
    ("fin", Event.FIN),
    ("rst", Event.RST),
    ("data", Event.DATA),
    ("ack", Event.ACK),
)


def secret_bits(sets: int) -> int:
    """Bits of secret that the hash of a table of so many sets wants."""
    return KEY_BITS + exact_log2(sets)


class Count(data.Struct):
    """A packet to count, or a set to sweep (``sweep``, with its number in ``key``)."""

    sweep: 1
    rule: 4
    key: KEY_BITS
    reversed: 1
    timestamp: 64
    length: 16
    events: Events


def outcome_shape(rules: int) -> data.StructLayout:
    """What came of a ``Count``.

    ``record`` left the table or goes on with a new interval, if ``report``; ``stale`` tells which, ``more`` that the
    swept set holds more of them.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "sweep": 1,
            "more": 1,
            "report": 1,
            "stale": 1,
            "reversed": 1,
            "turned_away": 1,  # not counted: its record would take the place of one that must stay
            "rule": range(max(2, rules)),  # the packet's, and its length
            "length": 16,
            "record": record_shape(rules),
            "packets_crossed": 1,
            "bytes_crossed": 1,
            "packets": PACKETS_BITS,
            "bytes": BYTES_BITS,
        }
    )


class Table(wiring.Component):
    """Counts packets by key, one a cycle, whatever the keys.

    A set holds its records in the order of their last use.  A packet's record comes to the front of its set; when it is
    new and the set full, the last one leaves and is reported.  Sets in flight are forwarded: a set read in this cycle
    may have been changed by the two counts before.

    A cumulative rule's record has been reported in part when it leaves, so what of it finds no room for a report cannot
    be told as a number that is missing.  While there is no ``room``, such a record is reported later, and a packet that
    wants its place is turned away.

    Latency four cycles from ``i`` to ``o``.

    Parameters
    ----------
    rules: rules that share the table
    sets, ways: records, sets a power of two

    Members
    -------
    i: what to count; ``valid`` beside it
    secret: key of the hash
    epochs: of each rule; a record with another one is stale
    cumulative: of each rule; its stale records go on counting unless ``final``
    final: of each rule; its records are to be reported and forgotten
    threshold_packets, threshold_bytes: of the rule being counted two cycles after ``i``, 0 for none
    threshold_rule: whose thresholds are wanted
    room: what is counted in the next cycles finds room for its report
    o: what came of it
    live: records in the table
    clearing: after reset; ``i`` must wait
    """

    def __init__(self, *, rules: int, sets: int, ways: int):
        if rules < 1 or ways < 2:
            raise ValueError(f"rules must be at least 1 and ways at least 2, not {rules} and {ways}")
        self._rules, self._sets, self._ways = rules, sets, ways
        super().__init__(
            {
                "valid": In(1),
                "i": In(Count),
                "secret": In(secret_bits(sets)),
                "epochs": In(data.ArrayLayout(EPOCH_BITS, rules)),
                "cumulative": In(rules),
                "final": In(rules),
                "threshold_rule": Out(range(max(2, rules))),
                "threshold_packets": In(PACKETS_BITS),
                "threshold_bytes": In(BYTES_BITS),
                "room": In(1, init=1),
                "o": Out(outcome_shape(rules)),
                "live": Out(range(sets * ways + 1)),
                "clearing": Out(1, init=1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rules, ways = self._rules, self._ways
        index_bits = exact_log2(self._sets)
        record_layout = record_shape(rules)
        set_layout = data.ArrayLayout(record_layout, ways)
        m.submodules.memory = memory = Memory(shape=set_layout.size, depth=self._sets, init=[])
        read, write = memory.read_port(), memory.write_port()

        # Cycle 1: the set's number.
        valid1, count1, index1 = Signal(), Signal(Count), Signal(index_bits)
        m.d.sync += valid1.eq(self.valid)
        with m.If(self.valid):
            hashed = Cat((self.i.key & self.secret[bit : bit + KEY_BITS]).xor() for bit in range(index_bits))
            if rules > 1:
                hashed = hashed ^ self.i.rule
            m.d.sync += [count1.eq(self.i), index1.eq(Mux(self.i.sweep, self.i.key[:index_bits], hashed))]
        m.d.comb += [read.addr.eq(index1), read.en.eq(valid1)]

        # Cycle 2: the set is read; the count two before this one has just written.
        valid2, count2, index2 = Signal(), Signal(Count), Signal(index_bits)
        m.d.sync += valid2.eq(valid1)
        with m.If(valid1):
            m.d.sync += [count2.eq(count1), index2.eq(index1)]
        valid3, count3, index3 = Signal(), Signal(Count), Signal(index_bits)
        written, written_set, written_index = Signal(), Signal(set_layout), Signal(index_bits)
        seen = Signal(set_layout)
        same_key = Signal(ways)
        # What no count asks for is left at 0, here and below: a simulator then skips it.
        with m.If(valid2):
            m.d.comb += seen.eq(Mux(written & (written_index == index2), written_set, read.data))
            for way in range(ways):
                m.d.comb += same_key[way].eq(
                    (seen[way].key == count2.key) & (seen[way].rule == count2.rule[: len(seen[way].rule)])
                )
        m.d.comb += self.threshold_rule.eq(count2.rule)

        # Cycle 3: count.
        read3, same3 = Signal(set_layout), Signal(ways)
        after, equal3 = Signal(), Signal()
        threshold_packets, threshold_bytes = Signal(PACKETS_BITS), Signal(BYTES_BITS)
        m.d.sync += valid3.eq(valid2)
        with m.If(valid2):
            m.d.sync += [
                count3.eq(count2),
                index3.eq(index2),
                read3.eq(seen),
                same3.eq(same_key),
                after.eq(valid3 & (index3 == index2)),
                equal3.eq((count3.key == count2.key) & (count3.rule == count2.rule) & ~count3.sweep),
                threshold_packets.eq(self.threshold_packets),
                threshold_bytes.eq(self.threshold_bytes),
            ]
        m.d.sync += [written.eq(valid3), self.o.valid.eq(valid3)]
        with m.If(valid3):
            self._count(
                m, count3, Mux(after, written_set, read3), self._moved(m, same3, after, equal3),
                threshold_packets, threshold_bytes,
            )  # fmt: skip
            m.d.sync += [written_set.eq(self._new_set), written_index.eq(index3), self._place_before.eq(self._place)]
            m.d.sync += self._unmoved_before.eq(count3.sweep | self._turned_away)

        # After reset the memory holds what it held before.
        cleared = Signal(index_bits)
        m.d.comb += [
            write.addr.eq(Mux(self.clearing, cleared, index3)),
            write.data.eq(self._new_set),  # 0 while it is cleared
            write.en.eq(self.clearing | valid3),
        ]
        with m.If(self.clearing):
            m.d.sync += [cleared.eq(cleared + 1), self.clearing.eq(cleared != self._sets - 1)]
        return m

    def _moved(self, m, same, after, equal):
        """Which records have this count's key, when the count before it changed the same set since it was read."""
        ways = self._ways
        self._place_before, self._unmoved_before = Signal(range(ways)), Signal()
        moved = Signal(ways)
        shifted = Cat(equal, *(Mux(way <= self._place_before, same[way - 1], same[way]) for way in range(1, ways)))
        m.d.comb += moved.eq(Mux(after & ~self._unmoved_before, shifted, same))
        return moved

    def _count(self, m, count, old_value, same, threshold_packets, threshold_bytes):
        rules, ways = self._rules, self._ways
        record_layout = record_shape(rules)
        old_set = Signal(data.ArrayLayout(record_layout, ways))
        self._new_set = new_set = Signal.like(old_set)
        self._place = place = Signal(range(ways))
        live, stale, hits = Signal(ways), Signal(ways), Signal(ways)
        m.d.comb += [old_set.eq(old_value), hits.eq(same & live)]
        for way in range(ways):
            record = old_set[way]
            m.d.comb += [
                live[way].eq(record.valid),
                stale[way].eq(
                    record.valid
                    & (record.epoch != self.epochs[record.rule] if rules > 1 else record.epoch != self.epochs[0])
                ),
            ]
        any_hit, any_free, any_stale = hits.any(), ~live.all(), stale.any()
        wanted = Mux(
            count.sweep, stale, Mux(any_hit, hits, Mux(any_free, ~live, Mux(any_stale, stale, 1 << (ways - 1))))
        )[:ways]
        choice = Signal(ways)
        m.d.comb += [choice.eq(wanted), place.eq(ways - 1)]
        for way in reversed(range(ways)):
            with m.If(choice[way]):
                m.d.comb += place.eq(way)

        old = Signal(record_layout)
        old_stale, hit, going_on, lasting = Signal(), Signal(), Signal(), Signal()
        held, waits = Signal(), Signal()
        in_place = Signal()  # it takes nobody's place
        self._turned_away = turned_away = Signal()
        for way in range(ways):
            with m.If(place == way):
                m.d.comb += [old.eq(old_set[way]), old_stale.eq(stale[way])]
        old_rule = old.rule if rules > 1 else Const(0, 1)
        epoch = self.epochs[count.rule[: len(old.rule)]] if rules > 1 else self.epochs[0]
        m.d.comb += [
            hit.eq(any_hit),
            lasting.eq(self.cumulative.bit_select(old_rule, 1) & ~self.final.bit_select(old_rule, 1)),
            going_on.eq(hit & (~old_stale | lasting)),
            held.eq(~self.room & old.valid & old.fresh & self.cumulative.bit_select(old_rule, 1)),
            in_place.eq(hit | count.sweep),
            waits.eq(held & old_stale & lasting & in_place),
            turned_away.eq(held & ~in_place),
        ]

        new, swept = Signal(record_layout), Signal(record_layout)
        # A signal of its own, since the history of ``new`` depends on it: no block of the model is to be its own cause.
        from_other_end = Signal()
        base_packets, base_bytes = Signal(PACKETS_BITS), Signal(BYTES_BITS)
        m.d.comb += [
            base_packets.eq(Mux(going_on, old.packets, 0)),
            base_bytes.eq(Mux(going_on, old.bytes, 0)),
            new.valid.eq(1),
            new.fresh.eq(1),
            from_other_end.eq(Mux(going_on, old.reversed, count.reversed)),
            new.reversed.eq(from_other_end),
            new.epoch.eq(epoch),
            new.rule.eq(count.rule),
            new.key.eq(count.key),
            new.packets.eq(base_packets + 1),
            new.bytes.eq(base_bytes + count.length),
            new.first.eq(Mux(going_on, old.first, count.timestamp)),
            new.last.eq(count.timestamp),
            swept.eq(old),
            swept.valid.eq(old.valid & (~old_stale | lasting)),
            swept.fresh.eq(old.fresh & (~old_stale | waits)),
        ]
        with m.If(old_stale):
            m.d.comb += swept.epoch.eq(self.epochs[old_rule] if rules > 1 else self.epochs[0])
        self._history(m, count, new, old, going_on, count.reversed ^ from_other_end)

        for way in range(ways):
            kept = old_set[way]
            before = old_set[way - 1] if way else new
            m.d.comb += new_set[way].eq(
                Mux(count.sweep, Mux(place == way, swept, kept), Mux((place >= way) & ~turned_away, before, kept))
            )

        out = self.o
        m.d.sync += [
            out.sweep.eq(count.sweep),
            out.more.eq((stale & (stale - 1)).any()),
            out.report.eq(old.valid & old.fresh & (old_stale | ~in_place) & ~waits & ~turned_away),
            out.turned_away.eq(turned_away),
            out.rule.eq(count.rule),
            out.length.eq(count.length),
            out.stale.eq(old_stale),
            out.reversed.eq(count.reversed ^ from_other_end),
            out.record.eq(old),
            out.packets_crossed.eq(
                ~count.sweep & ~turned_away & (threshold_packets != 0) & (base_packets < threshold_packets)
                & (new.packets >= threshold_packets)
            ),
            out.bytes_crossed.eq(
                ~count.sweep & ~turned_away & (threshold_bytes != 0) & (base_bytes < threshold_bytes)
                & (new.bytes >= threshold_bytes)
            ),
            out.packets.eq(new.packets),
            out.bytes.eq(new.bytes),
        ]  # fmt: skip
        with m.If(count.sweep):
            m.d.sync += self.live.eq(self.live - (old.valid & ~swept.valid))
        with m.Else():
            m.d.sync += self.live.eq(self.live + ~old.valid)

    def _history(self, m, count, new, old, going_on, backwards):
        seen, history, events = Signal(16), Signal(32), Signal(4)
        m.d.comb += [
            seen.eq(Mux(going_on, old.seen, 0)),
            history.eq(Mux(going_on, old.history, 0)),
            events.eq(Mux(going_on, old.events, 0)),
        ]
        for name, event in EVENTS:
            code = Signal(4, name=f"code_{name}")
            news = Signal(name=f"news_{name}")
            kept = Signal(name=f"kept_{name}")
            next_history = Signal(32, name=f"history_{name}")
            next_events = Signal(4, name=f"events_{name}")
            m.d.comb += [
                code.eq(Cat(Const(event, 3), backwards)),
                news.eq(count.events[name] & ~Mux(backwards, seen[REVERSE + event], seen[event])),
                kept.eq(news & (events != HISTORY_EVENTS)),
                next_history.eq(history),
                next_events.eq(events + kept),
            ]
            for position in range(HISTORY_EVENTS):
                with m.If(kept & (events == position)):
                    m.d.comb += next_history[4 * position : 4 * position + 4].eq(code)
            history, events = next_history, next_events
        m.d.comb += [new.history.eq(history), new.events.eq(events), new.seen.eq(seen)]
        for name, event in EVENTS:
            with m.If(count.events[name]):
                with m.If(backwards):
                    m.d.comb += new.seen[REVERSE + event].eq(1)
                with m.Else():
                    m.d.comb += new.seen[event].eq(1)


__all__ = ["Count", "Table", "outcome_shape", "secret_bits"]

"""Which rules a packet hits, and by what key each would group it: a beat of the fields a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sentinic.abi.statistics import FIELD_WORDS
from sentinic_hdl.stages.statistics.folded.beats import (
    BEATS,
    COLUMNS,
    HALF,
    LAYOUT,
    Beat,
    beats_of,
    turned,
    words_of,
)
from sentinic_hdl.stages.statistics.types import Fields

#: Half words of the hash's secret that a beat meets: as long as the beat, and an index longer.
_WINDOW = COLUMNS + 1


class Kind(Enum, shape=2):
    """What a half word of configuration is part of."""

    SECRET = 0
    VALUE = 1
    MASK = 2
    GROUP = 3


class Load(data.Struct):
    """A half word of configuration: of ``rule``, or of the secret that all rules share."""

    kind: Kind
    half: 5
    data: HALF


def found_shape(rules: int, index_bits: int) -> data.StructLayout:
    """A rule that the packet hits: with which key, whether that is of the packet turned round, and the key's hash."""
    return data.StructLayout(
        {"rule": ceil_log2(max(2, rules)), "reversed": 1, "key": 32 * FIELD_WORDS, "index": index_bits}
    )


class Matcher(wiring.Component):
    """Goes through the rules, one after another: four cycles a rule, four more if it counts the packet turned round.

    A rule that is off takes one cycle.  While ``o`` waits, all waits.

    Members
    -------
    load: what to keep, when ``load_valid``; ``load_rule`` says of which rule; only while not ``busy``
    start: a packet is there: ``fields`` stay until not ``busy``
    enabled, bidirectional: of each rule
    o: the rules that it hits, the lowest first
    first: the packet's first beat is gone through in this cycle
    busy: not all rules have been gone through
    """

    def __init__(self, *, rules: int, index_bits: int):
        if not 0 < index_bits <= HALF + 1:
            raise ValueError(f"index_bits must be 1..{HALF + 1}, not {index_bits}")
        self._rules, self._index_bits = rules, index_bits
        super().__init__(
            {
                "load": In(Load),
                "load_valid": In(1),
                "load_rule": In(range(max(2, rules))),
                "start": In(1),
                "fields": In(Fields),
                "enabled": In(rules),
                "bidirectional": In(rules),
                "o": Out(stream.Signature(found_shape(rules, index_bits))),
                "first": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rule, beat = Signal.like(self.o.p.rule), Signal(range(BEATS))
        step, last, again = Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(self.busy & (~self.o.valid | self.o.ready)),
            last.eq(beat == BEATS - 1),
            self.first.eq(self.busy & (rule == 0) & (beat == 0) & ~again),
        ]
        value, mask, group = (self._columns(m, kind, Cat(beat, rule)) for kind in (Kind.VALUE, Kind.MASK, Kind.GROUP))
        secret = self._secret(m, beat)

        # What the beats before this one have shown.
        hits, greater, hashed = Signal(2), Signal(), Signal(self._index_bits)
        new_hits, new_greater, new_hashed = Signal.like(hits), Signal.like(greater), Signal.like(hashed)
        forward, backward, key = Signal(Beat), Signal(Beat), Signal(Beat)
        keys = Signal(BEATS * Beat.size)
        enabled, both = Signal(), Signal()
        hit, swap = Signal(), Signal()
        # Not ``step``, which comes late: what is found while ``o`` waits is found again.
        with m.If(self.busy):
            with m.Switch(beat):
                for n, part in enumerate(beats_of(self.fields.as_value())):
                    with m.Case(n):
                        m.d.comb += forward.eq(part)
            m.d.comb += [
                enabled.eq(self.enabled.bit_select(rule, 1)),
                both.eq(self.bidirectional.bit_select(rule, 1)),
                backward.eq(turned(forward)),
                key.eq(Mux(again, backward, forward) & group),
                new_hits.eq(
                    Mux(beat == 0, 3, hits)
                    & Cat(
                        ~((forward.as_value() ^ value) & mask).any(),
                        ~((backward.as_value() ^ value) & mask).any(),
                    )
                ),
                # The lowest bits come first: where the ends are equal, what was below them decides.
                new_greater.eq(Cat((beat != 0) & greater, key.first) > Cat(0, key.second)),
                new_hashed.eq(
                    Mux(beat == 0, 0, hashed)
                    ^ Cat((key.as_value() & secret[bit : bit + Beat.size]).xor() for bit in range(self._index_bits))
                ),
                hit.eq(new_hits[0] | (both & new_hits[1])),
                swap.eq(both & new_greater & ~again),
            ]
        with m.If(step):
            m.d.sync += [
                beat.eq(beat + 1),
                keys.eq(Cat(keys[Beat.size :], key)),
                hits.eq(new_hits),
                greater.eq(new_greater),
                hashed.eq(new_hashed),
                self.o.valid.eq(0),
            ]
            with m.If(last & hit & swap):
                m.d.sync += again.eq(1)
            with m.Elif(last | ~enabled):
                m.d.sync += [again.eq(0), beat.eq(0), rule.eq(rule + 1), self.o.valid.eq(enabled & hit)]
                m.d.sync += [self.o.p.rule.eq(rule), self.o.p.reversed.eq(again), self.o.p.index.eq(new_hashed ^ rule)]
                with m.If(rule == self._rules - 1):
                    m.d.sync += self.busy.eq(0)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), rule.eq(0)]
        m.d.comb += self.o.p.key.eq(words_of(keys))
        return m

    def _column(self, m: Module, name: str, kind: Kind, places: list[int], address: Value, depth: int) -> Value:
        """Half words, of which the one numbered ``places[n]`` is for beat ``n``."""
        m.submodules[name] = memory = Memory(shape=HALF, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        beat = Signal(range(BEATS))
        with m.If(self.load_valid & (self.load.kind == kind)):
            with m.Switch(self.load.half):
                for n, place in enumerate(places):
                    with m.Case(place):
                        m.d.comb += [beat.eq(n), write.en.eq(1)]
        m.d.comb += [
            write.addr.eq(Cat(beat, self.load_rule)),
            write.data.eq(self.load.data),
            read.addr.eq(address),
        ]
        return read.data

    def _columns(self, m: Module, kind: Kind, address: Value) -> Value:
        places = [[LAYOUT[n][column] for n in range(BEATS)] for column in range(COLUMNS)]
        depth = BEATS << ceil_log2(max(2, self._rules))
        return Cat(
            self._column(m, f"{kind.name.lower()}{column}", kind, places[column], address, depth)
            for column in range(COLUMNS)
        )

    def _secret(self, m: Module, beat: Value) -> Value:
        """The part of the secret that the beat meets, a bit further on for each bit of the hash."""
        places = [[COLUMNS * n + column for n in range(BEATS)] for column in range(_WINDOW)]
        return Cat(
            self._column(m, f"secret{column}", Kind.SECRET, places[column], beat, BEATS) for column in range(_WINDOW)
        )


__all__ = ["Kind", "Load", "Matcher", "found_shape"]

"""What reports of groups have found no room for, by rule."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sentinic_hdl.stages.statistics.types import BYTES_BITS, PACKETS_BITS


class Counts(data.Struct):
    """Packets and bytes of a generation of a rule."""

    packets: PACKETS_BITS
    bytes: BYTES_BITS
    generation: 32


class Overflow(wiring.Component):
    """Adds up what was not told in groups, and tells it when asked.

    There is a count for each rule, and one for the rule that was forgotten last, whose groups leave while another
    counts in its place.  Of a cumulative rule, whose groups have been told in part, it is all that the rule has
    counted, which is told once groups fall short of it, and at its end in any case.

    Members
    -------
    rule, closed: of what follows; ``closed`` of what the rule that was forgotten last has left
    lost, counts: these counts of a group have found no room
    counted, turned_away, length: a packet has been counted, or should have been; never with ``lost``
    cumulative, generations: of each rule
    closes: a rule is forgotten, no other one ``closing``, and nothing lost or counted in this cycle or the one before
    closing: what it left is not all told
    stop: do not tell, there is more to come
    tell: after that, begin to tell of all that is missing; nothing leaves any more of a rule that was forgotten
    telling, o: some of it, until ``told``
    """

    def __init__(self, *, rules: int):
        self._rules = rules
        number = range(max(2, rules))
        super().__init__(
            {
                "rule": In(number),
                "closed": In(1),
                "lost": In(1),
                "counts": In(Counts),
                "counted": In(1),
                "turned_away": In(1),
                "length": In(16),
                "cumulative": In(rules),
                "generations": In(data.ArrayLayout(32, rules)),
                "closes": In(rules),
                "closing": Out(1),
                "tell": In(1),
                "stop": In(1),
                "telling": Out(1),
                "o": Out(data.StructLayout({"rule": number, "counts": Counts})),
                "told": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rules = self._rules
        closed = rules  # its place
        m.submodules.memory = memory = Memory(shape=Counts, depth=rules + 1, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        used, short = Signal(rules + 1), Signal(rules + 1)  # not 0; to be told: groups fall short of it
        which, place = Signal(range(rules + 1)), Signal(range(rules + 1))
        closed_rule, closed_cumulative = Signal.like(self.rule), Signal()
        # Added a cycle later, as a group's rule comes from block RAM.
        adding, missing, more, had = Signal(), Signal(), Signal(Counts), Signal(Counts)
        running, looks, keeps = Signal(), Signal(), Signal()
        # So is what was of a rule that is forgotten moved: which one that is, is known late in the cycle.
        moving, moved = Signal(), Signal.like(self.rule)
        m.d.sync += moving.eq(self.closes.any())
        for n in range(rules):
            with m.If(self.closes[n]):
                m.d.sync += moved.eq(n)
        with m.If(used.bit_select(Mux(moving, closed, read.addr), 1)):
            m.d.comb += had.eq(read.data)
        m.d.comb += [
            read.addr.eq(Mux(adding, place, Mux(moving, moved, which))),
            write.addr.eq(Mux(adding, place, closed)),
            write.en.eq(adding | moving),
            write.data.packets.eq(had.packets + more.packets),
            write.data.bytes.eq(had.bytes + more.bytes),
            write.data.generation.eq(Mux(adding, more.generation, had.generation)),
        ]

        m.d.sync += [adding.eq(0), missing.eq(0), more.eq(0)]
        with m.If(self.lost):
            m.d.sync += [adding.eq(1), missing.eq(1), place.eq(Mux(self.closed, closed, self.rule))]
            m.d.sync += more.generation.eq(self.counts.generation)
            with m.If(~(self.closed & closed_cumulative)):
                m.d.sync += [more.packets.eq(self.counts.packets), more.bytes.eq(self.counts.bytes)]
        with m.Elif(self.counted & (self.turned_away | self.cumulative.bit_select(self.rule, 1))):
            m.d.sync += [adding.eq(1), missing.eq(self.turned_away), place.eq(self.rule)]
            m.d.sync += [more.packets.eq(1), more.bytes.eq(self.length)]
            m.d.sync += more.generation.eq(Array(self.generations)[self.rule])
        with m.If(adding):
            m.d.sync += used.bit_select(place, 1).eq(1)
            with m.If(missing):
                m.d.sync += short.bit_select(place, 1).eq(1)

        m.d.comb += [
            looks.eq(running & ~adding & ~self.stop),
            self.telling.eq(looks & short.bit_select(which, 1)),
            self.o.rule.eq(Mux(which == closed, closed_rule, which)),
            self.o.counts.eq(had),
            keeps.eq((which != closed) & self.cumulative.bit_select(which, 1)),
        ]
        with m.If(self.tell):
            m.d.sync += [running.eq(1), which.eq(0)]
        with m.Elif(looks & (self.told | ~self.telling)):
            m.d.sync += which.eq(which + 1)
            with m.If(~keeps):
                m.d.sync += [used.bit_select(which, 1).eq(0), short.bit_select(which, 1).eq(0)]
            with m.If(which == closed):
                m.d.sync += [running.eq(0), self.closing.eq(0)]
        with m.If(self.stop):
            m.d.sync += running.eq(0)
        for n in range(rules):
            with m.If(self.closes[n]):
                m.d.sync += [
                    self.closing.eq(1),
                    closed_rule.eq(n),
                    closed_cumulative.eq(self.cumulative[n]),
                    used[closed].eq(used[n]),
                    short[closed].eq(short[n] | (self.cumulative[n] & used[n])),
                    Cat(used[n], short[n]).eq(0),
                ]
        return m


__all__ = ["Counts", "Overflow"]

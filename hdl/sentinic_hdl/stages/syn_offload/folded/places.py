"""The places of a set: which are taken, which hold a SYN, in what order they were taken, and which one is meant."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2


class Places(wiring.Component):
    """Finds the record that is meant among those of a set, and keeps account of what becomes of it.

    They lie apart from what else is kept of attempts, so that after reset nothing else needs to be cleared, and the
    others of a set need not be written when one of them comes.

    Parameters
    ----------
    sets, ways: records; powers of two

    Members
    -------
    load, index: look at this set; what is kept of it is here two cycles later, until the next ``load``
    sweep: what is meant is the oldest record that is over; else that of a 5-tuple, or a place for it
    hits, overs: of each record, whether it is of the 5-tuple; whether its time is over
    found: there is one that is over, or one of the 5-tuple
    choose: choose; a cycle later the rest is here
    place: which one is meant
    there: there is one
    hit, over, held: it is of the 5-tuple; its time is over; it holds a SYN
    decide, insert, give, remove: what becomes of it, as of :class:`sentinic_hdl.stages.syn_offload.fate.Fate`
    holding, live: SYNs held, and records in the table
    clearing: after reset; ``load`` must wait
    """

    def __init__(self, *, sets: int, ways: int):
        if ways < 2 or ways & (ways - 1):
            raise ValueError(f"ways must be a power of two from 2 on, not {ways}")
        self._sets, self._ways = sets, ways
        super().__init__(
            {
                "load": In(1),
                "index": In(exact_log2(sets)),
                "sweep": In(1),
                "hits": In(ways),
                "overs": In(ways),
                "found": Out(1),
                "choose": In(1),
                "place": Out(range(ways)),
                "there": Out(1),
                "hit": Out(1),
                "over": Out(1),
                "held": Out(1),
                "decide": In(1),
                "insert": In(1),
                "give": In(1),
                "remove": In(1),
                "holding": Out(range(sets * ways + 1)),
                "live": Out(range(sets * ways + 1)),
                "clearing": Out(1, init=1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        ways, rank_bits = self._ways, exact_log2(self._ways)
        # Rank 0 came last; it is kept as a difference to the way, so that a set of zeros is an empty one.
        layout = data.ArrayLayout(data.StructLayout({"live": 1, "holding": 1, "rank": rank_bits}), ways)
        m.submodules.memory = memory = Memory(shape=layout.size, depth=self._sets, init=[])
        read, write = memory.read_port(), memory.write_port()
        index, cleared = Signal.like(self.index), Signal.like(self.index)
        old_set, new_set = Signal(layout), Signal(layout)
        m.d.comb += [read.addr.eq(self.index), read.en.eq(self.load)]
        m.d.sync += old_set.eq(read.data)
        with m.If(self.load):
            m.d.sync += index.eq(self.index)

        live, holding, hits, candidates, chosen = (
            Signal(ways, name=name) for name in ("live_ways", "holding_ways", "hit_ways", "candidates", "chosen")
        )
        ranks = [Signal(rank_bits, name=f"rank{way}") for way in range(ways)]
        for way in range(ways):
            m.d.comb += [
                live[way].eq(old_set[way].live),
                holding[way].eq(old_set[way].holding),
                ranks[way].eq(old_set[way].rank ^ way),
            ]
        overs = Signal(ways)
        m.d.comb += [
            hits.eq(Mux(self.sweep, 0, self.hits & live)),
            overs.eq(self.overs & live),
            self.found.eq(Mux(self.sweep, overs.any(), hits.any())),
        ]
        # The oldest of those that may be.
        with m.If(self.sweep):
            m.d.comb += candidates.eq(overs)
        with m.Elif((hits & holding).any()):
            m.d.comb += candidates.eq(hits & holding)
        with m.Elif(hits.any()):
            m.d.comb += candidates.eq(hits)
        with m.Elif(~live.all()):
            m.d.comb += candidates.eq(~live)
        with m.Elif(~holding.all()):
            m.d.comb += candidates.eq(~holding)
        with m.Else():
            m.d.comb += candidates.eq(~0)
        rank, was_live = Signal(rank_bits), Signal()
        for way in range(ways):
            older = Cat(candidates[other] & (ranks[other] > ranks[way]) for other in range(ways) if other != way)
            m.d.comb += chosen[way].eq(candidates[way] & ~older.any())
            with m.If(self.choose & chosen[way]):
                m.d.sync += [self.place.eq(way), rank.eq(ranks[way])]
        with m.If(self.choose):
            m.d.sync += [
                self.there.eq(chosen.any()),
                self.hit.eq((hits & chosen).any()),
                self.over.eq((overs & chosen).any()),
                self.held.eq((holding & chosen).any()),
                was_live.eq((live & chosen).any()),
            ]

        for way in range(ways):
            mine = self.place == way
            came = Mux(mine, 0, ranks[way] + (ranks[way] < rank))
            m.d.comb += [
                new_set[way].live.eq(Mux(mine & (self.insert | self.remove), self.insert, live[way])),
                new_set[way].holding.eq(Mux(mine & (self.insert | self.remove | self.give), self.insert, holding[way])),
                new_set[way].rank.eq(Mux(self.insert, came, ranks[way]) ^ way),
            ]
        m.d.comb += [
            write.addr.eq(Mux(self.clearing, cleared, index)),
            write.data.eq(Mux(self.clearing, 0, new_set)),
            write.en.eq(self.clearing | self.decide),
        ]
        with m.If(self.clearing):
            m.d.sync += [cleared.eq(cleared + 1), self.clearing.eq(cleared != self._sets - 1)]
        with m.If(self.decide):
            m.d.sync += [
                self.holding.eq(self.holding + self.insert - self.give),
                self.live.eq(self.live + (self.insert & ~was_live) - (self.remove & ~self.insert)),
            ]
        return m


__all__ = ["Places"]

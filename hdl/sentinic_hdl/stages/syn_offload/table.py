"""The attempts: a set-associative table that looks a packet up, and holds, counts or gives back a SYN, each cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from sentinic.abi.syn_offload import Reason
from sentinic_hdl.stages.syn_offload.fate import Fate
from sentinic_hdl.stages.syn_offload.types import (
    KEY_BITS,
    Key,
    Op,
    OpSignature,
    Record,
    enter,
    is_reversed,
    key_of,
    outcome_shape,
    secret_bits,
)

#: Cycles from an operation to its outcome.
LATENCY = 4


class Attempts(wiring.Component):
    """Keeps attempts by their 5-tuple, one operation a cycle, whatever the 5-tuples.

    A record keeps its place, so that what else is kept of it lies elsewhere under the number of its slot; a set knows
    in which order its records came.  A new attempt takes a free place, else that of the oldest one of which no SYN is
    held any more, else that of the oldest.  Sets in flight are forwarded: a set read in this cycle may have been
    changed by the two operations before.

    ``LATENCY`` cycles from ``i`` to ``o``.

    Parameters
    ----------
    sets, ways: records, sets a power of two

    Members
    -------
    valid, i: what to do
    secret: key of the hash
    timeout: of an attempt, from its first SYN, ns; it is over when a packet comes, or a sweep, so much later
    o: what came of it
    inserted, inserted_index, inserted_at: an attempt was entered: its set and time; beside ``o``
    holding: SYNs held
    live: records in the table
    clearing: after reset; ``i`` must wait
    """

    def __init__(self, *, sets: int, ways: int):
        if ways < 2 or ways & (ways - 1):
            raise ValueError(f"ways must be a power of two from 2 on, not {ways}")
        self._sets, self._ways = sets, ways
        self._set_layout = data.ArrayLayout(
            data.StructLayout({"record": Record, "rank": exact_log2(ways)}),  # 0 came last, as a difference to the way
            ways,
        )
        super().__init__(
            {
                "valid": In(1),
                "i": In(OpSignature()),
                "secret": In(secret_bits(sets)),
                "timeout": In(64),
                "o": Out(outcome_shape(sets * ways)),
                "inserted": Out(1),
                "inserted_index": Out(exact_log2(sets)),
                "inserted_at": Out(64),
                "holding": Out(range(sets * ways + 1)),
                "live": Out(range(sets * ways + 1)),
                "clearing": Out(1, init=1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        ways = self._ways
        index_bits = exact_log2(self._sets)
        layout = self._set_layout
        m.submodules.memory = memory = Memory(shape=layout.size, depth=self._sets, init=[])
        read, write = memory.read_port(), memory.write_port()

        # After reset the memory holds what it held before: each set is emptied by an operation of its own.
        coming, cleared = Signal(), Signal(index_bits)
        m.d.comb += coming.eq(self.valid | self.clearing)
        with m.If(self.clearing):
            m.d.sync += [cleared.eq(cleared + 1), self.clearing.eq(cleared != self._sets - 1)]

        # What hangs on registers that load with an operation is worked out without asking whether there is one: it
        # matters only then, and meanwhile it does not change.

        # Cycle 1: the key, the lower end first; when what is over by now began.
        valid1, op1, key1, reversed1 = Signal(), Signal(Op), Signal(Key), Signal()
        horizon1 = Signal(65)  # ns; negative when nothing can be over
        clear1, cleared1 = Signal(), Signal(index_bits)
        reverse = Signal()
        m.d.comb += reverse.eq(is_reversed(self.i))
        m.d.sync += valid1.eq(coming)
        with m.If(coming):
            m.d.sync += [
                clear1.eq(self.clearing),
                cleared1.eq(cleared),
                OpSignature().load(op1, self.i),
                key1.eq(key_of(self.i, reverse)),
                reversed1.eq(reverse),
                horizon1.eq(self.i.now - self.timeout),
            ]

        # Cycle 2: the set's number, and the set is asked for.
        valid3 = Signal()
        index1 = Signal(index_bits)
        valid2, op2, key2, index2 = Signal(), Signal(Op), Signal(Key), Signal(index_bits)
        reversed2, horizon2, clear2 = Signal(), Signal(65), Signal()
        changed2 = Signal()  # the operation two before this one changes its set in this cycle
        hashed = Cat((key1.as_value() & self.secret[bit : bit + KEY_BITS]).xor() for bit in range(index_bits))
        m.d.comb += index1.eq(Mux(clear1, cleared1, Mux(op1.sweep, op1.index[:index_bits], hashed)))
        with m.If(valid1):
            m.d.sync += [
                op2.eq(op1), key2.eq(key1), index2.eq(index1), reversed2.eq(reversed1), horizon2.eq(horizon1),
                clear2.eq(clear1), changed2.eq(valid3),
            ]  # fmt: skip
        m.d.sync += valid2.eq(valid1)
        m.d.comb += [read.addr.eq(index1), read.en.eq(valid1)]

        # Cycle 3: the set is there; the operation two before this one has just written.
        op3, key3, index3, reversed3, clear3 = Signal(Op), Signal(Key), Signal(index_bits), Signal(), Signal()
        written_set, written_index = Signal(layout), Signal(index_bits)
        seen = Signal(layout)
        now_of = _Matches(ways, "seen")
        m.d.comb += seen.eq(Mux(changed2 & (written_index == index2), written_set, read.data))
        for way in range(ways):
            record = seen[way].record
            same_end = record.reversed == reversed2
            same_sequence = record.sequence == op2.sequence
            m.d.comb += [
                now_of.same[way].eq(record.key.as_value() == key2.as_value()),
                now_of.forward[way].eq(same_end),
                now_of.anew[way].eq(same_end & ~same_sequence),
                now_of.again[way].eq(same_end & same_sequence & (record.ip_length == op2.ip_length)),
                now_of.over[way].eq(op2.flush | (~horizon2[64] & (record.first <= horizon2[:64]))),
            ]
        read3, after = Signal(layout), Signal()
        matches3 = _Matches(ways, "matched")
        before = _Matches(1, "before")  # as against the record of the operation before, were it there
        m.d.sync += valid3.eq(valid2)
        with m.If(valid2):
            same_end, same_sequence = reversed3 == reversed2, op3.sequence == op2.sequence
            m.d.sync += [
                op3.eq(op2), key3.eq(key2), index3.eq(index2), reversed3.eq(reversed2),
                read3.eq(seen),
                after.eq(valid3 & (index3 == index2)),
                clear3.eq(clear2),
                *(matches3[name].eq(now_of[name]) for name in _Matches.NAMES),
                before.same.eq(key3.as_value() == key2.as_value()),
                before.forward.eq(same_end),
                before.anew.eq(same_end & ~same_sequence),
                before.again.eq(same_end & same_sequence & (op3.ip_length == op2.ip_length)),
                before.over.eq(op2.flush | (~horizon2[64] & (op3.now <= horizon2[:64]))),
            ]  # fmt: skip

        # Cycle 4: decide, and write.
        self._new_set, new_set = Signal(layout), Signal(layout)
        self._entered, self._entered_way = Signal(), Signal(range(ways))
        # What the operation before this one entered, it entered after this one's set was looked at.
        patched = _Matches(ways, "patched")
        for way in range(ways):
            is_new = after & self._entered & (self._entered_way == way)
            for name in _Matches.NAMES:
                m.d.comb += patched[name][way].eq(Mux(is_new, before[name], matches3[name][way]))
        m.d.sync += [self.o.valid.eq(valid3 & ~clear3), self.inserted.eq(0)]
        self._decide(m, op3, key3, reversed3, index3, Mux(after, written_set, read3), patched, valid3, clear3)
        m.d.comb += [
            new_set.eq(Mux(clear3, 0, self._new_set)),
            write.addr.eq(index3),
            write.data.eq(new_set),
            write.en.eq(valid3),
        ]
        with m.If(valid3):
            m.d.sync += [written_set.eq(new_set), written_index.eq(index3)]
        return m

    def _decide(self, m, op, key, is_from_high, index, old_value, matches, valid, clear):
        ways = self._ways
        old_set = Signal(self._set_layout)
        live, holding, hits, candidates, chosen = (
            Signal(ways, name=name) for name in ("live", "holding", "hits", "candidates", "chosen")
        )
        ranks = [Signal(exact_log2(ways), name=f"rank{way}") for way in range(ways)]
        m.d.comb += [old_set.eq(old_value), hits.eq(matches.same & live)]
        for way in range(ways):
            m.d.comb += [
                live[way].eq(old_set[way].record.valid),
                holding[way].eq(old_set[way].record.valid & old_set[way].record.holding),
                ranks[way].eq(old_set[way].rank ^ way),
            ]

        # The record that is meant: the oldest of those that may be.
        hit, given_up = Signal(), live & ~holding
        m.d.comb += hit.eq(hits.any() & ~op.sweep)
        with m.If(op.sweep):
            m.d.comb += candidates.eq(live & matches.over)
        with m.Elif(hit):
            m.d.comb += candidates.eq(hits)
        with m.Elif(~live.all()):
            m.d.comb += candidates.eq(~live)
        with m.Elif(given_up.any()):
            m.d.comb += candidates.eq(given_up)
        with m.Else():
            m.d.comb += candidates.eq(~0)
        place, rank, old = Signal(range(ways)), Signal(exact_log2(ways)), Signal(Record)
        one = _Matches(1, "one")
        for way in range(ways):
            older = Cat(candidates[other] & (ranks[other] > ranks[way]) for other in range(ways) if other != way)
            m.d.comb += chosen[way].eq(candidates[way] & ~older.any())
            with m.If(chosen[way]):
                m.d.comb += [place.eq(way), rank.eq(ranks[way]), old.eq(old_set[way].record)]
                m.d.comb += [one[name].eq(matches[name][way]) for name in _Matches.NAMES]

        # What becomes of it.
        there = Signal()
        m.d.comb += there.eq(chosen.any() & ~clear)
        fate = Fate(
            m, op, syn=op.syn & ~op.sweep & ~clear, there=there, held=there & old.valid & old.holding, hit=hit,
            over=one.over, forward=one.forward, anew=one.anew, again=one.again, full=old.retransmissions.all(),
        )  # fmt: skip
        insert, absorb, give, remove = fate.insert, fate.absorb, fate.give, fate.remove

        new = Signal(Record)
        m.d.comb += new.eq(old)
        with m.If(insert):
            m.d.comb += enter(op, key, is_from_high, new)
        with m.Elif(remove):
            m.d.comb += [new.valid.eq(0), new.holding.eq(0)]
        with m.Elif(absorb):
            m.d.comb += [new.retransmissions.eq(old.retransmissions + 1), new.last.eq(op.now)]
        with m.Elif(give):
            m.d.comb += new.holding.eq(0)
        for way in range(ways):
            came = Mux(chosen[way], 0, ranks[way] + (ranks[way] < rank))
            m.d.comb += [
                self._new_set[way].record.eq(Mux(chosen[way], new, old_set[way].record)),
                self._new_set[way].rank.eq(Mux(insert, came, ranks[way]) ^ way),
            ]

        out = self.o
        with m.If(valid):
            m.d.sync += [
                self._entered.eq(insert),
                self._entered_way.eq(place),
                out.sweep.eq(op.sweep),
                out.give.eq(give),
                out.hold.eq(insert),
                out.absorb.eq(absorb),
                out.reason.eq(Mux(give, fate.reason, Reason.NONE)),
                out.slot.eq(Cat(place, index)),
                self.inserted.eq(insert),
                self.inserted_index.eq(index),
                self.inserted_at.eq(op.now),
                self.holding.eq(self.holding + insert - give),
                self.live.eq(self.live + (insert & ~(chosen.any() & old.valid)) - (remove & ~insert)),
            ]
            with m.If(give):
                m.d.sync += out.record.eq(old)


class _Matches:
    """How records and an operation compare, a bit a record.

    Members
    -------
    same: the same 5-tuple
    forward: the packet comes from the originator
    anew, again: its sequence number is another one; it looks like the SYN that is held
    over: the attempt's time is over
    """

    NAMES = ("same", "forward", "anew", "again", "over")

    def __init__(self, ways: int, prefix: str):
        for name in self.NAMES:
            setattr(self, name, Signal(ways, name=f"{prefix}_{name}"))

    def __getitem__(self, name: str) -> Signal:
        return getattr(self, name)


__all__ = ["LATENCY", "Attempts"]

"""The groups of all rules: a table of two ways that counts one packet at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from sentinic.abi.statistics import FIELD_WORDS, HISTORY_EVENTS, REVERSE, Event
from sentinic_hdl.stages.statistics.types import BYTES_BITS, EPOCH_BITS, PACKETS_BITS, Events

KEY_BITS = 32 * FIELD_WORDS
#: Events of one direction; those of the other are 8 further on.
_KINDS = len(Event) - 1
_CODE_BITS = 4
#: What a packet may be at the same time, in the order in which it is noted; of each line one at most.
_NOTES: tuple[dict[str, Event], ...] = (
    {"syn": Event.SYN, "handshake": Event.HANDSHAKE, "ack": Event.ACK},
    {"fin": Event.FIN},
    {"rst": Event.RST},
    {"data": Event.DATA},
)


def count_shape(rules: int, index_bits: int) -> data.StructLayout:
    """A packet to count: the group's key, and the set it belongs in."""
    return data.StructLayout(
        {
            "rule": ceil_log2(max(2, rules)),
            "key": KEY_BITS,
            "reversed": 1,
            "index": index_bits,
            "timestamp": 64,
            "length": 16,
            "events": Events,
        }
    )


class State(data.Struct):
    """What a sweep may change of a record, and what it must keep beside that."""

    valid: 1
    fresh: 1  # counted since its last report
    epoch: EPOCH_BITS
    age: 1  # of the two of a set, equal: the first one was used last
    seen: 2 * _KINDS


def record_shape(rules: int) -> data.StructLayout:
    """What a packet alone changes of a record."""
    return data.StructLayout(
        {
            "rule": ceil_log2(max(2, rules)),
            "reversed": 1,  # its first packet came from the other end
            "key": KEY_BITS,
            "packets": PACKETS_BITS,
            "bytes": BYTES_BITS,
            "first": 64,
            "last": 64,
            "history": _CODE_BITS * HISTORY_EVENTS,
        }
    )


def left_shape(rules: int) -> data.StructLayout:
    """A record that is to be reported: it left the table, or, if ``stale``, the interval it counted in has ended."""
    return data.StructLayout({"record": record_shape(rules), "seen": 2 * _KINDS, "stale": 1, "swept": 1})


class Crossed(data.Struct):
    """Whether a packet made its group reach a threshold, and with what count."""

    any: 1
    of_bytes: 1
    value: 64


class FoldedTable(wiring.Component):
    """Counts packets by key as :class:`sentinic_hdl.stages.statistics.table.Table` does, six cycles a packet.

    Of the two records of a set the one used last stays longer.  Looking at a record of a sweep takes four cycles.
    A record that is to be reported waits in the table until it is taken.  One of a cumulative rule is reported later
    while there is no ``room``, and a packet that wants its place is turned away, as there.

    Parameters
    ----------
    rules: rules that share the table
    sets: of two records each, a power of two

    Members
    -------
    i: packets
    sweep, sweep_record: look at the record of that number, which is to be reported if it is stale
    swept: that begins in this cycle, no packet being there
    epochs: of each rule; a record with another one is stale
    cumulative: of each rule; its stale records go on counting unless ``final``
    final: of each rule; its records are to be reported and forgotten
    threshold_rule, threshold_packets, threshold_bytes: thresholds are those of that rule, 0 for none
    room: ``left`` finds room
    left: what is to be reported
    turned_away: of the packet ``counted``: it was not
    length: of that packet
    counted: in this cycle a packet has been counted; ``crossed`` tells what came of it
    counting: a packet is under way
    ending: in the next cycle it is not
    idle: nothing is
    live: records in the table
    clearing: after reset; packets and sweeps wait
    """

    def __init__(self, *, rules: int, sets: int):
        if rules < 1:
            raise ValueError(f"rules must be at least 1, not {rules}")
        self._rules, self._sets = rules, sets
        super().__init__(
            {
                "i": In(stream.Signature(count_shape(rules, exact_log2(sets)))),
                "sweep": In(1),
                "sweep_record": In(range(2 * sets)),
                "swept": Out(1),
                "epochs": In(data.ArrayLayout(EPOCH_BITS, rules)),
                "cumulative": In(rules),
                "final": In(rules),
                "threshold_rule": Out(range(max(2, rules))),
                "threshold_packets": In(PACKETS_BITS),
                "threshold_bytes": In(BYTES_BITS),
                "room": In(1, init=1),
                "left": Out(stream.Signature(left_shape(rules))),
                "turned_away": Out(1),
                "length": Out(16),
                "counted": Out(1),
                "crossed": Out(Crossed),
                "counting": Out(1),
                "ending": Out(1),
                "idle": Out(1),
                "live": Out(range(2 * sets + 1)),
                "clearing": Out(1, init=1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rules, records = self._rules, 2 * self._sets
        count = Signal.like(self.i.payload)
        m.submodules.states = states = Memory(shape=State, depth=records, init=[])
        m.submodules.records = memory = Memory(shape=record_shape(rules), depth=records, init=[])
        read_state, write_state = states.read_port(), states.write_port()
        read, write = memory.read_port(), memory.write_port()
        place, fetch = Signal(range(records)), Signal()
        begins = Signal()
        # One address for reading and writing, and a read with each write: one port of a block RAM, and no forwarding.
        for port in (read_state, write_state, read, write):
            m.d.comb += port.addr.eq(place)
        m.d.comb += [read_state.en.eq(fetch), read.en.eq(fetch)]
        state, record = read_state.data, read.data
        rule = record.rule if rules > 1 else Const(0, 1)
        stale = Signal()
        m.d.comb += stale.eq(state.valid & (state.epoch != self.epochs[rule]))

        # Of the two records of the set; keys that are alike in every word are the same.
        live, old, alike = Signal(2), Signal(2), Signal(data.ArrayLayout(FIELD_WORDS + 1, 2))
        fresh, ages = Signal(2), Signal(2)
        leaves = Signal()  # what the state LEAVE is to report: known before it is read anew
        may_wait, kept, away, untold = (Signal(name=name) for name in ("may_wait", "kept", "away", "untold"))
        spared, enduring = Signal(2), Signal(2)
        way, hits, going_on = Signal(), Signal(2), Signal()
        chosen = Signal(range(records))
        sweeping, hit, is_stale, removed = (Signal(name=name) for name in ("sweeping", "hit", "is_stale", "removed"))
        packets, octets, below = Signal(PACKETS_BITS), Signal(BYTES_BITS), Signal()
        first, from_other_end = Signal(64), Signal()
        seen, history = Signal(2 * _KINDS), Signal(_CODE_BITS * HISTORY_EVENTS)

        # A packet's record is of the packet's rule, which is known before the record is read from block RAM.
        lasting, its_lasting = Signal(rules), Signal()
        m.d.comb += lasting.eq(self.cumulative & ~self.final)
        m.d.comb += its_lasting.eq(lasting.bit_select(count.rule, 1))
        m.d.comb += [
            self.counting.eq(~self.idle & ~self.clearing & ~sweeping),
            self.left.p.record.eq(record),
            self.left.p.seen.eq(state.seen),
            self.left.p.stale.eq(is_stale),
            self.left.p.swept.eq(sweeping),
            self.threshold_rule.eq(count.rule),
            self.length.eq(count.length),
        ]

        def look(number: int) -> list:
            """What to remember of the record that has been read."""
            same = (record.key[32 * n : 32 * n + 32] == count.key[32 * n : 32 * n + 32] for n in range(FIELD_WORDS))
            return [
                live[number].eq(state.valid),
                fresh[number].eq(state.valid & state.fresh),
                old[number].eq(stale),
                ages[number].eq(state.age),
                spared[number].eq(self.cumulative.bit_select(rule, 1)),
                enduring[number].eq(lasting.bit_select(rule, 1)),
                alike[number].eq(Cat(*same, rule == count.rule)),
            ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.idle.eq(~self.clearing),
                    self.i.ready.eq(~self.clearing),
                    self.swept.eq(~self.clearing & ~self.i.valid & self.sweep),
                    place.eq(Mux(self.i.valid, Cat(Const(0, 1), self.i.p.index), self.sweep_record)),
                    begins.eq(~self.clearing & (self.i.valid | self.sweep)),
                    fetch.eq(begins),
                ]
                with m.If(begins):
                    m.d.sync += [sweeping.eq(~self.i.valid), chosen.eq(place)]
                    m.next = "FIRST"
                with m.If(self.i.valid):
                    m.d.sync += count.eq(self.i.payload)
            with m.State("FIRST"):
                m.d.sync += [
                    *look(0),
                    is_stale.eq(stale),
                    hit.eq(0),
                    leaves.eq(state.valid & state.fresh & stale),
                    may_wait.eq(lasting.bit_select(rule, 1)),
                ]
                with m.If(sweeping):
                    m.next = "LEAVE"
                with m.Else():
                    m.d.comb += [fetch.eq(1), place.eq(Cat(Const(1, 1), count.index))]
                    m.next = "SECOND"
            with m.State("SECOND"):
                m.d.sync += look(1)
                m.next = "CHOOSE"
            with m.State("CHOOSE"):
                m.d.comb += hits.eq(Cat(live[n] & alike[n].all() for n in range(2)))
                with m.If(hits.any()):
                    m.d.comb += way.eq(~hits[0])
                with m.Elif(~live.all()):
                    m.d.comb += way.eq(live[0])
                with m.Elif(old.any()):
                    m.d.comb += way.eq(~old[0])
                with m.Else():
                    m.d.comb += way.eq(ages[0] == ages[1])
                m.d.comb += [fetch.eq(1), place.eq(Cat(way, count.index))]
                m.d.sync += [
                    hit.eq(hits.any()),
                    is_stale.eq(old.bit_select(way, 1)),
                    leaves.eq(fresh.bit_select(way, 1) & (old.bit_select(way, 1) | ~hits.any())),
                    may_wait.eq(Mux(hits.any(), enduring, spared).bit_select(way, 1)),
                    chosen.eq(place),
                ]
                m.next = "LEAVE"
            with m.State("LEAVE"):
                m.d.comb += [
                    kept.eq(leaves & may_wait & ~self.room),
                    self.left.valid.eq(leaves & ~kept),
                    going_on.eq(hit & (~is_stale | its_lasting)),
                ]
                m.d.sync += [
                    untold.eq(kept),
                    away.eq(kept & ~sweeping & ~hit),
                    packets.eq(Mux(going_on, record.packets, 0) + 1),
                    octets.eq(Mux(going_on, record.bytes, 0) + count.length),
                    below.eq(~going_on | (record.bytes < self.threshold_bytes)),
                    first.eq(Mux(going_on, record.first, count.timestamp)),
                    from_other_end.eq(Mux(going_on, record.reversed, count.reversed)),
                    seen.eq(Mux(going_on | sweeping, state.seen, 0)),
                    history.eq(Mux(going_on, record.history, 0)),
                    removed.eq(sweeping & is_stale & ~lasting.bit_select(rule, 1)),
                ]
                with m.If(~self.left.valid | self.left.ready):
                    with m.If(sweeping & ~is_stale):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.ending.eq(1)
                m.d.comb += [place.eq(chosen), fetch.eq(1)]
                m.d.comb += [
                    write_state.en.eq(~away),
                    write.en.eq(~sweeping & ~away),
                    self.counted.eq(~sweeping),
                    self.turned_away.eq(away),
                ]
                m.d.sync += self.live.eq(self.live + (~sweeping & ~state.valid) - removed)
                m.next = "IDLE"

        backwards = Signal()
        new_seen, new_history = Signal.like(seen), Signal.like(history)
        m.d.comb += backwards.eq(count.reversed ^ from_other_end)
        self._history(m, count.events, backwards, seen, history, new_seen, new_history)
        of_packets, of_bytes = Signal(), Signal()
        m.d.comb += [
            of_packets.eq((packets == self.threshold_packets) & self.threshold_packets.any()),
            of_bytes.eq(below & (octets >= self.threshold_bytes) & self.threshold_bytes.any()),
            self.crossed.any.eq((of_packets | of_bytes) & ~away),
            self.crossed.of_bytes.eq(~of_packets),
            self.crossed.value.eq(Mux(of_packets, packets, octets)),
        ]

        # After reset the memory holds what it held before.
        cleared = Signal(range(records))
        w_state = write_state.data
        m.d.comb += [
            write.data.rule.eq(count.rule),
            write.data.reversed.eq(from_other_end),
            write.data.key.eq(count.key),
            write.data.packets.eq(packets),
            write.data.bytes.eq(octets),
            write.data.first.eq(first),
            write.data.last.eq(count.timestamp),
            write.data.history.eq(new_history),
            w_state.valid.eq(~removed),
            w_state.fresh.eq(~sweeping | untold),
            w_state.epoch.eq(self.epochs[Mux(sweeping, rule, count.rule)] if rules > 1 else self.epochs[0]),
            w_state.age.eq(Mux(sweeping, state.age, Mux(chosen[0], ~ages[0], ages[1]))),
            w_state.seen.eq(Mux(sweeping, seen, new_seen)),
        ]
        with m.If(self.clearing):
            m.d.comb += [place.eq(cleared), fetch.eq(1), w_state.eq(0), write_state.en.eq(1)]
            m.d.sync += [cleared.eq(cleared + 1), self.clearing.eq(cleared != records - 1)]
        return m

    def _history(
        self, m: Module, events: data.View, backwards: Value, seen: Value, old: Value, new_seen: Value, new: Value
    ) -> None:
        """Appends what is new of a packet; codes that are noted are never 0, so the first 0 is where to go on."""
        notes = []  # codes, 0 for none
        for n, line in enumerate(_NOTES):
            note = Signal(_CODE_BITS, name=f"note{n}")
            for name, event in line.items():
                with m.If(events[name] & ~Mux(backwards, seen[_KINDS + event - 1], seen[event - 1])):
                    m.d.comb += note.eq(Cat(Const(event, exact_log2(REVERSE)), backwards))
            notes.append(note)
        m.d.comb += new_seen.eq(seen)
        for line in _NOTES:
            for name, event in line.items():
                with m.If(events[name]):
                    with m.If(backwards):
                        m.d.comb += new_seen[_KINDS + event - 1].eq(1)
                    with m.Else():
                        m.d.comb += new_seen[event - 1].eq(1)

        # Moved together, then to the first place that is free.
        packed = _packed(notes)
        taken = Cat(old[_CODE_BITS * n : _CODE_BITS * (n + 1)].any() for n in range(HISTORY_EVENTS))
        m.d.comb += new.eq(old)
        for n in range(HISTORY_EVENTS):
            with m.If(~taken[n] & (taken[n - 1] if n else 1)):
                m.d.comb += new[_CODE_BITS * n :].eq(packed)


def _packed(notes: list[Signal]) -> Value:
    """The notes with no gap between them."""
    packed: list[Value] = []
    for note in reversed(notes):
        there = note.any()
        # With it, all behind move one place on.
        moved = [note, *packed]
        packed = [Mux(there, one, other) for one, other in zip(moved, [*packed, Const(0, _CODE_BITS)], strict=True)]
    return Cat(packed)


__all__ = ["Crossed", "FoldedTable", "count_shape", "left_shape", "record_shape"]

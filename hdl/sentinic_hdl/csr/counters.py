"""All counters of the card, and their snapshot."""

from amaranth.hdl import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sentinic.abi.counters import counter_names
from sentinic.abi.profiles import Profile
from sentinic.abi.registers import COUNTERS_BASE, SNAPSHOT
from sentinic_hdl.csr.bank import CsrBus

#: Bits of each counter.
COUNTER_BITS = 64


class CounterBank(wiring.Component):
    """A counter for each name of ``sentinic.abi.counters.counter_names``.

    Each cycle every counter grows by its increment; ``held`` also shrinks by ``held_less``.

    The totals are in memory.  What a counter grew by in a round (a power of two of cycles, at least one for each
    counter) is in registers; when the round ends all of it is put aside in the same cycle, and in the round after it
    is added to the totals, one counter a cycle.  Writing one to ``snapshot.take`` has the totals of the next end of a
    round copied too, so that all are of one cycle; ``snapshot.busy`` is 0 when the copies can be read, from
    ``COUNTERS_BASE`` on, two rounds later at most.

    Members
    -------
    bus: registers
    increments: one a counter, in the order of the names
    held_less: packets that left the card in this cycle
    """

    def __init__(self, *, profile: Profile, widths: dict[str, int]):
        self._names = counter_names(profile)
        missing = set(self._names) ^ set(widths)
        if missing:
            raise ValueError(f"widths must name every counter and no other; differs in {sorted(missing)}")
        super().__init__(
            {
                "bus": In(CsrBus()),
                "increments": In(wiring.Signature({_member(name): Out(widths[name]) for name in self._names})),
                "held_less": In(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        index_bits = ceil_log2(len(self._names))
        m.submodules.totals = totals = Memory(shape=COUNTER_BITS, depth=1 << index_bits, init=[])
        m.submodules.copies = copies = Memory(shape=COUNTER_BITS, depth=1 << index_bits, init=[])

        # Rounds.
        index = Signal(index_bits)
        round_ends = Signal()
        m.d.comb += round_ends.eq(index.all())
        m.d.sync += index.eq(index + 1)
        # Memory outlives a reset: the first round clears it.
        clearing = Signal(init=1)
        copying = Signal(init=1)
        wanted = Signal()
        take = Signal()
        with m.If(round_ends):
            m.d.sync += [clearing.eq(0), copying.eq(wanted), wanted.eq(0)]
        with m.If(take):
            m.d.sync += wanted.eq(1)

        # In this round, and in the one before.
        asides = []
        for name in self._names:
            step = getattr(self.increments, _member(name))
            shape = unsigned(len(step) + index_bits)
            if name == "held":
                step = step - self.held_less
                shape = signed(index_bits + 3)
            recent = Signal(shape, name=f"recent_{_member(name)}")
            aside = Signal(shape, name=f"aside_{_member(name)}")
            with m.If(round_ends):
                m.d.sync += [aside.eq(recent), recent.eq(step)]
            with m.Elif(step.any()):
                m.d.sync += recent.eq(recent + step)
            asides.append(aside)

        # One counter a cycle: read its total; add what was put aside; write it back.
        read = totals.read_port()
        write = totals.write_port()
        copy = copies.write_port()
        part, late_part = (Signal(signed(32), name=name) for name in ("part", "late_part"))
        total = Signal(COUNTER_BITS)
        state = data.StructLayout({"index": index_bits, "valid": 1, "clearing": 1, "copying": 1})
        early, middle, late = (Signal(state, name=name) for name in ("early", "middle", "late"))
        m.d.comb += [
            read.addr.eq(index),
            early.index.eq(index),
            early.valid.eq(1),
            early.clearing.eq(clearing),
            early.copying.eq(copying),
        ]
        m.d.sync += [
            part.eq(Array(asides)[index]),
            middle.eq(early),
            late_part.eq(part),
            total.eq(Mux(middle.clearing, 0, read.data)),
            late.eq(middle),
        ]
        m.d.comb += [
            write.addr.eq(late.index),
            write.en.eq(late.valid),
            write.data.eq(total + late_part),
            copy.addr.eq(late.index),
            copy.en.eq(late.valid & late.copying),
            copy.data.eq(write.data),
        ]

        busy = Signal()
        m.d.sync += busy.eq(wanted | copying | middle.copying | late.copying)
        self._registers(m, copies.read_port(), take, busy)
        return m

    def _registers(self, m, copy, take, busy):
        bus = self.bus
        in_copies = Signal()
        answered = Signal()
        high = Signal()
        read_busy = Signal()
        m.d.comb += [
            in_copies.eq(
                bus.access
                & (bus.address >= COUNTERS_BASE)
                & (bus.address < COUNTERS_BASE + len(self._names) * COUNTER_BITS // 8)
            ),
            copy.addr.eq(bus.address[3:]),
            copy.en.eq(in_copies),
            bus.read_data.eq(Mux(answered, Mux(high, copy.data[32:], copy.data[:32]), 0) | (read_busy & busy)),
        ]
        m.d.sync += [bus.hit.eq(in_copies), answered.eq(in_copies), high.eq(bus.address[2]), read_busy.eq(0)]
        with m.If(bus.access):
            with m.Switch(bus.address):
                with m.Case(SNAPSHOT.address("take")):
                    m.d.comb += take.eq(bus.write & bus.write_data[0])
                    m.d.sync += bus.hit.eq(1)
                with m.Case(SNAPSHOT.address("busy")):
                    m.d.sync += [bus.hit.eq(1), read_busy.eq(1)]


def _member(name: str) -> str:
    return name.replace(".", "_")

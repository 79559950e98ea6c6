"""All counters of the card, and their snapshot."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from sentinic.abi.counters import counter_names
from sentinic.abi.profiles import Profile
from sentinic.abi.registers import COUNTERS_BASE, SNAPSHOT
from sentinic_hdl.csr.bank import CsrBus


class CounterBank(wiring.Component):
    """A counter for each name of ``sentinic.abi.counters.counter_names``.

    Each cycle every counter grows by its increment; ``held`` also shrinks by ``held_less``.  Writing one to the
    snapshot register copies all counters in one cycle; the copies are read from ``COUNTERS_BASE`` on.

    Members
    -------
    bus: registers
    increments: one a counter, in the order of the names
    held_less: packets that left the card in this cycle
    """

    def __init__(self, *, profile: Profile, widths: dict[str, int]):
        self._profile = profile
        self._names = counter_names(profile)
        missing = set(self._names) ^ set(widths)
        if missing:
            raise ValueError(f"widths must name every counter and no other; differs in {sorted(missing)}")
        super().__init__(
            {
                "bus": In(CsrBus()),
                "increments": In(data.StructLayout({_member(name): widths[name] for name in self._names})),
                "held_less": In(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self._profile.counter_width
        take = Signal()
        m.d.comb += take.eq(self.bus.write & self.bus.write_data[0] & (self.bus.address == SNAPSHOT.address("take")))
        m.d.sync += [self.bus.hit.eq(0), self.bus.read_data.eq(0)]
        with m.If(self.bus.access & (self.bus.address == SNAPSHOT.address("take"))):
            m.d.sync += self.bus.hit.eq(1)

        copies = []
        for name in self._names:
            value = Signal(width, name=f"count_{_member(name)}")
            copy = Signal(width, name=f"copy_{_member(name)}")
            step = self.increments[_member(name)]
            if name == "held":
                m.d.sync += value.eq(value + step - self.held_less)
            elif len(step) == 1:
                with m.If(step):
                    m.d.sync += value.eq(value + 1)
            else:
                with m.If(step.any()):
                    m.d.sync += value.eq(value + step)
            with m.If(take):
                m.d.sync += copy.eq(value)
            copies.append(copy)

        with m.If(self.bus.access):
            with m.Switch(self.bus.address[2:]):
                for index, copy in enumerate(copies):
                    word = (COUNTERS_BASE >> 2) + 2 * index
                    with m.Case(word):
                        m.d.sync += [self.bus.hit.eq(1), self.bus.read_data.eq(copy[:32])]
                    with m.Case(word + 1):
                        m.d.sync += [self.bus.hit.eq(1), self.bus.read_data.eq(copy[32:])]
        return m


def _member(name: str) -> str:
    return name.replace(".", "_")

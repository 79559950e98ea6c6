"""The card with registered inputs, as the native model simulates it."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

#: The registers' names begin with it.
SEEN = "seen"


class Registered(wiring.Component):
    """``inner`` with each input, reset too, in a register; outputs are as they were.

    The harness knows what it drives in a cycle before the edge that begins it. With the inputs in registers, Verilator
    evaluates the logic behind them once a cycle and not twice, after the edge and again after the inputs changed.
    """

    def __init__(self, inner: wiring.Component) -> None:
        self.inner = inner
        super().__init__(inner.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.card = ClockDomain()
        reset = Signal(init=1)
        m.d.sync += reset.eq(0)
        m.d.comb += [ClockSignal("card").eq(ClockSignal()), ResetSignal("card").eq(reset)]
        m.submodules.card = DomainRenamer("card")(self.inner)
        inside = {path: value for path, _, value in self.inner.signature.flatten(self.inner)}
        for path, member, value in self.signature.flatten(self):
            if member.flow == In:
                # By this name waveforms show what the card sees, a cycle after its pin.
                register = Signal.like(value, name="__".join((SEEN, *map(str, path))))
                m.d.card += register.eq(value)
                m.d.comb += inside[path].eq(register)
            else:
                m.d.comb += value.eq(inside[path])
        return m

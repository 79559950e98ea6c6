"""The card as the native model simulates it: registered inputs, no reset but that of switching on."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

#: The registers' names begin with it.
SEEN = "seen"
#: Clocks of blocks that sleep; not to be registered.
GATE_CLOCKS = "gate_clk"


class Registered(wiring.Component):
    """``inner`` with each input in a register; outputs are as they were.

    The harness knows what it drives in a cycle before the edge that begins it.  With the inputs in registers, Verilator
    evaluates the logic behind them once a cycle and not twice, after the edge and again after the inputs changed.

    Each register has its reset value when the model is made, so unless it ``resets``, ``inner`` is spared a reset: a
    sixth of what the model does is to ask for it.  The harness makes the model anew instead.
    """

    def __init__(self, inner: wiring.Component, *, resets: bool) -> None:
        self.inner = inner
        self.resets = resets
        super().__init__(inner.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.card = ClockDomain()
        m.d.comb += ClockSignal("card").eq(ClockSignal())
        if self.resets:
            reset = Signal(init=1)
            m.d.sync += reset.eq(0)
            m.d.comb += ResetSignal("card").eq(reset)
        m.submodules.card = DomainRenamer("card")(self.inner)
        inside = {path: value for path, _, value in self.inner.signature.flatten(self.inner)}
        for path, member, value in self.signature.flatten(self):
            if path[0] == GATE_CLOCKS:
                m.d.comb += inside[path].eq(value)
            elif member.flow == In:
                # By this name waveforms show what the card sees, a cycle after its pin.
                register = Signal.like(value, name="__".join((SEEN, *map(str, path))))
                m.d.card += register.eq(value)
                m.d.comb += inside[path].eq(register)
            else:
                m.d.comb += value.eq(inside[path])
        return m

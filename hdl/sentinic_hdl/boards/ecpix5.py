"""LambdaConcept ECPIX-5 (LFE5UM5G-85F): the core in a top that exercises every port through a few pins.

This top is for building and timing the core, not for traffic: a shift register feeds its inputs, and its outputs are
folded into one LED.  Nothing of the core can be optimised away, and a pin is never further than one register.
"""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile
from sentinic_hdl.card import Card


class Harness(wiring.Component):
    """The card between a serial input and a serial output, every bit of it behind a register.

    Members
    -------
    i: serial data into the card's inputs
    o: parity of the card's outputs, two cycles late
    """

    i: In(1)
    o: Out(1)

    def __init__(self, profile: Profile):
        self._profile = profile
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.card = card = Card(self._profile)
        inputs, outputs = [], []
        for _, member, value in card.signature.flatten(card):
            (inputs if member.flow is In else outputs).append(value)
        register = Signal(sum(len(Value.cast(v)) for v in inputs))
        m.d.sync += register.eq(Cat(self.i, register))
        at = 0
        for value in inputs:
            bits = Value.cast(value)
            m.d.comb += bits.eq(register[at : at + len(bits)])
            at += len(bits)
        # Parity in two steps, so that it is never the longest path.
        flat = Signal(sum(len(Value.cast(v)) for v in outputs))
        m.d.sync += flat.eq(Cat(Value.cast(v) for v in outputs))
        level = flat
        while len(level) > 1:
            folded = Signal(-(-len(level) // 8), name=f"fold{len(level)}")
            m.d.sync += folded.eq(Cat(level[n : n + 8].xor() for n in range(0, len(level), 8)))
            level = folded
        m.d.comb += self.o.eq(level)
        return m


class Top(wiring.Component):
    """The harness behind the board's PLL.

    Members
    -------
    clk100: the board's oscillator, 100 MHz
    button: serial data in; pins are in ``constraints/ecpix5.lpf``
    led: parity out
    """

    clk100: In(1)
    button: In(1)
    led: Out(1)

    def __init__(self, profile: Profile):
        self._profile = profile
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        # The VCO runs at 500 MHz: 100 MHz / divider * 5 * divider.
        divider = round(500e6 / self._profile.clock_hz)
        if divider * self._profile.clock_hz != 500_000_000:
            raise ValueError(f"clock_hz must divide 500 MHz, not {self._profile.clock_hz}")
        locked = Signal()
        m.domains.sync = ClockDomain(reset_less=True)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI="100",
            a_FREQUENCY_PIN_CLKOP=str(self._profile.clock_hz / 1e6),
            p_CLKI_DIV=divider,
            p_CLKFB_DIV=5,
            p_CLKOP_DIV=divider,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=divider - 1,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=self.clk100,
            i_CLKFB=ClockSignal(),
            o_CLKOP=ClockSignal(),
            o_LOCK=locked,
            i_RST=0,
            i_STDBY=0,
        )
        # The chip's own net (SGSR) sets every flip-flop to its first value, but those that drive it.  As an ordinary
        # signal, or one of the clock tree, the reset would be wired to each of them.
        half, running = Signal(), Signal()
        for name, before, after in (("half", locked, half), ("running", half, running)):
            m.submodules[name] = Instance("FD1S3AX", p_GSR="DISABLED", i_CK=ClockSignal(), i_D=before, o_Q=after)
        m.submodules.reset = Instance("SGSR", i_CLK=ClockSignal(), i_GSR=running)
        m.submodules.harness = harness = Harness(self._profile)
        m.d.comb += [harness.i.eq(self.button), self.led.eq(harness.o)]
        return m

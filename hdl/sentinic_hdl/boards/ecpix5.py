"""LambdaConcept ECPIX-5 (LFE5UM5G-85F): the core in a top that exercises every port through a few pins.

This top is for building and timing the core, not for traffic: its MAC side is fed by a shift register and its bus side
is folded into one LED.  Nothing of the core can be optimised away, and no path through a pin is longer than one register.
"""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Instance, Module, Signal
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
        for path, member, value in card.signature.flatten(card):
            (inputs if member.flow is In else outputs).append(value)
        register = Signal(sum(len(_value(v)) for v in inputs))
        m.d.sync += register.eq(Cat(self.i, register))
        at = 0
        for value in inputs:
            bits = _value(value)
            m.d.comb += bits.eq(register[at : at + len(bits)])
            at += len(bits)
        # Parity in two steps, so that it is never the longest path.
        flat = Signal(sum(len(_value(v)) for v in outputs))
        m.d.sync += flat.eq(Cat(_value(v) for v in outputs))
        level = flat
        while len(level) > 1:
            folded = Signal(-(-len(level) // 8), name=f"fold{len(level)}")
            m.d.sync += folded.eq(Cat(level[n : n + 8].xor() for n in range(0, len(level), 8)))
            level = folded
        m.d.comb += self.o.eq(level)
        return m


def _value(item):
    return item.as_value() if hasattr(item, "as_value") else item


class Top(wiring.Component):
    """The harness on the board's pins, at the board's 100 MHz clock through a PLL to ``profile.clock_hz``."""

    def __init__(self, profile: Profile):
        self._profile = profile
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        clock = platform.request(platform.default_clk)
        locked = Signal()
        m.domains.sync = ClockDomain()
        # VCO 500 MHz: 100 MHz / 1 * 5 (feedback through CLKOP) ... CLKOP divides by 8 for 62.5 MHz.
        divider = round(500e6 / self._profile.clock_hz)
        feedback = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI="100",
            a_FREQUENCY_PIN_CLKOP=str(self._profile.clock_hz / 1e6),
            p_CLKI_DIV=8,
            p_CLKFB_DIV=5,
            p_CLKOP_DIV=divider,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=divider - 1,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=clock.i,
            i_CLKFB=feedback,
            o_CLKOP=feedback,
            o_LOCK=locked,
            i_RST=0,
            i_STDBY=0,
        )
        m.d.comb += [ClockSignal().eq(feedback)]
        platform.add_clock_constraint(feedback, self._profile.clock_hz)
        m.submodules.harness = harness = Harness(self._profile)
        m.d.sync += [harness.i.eq(~harness.i ^ locked)]
        led = platform.request("rgb_led", 0)
        m.d.comb += led.g.o.eq(harness.o)
        return m

"""When each rule's report interval ends, in wire time."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

TIME_BITS = 64


class Intervals(wiring.Component):
    """Intervals are those that a clock counts from time 0: one ends at every multiple of its length.

    An interval ends with the first time past its end.  The next end is an addition away; after a gap of more than an
    interval it is found by division, 65 cycles in which ``ready`` is low.

    Members
    -------
    now: the time
    interval: of each rule, ns; 0 for none
    late: rules whose interval ended before ``now``
    advance: go on to the interval of ``now``, for all that are late
    forget: rules whose interval is not known any more
    ready: ``late`` is to be relied on
    """

    def __init__(self, *, rules: int):
        self._rules = rules
        super().__init__(
            {
                "now": In(TIME_BITS),
                "interval": In(data.ArrayLayout(TIME_BITS, rules)),
                "late": Out(rules),
                "advance": In(1),
                "forget": In(rules),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        now = Signal(TIME_BITS)
        steps = Signal(range(TIME_BITS + 1))
        finish = Signal()
        jumping = Signal(self._rules)
        m.d.comb += self.ready.eq((steps == 0) & ~finish)
        with m.If(self.advance):
            m.d.sync += [now.eq(self.now), steps.eq(Mux(jumping.any(), TIME_BITS, 0))]
        with m.Elif(steps != 0):
            # The quotient's bits take the place of the dividend's.
            m.d.sync += [steps.eq(steps - 1), finish.eq(steps == 1), now.eq(Cat(now[-1], now[:-1]))]
        with m.Else():
            m.d.sync += finish.eq(0)
        for n in range(self._rules):
            length = self.interval[n]
            end, rest = Signal(TIME_BITS, name=f"end{n}"), Signal(TIME_BITS, name=f"rest{n}")
            known, far = Signal(name=f"known{n}"), Signal(name=f"far{n}")
            following, shifted = Signal(TIME_BITS + 1, name=f"next{n}"), Signal(TIME_BITS + 1, name=f"shifted{n}")
            with m.If(length != 0):
                m.d.comb += [
                    following.eq(end + length),
                    shifted.eq(Cat(now[-1], rest)),
                    self.late[n].eq(~known | (self.now >= end)),
                    jumping[n].eq(self.late[n] & (~known | (self.now >= following))),
                ]
            with m.If(self.advance):
                m.d.sync += [far.eq(jumping[n]), rest.eq(0)]
                with m.If(self.late[n] & ~jumping[n]):
                    m.d.sync += end.eq(following)
            with m.Elif((steps != 0) & far):
                m.d.sync += rest.eq(Mux(shifted >= length, shifted - length, shifted))
            with m.Elif(finish & far):
                m.d.sync += [end.eq(now - rest + length), known.eq(1), far.eq(0)]
            with m.If(self.forget[n] | (length == 0)):
                m.d.sync += [known.eq(0), far.eq(0)]
        return m


__all__ = ["TIME_BITS", "Intervals"]

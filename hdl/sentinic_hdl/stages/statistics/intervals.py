"""When each rule's report interval ends, in wire time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

TIME_BITS = 64


class Intervals(wiring.Component):
    """Intervals are those that a clock counts from time 0: one ends at every multiple of its length.

    An interval ends with the first time past its end.  Every time is compared with the first of all ends alone; once
    that is past, the rules are gone through, two cycles each.  A rule's next end is an addition away; after a gap of
    more than its interval, and at its first packet, it is found by division, 65 cycles more.  An interval that would
    end past the last time there is does not end.

    Members
    -------
    now: the time
    set, rule, length: the rule's interval is now ``length`` ns, 0 for none; while ``ready``
    late: an interval ended before ``now``, or is not known yet
    advance: go on to the interval of ``now``, for all rules that are late; while ``ready``
    ended, rules: in one cycle, some time after ``advance``: the rules whose interval has ended
    ready: ``late`` is to be relied on
    """

    def __init__(self, *, rules: int):
        self._rules = rules
        super().__init__(
            {
                "now": In(TIME_BITS),
                "set": In(1),
                "rule": In(range(max(2, rules))),
                "length": In(TIME_BITS),
                "late": Out(1),
                "advance": In(1),
                "ended": Out(1),
                "rules": Out(rules),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        last = self._rules - 1
        m.submodules.lengths = lengths = Memory(shape=TIME_BITS, depth=self._rules, init=[])
        m.submodules.ends = ends = Memory(shape=TIME_BITS, depth=self._rules, init=[])
        on, known = Signal(self._rules), Signal(self._rules)
        number = Signal(range(max(2, self._rules)))
        set_length, length = lengths.write_port(), lengths.read_port(domain="comb")
        set_end, end = ends.write_port(), ends.read_port(domain="comb")
        m.d.comb += [set_length.addr.eq(self.rule), set_length.data.eq(self.length)]
        m.d.comb += [length.addr.eq(number), set_end.addr.eq(number), end.addr.eq(number)]

        # Of all ends the first, if any comes before the end of time, which is what stands for none.
        never = ~Const(0, TIME_BITS)
        first, ending = Signal(TIME_BITS), Signal()
        m.d.comb += self.late.eq((on & ~known).any() | ((on & known).any() & ending & (self.now >= first)))
        now, rest, steps = Signal(TIME_BITS), Signal(TIME_BITS), Signal(range(TIME_BITS + 1))
        following, shifted = Signal(TIME_BITS + 1), Signal(TIME_BITS + 1)
        chosen, divided = Signal(TIME_BITS), Signal(TIME_BITS + 1)
        its = Const(1, self._rules) << number
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.ready.eq(1)
                m.d.sync += number.eq(0)
                with m.If(self.set):
                    m.d.comb += set_length.en.eq(1)
                    m.d.sync += known.bit_select(self.rule, 1).eq(0)
                    m.d.sync += on.bit_select(self.rule, 1).eq(self.length != 0)
                with m.Elif(self.advance):
                    m.d.sync += [now.eq(self.now), first.eq(never), ending.eq(0), self.rules.eq(0)]
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.comb += following.eq(end.data + length.data)
                m.d.sync += [rest.eq(0), steps.eq(TIME_BITS)]
                with m.If(~on.bit_select(number, 1)):
                    m.d.sync += chosen.eq(never)
                    m.next = "NEXT"
                with m.Elif(known.bit_select(number, 1) & (now < end.data)):
                    m.d.sync += chosen.eq(end.data)
                    m.next = "NEXT"
                with m.Elif(known.bit_select(number, 1) & (now < following)):
                    m.d.sync += [chosen.eq(Mux(following[-1], never, following)), self.rules.eq(self.rules | its)]
                    m.next = "NEXT"
                with m.Else():
                    m.d.sync += self.rules.eq(self.rules | (its & known))
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                # The quotient is not wanted: the dividend goes round, and is whole again in the end.
                m.d.comb += shifted.eq(Cat(now[-1], rest))
                with m.If(steps != 0):
                    m.d.sync += [
                        rest.eq(Mux(shifted >= length.data, shifted - length.data, shifted)),
                        now.eq(Cat(now[-1], now[:-1])),
                        steps.eq(steps - 1),
                    ]
                with m.Else():
                    m.d.comb += divided.eq(now - rest + length.data)
                    m.d.sync += chosen.eq(Mux(divided[-1], never, divided))
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.comb += [set_end.data.eq(chosen), set_end.en.eq(1)]
                m.d.sync += [known.eq(known | (its & on)), number.eq(number + 1)]
                with m.If(chosen < first):
                    m.d.sync += [first.eq(chosen), ending.eq(1)]
                with m.If(number == last):
                    m.next = "ENDED"
                with m.Else():
                    m.next = "LOOK"
            with m.State("ENDED"):
                m.d.comb += self.ended.eq(1)
                m.next = "IDLE"
        return m


__all__ = ["TIME_BITS", "Intervals"]

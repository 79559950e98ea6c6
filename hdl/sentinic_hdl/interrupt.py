"""One interrupt line for all rings, moderated."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile


class Interrupt(wiring.Component):
    """Raises ``irq`` when enough packets came, or the first of them waited long enough.

    The line stays up until every enabled ring's pending bit is cleared; clearing re-arms.

    Members
    -------
    new: a bit a ring: a descriptor was written
    enable, clear, frames, holdoff: registers
    pending: rings with new packets
    time: wire time, ns
    irq: the line
    raised: for one cycle, when the line rises
    """

    def __init__(self, *, profile: Profile):
        rings = profile.rings
        super().__init__(
            {
                "new": In(rings),
                "enable": In(rings),
                "clear": In(rings),
                "frames": In(16),
                "holdoff": In(32),
                "time": In(64),
                "pending": Out(rings),
                "irq": Out(1),
                "raised": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        count = Signal(16)
        deadline = Signal(64)
        waiting = Signal()
        due = Signal()
        active = (self.pending & self.enable).any()
        news = (self.new & self.enable).any()
        m.d.sync += [
            self.pending.eq((self.pending & ~self.clear) | self.new),
            due.eq(waiting & (self.time >= deadline)),
            self.raised.eq(0),
        ]
        with m.If(~active & ~news):
            m.d.sync += [waiting.eq(0), due.eq(0), count.eq(0), self.irq.eq(0)]
        with m.Else():
            with m.If(~waiting):
                m.d.sync += [waiting.eq(1), deadline.eq(self.time + self.holdoff)]
            with m.If(news):
                m.d.sync += count.eq(Mux(count.all(), count, count + 1))
            with m.If(~self.irq & (due | ((self.frames != 0) & (count >= self.frames)))):
                m.d.sync += [self.irq.eq(1), self.raised.eq(1)]
        return m

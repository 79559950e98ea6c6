"""A ring switched on and off while packets are on their way to it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

#: More copies than can ever be between :class:`~sentinic_hdl.rings.select.Select` and memory's answers.
UNDER_WAY = 255


class RingSwitch(wiring.Component):
    """Switches a ring off at once, and on again only when nothing of the time before is under way.

    So a reader of the ring switched on anew meets no packet that was decided for the old one, and the host knows when
    the memory of a ring that is off is its own again.

    Members
    -------
    wanted: the host wants the ring on
    taken: a packet was decided for the ring
    answered: memory answered the descriptor of one
    enable: the ring takes packets
    start: for one cycle before ``enable`` rises: begin at slot 0
    busy: packets are under way
    """

    wanted: In(1)
    taken: In(1)
    answered: In(1)
    enable: Out(1)
    start: Out(1)
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        under_way = Signal(range(UNDER_WAY + 1))
        m.d.comb += [
            self.busy.eq(under_way != 0),
            self.start.eq(self.wanted & ~self.enable & ~self.busy),
        ]
        m.d.sync += [
            self.enable.eq(self.wanted & (self.enable | self.start)),
            under_way.eq(under_way + self.taken - self.answered),
        ]
        return m

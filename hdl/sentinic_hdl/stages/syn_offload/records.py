"""Attempts that nobody answered, on their way to the reports."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from sentinic_hdl.stages.syn_offload.types import Ended

#: Cycles without a record taken after which whoever takes them is not waited for any more.
PATIENCE = 1023


class Records(wiring.Component):
    """A queue for them beside the stage's output, which waits where nothing may be lost.

    Parameters
    ----------
    depth: records that may wait

    Members
    -------
    offered: the stage offers a packet, or the end of a SYN; it must not as long as it ``waits``
    is_record, entry: that end is told of in a record
    moves: it is taken
    lossless: an end waits for room for its record, and whatever else for all records before it
    wanted: somebody takes records
    behind: records taken are still on their way
    waits: it must not be offered yet
    crowded: half of the places are taken, and room is to be expected: whoever can had better wait.  Only where
        ``lossless`` does not make it wait anyway
    hurry: something waits for records
    reporting: there are records, here or behind
    recorded, unreported: in this cycle one is entered, or finds no room or nobody who wants it
    o: records
    """

    def __init__(self, *, depth: int):
        self._depth = depth
        super().__init__(
            {
                "offered": In(1),
                "is_record": In(1),
                "entry": In(Ended),
                "moves": In(1),
                "lossless": In(1),
                "wanted": In(1),
                "behind": In(1),
                "waits": Out(1),
                "crowded": Out(1),
                "hurry": Out(1),
                "reporting": Out(1),
                "recorded": Out(1),
                "unreported": Out(1),
                "o": Out(stream.Signature(Ended)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=Ended.as_shape().size, depth=self._depth)
        kept, goes = Signal(), Signal()
        stuck = Signal(range(PATIENCE + 1))  # cycles since a record was taken
        m.d.comb += [
            kept.eq(fifo.w_rdy & self.wanted),
            goes.eq(self.is_record & self.moves),
            self.reporting.eq(fifo.level.any() | self.behind),
            self.waits.eq(self.lossless & Mux(self.is_record, ~fifo.w_rdy, self.reporting)),
            self.hurry.eq(self.waits & self.offered),
            self.recorded.eq(goes & kept),
            self.unreported.eq(goes & ~kept),
            fifo.w_data.eq(self.entry),
            fifo.w_en.eq(self.recorded),
            self.o.valid.eq(fifo.r_rdy),
            self.o.payload.eq(fifo.r_data),
            fifo.r_en.eq(self.o.ready),
        ]
        with m.If(self.o.ready | ~fifo.r_rdy):
            m.d.sync += stuck.eq(0)
        with m.Elif(stuck != PATIENCE):
            m.d.sync += stuck.eq(stuck + 1)
        m.d.sync += self.crowded.eq(~self.lossless & (fifo.level >= self._depth // 2) & (stuck != PATIENCE))
        return m


__all__ = ["Records"]

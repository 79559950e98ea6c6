"""A queue of wide items, in a memory as wide as they are or in a narrower one."""

from amaranth.hdl import Cat, Const, Module, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out


class Queue(wiring.Component):
    """Keeps up to ``depth`` items in order; with ``parts``, one can come and one leave in as many cycles.

    A packet's record is a thousand bits wide, a block RAM no more than 36: where packets come seldom enough, an item is
    written and read in parts, so that fewer memories do, each of them fuller.

    Parameters
    ----------
    shape: of an item
    depth: items
    parts: 1, or a power of two

    Members
    -------
    level: items inside, one that has come or is still there in part included
    room: a whole item fits
    """

    def __init__(self, shape, *, depth: int, parts: int = 1):
        if parts < 1 or parts & (parts - 1):
            raise ValueError(f"parts must be a power of two from 1 on, not {parts!r}")
        self._shape = shape
        self._depth = depth
        self._parts = parts
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 3)),
                "room": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        parts, size = self._parts, Shape.cast(self._shape).width
        width = -(-size // parts)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=width, depth=self._depth * parts)
        if parts == 1:
            m.d.comb += [
                fifo.w_data.eq(self.i.payload),
                fifo.w_en.eq(self.i.valid),
                self.i.ready.eq(fifo.w_rdy),
                self.o.payload.eq(fifo.r_data),
                self.o.valid.eq(fifo.r_rdy),
                fifo.r_en.eq(self.o.ready),
                self.level.eq(fifo.level),
                self.room.eq(fifo.w_rdy),
            ]
            return m

        item = Cat(self.i.payload, Const(0, width * parts - size))
        writing = Signal(range(parts))
        reading = Signal(range(parts))
        # What came of an item stays where it is: the next part pushes it on.
        held = Signal(width * parts)
        m.d.comb += [
            fifo.w_data.eq(item.word_select(writing, width)),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy & (writing == parts - 1)),
            fifo.r_en.eq(~self.o.valid | self.o.ready),
            self.o.payload.eq(held[:size]),
            self.room.eq(fifo.level <= (self._depth - 1) * parts),
        ]
        with m.If(fifo.w_en & fifo.w_rdy):
            m.d.sync += writing.eq(writing + 1)
        with m.If(fifo.r_en):
            m.d.sync += self.o.valid.eq(fifo.r_rdy & (reading == parts - 1))
        with m.If(fifo.r_en & fifo.r_rdy):
            m.d.sync += [reading.eq(reading + 1), held.eq(Cat(held[width:], fifo.r_data))]
        comes = fifo.w_en & fifo.w_rdy & (writing == 0)
        m.d.sync += self.level.eq(self.level + comes - (self.o.valid & self.o.ready))
        return m

"""Registers in a stream, so that no path goes through: forwards, or forwards and backwards."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Slice(wiring.Component):
    """A queue of two: one item a cycle, one cycle late; ``i.ready`` and all of ``o`` are registers.

    Parameters
    ----------
    shape: of the stream's payload
    """

    def __init__(self, shape):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        # What came while ``o`` was stuck; then there is no room for more.
        kept = Signal(self._shape, reset_less=True)
        full = Signal()
        m.d.comb += self.i.ready.eq(~full)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(full | self.i.valid), full.eq(0)]
            with m.If(full):
                m.d.sync += self.o.payload.eq(kept)
            with m.Elif(self.i.valid):
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid):
            m.d.sync += full.eq(1)
        with m.If(self.i.valid & ~full):
            m.d.sync += kept.eq(self.i.payload)
        return m


class Register(wiring.Component):
    """A queue of one: one item a cycle, one cycle late; all of ``o`` is registers.

    ``i.ready`` follows ``o.ready`` in the same cycle.  It takes half of what :class:`Slice` does.

    Parameters
    ----------
    shape: of the stream's payload
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += self.o.payload.eq(self.i.payload)
        return m

"""Two who read the packet store."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sentinic_hdl.store import read_shape


class Readers(wiring.Component):
    """Dispatch, and a stage that looks at a packet's bytes now and then: it goes first, between two frames.

    Members
    -------
    read, beats: the packet store
    ask, o: dispatch
    peek, peeked: the stage; between two frames it lets dispatch ask
    """

    def __init__(self, *, profile):
        read, beats = stream.Signature(read_shape(profile)), stream.Signature(profile.data_width)
        super().__init__(
            {
                "read": Out(read),
                "beats": In(beats),
                "ask": In(read),
                "o": Out(beats),
                "peek": In(read),
                "peeked": Out(beats),
            }
        )

    def elaborate(self, platform):
        m = Module()
        stays = Signal()  # what is asked stays until it is taken
        stayed = Signal()  # and who asked
        peeking = Signal()
        owner = Signal()
        m.d.comb += [
            peeking.eq(Mux(stays, stayed, self.peek.valid)),
            self.read.payload.eq(Mux(peeking, self.peek.payload, self.ask.payload)),
            self.read.valid.eq(Mux(peeking, self.peek.valid, self.ask.valid)),
            self.ask.ready.eq(self.read.ready & ~peeking),
            self.peek.ready.eq(self.read.ready & peeking),
            self.o.payload.eq(self.beats.payload),
            self.peeked.payload.eq(self.beats.payload),
            self.o.valid.eq(self.beats.valid & ~owner),
            self.peeked.valid.eq(self.beats.valid & owner),
            self.beats.ready.eq(Mux(owner, self.peeked.ready, self.o.ready)),
        ]
        m.d.sync += [stays.eq(self.read.valid & ~self.read.ready), stayed.eq(peeking)]
        # The store takes a command when the last beat of the one before leaves, at the earliest.
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += owner.eq(peeking)
        return m


__all__ = ["Readers"]

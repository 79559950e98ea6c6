"""Where the DMA writer's bytes come from: the packet store, or the reports."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile
from sentinic_hdl.rings.types import ask_shape
from sentinic_hdl.store import read_shape


class Bodies(wiring.Component):
    """Hands what is asked for to the one that has it, and the beats back in the order of the asking.

    The other one is asked when all beats of the one before are here: reports are rare, and packets never wait else.

    Members
    -------
    ask: what to read; may be without beats
    o: its beats
    store_read, store_beats: the packet store
    report_read, report_beats: the reports
    """

    def __init__(self, *, profile: Profile):
        self._profile = profile
        read, beats = stream.Signature(read_shape(profile)), stream.Signature(profile.data_width)
        super().__init__(
            {
                "ask": In(stream.Signature(ask_shape(profile))),
                "o": Out(beats),
                "store_read": Out(read),
                "store_beats": In(beats),
                "report_read": Out(read),
                "report_beats": In(beats),
            }
        )

    def elaborate(self, platform):
        m = Module()
        of_report = Signal()  # who was asked last
        away = Signal(len(self.ask.p.frame.beats) + 2)  # beats asked for and not here yet
        may_ask, asked, came = Signal(), Signal(), Signal()
        m.d.comb += [
            may_ask.eq((self.ask.p.report == of_report) & ~away[-1]),
            self.store_read.payload.eq(self.ask.p.frame),
            self.report_read.payload.eq(self.ask.p.frame),
            self.store_read.valid.eq(self.ask.valid & may_ask & ~self.ask.p.report),
            self.report_read.valid.eq(self.ask.valid & may_ask & self.ask.p.report),
            self.ask.ready.eq(may_ask & Mux(self.ask.p.report, self.report_read.ready, self.store_read.ready)),
            asked.eq(self.ask.valid & self.ask.ready),
            self.o.valid.eq(Mux(of_report, self.report_beats.valid, self.store_beats.valid)),
            self.o.payload.eq(Mux(of_report, self.report_beats.payload, self.store_beats.payload)),
            self.store_beats.ready.eq(self.o.ready & ~of_report),
            self.report_beats.ready.eq(self.o.ready & of_report),
            came.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += away.eq(away + Mux(asked, self.ask.p.frame.beats, 0) - came)
        with m.If(self.ask.valid & (self.ask.p.report != of_report) & (away == 0)):
            m.d.sync += of_report.eq(self.ask.p.report)
        return m

"""AXI4-Lite to the inner register bus."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic_hdl.axi import AxiLite
from sentinic_hdl.csr.bank import CsrBus

_OKAY, _SLVERR, _DECERR = 0, 2, 3


class AxiLiteBridge(wiring.Component):
    """One access at a time; a read or a write takes at least five cycles.

    An address that no register has is answered DECERR, a write of less than a word SLVERR; neither has an effect.
    """

    axi: In(AxiLite())
    bus: Out(CsrBus())

    def elaborate(self, platform):
        m = Module()
        have_address = Signal()
        have_data = Signal()
        data = Signal(32)
        whole = Signal()
        address = Signal.like(self.bus.address)
        m.d.comb += [self.bus.address.eq(address), self.bus.write_data.eq(data)]

        with m.FSM():
            with m.State("IDLE"):
                # Ready lines are registers: they rise for one cycle after valid was seen.
                with m.If(self.axi.awvalid & ~have_address):
                    m.d.sync += [self.axi.awready.eq(1), have_address.eq(1), address.eq(self.axi.awaddr)]
                with m.Else():
                    m.d.sync += self.axi.awready.eq(0)
                with m.If(self.axi.wvalid & ~have_data):
                    m.d.sync += [
                        self.axi.wready.eq(1),
                        have_data.eq(1),
                        data.eq(self.axi.wdata),
                        whole.eq(self.axi.wstrb.all()),
                    ]
                with m.Else():
                    m.d.sync += self.axi.wready.eq(0)
                with m.If(have_address & have_data):
                    m.next = "WRITE"
                with m.Elif(self.axi.arvalid & ~have_address & ~have_data & ~self.axi.awvalid & ~self.axi.wvalid):
                    m.d.sync += [self.axi.arready.eq(1), address.eq(self.axi.araddr)]
                    m.next = "READ"
            with m.State("WRITE"):
                m.d.comb += [self.bus.access.eq(1), self.bus.write.eq(whole)]
                m.d.sync += [self.axi.awready.eq(0), self.axi.wready.eq(0)]
                m.next = "WRITTEN"
            with m.State("WRITTEN"):
                m.d.sync += [
                    self.axi.bvalid.eq(1),
                    self.axi.bresp.eq(Mux(~self.bus.hit, _DECERR, Mux(whole, _OKAY, _SLVERR))),
                    have_address.eq(0),
                    have_data.eq(0),
                ]
                m.next = "RESPOND"
            with m.State("RESPOND"):
                with m.If(self.axi.bready):
                    m.d.sync += self.axi.bvalid.eq(0)
                    m.next = "IDLE"
            with m.State("READ"):
                m.d.comb += [self.bus.access.eq(1), self.bus.read.eq(1)]
                m.d.sync += self.axi.arready.eq(0)
                m.next = "FETCHED"
            with m.State("FETCHED"):
                m.d.sync += [
                    self.axi.rvalid.eq(1),
                    self.axi.rdata.eq(Mux(self.bus.hit, self.bus.read_data, 0)),
                    self.axi.rresp.eq(Mux(self.bus.hit, _OKAY, _DECERR)),
                ]
                m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(self.axi.rready):
                    m.d.sync += self.axi.rvalid.eq(0)
                    m.next = "IDLE"
        return m

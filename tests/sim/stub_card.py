"""A stand-in with the card's ports, to test the harness and not the card.

Registers (byte address): 0x00 id, 0x04 control (bit 0 enable, bit 1 sink: take a beat every cycle and write nothing),
0x08/0x0c data base, 0x10/0x14 descriptor base, 0x18 beats, 0x1c frames, 0x20 error beats, 0x24 wire time low,
0x28 high, 0x2c B errors, 0x30 interrupt line, 0x34 gaps (cycles without a beat since the first one), 0x38 cycles.

Unless a sink, it writes beat n to ``data base + n * beat_bytes``, and after a frame's last beat a descriptor of
64 bytes: the time stamp seven times, then {frame number + 1 (32 bits), wire length (16), ones in the last tkeep (8),
port (8)}.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile
from sentinic_hdl.axi import AxiLite, AxiStream, AxiWrite

STUB_ID = 0x5EA7_57B0


class StubCard(wiring.Component):
    """One beat in three cycles at most; the two ports take turns by frame."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        super().__init__(
            {
                "rx0": In(AxiStream(profile.data_width)),
                "rx1": In(AxiStream(profile.data_width)),
                "dma": Out(AxiWrite(profile.data_width)),
                "csr": In(AxiLite()),
                "time": In(64),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width, size = self.profile.data_width, self.profile.beat_bytes
        enable, sink = Signal(), Signal()
        bases = [Signal(32) for _ in range(4)]
        beats, frames, errors, b_errors, gaps, cycles = (Signal(32) for _ in range(6))
        m.d.sync += cycles.eq(cycles + 1)
        port, port_free = Signal(), Signal(init=1)
        busy = Signal()  # a beat or descriptor is being written
        streams = [self.rx0, self.rx1]
        for n, stream in enumerate(streams):
            m.d.comb += stream.tready.eq(enable & (sink | (~busy & (port == n))))

        address, data, descriptor = Signal(64), Signal(width), Signal(64)
        last, stamp, index = Signal(), Signal(64), Signal(4)
        m.d.comb += [
            self.dma.awaddr.eq(address),
            self.dma.awsize.eq(size.bit_length() - 1),
            self.dma.awburst.eq(1),
            self.dma.wdata.eq(data),
            self.dma.wstrb.eq(~Const(0, size)),
            self.dma.wlast.eq(1),
            self.dma.bready.eq(1),
        ]
        with m.If(self.dma.bvalid & (self.dma.bresp != 0)):
            m.d.sync += b_errors.eq(b_errors + 1)

        accepted = [stream.tvalid & stream.tready for stream in streams]
        with m.If(sink):
            m.d.sync += [
                beats.eq(beats + accepted[0] + accepted[1]),
                frames.eq(frames + (accepted[0] & self.rx0.tlast) + (accepted[1] & self.rx1.tlast)),
            ]
            with m.If((beats != 0) & ~accepted[0] & ~accepted[1]):
                m.d.sync += gaps.eq(gaps + 1)
        with m.Else():
            for n, stream in enumerate(streams):
                with m.If(accepted[n]):
                    ones = sum(stream.tkeep[bit] for bit in range(size))
                    m.d.sync += [
                        busy.eq(1),
                        beats.eq(beats + 1),
                        errors.eq(errors + stream.tuser.error),
                        data.eq(stream.tdata),
                        address.eq(Cat(bases[0], bases[1]) + beats * size),
                        last.eq(stream.tlast),
                        stamp.eq(stream.tuser.timestamp),
                        descriptor.eq(
                            Cat((frames + 1)[:32], stream.tuser.wire_length, (ones + Const(0, 8))[:8], Const(n, 8))
                        ),
                        self.dma.awvalid.eq(1),
                        self.dma.wvalid.eq(1),
                        index.eq(0),
                        port_free.eq(stream.tlast),
                    ]
                with m.Elif(port_free & ~busy & (port == n) & ~stream.tvalid):
                    m.d.sync += port.eq(1 - n)
        with m.If(self.dma.awvalid & self.dma.awready):
            m.d.sync += self.dma.awvalid.eq(0)
        with m.If(self.dma.wvalid & self.dma.wready):
            m.d.sync += self.dma.wvalid.eq(0)
        idle = Signal()
        stamps = stamp.replicate(size // 8)
        m.d.comb += idle.eq((~self.dma.awvalid | self.dma.awready) & (~self.dma.wvalid | self.dma.wready))
        with m.If(busy & idle):
            with m.If(last & (index != 64 // size)):
                final = index == 64 // size - 1
                base = Cat(bases[2], bases[3])
                m.d.sync += [
                    address.eq(base + frames * 64 + index * size),
                    index.eq(index + 1),
                    data.eq(Mux(final, Cat(stamps[: width - 64], descriptor), stamps)),
                    self.dma.awvalid.eq(1),
                    self.dma.wvalid.eq(1),
                ]
            with m.Else():
                m.d.sync += [busy.eq(0), frames.eq(frames + last), last.eq(0)]

        words = {
            0x00: Const(STUB_ID, 32),
            0x04: Cat(enable, sink),
            **{0x08 + 4 * n: base for n, base in enumerate(bases)},
            0x18: beats,
            0x1C: frames,
            0x20: errors,
            0x24: self.time[:32],
            0x28: self.time[32:],
            0x2C: b_errors,
            0x30: self.irq,
            0x34: gaps,
            0x38: cycles,
        }
        self._registers(m, words, writable=(0x04, 0x08, 0x0C, 0x10, 0x14, 0x30))
        return m

    def _registers(self, m: Module, words: dict[int, object], writable: tuple[int, ...]) -> None:
        csr = self.csr
        have_address, have_data = Signal(), Signal()
        address, data = Signal(16), Signal(32)
        m.d.comb += [csr.awready.eq(~have_address), csr.wready.eq(~have_data), csr.arready.eq(~csr.rvalid)]
        with m.If(csr.awvalid & csr.awready):
            m.d.sync += [have_address.eq(1), address.eq(csr.awaddr)]
        with m.If(csr.wvalid & csr.wready):
            m.d.sync += [have_data.eq(1), data.eq(csr.wdata)]
        with m.If(have_address & have_data & ~csr.bvalid):
            m.d.sync += csr.bvalid.eq(1)
            with m.Switch(address):
                for at in writable:
                    with m.Case(at):
                        m.d.sync += words[at].eq(data)
        with m.If(csr.bvalid & csr.bready):
            m.d.sync += [csr.bvalid.eq(0), have_address.eq(0), have_data.eq(0)]
        with m.If(csr.rvalid & csr.rready):
            m.d.sync += csr.rvalid.eq(0)
        with m.If(csr.arvalid & csr.arready):
            m.d.sync += [csr.rvalid.eq(1), csr.rresp.eq(3)]
            with m.Switch(csr.araddr):
                for at, word in words.items():
                    with m.Case(at):
                        m.d.sync += [csr.rdata.eq(word), csr.rresp.eq(0)]

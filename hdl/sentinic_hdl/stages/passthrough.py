"""The example stage: passes every packet on unchanged, and counts them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from sentinic.abi.profiles import Profile
from sentinic.abi.registers import PASSTHROUGH
from sentinic_hdl.csr.bank import RegisterBank
from sentinic_hdl.stages.base import StageSignature


class PassThrough(wiring.Component):
    """One register in the path: latency one cycle, one meta a cycle, nothing held but the register.

    Members as in :class:`StageSignature`.
    """

    def __init__(self, profile: Profile):
        super().__init__(StageSignature())

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = RegisterBank(block=PASSTHROUGH)
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)

        packets = Signal(32)
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), bank.packets.eq(packets)]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [self.o.payload.eq(self.i.payload), packets.eq(packets + 1)]
        return m

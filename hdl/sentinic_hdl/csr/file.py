"""Registers that the host writes and one block reads word by word, in a memory instead of flip-flops."""

from dataclasses import replace

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sentinic.abi.layout import Access, Block, Register
from sentinic_hdl.csr.bank import CsrBus, access_of


def split(block: Block, first: str) -> tuple[Block, Block]:
    """The registers of ``block`` before the one called ``first``; and the others."""
    at = block.register(first).offset
    registers = block.registers
    return (
        replace(block, registers=tuple(item for item in registers if item.offset < at)),
        replace(block, registers=tuple(item for item in registers if item.offset >= at)),
    )


class RegisterFile(wiring.Component):
    """The registers of ``block``, all of 32 bits, rw, and 0 after reset.

    They are cleared one a cycle after reset, and must not be written while that lasts.

    Members
    -------
    bus: the host's side, as :class:`sentinic_hdl.csr.bank.RegisterBank` has it
    word: number of a word, from the block's first register on
    data: what that word holds, in the same cycle, if ``granted``
    granted: the host is not at the memory in this cycle
    clearing: after reset
    """

    def __init__(self, *, block: Block):
        for register in block.registers:
            if not _is_plain(register):
                raise ValueError(f"register {register.name!r} must have 32 bits, rw, 0 after reset, to be in a memory")
        self._block = block
        first, last = block.registers[0].offset, block.registers[-1].offset
        self.words = 1 << ceil_log2((last - first) // 4 + 1)
        super().__init__(
            {
                "bus": In(CsrBus()),
                "word": In(range(self.words)),
                "data": Out(32),
                "granted": Out(1),
                "clearing": Out(1, init=1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        block, bus = self._block, self.bus
        m.submodules.memory = memory = Memory(shape=32, depth=self.words, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        mine, cleared = Signal(), Signal(range(self.words))
        place = Signal(range(self.words))
        first = block.base + block.registers[0].offset >> 2
        m.d.comb += place.eq(bus.address[2:] - first)
        with m.If(bus.access):
            with m.Switch(bus.address[2:]):
                with m.Case(*(block.base + register.offset >> 2 for register in block.registers)):
                    m.d.comb += mine.eq(1)
        m.d.comb += [
            write.addr.eq(Mux(self.clearing, cleared, place)),
            write.data.eq(Mux(self.clearing, 0, bus.write_data)),
            write.en.eq(self.clearing | (mine & bus.write)),
            read.addr.eq(Mux(mine, place, self.word)),
            self.data.eq(read.data),
            self.granted.eq(~mine),
        ]
        with m.If(self.clearing):
            m.d.sync += [cleared.eq(cleared + 1), self.clearing.eq(cleared != self.words - 1)]
        m.d.sync += [bus.hit.eq(mine), bus.read_data.eq(0)]
        with m.If(mine):
            m.d.sync += bus.read_data.eq(read.data)
        return m


def _is_plain(register: Register) -> bool:
    return (
        access_of(register) is Access.RW
        and register.reset == 0
        and [(field.lsb, field.width) for field in register.fields] == [(0, 32)]
    )


__all__ = ["RegisterFile", "split"]

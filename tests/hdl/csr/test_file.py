"""Registers in a memory: to the host as others are; one block reads them word by word."""

import pytest
from amaranth.sim import Simulator

from sentinic.abi.registers import CARD, STATISTICS
from sentinic_hdl.csr.file import RegisterFile, split

# A component that refuses its parameters is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def test_a_block_is_split_into_the_registers_before_one_and_the_others() -> None:
    before, after = split(STATISTICS, "hash_key0")
    assert before.registers + after.registers == STATISTICS.registers
    assert after.registers[0].name == "hash_key0"
    assert before.base == after.base == STATISTICS.base


def test_what_the_host_writes_it_reads_and_so_does_the_block_unless_the_host_is_there() -> None:
    file = RegisterFile(block=split(STATISTICS, "hash_key0")[1])
    names = {"hash_key0": 0, "hash_key15": 15, "value0": 16, "mask3": 35, "group13": 61}
    address = {name: STATISTICS.address(name) for name in names}

    async def access(ctx, where: int, *, write: int | None = None) -> tuple[int, int]:
        ctx.set(file.bus.address, where)
        ctx.set(file.bus.access, 1)
        ctx.set(file.bus.read, write is None)
        ctx.set(file.bus.write, write is not None)
        ctx.set(file.bus.write_data, write or 0)
        granted = ctx.get(file.granted)
        await ctx.tick()
        ctx.set(file.bus.access, 0)
        ctx.set(file.bus.write, 0)
        assert granted != ctx.get(file.bus.hit)
        return ctx.get(file.bus.hit), ctx.get(file.bus.read_data)

    async def drive(ctx):
        cycles = 0
        while ctx.get(file.clearing):
            cycles += 1
            await ctx.tick()
        assert cycles == file.words == 64
        for name in names:
            assert await access(ctx, address[name]) == (1, 0)
        for name, word in names.items():
            await access(ctx, address[name], write=0xC0DE_0000 + word)
        for name, word in names.items():
            assert await access(ctx, address[name]) == (1, 0xC0DE_0000 + word)
        await ctx.tick()
        assert (ctx.get(file.bus.hit), ctx.get(file.bus.read_data)) == (0, 0)
        for outside in (STATISTICS.address("generation"), STATISTICS.address("value13") + 4, CARD.address("id")):
            assert await access(ctx, outside, write=1) == (0, 0)
        for word in range(file.words):
            ctx.set(file.word, word)
            assert ctx.get(file.granted)
            assert ctx.get(file.data) == (0xC0DE_0000 + word if word in names.values() else 0)

    simulator = Simulator(file)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


def test_registers_that_are_not_plain_words_are_refused() -> None:
    with pytest.raises(ValueError, match="register 'shape' must have 32 bits, rw, 0 after reset"):
        RegisterFile(block=STATISTICS)

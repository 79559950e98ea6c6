"""Bridge, register banks and counters behind cocotbext-axi's AXI4-Lite master; run by ``test_csr_cocotb.py``."""

import logging
import random
import struct

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from sentinic.abi import registers as abi
from sentinic.abi.counters import counter_names
from sentinic.abi.layout import Access
from tests.hdl.block_bench import LIMIT, Bench, coin
from tests.hdl.blocks import COUNTER_BITS, RING_BANK

OKAY, SLVERR, DECERR = 0, 2, 3
#: The banks there are: the model's name, the block, which one of it.
BANKS = (("card", abi.CARD, 0), ("interrupt", abi.INTERRUPT, 0), ("ring", abi.RING, RING_BANK))
#: Two rounds of the counters, and some.
CYCLES_TO_COPY = 2 * 128 + 40


class Word:
    """A register: where it is, what kind, and what it must hold.  Bits that no field has may be anything."""

    def __init__(self, dut, bank, block, index, register):
        self.address = block.address(register.name, index)
        self.access = register.fields[0].access
        self.mask = sum(field.mask for field in register.fields)
        self.reset = register.reset if self.access is Access.RW else 0
        self.value = self.reset
        path = f"registers__{bank}__{register.name}"
        self.port = getattr(dut, path)
        self.strobe = getattr(dut, path + "_strobe") if self.access is Access.W1C else None


class RegisterBench(Bench):
    def __init__(self, dut, **options):
        super().__init__(dut, **options)
        logging.getLogger(f"cocotb.{dut._name}.registers__axi_").setLevel(logging.ERROR)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "registers__axi_"), dut.clk, dut.rst)
        channels = (self.master.write_if, "aw"), (self.master.write_if, "w"), (self.master.read_if, "ar")
        answers = (self.master.write_if, "b"), (self.master.read_if, "r")
        for seed, (half, name) in enumerate((*channels, *answers)):
            pause = self.idle if (half, name) in channels else self.busy
            if pause:
                getattr(half, f"{name}_channel").set_pause_generator(coin(seed, pause))
        self.words = [
            Word(dut, bank, block, index, register) for bank, block, index in BANKS for register in block.registers
        ]
        self.masks = {word.address: word.mask for word in self.words}
        self.strobes = {word.address: 0 for word in self.words if word.strobe is not None}
        cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        """What the strobes say adds up, cycle by cycle."""
        edge = RisingEdge(self.dut.clk)
        watched = [word for word in self.words if word.strobe is not None]
        while True:
            await edge
            for word in watched:
                self.strobes[word.address] += int(word.strobe.value)

    async def reset(self) -> None:
        for word in self.words:
            if word.access is Access.RW:
                word.value = word.reset
        await super().reset()

    def drive(self) -> None:
        """Something else in every register that the card sets."""
        for word in self.words:
            if word.access is not Access.RW:
                word.value = self.random.getrandbits(32) & word.mask
                word.port.value = word.value

    async def read(self, address: int) -> tuple[int, int]:
        answer = await self.master.read(address, 4)
        return int(answer.resp), int.from_bytes(answer.data, "little") & self.masks.get(address, 0xFFFFFFFF)

    async def write(self, address: int, value: int) -> int:
        return int((await self.master.write(address, value.to_bytes(4, "little"))).resp)

    async def check(self) -> None:
        """Every register reads what it must, and the card sees it too."""
        for word in self.words:
            resp, value = await self.read(word.address)
            assert (resp, value) == (OKAY, word.value), f"{word.address:#x}: {value:#x}, not {word.value:#x}"
            if word.access is Access.RW:
                assert int(word.port.value) & word.mask == word.value


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[0, 0.5], busy=[0, 0.5])
async def registers_read_as_written_or_as_the_card_sets_them(dut, idle, busy):
    bench = RegisterBench(dut, idle=idle, busy=busy)
    bench.drive()
    await bench.reset()
    await bench.check()
    r = bench.random
    for _ in range(120):
        word = r.choice(bench.words)
        value = r.getrandbits(32)
        before = bench.strobes.get(word.address)
        assert await bench.write(word.address, value) == OKAY
        if word.access is Access.RW:
            word.value = value & word.mask
        elif word.access is Access.W1C:
            assert bench.strobes[word.address] - before == value & word.mask, "for one cycle"
        other = r.choice(bench.words)
        assert await bench.read(other.address) == (OKAY, other.value)
    bench.drive()
    await bench.check()


@cocotb.test(**LIMIT)
async def what_no_register_has_is_an_error_and_so_is_less_than_a_word(dut):
    bench = RegisterBench(dut)
    await bench.reset()
    ours = {word.address for word in bench.words}
    for address in (0xFFFC, 0x0F00, 0x2FFC, abi.RING.address("control", RING_BANK + 1), abi.CARD.base + 0x3C):
        assert address not in ours
        assert (await bench.read(address)) == (DECERR, 0), hex(address)
        assert await bench.write(address, 0xFFFFFFFF) == DECERR, hex(address)
    scratch = next(word for word in bench.words if word.address == abi.CARD.address("scratch"))
    assert await bench.write(scratch.address, 0x12345678) == OKAY
    scratch.value = 0x12345678
    for length in (1, 2, 3):
        assert int((await bench.master.write(scratch.address, b"\xff" * length)).resp) == SLVERR
    pending = abi.INTERRUPT.address("pending")
    assert int((await bench.master.write(pending, b"\xff\xff")).resp) == SLVERR
    assert bench.strobes[pending] == 0
    await bench.check()


@cocotb.test(**LIMIT)
@cocotb.parametrize(busy=[0, 0.6])
async def reads_and_writes_at_once_are_all_answered(dut, busy):
    bench = RegisterBench(dut, idle=busy / 2, busy=busy)
    await bench.reset()
    r = bench.random
    fixed = [word for word in bench.words if word.access is Access.RW]
    written, watched = fixed[::2], fixed[1::2]

    async def writer():
        for _ in range(60):
            word, value = r.choice(written), r.getrandbits(32)
            assert await bench.write(word.address, value) == OKAY
            word.value = value & word.mask

    async def reader():
        for _ in range(60):
            word = r.choice(watched)
            assert await bench.read(word.address) == (OKAY, word.value)

    tasks = [cocotb.start_soon(part()) for part in (writer, reader)]
    for task in tasks:
        await task
    await bench.check()


@cocotb.test(**LIMIT)
@cocotb.parametrize(after=[1, 3, 4, 6])
async def a_reset_within_an_access_leaves_the_registers_as_they_begin(dut, after):
    bench = RegisterBench(dut, busy=0.3)
    await bench.reset()
    for word in bench.words:
        if word.access is Access.RW:
            await bench.write(word.address, bench.random.getrandbits(32))
    bench.master.init_write(abi.CARD.address("scratch"), b"\xff" * 4)
    bench.master.init_read(abi.CARD.address("scratch"), 4)
    await bench.cycles(after)
    await bench.reset()
    await bench.cycles(5)
    bench.drive()
    await bench.check()
    assert await bench.write(abi.CARD.address("scratch"), 77) == OKAY
    assert await bench.read(abi.CARD.address("scratch")) == (OKAY, 77)


class CounterBench(RegisterBench):
    """Random increments in every cycle, and plain sums of them."""

    def __init__(self, dut, *, share: float, **options):
        super().__init__(dut, **options)
        self.names = counter_names(self.profile)
        self.widths = [COUNTER_BITS.get(name, 1) for name in self.names]
        self.share = share
        self.sums = [0] * len(self.names)
        self.history: list[tuple[int, ...]] = []
        cocotb.start_soon(self._count(random.Random(self.random.random())))

    async def reset(self) -> None:
        self.sums = [0] * len(self.names)
        await super().reset()

    async def _count(self, r: random.Random) -> None:
        dut, held = self.dut, self.names.index("held")
        edge = RisingEdge(dut.clk)
        steps, less = [0] * len(self.names), 0
        while True:
            await edge
            # These were the inputs of the cycle that ends here.
            if dut.rst.value:
                self.sums = [0] * len(self.names)
            else:
                self.sums = [total + step for total, step in zip(self.sums, steps, strict=True)]
                self.sums[held] -= less
            self.history.append(tuple(self.sums))
            steps = [r.getrandbits(width) if r.random() < self.share else 0 for width in self.widths]
            less = r.randint(0, min(3, self.sums[held]))
            for name, step in zip(self.names, steps, strict=True):
                getattr(dut, f"registers__counters__increments__{name.replace('.', '_')}").value = step
            dut.registers__counters__held_less.value = less

    async def copied(self) -> tuple[int, ...]:
        raw = (await self.master.read(abi.COUNTERS_BASE, 8 * len(self.names))).data
        return struct.unpack(f"<{len(self.names)}Q", raw)

    async def snapshot(self) -> tuple[int, ...]:
        """A snapshot, which must be of one cycle between the asking and the answer."""
        began = len(self.history)
        assert await self.write(abi.SNAPSHOT.address("take"), 1) == OKAY
        while (await self.read(abi.SNAPSHOT.address("busy")))[1]:
            assert len(self.history) - began < CYCLES_TO_COPY
        ended = len(self.history)
        totals = await self.copied()
        assert totals in self.history[began:ended], "of no cycle since it was asked for"
        return totals


@cocotb.test(**LIMIT)
@cocotb.parametrize(share=[1, 0.2], busy=[0, 0.4])
async def a_snapshot_holds_every_counter_as_it_was_in_one_cycle(dut, share, busy):
    bench = CounterBench(dut, share=share, idle=busy, busy=busy)
    await bench.reset()
    before = await bench.snapshot()
    for pause in (0, 77):
        await bench.cycles(pause)
        totals = await bench.snapshot()
        assert totals[bench.names.index("received")] > before[bench.names.index("received")]
        before = totals
    await bench.cycles(200)
    assert await bench.copied() == before, "the copies stay while the counters go on"


@cocotb.test(**LIMIT)
@cocotb.parametrize(after=[5, 100, 301])
async def counters_begin_at_0_after_a_reset(dut, after):
    bench = CounterBench(dut, share=1)
    await bench.reset()
    assert all(await bench.snapshot())
    bench.master.init_write(abi.SNAPSHOT.address("take"), b"\1\0\0\0")
    await bench.cycles(after)
    await bench.reset()
    totals = await bench.snapshot()
    received = totals[bench.names.index("received")]
    assert 0 < received < 3 * (CYCLES_TO_COPY + 64)

"""The bench of the whole card: cocotbext-axi at its three boundaries, the reference card as the oracle.

Runs inside the simulator; ``test_card.py`` builds the model and starts it.
"""

import itertools
import logging
import os
import random
import struct

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiSlaveWrite,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSource,
    AxiWriteBus,
)

from sentinic.abi import counters as abi_counters
from sentinic.abi import registers as abi
from sentinic.abi.profiles import PROFILES
from tests.reference.card import TEST_KEY, Frame, ReferenceCard, Ring

RING_BYTES = 1 << 20
DATA_AT = 1 << 17
DESCRIPTORS = 1024
DATA_SLOTS = 8192


class Memory:
    """Host memory with a range of bus addresses that answers every write with an error."""

    def __init__(self, size: int):
        self.bytes = bytearray(size)
        self.broken = range(0)
        self.size = size

    async def write(self, address: int, data: bytes, **_kwargs) -> None:
        if address in self.broken:
            raise ValueError(f"address {address:#x} is broken")
        if address + len(data) > self.size:
            raise ValueError(f"address {address:#x} is beyond the memory of {self.size:#x} bytes")
        self.bytes[address : address + len(data)] = data


class CardBench:
    """The card with two MACs, a memory and a register master around it."""

    def __init__(self, dut):
        self.dut = dut
        self.profile = PROFILES[os.environ["SENTINIC_PROFILE"]]
        for prefix in ("rx0_", "rx1_", "dma_", "csr_"):
            logging.getLogger(f"cocotb.{dut._name}.{prefix}").setLevel(logging.ERROR)
        cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())
        self.memory = Memory(RING_BYTES * self.profile.rings)
        self.macs = [AxiStreamSource(AxiStreamBus.from_prefix(dut, f"rx{n}_"), dut.clk, dut.rst) for n in (0, 1)]
        self.dma = AxiSlaveWrite(AxiWriteBus.from_prefix(dut, "dma_"), dut.clk, dut.rst, target=self.memory)
        self.csr = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "csr_"), dut.clk, dut.rst)
        dut.time.value = 0

    async def reset(self) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 4)

    def pause_randomly(self, seed: int, *, idle: bool, backpressure: bool) -> None:
        """Idles at the MACs, not-ready cycles at the memory; the seed is the caller's, so a failure can be repeated."""

        def coin(seed: int):
            rng = random.Random(seed)
            while True:
                yield rng.random() < 0.4

        if idle:
            for n, mac in enumerate(self.macs):
                mac.set_pause_generator(coin(seed + n))
        if backpressure:
            self.dma.aw_channel.set_pause_generator(coin(seed + 10))
            self.dma.w_channel.set_pause_generator(coin(seed + 11))
            self.dma.b_channel.set_pause_generator(coin(seed + 12))

    async def write(self, block: abi.Block, name: str, value: int, index: int = 0) -> None:
        await self.csr.write_dword(block.address(name, index), value)

    async def read(self, block: abi.Block, name: str, index: int = 0) -> int:
        return await self.csr.read_dword(block.address(name, index))

    async def open_ring(self, n: int, ring: Ring) -> None:
        ring.descriptors = DESCRIPTORS
        ring.data_bytes = 64 * DATA_SLOTS
        base = n * RING_BYTES
        for name, value in {
            "descriptor_base_low": base,
            "descriptor_mask": DESCRIPTORS - 1,
            "data_base_low": base + DATA_AT,
            "data_mask": DATA_SLOTS - 1,
            "filter_ports": ring.filter_ports,
            "filter_protocols": ring.filter_protocols,
            "filter_verdicts": ring.filter_verdicts,
            "sample": ring.sample,
            "snap_length": ring.snap_length,
            "spread": ring.spread_count | ring.spread_index << 8,
            "extras": ring.bare_plain << 3,
            "control": int(ring.enable),
        }.items():
            await self.write(abi.RING, name, value, n)

    async def start(self, rings: list[Ring], *, pause: bool = True) -> ReferenceCard:
        """Set the card up with these rings; returns the model of the same card."""
        for n in range(abi.HASH_KEY_WORDS):
            await self.write(abi.CARD, f"hash_key{n}", TEST_KEY >> 32 * n & 0xFFFFFFFF)
        for n, ring in enumerate(rings):
            await self.open_ring(n, ring)
        await self.write(abi.CARD, "control", 1 | pause << 1)
        return ReferenceCard(rings)

    async def send(self, frames: list[Frame], *, in_order: bool = True) -> None:
        """Give the frames to their ports; ``in_order``: one after the other, as they stand."""
        for frame in frames:
            user = frame.error | (frame.wire_length or 0) << 1 | frame.timestamp << 17
            mac = self.macs[frame.port]
            await mac.send(AxiStreamFrame(tdata=frame.data, tuser=user))
            if in_order:
                await mac.wait()
        for mac in self.macs:
            await mac.wait()

    async def settle(self) -> dict[str, int]:
        """Wait until the card holds nothing; returns the counters."""
        for _ in range(400):
            counters = await self.counters()
            if counters["held"] == 0:
                return counters
            await ClockCycles(self.dut.clk, 50)
        raise AssertionError(f"the card still holds {counters['held']} frames after 20,000 cycles")

    async def counters(self) -> dict[str, int]:
        await self.write(abi.SNAPSHOT, "take", 1)
        while await self.csr.read_dword(abi.SNAPSHOT.address("busy")):
            pass
        names = abi_counters.counter_names(self.profile)
        raw = bytes((await self.csr.read(abi.COUNTERS_BASE, 8 * len(names))).data)
        return dict(zip(names, struct.unpack(f"<{len(names)}Q", raw), strict=True))

    def descriptors(self, n: int) -> list[bytes]:
        """The first pass of ring n: descriptors as long as the phase bit is 1."""
        base = n * RING_BYTES
        rows = (bytes(self.memory.bytes[base + 64 * k : base + 64 * k + 64]) for k in range(DESCRIPTORS))
        return list(itertools.takewhile(lambda row: row[60] & 1, rows))

    def slot(self, n: int, descriptor: bytes) -> bytes:
        """The tagged frame that a descriptor of ring n tells of."""
        offset, captured, words = (
            *struct.unpack_from("<I", descriptor, 44),
            *struct.unpack_from("<H", descriptor, 54),
            descriptor[63],
        )
        at = n * RING_BYTES + DATA_AT + offset
        return bytes(self.memory.bytes[at + 64 - 4 * words : at + 64 + captured])

    def check_ring(self, n: int, ring: Ring) -> None:
        """Ring n holds exactly what the model's ring does, byte for byte."""
        rows = self.descriptors(n)
        assert len(rows) == len(ring.records), f"ring {n}: {len(rows)} descriptors, the model has {len(ring.records)}"
        for k, (row, expected) in enumerate(zip(rows, ring.records, strict=True)):
            assert row == expected, f"ring {n}, descriptor {k}:\n{row.hex()}\n{expected.hex()}"
            slot = ring.slots[k][1]
            captured = struct.unpack_from("<H", row, 54)[0]
            if captured:
                assert self.slot(n, row) == slot[64 - 4 * row[63] : 64 + captured], f"ring {n}, packet {k}"


def check_conservation(counters: dict[str, int]) -> None:
    assert counters["received"] == sum(counters[fate] for fate in abi_counters.FATES), counters

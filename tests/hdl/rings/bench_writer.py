"""The DMA writer in front of cocotbext-axi's memory, slow and with errors; run by ``test_rings_cocotb.py``.

What must be in memory is built by the reference card from frames of scapy's.
"""

import logging
import random
import struct
from collections import deque
from typing import NamedTuple

import cocotb
from cocotbext.axi import AxiSlaveWrite, AxiWriteBus

from sentinic.abi.verdicts import Kind
from sentinic_hdl.rings.types import RingConfig, copy_shape
from sentinic_hdl.rings.writer import Writer, WriterEvents
from tests.hdl.block_bench import LIMIT, Bench, Packed, coin
from tests.hdl.card.frames import mixed
from tests.reference.card import TEST_KEY, Frame, build_descriptor, build_plain, build_slot, is_plain, wire_length
from tests.reference.parser import Headers, flow_hash, parse

DESCRIPTORS, SLOTS = 16, 1 << 11
REGION = 1 << 18
DATA_AT = 1 << 16
KIND_AT = 20  # in the status word


class Memory:
    """Host memory that answers an error wherever ``broken`` says so, and remembers in which order it was written."""

    def __init__(self, size: int):
        self.bytes = bytearray(size)
        self.broken: list[range] = []
        self.order: list[int] = []

    async def write(self, address: int, data: bytes, **_kwargs: object) -> None:
        assert address % 4096 + len(data) <= 4096
        assert address + len(data) <= len(self.bytes)
        self.order.append(address)
        if any(address < part.stop and part.start < address + len(data) for part in self.broken):
            raise ValueError(f"address {address:#x} is broken")
        self.bytes[address : address + len(data)] = data


class Copy(NamedTuple):
    """A frame for a ring: what goes in, and what must come of it."""

    number: int  # of the packet
    ring: int
    frame: Frame
    headers: Headers
    hash_: int
    captured: int  # 0: a descriptor alone
    slot: int
    lost: int
    last: bool
    plain: bool
    extra: bool = False  # the packet comes again later, and only then ends

    @property
    def ends(self) -> bool:
        """With it, the packet's cells are given back."""
        return self.last and not self.extra

    @property
    def slot_bytes(self) -> bytes:
        return build_slot(self.frame, self.headers, self.hash_, self.captured, self.lost)

    def descriptor(self, place: int) -> bytes:
        phase = 1 - (place // DESCRIPTORS & 1)
        offset = 64 * self.slot
        if self.plain:
            return build_plain(self.frame, self.headers, phase)
        return build_descriptor(self.frame, self.headers, self.hash_, self.captured, self.lost, offset, phase)


class WriterBench(Bench):
    def __init__(self, dut, *, slow: float = 0, **options):
        super().__init__(dut, **options)
        logging.getLogger(f"cocotb.{dut._name}.writer__dma_").setLevel(logging.ERROR)
        writer = Writer(profile=self.profile)  # for its shapes
        self.shape = Packed(copy_shape(self.profile))
        self.asked = Packed(writer.read.payload.shape())
        self.memory = Memory(REGION * self.profile.rings)
        bus = AxiWriteBus.from_prefix(dut, "writer__dma_")
        self.dma = AxiSlaveWrite(bus, dut.clk, dut.rst, target=self.memory)
        if slow:
            for seed, channel in enumerate((self.dma.aw_channel, self.dma.w_channel, self.dma.b_channel)):
                channel.set_pause_generator(coin(seed, slow))
        self.i = self.source("writer__i")
        self.read = self.sink("writer__read", self._asked)
        self.body = self.source("writer__body")
        self.events = self.watch("writer__events", WriterEvents)
        self.copies: list[Copy] = []
        self.to_ask: deque[Copy] = deque()
        self.heads = [0] * self.profile.rings  # slots
        self.number = 0

    async def start(self) -> None:
        self.copies.clear()
        self.to_ask.clear()
        await self.reset()
        self.events.seen.clear()
        self.memory.bytes[:] = bytes(len(self.memory.bytes))
        self.memory.order.clear()
        self.heads = [0] * self.profile.rings
        for n in range(self.profile.rings):
            values = {
                "enable": 1,
                "descriptor_base": REGION * n,
                "descriptor_mask": DESCRIPTORS - 1,
                "data_base": REGION * n + DATA_AT,
                "data_mask": SLOTS - 1,
            }
            for name in RingConfig().members:
                getattr(self.dut, f"writer__rings__{n}__{name}").value = values.get(name, 0)
        await self.cycles(2)

    def send(self, frames: list[Frame], *, losses: bool = True) -> None:
        """Each frame to a ring or some, whole, cut, or as a descriptor alone.

        Some frames are but extra copies of packets that come later.
        """
        r = self.random
        for frame in frames:
            headers = parse(frame.data, frame.wire_length)
            hash_ = flow_hash(headers, TEST_KEY)
            extra = r.random() < 0.2
            rings = sorted(r.sample(range(self.profile.rings), r.choice((1, 1, 2, 4))))
            for n in rings:
                captured = min(len(frame.data), r.choice((64, 100, 9600, 9600, 0)))
                plain = not captured and is_plain(frame, headers) and r.random() < 0.8
                lost = r.choice((0, 0, 0, 1, 70_000)) if losses else 0
                slots = 1 + -(-captured // 64) if captured else 0
                if self.heads[n] % SLOTS + slots > SLOTS:
                    self.heads[n] += -self.heads[n] % SLOTS
                slot = self.heads[n] % SLOTS
                self.heads[n] += slots
                copy = Copy(self.number, n, frame, headers, hash_, captured, slot, lost, n == rings[-1], plain, extra)
                self.copies.append(copy)
                if captured or copy.ends:
                    self.to_ask.append(copy)
                self.i.items.append(self.shape.pack(self._fields(copy)))
            self.number += 1

    def _fields(self, copy: Copy) -> dict[str, int]:
        headers = {f"meta.headers.{name}": int(getattr(copy.headers, name)) for name in Headers.__dataclass_fields__}
        return headers | {
            "meta.cell": copy.number % self.profile.store_cells,
            "meta.link": int.from_bytes(copy.frame.data[:12], "little"),
            "meta.info.length": len(copy.frame.data),
            "meta.info.wire_length": wire_length(copy.frame),
            "meta.info.timestamp": copy.frame.timestamp,
            "meta.info.port": copy.frame.port,
            "meta.headers.flow_hash": copy.hash_,
            "meta.raw": int(copy.extra),
            "meta.shared": int(copy.extra),
            "ring": copy.ring,
            "captured": copy.captured,
            "bare": int(not copy.captured),
            "plain": int(copy.plain),
            "slot": copy.slot,
            "lost": copy.lost,
            "last": int(copy.last),
        }

    def _asked(self, number: int) -> None:
        """What the writer asks the store for: the bytes of the next copy, and the cells back at the last."""
        asked = {name.rpartition(".")[2]: value for name, value in self.asked.unpack(number).items()}
        copy = self.to_ask.popleft()
        width = self.profile.beat_bytes
        beats = -(-copy.captured // width)
        assert asked["cell"] == copy.number % self.profile.store_cells
        assert (asked["beats"], asked["release"]) == (beats, copy.ends)
        assert asked["cells"] == -(-len(copy.frame.data) // self.profile.cell_bytes)
        data = copy.frame.data.ljust(beats * width, b"\xee")
        self.body.items.extend(int.from_bytes(data[width * n : width * (n + 1)], "little") for n in range(beats))

    def seen(self, name: str) -> list[dict[str, int]]:
        return [event for event in self.events.seen if event[name]]

    async def settle(self) -> None:
        def answered() -> bool:
            return len(self.seen("copy_written")) + len(self.seen("copy_failed")) == len(self.copies)

        for _ in range(100):
            if answered():
                break
            await self.cycles(200)
        assert answered(), "a copy has no end"
        await self.cycles(30)
        assert answered()
        assert not self.to_ask

    def check(self, *, failed: frozenset[int] = frozenset(), faulted: frozenset[int] = frozenset()) -> None:
        """Memory holds each ring's last descriptors, and slots that nothing was written over; the news say the same.

        ``failed``: copies by number whose bytes, ``faulted``: whose descriptor the memory refused.
        """
        places = [0] * self.profile.rings
        rings: list[dict[int, bytes]] = [{} for _ in places]
        slots: dict[int, Copy] = {}
        for number, copy in enumerate(self.copies):
            place = places[copy.ring]
            places[copy.ring] += 1
            descriptor = bytearray(copy.descriptor(place))
            if number in failed:
                status = struct.unpack_from("<I", descriptor, 60)[0]
                struct.pack_into("<I", descriptor, 60, status & ~(3 << KIND_AT) | Kind.VOID << KIND_AT)
            if number not in faulted:
                rings[copy.ring][place % DESCRIPTORS] = bytes(descriptor)
            if copy.captured:
                base = REGION * copy.ring + DATA_AT + 64 * copy.slot
                end = base + len(copy.slot_bytes)
                slots = {at: old for at, old in slots.items() if at >= end or at + len(old.slot_bytes) <= base}
                if number not in failed:
                    slots[base] = copy
        for n, ring in enumerate(rings):
            for place, descriptor in ring.items():
                at = REGION * n + 64 * place
                assert bytes(self.memory.bytes[at : at + 64]) == descriptor, f"ring {n}, place {place}"
        assert slots
        for at, copy in slots.items():
            # Before the tag and after the frame there may be anything.
            begin, end = 64 - 4 * copy.descriptor(0)[63], 64 + copy.captured
            assert bytes(self.memory.bytes[at + begin : at + end]) == copy.slot_bytes[begin:end], f"slot at {at:#x}"
        self._check_news(places, failed | faulted, faulted)

    def _check_news(self, places: list[int], failed: frozenset[int], faulted: frozenset[int]) -> None:
        news = [event for event in self.events.seen if event["copy_written"] or event["copy_failed"]]
        got_any = False
        for number, (copy, event) in enumerate(zip(self.copies, news, strict=True)):
            fine = number not in failed
            got_any |= fine and not copy.extra
            assert (event["copy_written"], event["copy_failed"]) == (fine, not fine), f"copy {number}"
            assert (event["ring"], event["captured"]) == (copy.ring, copy.captured)
            assert event["delivered"] == (copy.ends and got_any)
            assert event["failed"] == (copy.ends and not got_any)
            got_any &= not copy.ends
        assert len(self.seen("extra_read")) == sum(copy.extra and copy.captured > 0 for copy in self.copies)
        width = self.profile.beat_bytes
        assert len(self.seen("descriptor_beat")) == len(self.copies) * 64 // width
        heads = int(self.dut.writer__heads.value)
        assert [heads >> 32 * n & 0xFFFFFFFF for n in range(len(places))] == places
        rings = {self.copies[number].ring for number in faulted}
        assert int(self.dut.writer__fault.value) == sum(1 << n for n in rings)


def frames_of(r: random.Random, count: int) -> list[Frame]:
    return mixed(r.getrandbits(32), count)


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[0, 0.4], slow=[0, 0.4])
async def every_copy_is_in_memory_as_the_reference_builds_it(dut, idle, slow):
    bench = WriterBench(dut, seed=int(10 * idle), slow=slow, idle=idle, busy=idle)
    await bench.start()
    bench.send(frames_of(bench.random, 40))
    await bench.settle()
    bench.check()
    assert not bench.seen("response_error")


@cocotb.test(**LIMIT)
async def a_descriptor_is_written_when_its_packet_is_and_answers_may_take_their_time(dut):
    bench = WriterBench(dut, seed=3)
    await bench.start()
    bench.dma.b_channel.pause = True
    bench.send([frame for frame in frames_of(bench.random, 20) if len(frame.data) < 1000])
    await bench.cycles(1500)
    first = next(n for n, copy in enumerate(bench.copies) if copy.captured)
    written = [at for at in bench.memory.order if at % REGION < DATA_AT]
    assert len(written) <= first, "the first packet's bytes are not answered"
    assert any(at % REGION >= DATA_AT for at in bench.memory.order)
    bench.dma.b_channel.pause = False
    await bench.settle()
    bench.check()


@cocotb.test(**LIMIT)
@cocotb.parametrize(slow=[0, 0.4])
async def bytes_that_memory_refuses_leave_a_void_descriptor_and_nothing_else_suffers(dut, slow):
    bench = WriterBench(dut, seed=4, slow=slow)
    await bench.start()
    frames = frames_of(bench.random, 80)
    bench.send([frame for frame in frames if len(frame.data) < 700][:24])
    bench.send([frame for frame in frames if len(frame.data) > 5000][:4])
    # Of the long ones, which take some bursts, it is the first that fails.
    spoilt = [n for n, copy in enumerate(bench.copies) if copy.captured > 5000 or (copy.captured and n % 5 == 2)]
    assert sum(bench.copies[n].captured > 5000 for n in spoilt) > 1
    assert sum(bench.copies[n].captured < 700 for n in spoilt) > 3
    for n in spoilt:
        copy = bench.copies[n]
        at = REGION * copy.ring + DATA_AT + 64 * copy.slot + 64
        bench.memory.broken.append(range(at, at + 1))
    await bench.settle()
    bench.check(failed=frozenset(spoilt))
    assert len(bench.seen("response_error")) >= len(spoilt)


@cocotb.test(**LIMIT)
async def a_descriptor_that_memory_refuses_faults_its_ring_until_that_begins_anew(dut):
    bench = WriterBench(dut, seed=6)
    await bench.start()
    bench.send([frame for frame in frames_of(bench.random, 30) if len(frame.data) < 700][:12])
    spoilt = next(n for n, copy in enumerate(bench.copies) if copy.ring == 2)
    at = REGION * 2
    bench.memory.broken.append(range(at, at + 64))
    assert sum(copy.ring == 2 for copy in bench.copies) < DESCRIPTORS, "or its place comes again"
    await bench.settle()
    bench.check(faulted=frozenset([spoilt]))
    dut.writer__rings__2__start.value = 1
    await bench.cycles(1)
    dut.writer__rings__2__start.value = 0
    await bench.cycles(2)
    assert not dut.writer__fault.value
    assert int(dut.writer__heads.value) >> 64 & 0xFFFFFFFF == 0


@cocotb.test(**LIMIT)
@cocotb.parametrize(after=[30, 101, 260])
async def after_a_reset_within_a_burst_the_rings_begin_anew(dut, after):
    bench = WriterBench(dut, seed=after, slow=0.3)
    await bench.start()
    bench.send(frames_of(bench.random, 30))
    await bench.cycles(after)
    assert bench.i.items, "it is in the midst of it"
    await bench.start()
    bench.send(frames_of(bench.random, 15))
    await bench.settle()
    bench.check()

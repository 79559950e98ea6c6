"""What the blocks' benches share: clock, reset, ends of streams, and numbers as fields.  Runs inside the simulator."""

import os
import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator

import cocotb
from amaranth.hdl import UnusedElaboratable
from amaranth.lib.wiring import In
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from sentinic.abi.profiles import PROFILES, Profile
from sentinic_hdl.meta import frame_beat
from tests.hdl.blocks import Blocks, small
from tests.hdl.parser.bench import fields
from tests.hdl.parser.frames import Stimulus

# Of the blocks only the signature is wanted here.
warnings.simplefilter("ignore", UnusedElaboratable)

#: Of every test: 100,000 cycles, which none of them takes.
LIMIT = {"timeout_time": 400, "timeout_unit": "us"}


class Packed:
    """A struct as one number.  Fields are named by their path; members that a bench does not know are 0."""

    def __init__(self, shape: object):
        self.fields = {name: (lsb, width) for name, lsb, width in fields(shape)}

    def pack(self, values: dict[str, int]) -> int:
        number = 0
        for name, value in values.items():
            lsb, width = self.fields[name]
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name} must fit {width} bits, not {value:#x}")
            number |= value << lsb
        return number

    def unpack(self, number: int) -> dict[str, int]:
        return {name: number >> lsb & ((1 << width) - 1) for name, (lsb, width) in self.fields.items()}


def coin(seed: int, probability: float) -> Iterator[bool]:
    """For the pause generators of cocotbext-axi."""
    r = random.Random(seed)
    while True:
        yield r.random() < probability


class Bench:
    """One block with what is around it.  Other blocks of the model rest: their inputs are 0.

    ``idle`` and ``busy`` are the probabilities of a pause before an item goes in, and of not taking one that comes out.
    """

    def __init__(self, dut, *, seed: int = 1, idle: float = 0, busy: float = 0):
        self.dut = dut
        self.random = random.Random(seed)
        self.idle, self.busy = idle, busy
        self.profile: Profile = small(PROFILES[os.environ["SENTINIC_PROFILE"]])
        self.resetting = True
        self.streams: list[Source | Sink] = []
        blocks = Blocks(PROFILES[self.profile.name])
        for path, member, _ in blocks.signature.flatten(blocks):
            if member.flow == In:
                getattr(dut, "__".join(map(str, path))).value = 0
        cocotb.start_soon(Clock(dut.clk, 4, unit="ns").start())

    async def reset(self) -> None:
        """Everything that is under way is forgotten, on both sides."""
        self.resetting = True
        self.dut.rst.value = 1
        for stream in self.streams:
            stream.clear()
        await self.cycles(3)
        self.dut.rst.value = 0
        self.resetting = False

    async def cycles(self, count: int) -> None:
        await ClockCycles(self.dut.clk, count)

    async def until(self, condition: Callable[[], object], what: str, *, limit: int = 20_000) -> None:
        """Wait for ``condition``; fails after ``limit`` cycles."""
        edge = RisingEdge(self.dut.clk)
        for _ in range(limit):
            if condition():
                return
            await edge
        raise AssertionError(f"{what}: not within {limit} cycles")

    def source(self, prefix: str) -> "Source":
        return Source(self, prefix)

    def sink(self, prefix: str, each: Callable[[int], None] | None = None) -> "Sink":
        return Sink(self, prefix, each)

    def watch(self, name: str, shape: object) -> "Watch":
        return Watch(self, name, shape)


class Source:
    """Offers ``items`` at a stream, one after the other."""

    def __init__(self, bench: Bench, prefix: str):
        self._bench = bench
        self._valid, self._ready, self._payload = (
            getattr(bench.dut, f"{prefix}__{name}") for name in ("valid", "ready", "payload")
        )
        self._random = random.Random(bench.random.random())
        self.items: deque[int] = deque()
        self.taken = 0
        self._offering = False
        bench.streams.append(self)
        cocotb.start_soon(self._run())

    def clear(self) -> None:
        self.items.clear()
        self.taken = 0
        self._offering = False
        self._valid.value = 0

    async def _run(self) -> None:
        edge = RisingEdge(self._bench.dut.clk)
        while True:
            await edge
            if self._bench.resetting:
                continue
            if self._offering and self._ready.value:
                self.items.popleft()
                self.taken += 1
                self._offering = False
                self._valid.value = 0
            if not self._offering and self.items and self._random.random() >= self._bench.idle:
                self._payload.value = self.items[0]
                self._valid.value = 1
                self._offering = True


class Sink:
    """Takes what a stream offers: into ``got``, and to ``each``.  What is offered must stay until it is taken.

    While ``hold`` is set it takes nothing.
    """

    def __init__(self, bench: Bench, prefix: str, each: Callable[[int], None] | None):
        self._bench = bench
        self._prefix = prefix
        self._each = each
        self._valid, self._ready, self._payload = (
            getattr(bench.dut, f"{prefix}__{name}") for name in ("valid", "ready", "payload")
        )
        self._random = random.Random(bench.random.random())
        self.got: list[int] = []
        self.hold = False
        self._taking = False
        self._offered: int | None = None
        bench.streams.append(self)
        cocotb.start_soon(self._run())

    def clear(self) -> None:
        self.got.clear()
        self._offered = None

    async def _run(self) -> None:
        edge = RisingEdge(self._bench.dut.clk)
        while True:
            await edge
            if self._bench.resetting:
                continue
            offered = int(self._payload.value) if self._valid.value else None
            assert self._offered in (None, offered), f"{self._prefix}: an item was withdrawn or changed"
            if offered is not None and self._taking:
                self.got.append(offered)
                if self._each is not None:
                    self._each(offered)
                offered = None
            self._offered = offered
            taking = not self.hold and self._random.random() >= self._bench.busy
            if taking != self._taking:
                self._ready.value = int(taking)
                self._taking = taking


class Watch:
    """The cycles in which the struct ``name`` is not 0, as fields in ``seen``."""

    def __init__(self, bench: Bench, name: str, shape: object):
        self._bench = bench
        self._signal = getattr(bench.dut, name)
        self._packed = Packed(shape)
        self.seen: list[dict[str, int]] = []
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        edge = RisingEdge(self._bench.dut.clk)
        while True:
            await edge
            if self._bench.resetting:
                self.seen.clear()
                continue
            value = int(self._signal.value)
            if value:
                self.seen.append(self._packed.unpack(value))


class FrameCollector:
    """Puts beats together; each frame keeps the rules of ``frame_beat``.  Given to a :class:`Sink`."""

    def __init__(self, profile: Profile):
        self._packed = Packed(frame_beat(profile))
        self._beat_bytes = profile.beat_bytes
        self.done: list[Stimulus] = []
        self.clear()

    def clear(self) -> None:
        self._data = b""
        self._info: dict[str, int] = {}
        self.done.clear()

    def __call__(self, number: int) -> None:
        beat = self._packed.unpack(number)
        info = {name: value for name, value in beat.items() if name.startswith("info.")}
        assert beat["first"] == (not self._data), "first beat"
        assert not self._data or info == self._info, "info changes within a frame"
        self._info = info
        self._data += beat["data"].to_bytes(self._beat_bytes, "little")
        assert beat["last"] == (len(self._data) >= info["info.length"]), "last beat"
        if beat["last"]:
            data = self._data[: info["info.length"]]
            names = ("info.wire_length", "info.timestamp", "info.port")
            self.done.append(Stimulus(data, *(info[name] for name in names)))
            self._data = b""

"""The card's surroundings under cocotb, served to another process.  Runs inside the simulator.

:mod:`sentinic_sim.cocotb_backend` starts it and speaks to it over an inherited socket: one pickled request
``(number, name, arguments)``, one answer ``(number, error or None, result)``.  Simulated time stands still between
requests.
"""

import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import ClockCycles, Event, RisingEdge, SimTimeoutError, with_timeout
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiSlaveWrite,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSource,
    AxiWriteBus,
)

from sentinic.driver.memory import SHARED_FOLDER, DmaRegion
from sentinic_sim.cocotb_backend import PERIOD, PORTS, SOCKET

#: A step answers after about so many seconds whether it is over or not, so that its caller sees Ctrl-C.
SLICE_SECONDS = 0.2
#: Cycles run between looks at the state.
LOOK_CYCLES = 32
#: Cycles in which a register access is answered, or never.
BUS_TIMEOUT = 100_000
#: Seconds in which a killed process is gone, once its files are closed.
GONE_SECONDS = 5.0
#: Frames a source holds while it presents one: enough to go on without a gap.
SOURCE_FRAMES = 1
MAX_WIRE_LENGTH = 0xFFFF


class SentFrame(NamedTuple):
    """A frame on its way in; ``timestamp`` in ns, ``wire_length`` in bytes."""

    port: int
    data: bytes
    wire_length: int
    timestamp: int
    error: bool


class _Mapped:
    """Host memory by bus address.  Raises :class:`LookupError` outside of every region: an error response."""

    def __init__(self) -> None:
        self.regions: list[tuple[int, int, DmaRegion]] = []
        self.writes = 0
        self.errors = 0

    async def write(self, address: int, data: bytes, **_: Any) -> None:
        self.writes += 1
        for begin, end, region in self.regions:
            if begin <= address and address + len(data) <= end:
                at, last = address - begin, len(data) - 8
                source = np.frombuffer(data, np.uint8)
                # A descriptor's last word tells readers in other processes that it is there: written last.
                if last > 0:
                    region.array[at : at + last] = source[:last]
                region.array[at + max(last, 0) : at + len(data)] = source[max(last, 0) :]
                return
        self.errors += 1
        raise LookupError(f"bus address {address:#x} is not mapped")


class _TellingQueue(Queue):
    """A queue that says when something is taken out: when a source begins with a frame."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        super().__init__()
        self._tell = tell

    def get_nowait(self) -> Any:
        item = super().get_nowait()
        self._tell(item)
        return item


class CardServer:
    """The bench around the card, one method a request."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.ports = int(os.environ[PORTS])
        self.period = int(os.environ[PERIOD])
        for prefix in (*(f"rx{n}_" for n in range(self.ports)), "dma_", "csr_"):
            logging.getLogger(f"cocotb.{dut._name}.{prefix}").setLevel(logging.ERROR)
        cocotb.start_soon(Clock(dut.clk, self.period, unit="ps").start())
        self.memory = _Mapped()
        self.sources = [
            AxiStreamSource(AxiStreamBus.from_prefix(dut, f"rx{n}_"), dut.clk, dut.rst) for n in range(self.ports)
        ]
        for source in self.sources:
            source.queue_occupancy_limit_frames = SOURCE_FRAMES
            source.queue = _TellingQueue(self._presented)
        self.dma = AxiSlaveWrite(AxiWriteBus.from_prefix(dut, "dma_"), dut.clk, dut.rst, target=self.memory)
        self.csr = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "csr_"), dut.clk, dut.rst)
        self.queue: deque[SentFrame] = deque()
        self.queued = Event()
        self.open = [0] * self.ports  # frames given to each source and not yet taken by the card
        self.time = 0
        self.cycles = 0
        self.frames = 0
        self.quiet = 0
        self._picoseconds = 0
        dut.time.value = 0
        self._feeder = cocotb.start_soon(self._feed())
        cocotb.start_soon(self._watch())

    # --- Requests ---

    async def reset(self, cycles: int) -> None:
        self._feeder.cancel()
        self.queue.clear()
        now = self.time
        self.dut.rst.value = 1
        for source in self.sources:
            source.clear()
        await ClockCycles(self.dut.clk, cycles)
        self.open = [0] * self.ports
        self.time = now
        self.dut.time.value = now
        self.dut.rst.value = 0
        self._feeder = cocotb.start_soon(self._feed())
        await ClockCycles(self.dut.clk, 2)

    async def read(self, address: int) -> tuple[int, int]:
        """Response and value."""
        answer = await self._answered(self.csr.read(address, 4))
        return int(answer.resp), int.from_bytes(answer.data, "little")

    async def write(self, address: int, value: int) -> int:
        """Response."""
        answer = await self._answered(self.csr.write(address, value.to_bytes(4, "little")))
        return int(answer.resp)

    async def map(self, name: str, bus_address: int) -> None:
        region = DmaRegion.attach(name, write=True)
        self.memory.regions.append((bus_address, bus_address + len(region.array), region))

    async def unmap(self, bus_address: int) -> None:
        self.memory.regions = [entry for entry in self.memory.regions if entry[0] != bus_address]

    async def send(self, rows: list[tuple[Any, ...]]) -> None:
        frames = (SentFrame(*row) for row in rows)
        self.queue.extend(frame for frame in frames if frame.data)  # a MAC cannot present a frame of no bytes
        self.queued.set()

    async def step(
        self, cycles: int | None, idle: int, stuck: int, until_irq: bool, run_time: bool, begin: bool
    ) -> tuple[int, str]:
        """Cycles run, and why no more: "idle", "stuck", "irq", "cycles", or "slice" to be called again."""
        if begin:
            self.quiet = 0
        first, deadline = self.cycles, time.monotonic() + SLICE_SECONDS
        while True:
            ran = self.cycles - first
            if cycles is not None and ran >= cycles:
                return ran, "cycles"
            if until_irq and self.dut.irq.value:
                return ran, "irq"
            if self.quiet >= idle:
                waiting = self.pending > 0
                if not waiting and not until_irq:
                    return ran, "idle"
                if waiting and self.quiet >= stuck:
                    return ran, "stuck"
            if time.monotonic() > deadline:
                return ran, "slice"
            count = LOOK_CYCLES if cycles is None else min(LOOK_CYCLES, cycles - ran)
            await ClockCycles(self.dut.clk, count)
            if run_time:
                self._picoseconds += count * self.period
                self.time += self._picoseconds // 1000
                self._picoseconds %= 1000
                self.dut.time.value = self.time

    async def status(self) -> dict[str, int]:
        return {
            "cycles": self.cycles,
            "pending": self.pending,
            "time": self.time,
            "irq": int(self.dut.irq.value),
            "frames": self.frames,
            "decode_errors": self.memory.errors,
        }

    # --- Inside ---

    @property
    def pending(self) -> int:
        return len(self.queue) + sum(self.open)

    async def _answered(self, access: Any) -> Any:
        try:
            return await with_timeout(access, BUS_TIMEOUT * self.period, "ps")
        except SimTimeoutError:
            raise TimeoutError(f"not answered within {BUS_TIMEOUT} cycles") from None

    def _presented(self, frame: AxiStreamFrame) -> None:
        self.time = max(self.time, frame.tuser >> 17)
        self.dut.time.value = self.time

    async def _feed(self) -> None:
        """Frames to their sources, in order; a port's first only after the last beat of another's was taken."""
        port = 0
        while True:
            while not self.queue:
                self.queued.clear()
                await self.queued.wait()
            if self.queue[0].port != port:
                while self.open[port]:
                    await RisingEdge(self.dut.clk)
                port = self.queue[0].port
            source = self.sources[port]
            while source.full():
                source.dequeue_event.clear()
                await source.dequeue_event.wait()
            frame = self.queue.popleft()
            user = frame.error | min(frame.wire_length, MAX_WIRE_LENGTH) << 1 | frame.timestamp << 17
            self.open[port] += 1
            source.send_nowait(AxiStreamFrame(tdata=frame.data, tuser=user))

    async def _watch(self) -> None:
        """Counts cycles, frames taken in, and cycles without a transfer."""
        edge = RisingEdge(self.dut.clk)
        ports = [
            [getattr(self.dut, f"rx{n}__{name}") for name in ("tvalid", "tready", "tlast")] for n in range(self.ports)
        ]
        writes = 0
        while True:
            await edge
            self.cycles += 1
            self.quiet += 1
            if self.memory.writes != writes:
                writes = self.memory.writes
                self.quiet = 0
            for n, (valid, ready, last) in enumerate(ports):
                if self.open[n] and valid.value and ready.value:
                    self.quiet = 0
                    if last.value:
                        self.open[n] -= 1
                        self.frames += 1


def _tidy_up(host: int) -> None:
    """When the process ``host`` was killed, nobody else takes the names of its shared memory away."""
    deadline = time.monotonic() + GONE_SECONDS
    while os.getppid() == host:
        if time.monotonic() > deadline:
            return  # it lives, and has closed the socket only
        time.sleep(0.01)
    for path in SHARED_FOLDER.glob("sentinic-*"):
        if f"-{host}-" in path.name:
            with contextlib.suppress(OSError):
                path.unlink()


@cocotb.test()
async def serve(dut: Any) -> None:
    """Answer requests until told to close, or until whoever asks is gone."""
    # A signal to all of a terminal's processes is for the host: it ends us, by closing the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    socket, host = Connection(int(os.environ[SOCKET])), os.getppid()
    server = CardServer(dut)
    dut.rst.value = 0
    await server.reset(16)
    while True:
        try:
            number, name, arguments = socket.recv()
        except (EOFError, OSError):
            _tidy_up(host)
            return
        if name == "close":
            return
        try:
            error, result = None, await getattr(server, name)(*arguments)
        except (ValueError, TimeoutError, OSError) as failure:
            error, result = str(failure), None
        with contextlib.suppress(OSError):  # told by recv
            socket.send((number, error, result))

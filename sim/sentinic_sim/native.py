"""The native transport: the driver's seam over the Verilated card and its harness.

Everything that happens in a clock cycle happens in C++; Python submits arrays of frames and asks for many cycles at a
time, with the global lock let go. DMA lands in shared memory as the card writes it.
"""

import contextlib
import ctypes
import time
import weakref
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.profiles import Profile
from sentinic.driver.frames import FrameBatch
from sentinic.driver.memory import DmaRegion, unique_name
from sentinic.errors import TransportError
from sentinic_sim import gtkwave
from sentinic_sim.build import Design, Model, Progress, build_model
from sentinic_sim.ffi import (
    BUS_TIMEOUT,
    STOPS,
    BatchStruct,
    OptionsStruct,
    ProbeStruct,
    StatsStruct,
    StepStruct,
    load,
    pointer,
)

__all__ = ["LatencyProbe", "MemoryOptions", "NativeTransport", "Stats", "open_native"]

#: Where regions begin on the card's bus: above 4 GiB, so that the upper address halves are used too.
FIRST_BUS_ADDRESS = 0x12_3400_0000
#: Unmapped bytes between regions, so that writing past one is answered DECERR.
GUARD_BYTES = 1 << 20
#: Quiet cycles after which the card counts as idle, unless the caller says otherwise.
IDLE_CYCLES = 512
#: Cycles without any transfer after which frames that still wait will not be taken (the card is not enabled, say).
STUCK_CYCLES = 2048
#: Cycles a call into the library runs at most, so that Ctrl-C is answered within about a second.
SLICE_CYCLES = 500_000
_AXI_RESPONSES = {1: "EXOKAY", 2: "SLVERR", 3: "DECERR"}


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """How host memory and the MACs behave; for tests.  Chances are 0 (never) to 1, drawn anew in each cycle.

    Parameters
    ----------
    latency: cycles from a burst's last beat to its response
    outstanding: bursts that the memory takes before it has answered the first
    aw_stall, w_stall: chance that the memory does not take an address, or a beat
    rx_idle: chance that a MAC pauses before a beat
    seed: of those chances
    error_begin, error_end: bursts that touch these bus addresses are answered SLVERR, and not written
    error_every: so is every n-th burst; 0 for none
    """

    latency: int = 8
    outstanding: int = 64
    aw_stall: float = 0.0
    w_stall: float = 0.0
    rx_idle: float = 0.0
    seed: int = 1
    error_begin: int = 0
    error_end: int = 0
    error_every: int = 0

    def __post_init__(self) -> None:
        for name in ("aw_stall", "w_stall", "rx_idle"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        if self.outstanding < 1:
            raise ValueError(f"outstanding must be at least 1, not {self.outstanding}")


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What the harness has counted since it was opened; a reset does not clear it."""

    cycles: int
    frames: int  #: frames whose last beat the card took
    frames_empty: int  #: frames of no bytes, which a MAC cannot present and which were left out
    rx_beats: int
    rx_stalled: int  #: port-cycles with a beat that the card did not take
    bursts: int
    w_beats: int
    w_busy: int  #: cycles with WVALID
    w_first: int  #: cycle of the first W beat, and of the last
    w_last: int
    w_bytes: int  #: bytes written into regions
    responses_error: int
    decode_errors: int  #: of these, writes outside of every region
    violations: int  #: of AXI rules, by the card; 0 unless the card is wrong
    interrupts: int  #: rising edges of the interrupt line
    pending: int  #: frames not yet taken
    batches_done: int


class LatencyProbe:
    """Cycle numbers of the last beat of each frame, and of each descriptor, while it is attached.

    ``capacity`` bounds both; what comes after is counted and not kept. Descriptors are the 64-byte groups of regions
    allocated with ``watch=True``, at the beat that completes one.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self._frame = np.zeros(capacity, np.uint64)
        self._cycle = np.zeros(capacity, np.uint64)
        self.struct = ProbeStruct(pointer(self._frame), capacity, 0, pointer(self._cycle), capacity, 0)

    @property
    def frame_cycles(self) -> npt.NDArray[np.uint64]:
        """Cycle in which each frame's last beat was taken, in the order taken."""
        return self._frame[: min(len(self._frame), self.struct.frame_count)]

    @property
    def descriptor_cycles(self) -> npt.NDArray[np.uint64]:
        """Cycle in which each descriptor was complete in memory."""
        return self._cycle[: min(len(self._cycle), self.struct.descriptor_count)]

    def clear(self) -> None:
        self.struct.frame_count = self.struct.descriptor_count = 0


class NativeTransport:
    """The card in a shared library.  Implements :class:`sentinic.driver.transport.Transport`, and what tests need more.

    Not to be used from several threads at once, except that other threads and processes may read the regions.

    Parameters
    ----------
    model: from :func:`sentinic_sim.build.build_model`
    parallel: both ports at full speed at once, instead of one frame after the other in the order of the batch
    memory: how host memory behaves
    idle_cycles: quiet cycles after which :meth:`step` takes the card for idle
    limit_share: a :meth:`step` ends once it has written this share of a region, so that a host that must lose nothing
        reads it first; 0 for never. A slot can be 2.6 times the bytes written to it: 0.25 is safe.
    wave: write waveforms (FST) into this file, and a GTKWave save file ``*.gtkw`` beside it; needs a model built with
        ``trace``
    """

    def __init__(
        self,
        model: Model,
        *,
        parallel: bool = False,
        memory: MemoryOptions | None = None,
        idle_cycles: int = IDLE_CYCLES,
        limit_share: float = 0.0,
        wave: Path | str | None = None,
    ) -> None:
        if idle_cycles < 1:
            raise ValueError(f"idle_cycles must be at least 1, not {idle_cycles}")
        if not 0 <= limit_share <= 1:
            raise ValueError(f"limit_share must be 0 to 1, not {limit_share}")
        if wave is not None and not model.trace:
            raise ValueError("wave must be None for a model built without trace")
        if wave is not None:
            wave = gtkwave.prepare(wave)
            gtkwave.save_file(wave, model.verilog, scope="TOP.card")
        self.model = model
        self.idle_cycles = idle_cycles
        self._limit_share = limit_share
        self.stop_reason = "idle"  #: why the last step ended: one of "idle", "cycles", "full", "irq", "stuck"
        self._parallel = parallel
        self._memory = memory or MemoryOptions()
        self._library = load(model.library)
        self._handle = ctypes.c_void_p(self._library.sn_create())
        self._regions: dict[str, DmaRegion] = {}
        self._kept: deque[tuple[int, FrameBatch]] = deque()
        self._submitted = 0
        self._probe: LatencyProbe | None = None
        self._next_bus = FIRST_BUS_ADDRESS
        # Also at interpreter exit, so that no region stays behind in /dev/shm.
        self._finalizer = weakref.finalize(self, _release, self._library, self._handle, self._regions)
        self.configure(self._memory, parallel=parallel)
        if wave is not None and not self._library.sn_trace(self._handle, str(wave).encode()):
            raise TransportError(f"waveforms cannot be written to {wave}: the model was built without them")

    # --- The driver's seam ---

    @property
    def profile(self) -> Profile:
        return self.model.profile

    @property
    def cycles(self) -> int:
        return self.stats().cycles

    def read(self, address: int) -> int:
        """The register at byte ``address``; takes some cycles.  Raises :class:`TransportError` unless answered OKAY."""
        value = ctypes.c_uint64()
        code = self._library.sn_read(self._open(), address, ctypes.byref(value))
        self._check("read", address, code)
        return value.value

    def write(self, address: int, value: int) -> None:
        """Write ``value`` to the register at byte ``address``.  Raises :class:`TransportError` unless answered OKAY."""
        if not 0 <= value < 1 << 32:
            raise ValueError(f"value of a register must fit 32 bits, not {value:#x}")
        self._check("write", address, self._library.sn_write(self._open(), address, value))

    def alloc(self, name: str, size: int, *, watch: bool = False, limit: int | None = None) -> DmaRegion:
        """A zeroed region of shared memory of at least ``size`` bytes, called ``sentinic-<pid>-<random>-<name>``.

        ``watch``: it is a descriptor ring, for :class:`LatencyProbe`. ``limit``: a :meth:`step` ends once it has
        written so many bytes here; by default ``limit_share`` of the region.
        """
        handle = self._open()
        region = DmaRegion.create(f"{unique_name('sentinic')}-{name}", size, self._next_bus)
        length = len(region.array)
        self._next_bus += -(-(length + GUARD_BYTES) // GUARD_BYTES) * GUARD_BYTES
        self._regions[region.name] = region
        limit = int(length * self._limit_share) if limit is None else limit
        self._library.sn_region_add(handle, region.bus_address, length, pointer(region.array), watch, limit)
        return region

    def send(self, batch: FrameBatch) -> None:
        """Queue ``batch``.  Columns and bytes that could be written to later are copied, read-only ones are not.

        Raises :class:`ValueError` when a frame lies outside of the buffer or a port is not there.
        """
        handle = self._open()
        if not len(batch):
            return
        batch.validate()
        ports = int(batch.port.max()) + 1
        if ports > self.profile.ports:
            raise ValueError(f"port must be below {self.profile.ports}, not {ports - 1}")
        batch = _frozen(batch)
        self._release_batches()
        self._library.sn_submit(handle, ctypes.byref(_batch_struct(batch)))
        self._kept.append((self._submitted, batch))
        self._submitted += 1

    def step(self, max_cycles: int | None = None) -> int:
        """Run until every frame is taken in and the card has been quiet for ``idle_cycles``, or for ``max_cycles``.

        Ends early when a region reached its limit, or when nothing has moved for ``STUCK_CYCLES`` while frames wait:
        a card that is not enabled takes none, nor one in pause mode with a full ring. :attr:`stop_reason` tells, and
        :attr:`pending` how many frames still wait. Returns cycles run.
        """
        return self._step(max_cycles)

    def wait(self, timeout: float) -> bool:
        """Run until the interrupt line is up, wire time passing with the clock; whether it is up.

        Gives up after ``timeout`` seconds of wire time, or of the host's time, whichever are over first.
        """
        if self.irq:
            return True
        self._step(
            int(timeout * self.profile.clock_hz), until_irq=True, run_time=True, deadline=time.monotonic() + timeout
        )
        return self.irq

    def now(self) -> int:
        return int(self._library.sn_time(self._open()))

    def close(self) -> None:
        self._finalizer()
        self._kept.clear()

    # --- For benches and tests ---

    @property
    def irq(self) -> bool:
        return bool(self._library.sn_irq(self._open()))

    @property
    def pending(self) -> int:
        """Frames not yet taken in."""
        return self.stats().pending

    def advance_time(self, nanoseconds: int) -> None:
        """Let wire time jump to ``nanoseconds``, if that is later than now; the card sees it from the next cycle on."""
        self._library.sn_set_time(self._open(), nanoseconds)

    def reset(self, cycles: int = 4) -> None:
        """Pull the reset line.  Frames that wait, and one under way, are forgotten; regions and statistics stay."""
        self._library.sn_reset(self._open(), cycles)
        self._kept.clear()

    def release(self, region: DmaRegion) -> None:
        """Take a region off the bus and close it: later writes to it are answered DECERR."""
        self._library.sn_region_remove(self._open(), region.bus_address)
        self._regions.pop(region.name, None)
        region.close()

    def configure(self, memory: MemoryOptions | None = None, *, parallel: bool | None = None) -> None:
        """Change how memory and MACs behave.  Raises :class:`ValueError` on a change of mode while frames wait."""
        handle = self._open()
        self._memory = memory or self._memory
        if parallel is not None and parallel != self._parallel:
            if self.pending:
                raise ValueError("parallel must not be changed while frames wait")
            self._parallel = parallel
        values = asdict(self._memory)
        for name in ("aw_stall", "w_stall", "rx_idle"):
            values[name] = round(values[name] * 65536)
        struct = OptionsStruct(parallel=self._parallel, cycle_picoseconds=round(1e12 / self.profile.clock_hz), **values)
        self._library.sn_configure(handle, ctypes.byref(struct))

    def stats(self) -> Stats:
        struct = StatsStruct()
        self._library.sn_stats(self._open(), ctypes.byref(struct))
        return Stats(**{name: int(getattr(struct, name)) for name, _ in StatsStruct.fields()})

    def attach_probe(self, probe: LatencyProbe | None) -> None:
        """Record latencies into ``probe`` from now on; None ends it."""
        self._library.sn_probe(self._open(), None if probe is None else ctypes.byref(probe.struct))
        self._probe = probe  # keeps its arrays alive

    def clock(self, cycles: int, frame: bytes = b"") -> None:
        """Clock the model with constant inputs: what it costs without a harness.  Frames and memory stand still.

        ``frame``, of at most a beat, is offered to port 0 in every cycle, so that the card is as busy as with frames
        back to back; rings must be off, because nobody answers the bus.  It is not counted in :meth:`stats`.
        Raises :class:`ValueError` when frames wait, or ``frame`` is longer than a beat.
        """
        if len(frame) > self.profile.beat_bytes:
            raise ValueError(f"frame must be of at most {self.profile.beat_bytes} bytes, not {len(frame)}")
        if frame and self.pending:
            raise ValueError("frame must be empty while other frames wait")
        self._library.sn_clock(self._open(), cycles, frame, len(frame))

    # --- Inside ---

    def _step(
        self,
        max_cycles: int | None,
        *,
        until_irq: bool = False,
        run_time: bool = False,
        deadline: float | None = None,
    ) -> int:
        handle = self._open()
        struct = StepStruct(
            idle_cycles=self.idle_cycles,
            stuck_cycles=STUCK_CYCLES,
            until_irq=until_irq,
            run_time=run_time,
            rearm=True,
        )
        total = 0
        while True:
            left = SLICE_CYCLES if max_cycles is None else max_cycles - total
            struct.max_cycles = min(SLICE_CYCLES, left)
            self._library.sn_step(handle, ctypes.byref(struct))
            total += int(struct.cycles)
            struct.rearm = False
            self.stop_reason = STOPS[struct.stop]
            over = max_cycles is not None and total >= max_cycles
            if struct.stop != STOPS.index("cycles") or over or (deadline is not None and time.monotonic() > deadline):
                break
        self._release_batches()
        return total

    def _release_batches(self) -> None:
        stats = self.stats()
        done = self._submitted if not stats.pending else stats.batches_done
        while self._kept and self._kept[0][0] < done:
            self._kept.popleft()

    def _open(self) -> ctypes.c_void_p:
        if not self._finalizer.alive:
            raise TransportError("the transport is closed")
        return self._handle

    def _check(self, what: str, address: int, code: int) -> None:
        if code == BUS_TIMEOUT:
            raise TransportError(f"{what} of register {address:#06x} was not answered within 100000 cycles")
        if code:
            raise TransportError(f"{what} of register {address:#06x} was answered {_AXI_RESPONSES[code]}")

    def __enter__(self) -> "NativeTransport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_native(
    profile_name: str,
    *,
    trace: bool = False,
    wave: Path | str | None = None,
    design: Design | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> NativeTransport:
    """Build the model of ``profile_name`` if need be, and open it.  ``options``: see :class:`NativeTransport`."""
    if wave is not None:
        wave = gtkwave.prepare(wave)  # before the model is built
    model = build_model(profile_name, trace=trace or wave is not None, design=design, progress=progress)
    return NativeTransport(model, wave=wave, **options)


def _release(library: ctypes.CDLL, handle: ctypes.c_void_p, regions: dict[str, DmaRegion]) -> None:
    library.sn_destroy(handle)
    for region in regions.values():
        with contextlib.suppress(OSError):
            region.close()


def _frozen(batch: FrameBatch) -> FrameBatch:
    """The batch over memory that nobody changes: writable columns copied, of a writable buffer the part in use."""
    columns = {}
    for name in ("offset", "length", "wire_length", "timestamp", "port", "error"):
        column = getattr(batch, name)
        columns[name] = column.copy() if column.flags.writeable else column
    data = batch.data
    if data.flags.writeable:
        begin, end = int(batch.offset.min()), int((batch.offset + batch.length).max())
        data = data[begin:end].copy()
        columns["offset"] = columns["offset"] - begin
    return FrameBatch(data, **columns)


def _batch_struct(batch: FrameBatch) -> BatchStruct:
    return BatchStruct(
        pointer(batch.data),
        len(batch.data),
        pointer(batch.offset),
        pointer(batch.length),
        pointer(batch.wire_length),
        pointer(batch.timestamp),
        pointer(batch.port),
        pointer(batch.error),
        len(batch),
    )

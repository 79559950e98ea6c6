"""Frames into a card and packets out of its rings, in two threads.

The caller's thread reads captures, sends frames and steps the card; a second one polls the rings and feeds the outputs.
Both leave Python's global lock for their work, so that simulator and outputs overlap.  No more frames are sent than
surely fit all rings, and a card that pauses waits when more comes out than went in, reports and packets that a stage
held: a replay loses nothing because of a slow output.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sentinic.abi.profiles import MIN_FRAME_BYTES
from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.driver.reports import are_reports
from sentinic.driver.ring import Ring, frame_slots
from sentinic.driver.settling import Meanwhile, is_any_full
from sentinic.errors import SentinicError, TransportError
from sentinic.jit import CompileTimes, compile_times
from sentinic.run.outputs import Bytes, Descriptors, Output
from sentinic.run.stopping import Flag, number_of

#: Most frames and bytes sent at once: small enough that sending, stepping and consuming overlap within a ring.
CHUNK_FRAMES = 32_768
CHUNK_BYTES = 4 << 20
#: Frames sent first; more or fewer from then on, so that a step takes about this long on any simulator.
FIRST_CHUNK = 256
STEP_SECONDS = (0.02, 0.2)
#: Descriptors handed to the outputs at once.
POLL_DESCRIPTORS = 16_384
#: After a round of fewer, more are waited for: what a round costs hardly depends on how many they are.
ENOUGH_DESCRIPTORS = 1024
#: Cycles after which stepping looks whether it is to stop.
QUANTUM = 500_000
#: Cycles a card may take to come to rest: a base, and so many a beat that came in.
REST_CYCLES = 5_000_000
REST_CYCLES_PER_BEAT = 200
#: Steps without any change after which what is inside the card is there to stay.
QUIET_STEPS = 16
#: The card never delivers less of a frame, unless it delivers descriptors only.
_MIN_SNAP_BYTES = 64
_IDLE_SECONDS = 0.02
#: Looks again so often whether there is room in a ring, where another process may be the one that reads it.
_FULL_SECONDS = 0.05


@dataclass
class Outcome:
    """How a run went.

    Members
    -------
    frames, bytes: sent into the card
    delivered: packets polled from all rings
    wall_seconds: from the first batch asked for to the last packet consumed, less ``compile_seconds``
    compile_seconds: in which reader and outputs were compiled, once on a machine, and the card stood still
    step_seconds: of these, in the card (a simulator's own speed)
    cycles: clock cycles run meanwhile
    stopped: number of the signal that ended it (Ctrl-C is one), or 0
    empty: frames of no bytes in the captures, which no wire could carry: not sent
    snapped: frames of which a capture holds less than an Ethernet header, though there was more: not sent
    error: what else ended it; outputs hold all that was delivered until then, but for one that failed
    more_errors: what else went wrong
    """

    frames: int = 0
    bytes: int = 0
    delivered: int = 0
    wall_seconds: float = 0.0
    compile_seconds: float = 0.0
    step_seconds: float = 0.0
    cycles: int = 0
    stopped: int = 0
    empty: int = 0
    snapped: int = 0
    error: Exception | None = None
    more_errors: list[Exception] = field(default_factory=list)


Progress = Callable[[Outcome], None]


@dataclass
class _Plan:
    """How much room each frame of a batch takes in a ring."""

    ring: Ring
    ends: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))

    def set(self, batch: FrameBatch) -> None:
        snap = self.ring.snap_length
        captured = np.minimum(batch.length, np.uint32(max(snap, _MIN_SNAP_BYTES) if snap else 0))
        self.ends = np.concatenate([[0], np.cumsum(frame_slots(captured))])

    def fitting(self, first: int) -> int:
        """How many frames from ``first`` on surely fit the ring."""
        descriptors, slots = self.ring.room()
        last = int(np.searchsorted(self.ends, self.ends[first] + slots, side="right")) - 1
        return min(descriptors, last - first)


class Reports(Protocol):
    """Takes what is for statistics, before the outputs get the packets."""

    def split(self, ring: int, descriptors: Descriptors, data: Bytes) -> Descriptors:
        """Use reports of ring ``ring``, and what else is wanted; what is left for the outputs, in order."""
        ...

    def rest(self, ring: int, descriptors: Descriptors, data: Bytes) -> Descriptors:
        """What is left for the outputs, in order; nothing is used."""
        ...

    def stop(self, meanwhile: Meanwhile) -> None:
        """Have the card report what it has counted, when the last frame is in; ``meanwhile`` waits for room."""
        ...

    def finish(self) -> None:
        """No more will come."""
        ...


class Holder(Protocol):
    """Holds packets back on the card."""

    def finish(self, meanwhile: Meanwhile) -> None:
        """Have it deliver all of them, when the last frame is in; ``meanwhile`` waits for room."""
        ...


class Consumers(threading.Thread):
    """Polls the rings and feeds the outputs until told to finish.

    An output that fails gets no more; the others get all that was delivered.
    """

    def __init__(self, rings: Sequence[Ring], outputs: Sequence[Output], reports: Reports | None = None) -> None:
        super().__init__(name="sentinic-consumers", daemon=True)
        self._rings = rings
        self._outputs = list(outputs)
        self._reports = reports
        self._failed: list[Output | Reports] = []
        self._finish = threading.Event()
        self.arrived = threading.Event()
        self.released = threading.Event()
        self.delivered = 0
        self.reading = True  # the rings, until told to finish or they cannot be read
        self.errors: list[Exception] = []

    def run(self) -> None:
        try:
            while True:
                last = self._finish.is_set()
                polled = self._round()
                if polled >= ENOUGH_DESCRIPTORS:
                    continue
                if not last:
                    self.arrived.wait(_IDLE_SECONDS)
                    self.arrived.clear()
                elif not polled:
                    break
        except Exception as error:
            self.errors.append(error)
        self.reading = False
        finishing: list[Output | Reports] = list(self._outputs)
        if self._reports is not None:
            finishing.append(self._reports)
        for output in finishing:
            with self._guarded(output):
                output.finish()
        self.released.set()

    def finish(self) -> None:
        """Take what the rings hold, finish the outputs, and wait until that is done."""
        self._finish.set()
        self.arrived.set()
        # In slices, so that a second Ctrl-C gets through.
        while self.is_alive():
            self.join(0.1)

    @contextlib.contextmanager
    def _guarded(self, output: Output | Reports) -> Iterator[None]:
        """What goes wrong with one is no reason to give the others nothing; the first that does is told of each."""
        try:
            yield
        except Exception as error:
            if output not in self._failed:
                self._failed.append(output)
                self.errors.append(error)

    def _split(self, ring: int, descriptors: Descriptors, data: Bytes) -> Descriptors:
        if self._reports is None:
            return descriptors
        if self._reports not in self._failed:
            with self._guarded(self._reports):
                return self._reports.split(ring, descriptors, data)
        return self._reports.rest(ring, descriptors, data)

    def _round(self) -> int:
        """Take from every ring once; how many packets and reports that were."""
        polled = 0
        for ring in self._rings:
            descriptors, data = ring.poll(POLL_DESCRIPTORS)
            if len(descriptors):
                rest = self._split(ring.number, descriptors, data)
                packets = rest[~are_reports(rest)]
                for output in self._outputs:
                    taken = rest if output.takes_records else packets
                    if len(taken) and output not in self._failed:
                        with self._guarded(output):
                            output.take(ring.number, taken, data)
                self.delivered += len(packets)
                polled += len(descriptors)
                ring.release(len(descriptors))
                self.released.set()
        return polled


class Pipeline:
    """One replay through an enabled card.

    ``progress`` is called now and then, from the caller's thread; ``reports`` gets what the rings deliver first;
    ``holder`` is told when the last frame is in.
    """

    def __init__(
        self,
        device: Device,
        outputs: Sequence[Output],
        progress: Progress | None = None,
        reports: Reports | None = None,
        holder: Holder | None = None,
    ) -> None:
        self._holder = holder
        self._device = device
        self._rings = list(device.rings.values())
        self._plans = [_Plan(ring) for ring in self._rings]
        self._outputs = outputs
        self._reports = reports
        self._progress = progress or (lambda outcome: None)
        self._stop = Flag()
        self._compiling = CompileTimes()
        self._compiling_beside = 0.0  # seconds, while the card was stepped
        self._chunk = FIRST_CHUNK
        self.outcome = Outcome()

    def run(self, batches: Iterable[FrameBatch], limit: int | None = None) -> Outcome:
        """Send ``batches`` (at most ``limit`` frames) and consume everything that is delivered.

        Returns even when a capture, the card or an output fails, or at a signal: see :class:`Outcome`.  The outputs are
        finished in any case.  When one fails no more is sent; the others take what the card still delivers.
        """
        outcome = self.outcome
        consumers = Consumers(self._rings, self._outputs, self._reports)
        begin, cycles = time.monotonic(), self._device.transport.cycles
        with self._stop.installed(), compile_times() as self._compiling:
            consumers.start()
            try:
                for batch in self._limited(batches, limit):
                    if self._stop.number or not self._send(batch, consumers):
                        break
            except KeyboardInterrupt as error:
                self._stop.number = number_of(error)
            except (SentinicError, OSError, ValueError, MemoryError) as error:
                outcome.error = error
            finally:
                self._stop_reports(consumers)
                consumers.finish()
        outcome.stopped = self._stop.number
        errors = [*consumers.errors, *([] if outcome.error is None else [outcome.error])]
        if errors:
            outcome.error, *outcome.more_errors = errors
        outcome.delivered = consumers.delivered
        end = time.monotonic()
        outcome.compile_seconds = self._compiling.within(begin, end) - self._compiling_beside
        outcome.wall_seconds = end - begin - outcome.compile_seconds
        with contextlib.suppress(TransportError):  # a card that is gone is in `error` already
            outcome.cycles = self._device.transport.cycles - cycles
        self._progress(outcome)
        return outcome

    def _stop_reports(self, consumers: Consumers) -> None:
        """What the card holds and has counted is delivered however the run ended, while somebody reads."""
        if not consumers.reading:
            return
        try:
            if self._holder is not None:
                self._holder.finish(lambda: self._make_room(consumers))
            if self._reports is not None:
                self._reports.stop(lambda: self._make_room(consumers))
        except SentinicError as error:
            self.outcome.error = self.outcome.error or error

    def _make_room(self, consumers: Consumers) -> None:
        """Wait while a ring is full and somebody takes from it."""
        while is_any_full(self._rings) and not self._stop.number and consumers.reading:
            consumers.released.clear()
            consumers.arrived.set()
            self._device.forward()
            if is_any_full(self._rings):
                consumers.released.wait(_FULL_SECONDS)
                self._device.forward()

    def _limited(self, batches: Iterable[FrameBatch], limit: int | None) -> Iterator[FrameBatch]:
        iterator = iter(batches)
        left = limit
        while left is None or left > 0:
            self._stop.immediate = True  # reading may block, and touches no card
            try:
                batch = next(iterator, None)
            finally:
                self._stop.immediate = False
            if batch is None:
                return
            if left is not None:
                batch = batch[:left]
                left -= len(batch)
            yield batch

    def _send(self, batch: FrameBatch, consumers: Consumers) -> bool:
        """Send a batch in chunks; False when the run is to end."""
        short = batch.length < MIN_FRAME_BYTES
        if short.any():
            # The card would take the rest of a header for a runt, which the frame was not.
            snapped = short & (batch.wire_length >= MIN_FRAME_BYTES)
            empty = (batch.length == 0) & ~snapped
            self.outcome.snapped += int(np.count_nonzero(snapped))
            self.outcome.empty += int(np.count_nonzero(empty))
            batch = batch[~(snapped | empty)]
        first = 0
        ends = np.concatenate([[0], np.cumsum(batch.length, dtype=np.int64)])
        for plan in self._plans:
            plan.set(batch)
        while first < len(batch):
            if self._stop.number or consumers.errors:
                return False
            consumers.released.clear()
            self._device.forward()
            most = max(1, int(np.searchsorted(ends, ends[first] + CHUNK_BYTES, side="right")) - 1 - first)
            count = min(most, self._chunk, len(batch) - first, *(plan.fitting(first) for plan in self._plans))
            if count <= 0:
                consumers.arrived.set()
                if not consumers.released.wait(0.1) and not consumers.is_alive():
                    return False
                continue
            self._device.transport.send(batch[first : first + count])
            octets = int(ends[first + count] - ends[first])
            self._step(octets // self._device.profile.beat_bytes + count, consumers)
            first += count
            self.outcome.frames += count
            self.outcome.bytes += octets
            self._progress(self.outcome)
        return True

    def _step(self, beats: int, consumers: Consumers) -> None:
        """Step until the card is at rest."""
        transport = self._device.transport
        limit = REST_CYCLES + REST_CYCLES_PER_BEAT * beats
        spent = quiet = 0
        before = (-1, -1)
        begin = time.monotonic()
        try:
            while True:
                ran = transport.step(QUANTUM)
                consumers.arrived.set()
                if self._reports is not None or self._holder is not None:
                    self._device.forward()  # more may come out than went in, and wait for room
                    self._make_room(consumers)
                    if self._stop.number and is_any_full(self._rings):
                        return  # what waits for room comes when all is let go
                spent += ran
                if ran >= QUANTUM:
                    if spent > limit:
                        raise TransportError(f"the card did not come to rest within {spent} cycles of {beats} beats")
                    continue
                # A transport sees the card's ports only; long frames may be busy inside while these are quiet.
                state = (transport.pending, self._device.registers.read("card", "cells_used"))
                if state == (0, 0):
                    return
                quiet = quiet + 1 if state == before else 0
                before = state
                if quiet == QUIET_STEPS:
                    if not state[0]:
                        return  # a stage holds them, as it may
                    raise TransportError(
                        f"the card takes no frames in: {state[0]} wait, {state[1]} cells of its store are in use"
                    )
        finally:
            end = time.monotonic()
            seconds = end - begin
            self.outcome.step_seconds += seconds
            self._compiling_beside += self._compiling.within(begin, end)
            if seconds < STEP_SECONDS[0]:
                self._chunk = min(2 * self._chunk, CHUNK_FRAMES)
            elif seconds > STEP_SECONDS[1]:
                self._chunk = max(self._chunk // 2, 1)

"""Receive rings: memory that the card writes and applications read, without a copy and without reading registers.

A ring is a ring of descriptors (64 bytes each), a ring of packet bytes and a control page, all shared by name.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.descriptor import DESCRIPTOR, HEADROOM, SLOT_ALIGNMENT
from sentinic.abi.profiles import MAX_FRAME_BYTES
from sentinic.abi.registers import RING, RING_MARGIN_DESCRIPTORS, RING_MARGIN_SLOTS
from sentinic.driver.control import ControlPage
from sentinic.driver.memory import SHARED_FOLDER, DmaRegion, unique_name
from sentinic.driver.records import DESCRIPTOR_DTYPE
from sentinic.errors import DeviceError, RingError, TransportError

if TYPE_CHECKING:
    from sentinic.driver.device import Device

Descriptors = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

DEFAULT_DESCRIPTORS = 65_536
#: With the descriptors, within the 64 MB of shared memory that containers are given.
DEFAULT_DATA_BYTES = 32 << 20
MIN_DESCRIPTORS = 64
MAX_DESCRIPTORS = 1 << RING.register("descriptor_mask").fields[0].width
#: The margin, a longest frame, and as much again to make progress.
MIN_DATA_BYTES = 2 * RING_MARGIN_SLOTS * SLOT_ALIGNMENT
MAX_DATA_BYTES = SLOT_ALIGNMENT << RING.register("data_mask").fields[0].width
#: Slots that the longest frame takes.
MAX_FRAME_SLOTS = (HEADROOM + MAX_FRAME_BYTES + SLOT_ALIGNMENT - 1) // SLOT_ALIGNMENT

_PHASE = np.uint32(DESCRIPTOR.bit("status", "phase").mask)
#: Descriptors looked at first, from the last one back, for one with a slot.
_LOOK_BACK = 64
_SPIN_SECONDS = 50e-6
_SLEEP_SECONDS = (50e-6, 2e-3)
#: How long what is under way to a ring may take: cycles at a time, and how many times.
_DRAIN_CYCLES, _DRAIN_STEPS = 1000, 10_000


def frame_slots(captured_length: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Slots of 64 bytes that frames of these captured lengths (bytes) take in a data ring; none for length 0."""
    slots = (captured_length.astype(np.int64) + (HEADROOM + SLOT_ALIGNMENT - 1)) // SLOT_ALIGNMENT
    return np.where(captured_length == 0, 0, slots)


def check_sizes(descriptors: int, data_bytes: int) -> None:
    """Raise :class:`RingError` unless both are powers of two that the card can address."""
    for name, value, low, high in (
        ("descriptors", descriptors, MIN_DESCRIPTORS, MAX_DESCRIPTORS),
        ("data_bytes", data_bytes, MIN_DATA_BYTES, MAX_DATA_BYTES),
    ):
        if not low <= value <= high or value & (value - 1):
            raise RingError(f"ring {name} must be a power of two in {low}..{high}, not {value}")


class RingReader:
    """A place in a ring: polls what the card wrote next, by phase bit.

    Members
    -------
    descriptors: the descriptor ring, a structured array of ``DESCRIPTOR_DTYPE``
    data: the data ring, ``uint8``; a slot begins at ``descriptor["offset"]``, unless ``captured_length`` is 0
    position: descriptors read and released so far; data_position: slots of 64 bytes likewise
    """

    def __init__(self, page: ControlPage, descriptors: Descriptors, data: Bytes) -> None:
        self.page = page
        self.descriptors = descriptors
        self.data = data
        self.position = 0
        self.data_position = 0
        self._polled = 0  # how far: never below position
        self._mask = len(descriptors) - 1
        self._slot_mask = len(data) // SLOT_ALIGNMENT - 1
        self._status: npt.NDArray[np.uint32] = descriptors["status"]

    def poll(self, maximum: int | None = None) -> tuple[Descriptors, Bytes]:
        """Views of the next descriptors (at most ``maximum``, up to the ring's end) and of the data ring.

        Neither is a copy: both are valid until they are released.  Polling again without releasing gives the same
        descriptors, and perhaps more.  None are new: the first view is empty.
        """
        start = self.position & self._mask
        limit = len(self.descriptors) - start
        if maximum is not None:
            limit = min(limit, maximum)
        count = self._run(start, limit, self._expected(self.position))
        self._polled = max(self._polled, self.position + count)
        return self.descriptors[start : start + count], self.data

    def release(self, count: int) -> None:
        """Move on by ``count`` polled descriptors: the card may write over them and their slots from now on.

        Raises :class:`RingError` for more than was polled and not yet released.
        """
        self._check_held(count)
        if count:
            self._advance(count)

    def pending(self) -> bool:
        """Whether there is at least one new descriptor."""
        return bool(self._status[self.position & self._mask] & _PHASE == self._expected(self.position))

    def wait(self, timeout: float, interrupt: Callable[[float], bool] | None = None) -> bool:
        """Wait at most ``timeout`` seconds for a new descriptor; whether there is one.

        Spins for some microseconds, then sleeps for growing spans; with ``interrupt`` (``Transport.wait``), a wait
        that has outgrown the longest span is left to the card's interrupt instead.
        """
        begin = time.monotonic()
        span, longest = _SLEEP_SECONDS
        while not self.pending():
            elapsed = time.monotonic() - begin
            if elapsed >= timeout:
                return False
            if elapsed < _SPIN_SECONDS:
                continue
            if span < longest or interrupt is None:
                time.sleep(min(span, timeout - elapsed))
                span = min(span * 2, longest)
            else:
                interrupt(timeout - elapsed)
        return True

    @property
    def statistics(self) -> "RingStatistics":
        """As of the owner's last snapshot (``Device.snapshot``); zeros before the first."""
        return RingStatistics(**{name: self.page[name] for name in RingStatistics.__dataclass_fields__})

    def slots_to(self, first: int, end: int, since: int) -> int:
        """Slots from ``since`` on, itself a count of slots, to the end of the last slot of a run of descriptors.

        The run is of the positions from ``first`` to before ``end``; 0 when none of them has a slot.  Less than a whole
        ring is ever outstanding, so the distance modulo the ring is the distance.
        """
        span = _LOOK_BACK
        while end > first:
            begin = max(first, end - span, (end - 1) & ~self._mask)
            at = begin & self._mask
            captured = self.descriptors["captured_length"][at : at + end - begin]
            held = np.flatnonzero(captured)
            if len(held):
                last = int(held[-1])
                octets = int(self.descriptors["offset"][at + last]) + HEADROOM + int(captured[last])
                return (-(-octets // SLOT_ALIGNMENT) - since) & self._slot_mask
            end = begin
            span *= 4
        return 0

    def _expected(self, position: int) -> np.uint32:
        passes = position // len(self.descriptors)
        return np.uint32(0) if passes & 1 else _PHASE

    def _run(self, start: int, limit: int, expected: np.uint32) -> int:
        """Descriptors from index ``start`` on with the phase ``expected``, at most ``limit``, which must not wrap."""
        done, step = 0, 64
        while done < limit:
            # Growing steps: an empty poll touches 64 lines of memory at most, a full one is one pass.
            span = self._status[start + done : start + min(done + step, limit)]
            wrong = (span & _PHASE) != expected
            first = int(wrong.argmax())
            if wrong[first]:
                return done + first
            done += len(span)
            step *= 4
        return done

    def _check_held(self, count: int) -> None:
        held = self._polled - self.position
        if not 0 <= count <= held:
            raise RingError(f"release must be in 0..{held} polled descriptors, not {count}")

    def _advance(self, count: int) -> None:
        end = self.position + count
        self.data_position += self.slots_to(self.position, end, self.data_position)
        self.position = end


@dataclass(frozen=True)
class RingStatistics:
    """Losses and sampling of one ring, in packets, as of the last snapshot of the counters."""

    delivered: int
    delivered_bytes: int
    sampled_out: int
    lost: int
    errors: int


class Ring(RingReader):
    """Ring ``number`` of a card, allocated and owned by the process that owns the device, which is its consumer.

    The card learns of released descriptors when the device's owner calls :meth:`forward` (``Device.forward`` does so
    for all rings): releasing touches memory only and may happen in another thread or, with ``attach``, process.
    """

    def __init__(
        self,
        device: "Device",
        number: int,
        *,
        name: str | None = None,
        descriptors: int = DEFAULT_DESCRIPTORS,
        data_bytes: int = DEFAULT_DATA_BYTES,
    ) -> None:
        """Allocate ring ``number`` and tell the card where it is; :meth:`enable` switches it on.

        ``name`` is what other processes attach by.  Raises :class:`RingError` for sizes out of range.
        """
        check_sizes(descriptors, data_bytes)
        self.number = number
        self.device = device
        self.registers = device.registers["ring"][number]
        self.name = name or unique_name(f"sentinic-ring{number}")
        self._regions: list[DmaRegion] = []
        try:
            for suffix, size in (("-descriptors", descriptors * DESCRIPTOR.size), ("-data", data_bytes)):
                self._regions.append(device.transport.alloc(self.name + suffix, size))
            head, body = self._regions
            page = ControlPage.create(
                self.name, ring=number, descriptors=head, data=body, sizes=(descriptors, data_bytes)
            )
        except FileExistsError as error:
            self._drop_regions()
            raise RingError(f"ring name {self.name!r} is in use by another ring") from error
        except OSError as error:
            self._drop_regions()
            raise RingError(
                f"no shared memory for ring {self.name!r}: {descriptors} descriptors and {data_bytes} data bytes do "
                f"not fit {SHARED_FOLDER}: {error.strerror}"
            ) from error
        array: Descriptors = head.array[: descriptors * DESCRIPTOR.size].view(DESCRIPTOR_DTYPE)
        super().__init__(page, array, body.array[:data_bytes])
        #: as of switching on; 0: the ring gets descriptors only
        self.snap_length = MAX_FRAME_BYTES
        self._forwarded = (0, 0)
        for register, value in (
            ("descriptor_base_low", head.bus_address & 0xFFFF_FFFF),
            ("descriptor_base_high", head.bus_address >> 32),
            ("descriptor_mask", descriptors - 1),
            ("data_base_low", body.bus_address & 0xFFFF_FFFF),
            ("data_base_high", body.bus_address >> 32),
            ("data_mask", data_bytes // SLOT_ALIGNMENT - 1),
        ):
            self.registers.write(register, value)

    def enable(self) -> None:
        """Switch the ring on, empty; it begins at slot 0 with phase 1."""
        self._check_open()
        self._drain()  # if it was switched off by its register alone
        self.descriptors["status"] = 0
        self.position = self.data_position = self._polled = 0
        self._forwarded = (0, 0)
        for field in ("descriptor_tail", "data_tail", "descriptor_head"):
            self.page[field] = 0
        self.registers.write("descriptor_tail", 0)
        self.registers.write("data_tail", 0)
        self.snap_length = self.registers.read("snap_length")
        self.registers.write("control", 1, "enable")

    def disable(self) -> None:
        """Switch the ring off, and wait for what is under way to it; what it holds can still be read.

        Raises :class:`DeviceError` when the bus does not let it come to an end: the memory is still the card's then.
        """
        self.registers.write("control", 0, "enable")
        self._drain()

    @property
    def faulted(self) -> bool:
        """A descriptor write failed: the ring takes nothing until it is switched off and on."""
        return bool(self.registers.read("status", "fault"))

    def poll(self, maximum: int | None = None) -> tuple[Descriptors, Bytes]:
        self._check_open()
        return super().poll(maximum)

    def pending(self) -> bool:
        self._check_open()
        return super().pending()

    def release(self, count: int) -> None:
        self._check_open()
        super().release(count)
        # Order matters to whoever forwards: a slot must not be freed for a descriptor still held.
        self.page["descriptor_tail"] = self.position
        self.page["data_tail"] = self.data_position

    def forward(self) -> None:
        """Tell the card what the consumer has released; and the observers, how far the card has come."""
        self.head()
        tail = (self.page["descriptor_tail"], self.page["data_tail"])
        if tail != self._forwarded:
            self.registers.write("descriptor_tail", tail[0] & 0xFFFF_FFFF)
            self.registers.write("data_tail", tail[1] & (1 << RING.register("data_tail").fields[0].width) - 1)
            self._forwarded = tail

    def head(self) -> int:
        """Descriptors that the card has written, ever; also told to the observers.  Reads a register."""
        before = self.page["descriptor_head"]
        head = before + ((self.registers.read("descriptor_head") - before) & 0xFFFF_FFFF)
        self.page["descriptor_head"] = head
        return head

    def room(self) -> tuple[int, int]:
        """Descriptors and slots of 64 bytes that surely fit now, when the card is idle.

        Margins, and what skipping to the ring's start may cost, are taken off; what is released but not yet
        forwarded does not count.  A faulted ring has room for all that it takes, which is nothing: so nobody waits for
        its consumer, who never sees what lies behind the fault.
        """
        slots = self._slot_mask + 1
        if self.faulted:
            return len(self.descriptors), slots
        head = self.head()
        tail, data_tail = self._forwarded
        used = self.slots_to(tail, head, data_tail)
        return (
            max(0, len(self.descriptors) - (head - tail) - RING_MARGIN_DESCRIPTORS),
            max(0, slots - used - RING_MARGIN_SLOTS - MAX_FRAME_SLOTS),
        )

    def publish(self, counters: dict[str, int]) -> None:
        """Tell this ring's part of a snapshot to all who ask for :attr:`statistics`, in whatever process."""
        for name in RingStatistics.__dataclass_fields__:
            self.page[name] = counters[f"ring{self.number}.{name}"]

    def close(self) -> None:
        """Switch the ring off and give its memory back; observers see it as no longer running."""
        if self._regions:
            try:
                with contextlib.suppress(TransportError):  # a card that is gone writes nothing any more
                    self.disable()
            finally:
                self.page["running"] = 0
                self.page.region.close()
                self._drop_regions()

    def _check_open(self) -> None:
        if not self._regions:
            raise RingError(f"ring {self.name!r} is closed: its memory is not the card's any more")

    def _drain(self) -> None:
        for _ in range(_DRAIN_STEPS):
            if not self.registers.read("status", "busy"):
                return
            self.device.transport.step(_DRAIN_CYCLES)
        raise DeviceError(
            f"ring {self.name!r}: packets are still under way to its memory after {_DRAIN_STEPS * _DRAIN_CYCLES} cycles"
        )

    def _drop_regions(self) -> None:
        for region in self._regions:
            region.close()
        self._regions.clear()

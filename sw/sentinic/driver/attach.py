"""Reading a ring from another process, by its name.

::

    reader = attach("capture")                # watches; the ring's consumer is somebody else
    with attach("capture", consume=True) as ring:
        while ring.running or ring.pending():
            if ring.wait(1.0):
                descriptors, data = ring.poll(4096)
                ...
                ring.release(len(descriptors))
"""

import os
from types import TracebackType
from typing import NoReturn, Self

import numpy as np

from sentinic.abi.descriptor import DESCRIPTOR, SLOT_ALIGNMENT
from sentinic.abi.registers import RING_MARGIN_SLOTS
from sentinic.driver.control import ControlPage
from sentinic.driver.memory import DmaRegion, alive
from sentinic.driver.records import DESCRIPTOR_DTYPE
from sentinic.driver.ring import Bytes, Descriptors, RingReader, frame_slots
from sentinic.errors import OverrunError, RingError


class AttachedRing(RingReader):
    """A ring of another process.

    As its consumer (``consume``), releasing lets the card write over what was released.  As an observer, it never
    holds the card up; :meth:`release` raises :class:`OverrunError` when what was polled may meanwhile have been
    overwritten, and then stands at the newest descriptor that is surely whole.
    """

    def __init__(self, name: str, *, consume: bool = False) -> None:
        """Raises :class:`RingError` when there is no ring ``name``, or when another live process consumes it."""
        page = ControlPage.attach(name, write=consume)
        count, data_bytes = page["descriptors"], page["data_bytes"]
        try:
            head = DmaRegion.attach(page.region_name("descriptor_region"))
            body = DmaRegion.attach(page.region_name("data_region"))
        except FileNotFoundError as error:
            raise RingError(f"ring {name!r} has gone: its owner has closed it") from error
        if len(head.array) < count * DESCRIPTOR.size or len(body.array) < data_bytes:
            raise RingError(f"ring {name!r} is damaged: its memory is smaller than its control page says")
        super().__init__(page, head.array[: count * DESCRIPTOR.size].view(DESCRIPTOR_DTYPE), body.array[:data_bytes])
        self.name = name
        self.consume = consume
        if consume:
            other = page["consumer_process"]
            if other not in (0, os.getpid()) and alive(other):
                raise RingError(f"ring {name!r} already has a consumer, process {other}: attach as an observer")
            page["consumer_process"] = os.getpid()
        self.position, self.data_position = self._tail()
        self._polled = self.position

    @property
    def running(self) -> bool:
        """Whether the owner still has the ring open; what was delivered before stays readable."""
        return bool(self.page["running"])

    def pending(self) -> bool:
        return super().pending() or self._passed()

    def poll(self, maximum: int | None = None) -> tuple[Descriptors, Bytes]:
        if self._passed():
            self._overran()
        return super().poll(maximum)

    def release(self, count: int) -> None:
        if self.consume:
            super().release(count)
            self.page["descriptor_tail"] = self.position
            self.page["data_tail"] = self.data_position
            return
        self._check_held(count)
        if count and (self._passed() or self._overwritten()):
            self._overran()
        super().release(count)

    def close(self) -> None:
        """Let go; a consumer makes room for another."""
        if self.consume and self.page["consumer_process"] == os.getpid():
            self.page["consumer_process"] = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tail(self) -> tuple[int, int]:
        """A consistent pair of published tails: the consumer writes the data tail last."""
        while True:
            data_tail = self.page["data_tail"]
            tail = self.page["descriptor_tail"]
            if data_tail == self.page["data_tail"]:
                # The descriptor tail may already be the next one; the slot before it tells the data tail then.
                if not tail:
                    return 0, 0
                return tail, data_tail + self.slots_to(tail - 1, tail, data_tail)

    def _overran(self) -> NoReturn:
        behind, (self.position, self.data_position) = self.position, self._tail()
        self._polled = self.position
        raise OverrunError(
            f"ring {self.name!r} overran this observer: packets {behind}..{self.position - 1} are lost to it "
            f"(the ring holds {len(self.descriptors)} descriptors and {len(self.data)} bytes)"
        )

    def _passed(self) -> bool:
        """Whether the descriptor at ``position`` was written over.

        The published head is never more than a ring behind the card, so that together with the phase bit it tells
        passes apart.
        """
        if self.consume:
            return False
        written = super().pending()
        head = self.page["descriptor_head"]
        return head > self.position + len(self.descriptors) or (head > self.position and not written)

    def _overwritten(self) -> bool:
        """Whether the card may have written over the slot at ``data_position``; there is none without bytes.

        Judged by how far the descriptors go, with the card's own margin for what is in flight.
        """
        if self.page["descriptor_tail"] <= self.position:
            return False
        size = len(self.descriptors)
        start = self.position & self._mask
        count = self._run(start, size - start, self._expected(self.position))
        if count == size - start:
            count += self._run(0, start, self._expected(self.position + count))
        rows = self.descriptors[np.arange(start, start + count) & self._mask]
        rows = rows[rows["captured_length"] != 0]
        if not len(rows):
            return False
        ends = rows["offset"].astype(np.int64) // SLOT_ALIGNMENT + frame_slots(rows["captured_length"])
        steps = np.diff(ends, prepend=self.data_position) & self._slot_mask
        return int(steps.sum()) > self._slot_mask + 1 - RING_MARGIN_SLOTS


def attach(name: str, *, consume: bool = False) -> AttachedRing:
    """Open the ring that its owner called ``name``; see :class:`AttachedRing`."""
    return AttachedRing(name, consume=consume)

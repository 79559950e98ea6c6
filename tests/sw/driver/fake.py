"""A card without a simulator: the reference model behind the driver's transport.

Writes real descriptors and slots into the rings that the driver allocated, and fills a ring as full as the card would.
"""

import time as clock

import numpy as np

from sentinic.abi.counters import counter_table
from sentinic.abi.descriptor import DESCRIPTOR, SLOT_ALIGNMENT
from sentinic.abi.profiles import PROFILES
from sentinic.abi.registers import (
    ABI_VERSION,
    BLOCKS,
    CARD,
    CARD_ID,
    COUNTERS_BASE,
    HASH_KEY_WORDS,
    RING,
    RING_MARGIN_DESCRIPTORS,
    RING_MARGIN_SLOTS,
    SNAPSHOT,
)
from sentinic.driver.frames import FrameBatch
from sentinic.driver.memory import DmaRegion, unique_name
from tests.reference.card import Frame, ReferenceCard, frames_of_batch
from tests.reference.card import Ring as ModelRing

_RING_SETTINGS = ("filter_ports", "filter_protocols", "filter_verdicts", "sample", "snap_length")


class FakeTransport:
    """One frame a cycle.  ``miscount`` adds to ``received``, to break conservation on purpose."""

    def __init__(
        self,
        profile: str = "wide",
        *,
        card_id: int = CARD_ID,
        abi_version: int = ABI_VERSION,
        miscount: int = 0,
        step_seconds: float = 0.0,
    ) -> None:
        self.profile = PROFILES[profile]
        self.words = {
            block.address(register.name, index): register.reset
            for block in BLOCKS
            for index in range(block.count)
            for register in block.registers
        }
        capabilities = {
            "beat_bytes": self.profile.beat_bytes,
            "ports": self.profile.ports,
            "rings": self.profile.rings,
            "stages": len(self.profile.stages),
            "counters": len(counter_table(self.profile)),
        }
        self.words[CARD.address("id")] = card_id
        self.words[CARD.address("abi_version")] = abi_version
        self.words[CARD.address("profile")] = self.profile.number
        self.words[CARD.address("capabilities")] = sum(
            capabilities[field.name] << field.lsb for field in CARD.register("capabilities").fields
        )
        self.words[CARD.address("store")] = self.profile.store_cells | self.profile.cell_bytes << 16
        self.model = ReferenceCard([ModelRing(enable=False, filter_ports=0) for _ in range(self.profile.rings)])
        self.regions: list[DmaRegion] = []
        self.queue: list[Frame] = []
        self.cycles = 0
        self.time = 0
        self.closed = False
        self.busy = False  # packets are under way to the rings, for ever
        self.writes: list[tuple[int, int]] = []
        self.miscount = miscount
        self.step_seconds = step_seconds
        self._data_heads = [0] * self.profile.rings  # slots ever passed over

    @property
    def pending(self) -> int:
        return len(self.queue)

    def read(self, address: int) -> int:
        for number, ring in enumerate(self.model.rings):
            if address == RING.address("descriptor_head", number):
                return len(ring.records) & 0xFFFF_FFFF
            if address == RING.address("status", number):
                return self.busy << 1
        if address == CARD.address("time_low"):
            self.words[CARD.address("time_high")] = self.time >> 32
            return self.time & 0xFFFF_FFFF
        return self.words.get(address, 0)

    def write(self, address: int, value: int) -> None:
        assert address % 4 == 0
        assert 0 <= value < 1 << 32
        self.writes.append((address, value))
        before = self.words.get(address, 0)
        self.words[address] = value
        if address == SNAPSHOT.address("take"):
            self.words[address] = 0
            self._snapshot()
        for number, ring in enumerate(self.model.rings):
            if address == RING.address("control", number):
                if value & ~before & 1:
                    self._start(number)
                ring.enable = bool(value & 1)

    def alloc(self, name: str, size: int) -> DmaRegion:
        base = 0x1_0000_0000 + sum(len(region.array) for region in self.regions)
        self.regions.append(DmaRegion.create(f"{unique_name('sentinic')}-{name}", size, base))
        return self.regions[-1]

    def send(self, batch: FrameBatch) -> None:
        batch.validate()
        self.queue += frames_of_batch(batch)

    def step(self, max_cycles: int | None = None) -> int:
        assert self.words[CARD.address("control")] & 1, "frames are sent to a card that is held"
        count = len(self.queue) if max_cycles is None else min(len(self.queue), max_cycles)
        self.model.key = sum(self.read(CARD.address(f"hash_key{n}")) << 32 * n for n in range(HASH_KEY_WORDS))
        for frame in self.queue[:count]:
            self.time = max(self.time, frame.timestamp)
            self._take(frame)
        del self.queue[:count]
        self.cycles += count
        clock.sleep(self.step_seconds)
        return count

    def wait(self, timeout: float) -> bool:
        clock.sleep(min(timeout, 0.001))
        return False

    def now(self) -> int:
        return self.time

    def close(self) -> None:
        self.closed = True
        for region in self.regions:
            region.close()

    def _field(self, number: int, register: str) -> int:
        return self.words[RING.address(register, number)]

    def _start(self, number: int) -> None:
        ring = self.model.rings[number]
        for name in _RING_SETTINGS:
            setattr(ring, name, self._field(number, name))
        spread = self._field(number, "spread")
        ring.spread_count, ring.spread_index = spread & 0x7F, spread >> 8 & 0x7F
        ring.bare_plain = bool(self._field(number, "extras") >> 3 & 1)
        ring.descriptors = self._field(number, "descriptor_mask") + 1
        ring.data_bytes = (self._field(number, "data_mask") + 1) * SLOT_ALIGNMENT
        ring.records.clear()
        ring.slots.clear()
        ring.head = self._data_heads[number] = 0

    def _memory(self, number: int, what: str) -> np.ndarray:
        base = self._field(number, f"{what}_base_low") | self._field(number, f"{what}_base_high") << 32
        return next(region.array for region in self.regions if region.bus_address == base)

    def _take(self, frame: Frame) -> None:
        before = [len(ring.records) for ring in self.model.rings]
        for number, ring in enumerate(self.model.rings):
            slots = ring.data_bytes // SLOT_ALIGNMENT
            used = len(ring.records) - self._field(number, "descriptor_tail") & 0xFFFF_FFFF
            used_slots = self._data_heads[number] - self._field(number, "data_tail") & (1 << 26) - 1
            ring.blocked = used + RING_MARGIN_DESCRIPTORS > ring.descriptors or used_slots + RING_MARGIN_SLOTS > slots
        self.model.take(frame)
        for number, ring in enumerate(self.model.rings):
            if len(ring.records) > before[number]:
                offset, slot = ring.slots[-1]
                start = self._data_heads[number]
                end = (offset + len(slot)) // SLOT_ALIGNMENT
                self._data_heads[number] = start + (end - start) % (ring.data_bytes // SLOT_ALIGNMENT)
                self._memory(number, "data")[offset : offset + len(slot)] = np.frombuffer(slot, np.uint8)
                at = before[number] % ring.descriptors * DESCRIPTOR.size
                self._memory(number, "descriptor")[at : at + DESCRIPTOR.size] = np.frombuffer(
                    ring.records[-1], np.uint8
                )

    def _snapshot(self) -> None:
        counters = self.model.counters | {"cycles": self.cycles}
        counters["received"] += self.miscount
        for index, (name, _) in enumerate(counter_table(self.profile)):
            value = counters.get(name, 0)
            self.words[COUNTERS_BASE + 8 * index] = value & 0xFFFF_FFFF
            self.words[COUNTERS_BASE + 8 * index + 4] = value >> 32


def open_fake(profile: str, **options: object) -> FakeTransport:
    """The factory, as an entry point names it."""
    return FakeTransport(profile, **options)  # type: ignore[arg-type]


def open_slow(profile: str) -> FakeTransport:
    """A card that takes its time, to be interrupted."""
    return FakeTransport(profile, step_seconds=0.02)


def open_miscounting(profile: str) -> FakeTransport:
    """A card that has lost count."""
    return FakeTransport(profile, miscount=1)


class _Deaf(FakeTransport):
    def step(self, max_cycles: int | None = None) -> int:
        return 7


def open_deaf(profile: str) -> FakeTransport:
    """A card that takes no frame, and is quiet."""
    return _Deaf(profile)


class _Hanging(FakeTransport):
    def step(self, max_cycles: int | None = None) -> int:
        assert max_cycles is not None
        return max_cycles


def open_hanging(profile: str) -> FakeTransport:
    """A card that never comes to rest."""
    return _Hanging(profile)

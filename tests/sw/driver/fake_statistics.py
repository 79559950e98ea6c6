"""The fake card with a statistics stage: its model behind the registers, its reports and crossings in the rings."""

import struct
from collections import Counter

import numpy as np

from sentinic.abi.counters import counter_names
from sentinic.abi.descriptor import DESCRIPTOR, SLOT_ALIGNMENT
from sentinic.abi.registers import COUNTERS_BASE, RING_MARGIN_DESCRIPTORS, RING_MARGIN_SLOTS, STATISTICS
from sentinic.errors import TransportError
from tests.reference.card import Frame
from tests.reference.card import Ring as ModelRing
from tests.reference.statistics_card import Crossing, StatisticsModel
from tests.sw.driver.fake import FakeTransport

_EVERYTHING = {
    "filter_ports": 0xF,
    "filter_protocols": 0xFFFF,
    "filter_verdicts": 0xFFFF,
    "sample": 1,
    "spread_count": 0,
}
#: Rules, how many of them share a table, groups in all tables.
_SHAPES = {"wide": (16, 1, 65_536), "board": (4, 4, 1024)}
_APPLY, _SHAPE, _STATUS = (STATISTICS.address(name) for name in ("apply", "shape", "status"))


class StatisticsTransport(FakeTransport):
    """``options`` are those of :class:`StatisticsModel`.

    ``stuck``: a change never takes effect.  ``slow``: it takes so many reads of the register.
    """

    def __init__(self, profile: str = "wide", *, stuck: bool = False, slow: int = 0, **options: object) -> None:
        super().__init__(profile)
        rules, shared, groups = _SHAPES[profile]
        self.statistics = StatisticsModel(**{"rules": rules, "shared": shared, **options})  # type: ignore[arg-type]
        model = self.statistics
        self.words[_SHAPE] = model.count | (groups.bit_length() - 1) << 8 | model.shared << 16
        self.stuck, self.slow, self._slowly = stuck, slow, 0
        self.reports_lost = 0
        self.reports: Counter[int] = Counter()  # by ring

    def read(self, address: int) -> int:
        if address == _STATUS:
            self._slowly = max(0, self._slowly - 1)
            return int(self.stuck or self._slowly > 0)
        return super().read(address)

    def write(self, address: int, value: int) -> None:
        super().write(address, value)
        if address == _APPLY:
            assert not self._slowly, "a change is asked for while another is pending"
            self.words[_APPLY] = 0
            self._slowly = self.slow
            self.statistics.apply(self.words, value)
            self._deliver()

    def step(self, max_cycles: int | None = None) -> int:
        ran = super().step(max_cycles) if self.queue else 0
        self._deliver()
        return ran

    def _take(self, frame: Frame) -> None:
        dropped = frame.error or not 14 <= len(frame.data) <= 9600
        crossing = None if dropped else self.statistics.take(frame)
        before = [len(ring.records) for ring in self.model.rings]
        saved = [dict(vars(ring)) for ring in self.model.rings]
        if crossing is not None:
            for number, ring in enumerate(self.model.rings):
                if self._field(number, "extras") & 2:
                    vars(ring).update(_EVERYTHING)
        super()._take(frame)
        if crossing is not None:
            for number, ring in enumerate(self.model.rings):
                if len(ring.records) > before[number]:
                    self._cross(number, ring, crossing)
        for ring, settings in zip(self.model.rings, saved, strict=True):
            vars(ring).update({name: settings[name] for name in _EVERYTHING})
        # Reports are on their way between two packets.
        if self.statistics.room is None:
            self._deliver()

    def _cross(self, number: int, ring: ModelRing, crossing: Crossing) -> None:
        """The TLV goes first into the tag of the packet delivered last."""
        offset, slot = ring.slots[-1]
        record = bytearray(ring.records[-1])
        status = int.from_bytes(record[60:64], "little")
        tag, vlans = 4 * (status >> 24), status >> 15 & 3
        before = 12 + 4 * vlans
        frame, head = slot[64 - tag :], slot[64 - tag + before :][:4]
        body = frame[:before] + head[:3] + bytes([head[3] + 4]) + crossing.tlv() + frame[before + 4 :]
        assert tag + 16 <= 64, "the loss should have waited"
        slot = bytes(64 - tag - 16) + body
        record[60:64] = ((status & 0xFFFFFF) | (tag // 4 + 4) << 24).to_bytes(4, "little")
        ring.slots[-1], ring.records[-1] = (offset, slot), bytes(record)
        self._memory(number, "data")[offset : offset + len(slot)] = np.frombuffer(slot, np.uint8)
        at = (len(ring.records) - 1) % ring.descriptors * DESCRIPTOR.size
        self._memory(number, "descriptor")[at : at + DESCRIPTOR.size] = np.frombuffer(bytes(record), np.uint8)

    def _deliver(self) -> None:
        """Reports into the rings that want them; one that is full loses them."""
        if not self.statistics.groups:
            return
        wanting = [
            (number, ring)
            for number, ring in enumerate(self.model.rings)
            if ring.enable and self._field(number, "extras") & 1
        ]
        for frame in self.statistics.frames():
            for number, ring in wanting:
                self._report(number, ring, frame)

    def _report(self, number: int, ring: ModelRing, frame: bytes) -> None:
        used = len(ring.records) - self._field(number, "descriptor_tail") & 0xFFFF_FFFF
        slots = ring.data_bytes // SLOT_ALIGNMENT
        used_slots = self._data_heads[number] - self._field(number, "data_tail") & (1 << 26) - 1
        slot = bytes(64) + frame + bytes(-len(frame) % 64)
        if used + RING_MARGIN_DESCRIPTORS > ring.descriptors or used_slots + RING_MARGIN_SLOTS > slots:
            self.reports_lost += 1
            return
        if ring.head + len(slot) > ring.data_bytes:
            ring.head = 0
        phase = 1 - (len(ring.records) // ring.descriptors & 1)
        record = struct.pack(
            "<Q32xHHIIHHHBBI",
            self.statistics.time,
            0,
            0,
            ring.head,
            0,
            len(frame),
            len(frame),
            0,
            0,
            0,
            phase | 1 << 20,
        )
        at = len(ring.records) % ring.descriptors * DESCRIPTOR.size
        self._memory(number, "data")[ring.head : ring.head + len(slot)] = np.frombuffer(slot, np.uint8)
        self._memory(number, "descriptor")[at : at + DESCRIPTOR.size] = np.frombuffer(record, np.uint8)
        ring.records.append(record)
        ring.slots.append((ring.head, slot))
        self.reports[number] += 1
        start, end = self._data_heads[number], (ring.head + len(slot)) // SLOT_ALIGNMENT
        self._data_heads[number] = start + (end - start) % slots
        ring.head += len(slot)

    def _snapshot(self) -> None:
        """Reports are not packets."""
        super()._snapshot()
        names = counter_names(self.profile)
        for number, reports in self.reports.items():
            self.words[COUNTERS_BASE + 8 * names.index(f"ring{number}.delivered")] -= reports


class Silent(FakeTransport):
    """A card whose bus refuses what it has no registers for."""

    def read(self, address: int) -> int:
        if address == _SHAPE:
            raise TransportError("read of register 0x5000 was answered DECERR")
        return super().read(address)


def open_statistics(profile: str) -> StatisticsTransport:
    """The factory, as an entry point names it."""
    return StatisticsTransport(profile)


def open_small(profile: str) -> StatisticsTransport:
    """With tables so small that most packets evict."""
    return StatisticsTransport(profile, capacity=2)

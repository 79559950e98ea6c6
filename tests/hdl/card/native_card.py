"""The card over the native harness and the shipped driver, and what its rings held, against the reference card."""

import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sentinic.abi.counters import DROP_REASONS, FATES
from sentinic.abi.profiles import MAX_FRAME_BYTES, MIN_FRAME_BYTES, Profile
from sentinic.abi.registers import CARD, INTERRUPT, RING, RING_MARGIN_DESCRIPTORS, RING_MARGIN_SLOTS
from sentinic.abi.verdicts import Kind
from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import Ring as DriverRing
from sentinic_sim.native import MemoryOptions, NativeTransport
from tests.reference.card import TEST_KEY, Frame, ReferenceCard, Ring, build_descriptor, build_plain, build_slot
from tests.reference.parser import Headers, flow_hash, parse

#: Bounds: cycles in which a card that is no longer fed comes to rest, whatever was in it.
REST_CYCLES = 3_000_000
SETTINGS = ("filter_ports", "filter_protocols", "filter_verdicts", "sample", "snap_length")
#: What else a ring may want.
EXTRAS = ("reports", "crossings", "raw_syns", "attempts")
_STATUS, _KIND_LSB = 60, 20


@dataclass
class Seen:
    """A descriptor as it lay in memory, and its slot from the tag on (empty for a ``VOID`` one)."""

    descriptor: bytes
    slot: bytes

    @property
    def timestamp(self) -> int:
        return int.from_bytes(self.descriptor[:8], "little")

    @property
    def status(self) -> int:
        return int.from_bytes(self.descriptor[_STATUS:], "little")

    @property
    def void(self) -> bool:
        return self.status >> _KIND_LSB & 3 == Kind.VOID

    @property
    def offset(self) -> int:
        return int.from_bytes(self.descriptor[44:48], "little")

    @property
    def flow_hash(self) -> int:
        return int.from_bytes(self.descriptor[48:52], "little")

    @property
    def captured(self) -> int:
        return int.from_bytes(self.descriptor[54:56], "little")

    @property
    def plain(self) -> bool:
        return bool(self.status >> 23 & 1)

    @property
    def lost(self) -> int:
        """What was lost before, as the tag's first TLV says; without a tag, the descriptor."""
        if not self.status >> 18 & 1 or self.void:
            return 0
        if not self.captured:
            return self.offset
        at = 12 + 4 * (self.status >> 15 & 3)
        kind, _, _, lost = struct.unpack_from(">BBHI", self.slot, at + 4)
        assert kind == 4
        return int(lost)


@dataclass
class Watched:
    """A ring from switching on to switching off: as configured, and what was read of it."""

    config: Ring
    ring: DriverRing
    seen: list[Seen] = field(default_factory=list)

    def read(self, most: int | None = None) -> int:
        """Take what the card has written since, at most ``most``."""
        rows, data = self.ring.poll(most)
        for row in rows:
            octets = row.tobytes()
            status = int(row["status"])
            at = int(row["offset"])
            slot = b""
            if status >> _KIND_LSB & 3 != Kind.VOID and row["captured_length"]:
                slot = data[at + 64 - 4 * (status >> 24) : at + 64 + int(row["captured_length"])].tobytes()
            self.seen.append(Seen(octets, slot))
        self.ring.release(len(rows))
        return len(rows)

    def read_all(self) -> None:
        while self.read():
            pass


class NativeCard:
    """A card of its own, its rings closed with it; use as a context manager."""

    def __init__(self, transport: NativeTransport) -> None:
        self.transport = transport
        self.device = Device(transport)
        self.profile: Profile = self.device.profile
        self.key = TEST_KEY
        self.device.set_hash_key(self.key)

    def __enter__(self) -> "NativeCard":
        return self

    def __exit__(self, *_: object) -> None:
        self.device.close()

    def open_ring(self, number: int, config: Ring, extras: Iterable[str] = ()) -> Watched:
        """Allocate ring ``number`` with the sizes of ``config``, set it up and switch it on."""
        ring = self.device.open_ring(number, descriptors=config.descriptors, data_bytes=config.data_bytes)
        return self.start_ring(ring, config, extras)

    def start_ring(self, ring: DriverRing, config: Ring, extras: Iterable[str] = ()) -> Watched:
        """Set a ring that is off up, with these of ``EXTRAS``, and switch it on."""
        for name in SETTINGS:
            ring.registers.write(name, getattr(config, name))
        ring.registers.write("spread", config.spread_count, "count")
        ring.registers.write("spread", config.spread_index, "index")
        ring.registers.write("extras", int(config.bare_plain), "bare_plain")
        for extra in EXTRAS:
            ring.registers.write("extras", int(extra in extras), extra)
        ring.enable()
        return Watched(replace(config, records=[], slots=[]), ring)

    def send(self, frames: Sequence[Frame]) -> None:
        self.transport.send(
            FrameBatch.from_frames(
                [frame.data for frame in frames],
                timestamp=np.array([frame.timestamp for frame in frames], np.uint64),
                wire_length=[len(frame.data) if frame.wire_length is None else frame.wire_length for frame in frames],
                port=np.array([frame.port for frame in frames], np.uint8),
                error=np.array([frame.error for frame in frames], np.uint8),
            )
        )

    def settle(self) -> None:
        """Run until nothing waits at the ports, in the card or on the bus.  Fails when that takes too long."""
        spent = 0
        while True:
            spent += self.transport.step(100_000)
            quiet = self.transport.stop_reason == "idle"
            if quiet and not self.device.registers["card"].read("cells_used"):
                return
            assert spent < REST_CYCLES, (
                f"no rest after {spent} cycles: {self.transport.stop_reason}, {self.transport.pending} frames wait, "
                f"{self.device.registers['card'].read('cells_used')} cells are in use, {self.counters()}"
            )

    def counters(self) -> dict[str, int]:
        """A snapshot; nothing may be missing in it."""
        counters = self.device.snapshot()
        total = sum(counters[name] for name in FATES)
        assert counters["received"] == total, f"received {counters['received']}, fates {total}: {counters}"
        assert counters["held"] < 1 << 32, f"held is negative: {counters}"
        return counters

    def check_rest(self) -> dict[str, int]:
        """Nothing is left inside a card at rest, and it kept to the rules of AXI."""
        counters = self.counters()
        assert counters["held"] == 0, counters
        assert self.transport.stats().violations == 0
        return counters

    def registers(self) -> dict[int, int]:
        """What the host wrote, by address; to be restored after a reset."""
        blocks = [(CARD, 1), (INTERRUPT, 1), (RING, self.profile.rings)]
        return {
            block.address(register.name, n): self.transport.read(block.address(register.name, n))
            for block, count in blocks
            for n in range(count)
            for register in block.registers
            if all(item.access.name == "RW" for item in register.fields) and register.name != "control"
        }

    def reset(self) -> None:
        """Reset the card in the midst of whatever it does, and set it up as it was; rings and ports are off."""
        registers = self.registers()
        self.transport.reset()
        for address, value in registers.items():
            self.transport.write(address, value)


def in_order(frames: Sequence[Frame], orders: Iterable[Sequence[Seen]]) -> list[Frame] | None:
    """``frames`` as the card merged its ports, if anything tells: a single port, or a ring that took everything.

    What ingress drops takes part in nothing, and comes last; a frame of no bytes is nothing that a MAC could hand over.
    """
    frames = [frame for frame in frames if frame.data]
    kept = [frame for frame in frames if taken(frame)]
    dropped = [frame for frame in frames if not taken(frame)]
    if len({frame.port for frame in kept}) < 2:
        return kept + dropped
    for seen in orders:
        if len(seen) == len(kept):
            by_stamp = {frame.timestamp: frame for frame in kept}
            merged = [by_stamp[each.timestamp] for each in seen]
            check_port_order(kept, merged)
            return merged + dropped
    return None


def taken(frame: Frame) -> bool:
    """Whether ingress lets the frame in."""
    return not frame.error and MIN_FRAME_BYTES <= len(frame.data) <= MAX_FRAME_BYTES


def check_port_order(sent: Sequence[Frame], got: Sequence[Frame]) -> None:
    """A port's frames never overtake one another."""
    place = {frame.timestamp: n for n, frame in enumerate(sent)}
    for port in (0, 1):
        places = [place[frame.timestamp] for frame in got if frame.port == port]
        assert places == sorted(places), f"frames of port {port} changed places"
        assert len(places) == len(set(places)), f"a frame of port {port} came twice"


class Oracle:
    """Headers and hash of frames, by the reference parser, each worked out once."""

    def __init__(self) -> None:
        self._headers: dict[tuple[bytes, int | None], Headers] = {}

    def headers(self, frame: Frame) -> Headers:
        key = frame.data, frame.wire_length
        if key not in self._headers:
            self._headers[key] = parse(frame.data, frame.wire_length)
        return self._headers[key]


def check_one_by_one(watched: Watched, by_stamp: dict[int, Frame], oracle: Oracle, keys: dict[int, int | None]) -> None:
    """Each packet read of a ring is right in itself, and its slot lies where it should, behind the one before.

    Holds whatever was lost around it.  ``keys`` has the hash key of each frame by time stamp, None where it changed
    while the frame was on its way: then the hash itself is taken from the card.
    """
    config, head = watched.config, 0
    for number, seen in enumerate(watched.seen):
        assert seen.timestamp in by_stamp, f"packet {number} was never sent: {seen.descriptor.hex()}"
        frame = by_stamp[seen.timestamp]
        headers = oracle.headers(frame)
        key = keys[frame.timestamp]
        hash_ = seen.flow_hash if key is None else flow_hash(headers, key)
        # The descriptor of a plain segment does not tell the hash.
        wanting = replace(config, spread_count=0) if key is None and seen.plain else config
        assert wanting.wants(headers, frame.port, hash_), f"packet {number} should not be in this ring: {frame}"
        captured = config.captured(frame)
        lost = seen.lost if not seen.void else seen.status >> 18 & 1
        if config.is_plain(frame, headers) and not lost:
            assert seen.plain, f"packet {number} is plain: {seen.descriptor.hex()}"
            captured = 0
        slot = build_slot(frame, headers, hash_, captured, lost)
        head = 0 if head + len(slot) > config.data_bytes else head
        phase = 1 - (number // config.descriptors & 1)
        expected = (
            build_plain(frame, headers, phase)
            if seen.plain
            else build_descriptor(frame, headers, hash_, captured, lost, head, phase)
        )
        status = int.from_bytes(expected[_STATUS:], "little") | (Kind.VOID << _KIND_LSB if seen.void else 0)
        expected = expected[:_STATUS] + status.to_bytes(4, "little")
        assert seen.descriptor == expected, (
            f"packet {number} of {len(frame.data)} bytes, {frame.data[:256].hex()}:\n"
            f"{seen.descriptor.hex()}\n{expected.hex()}"
        )
        if not seen.void:
            tag = 4 * (seen.status >> 24)
            assert seen.slot == slot[64 - tag : 64 + captured], f"slot of packet {number}: {frame}"
        head += len(slot)


def check_against_model(
    order: Sequence[Frame], rings: Sequence[Watched], counters: dict[str, int], unread: frozenset[int], key: int
) -> None:
    """The card did what the reference card does with the frames in this order, to the last byte and counter.

    The rings ``unread`` may have lost packets, when full, and only then; what they lost the card alone decides.
    """
    model = ReferenceCard([watched.config for watched in rings], key=key)
    used = [0] * len(rings)  # slots
    for frame in order:
        before = [(len(watched.config.records), watched.config.lost) for watched in rings]
        for n, watched in enumerate(rings):
            if n in unread:
                position = before[n][0]
                following = watched.seen[position].timestamp if position < len(watched.seen) else None
                watched.config.blocked = following != frame.timestamp
        model.take(frame)
        for n, watched in enumerate(rings):
            config = watched.config
            if len(config.records) > before[n][0]:
                offset, slot = config.slots[-1]
                used[n] += ((offset + len(slot)) // 64 - used[n]) % (config.data_bytes // 64)
            elif config.lost > before[n][1]:
                full = (
                    before[n][0] + RING_MARGIN_DESCRIPTORS > config.descriptors - 1
                    or used[n] + RING_MARGIN_SLOTS > config.data_bytes // 64 - 1
                )
                assert full, f"ring {n} lost a packet with {before[n][0]} descriptors and {used[n]} slots in use"
    for n, watched in enumerate(rings):
        config = watched.config
        assert len(watched.seen) == len(config.records), (
            f"ring {n}: {len(watched.seen)} packets, the model has {len(config.records)}"
        )
        for k, seen in enumerate(watched.seen):
            assert seen.descriptor == config.records[k], (
                f"ring {n}, packet {k}:\n{seen.descriptor.hex()}\n{config.records[k].hex()}"
            )
            tag = 4 * (seen.status >> 24)
            assert seen.slot == config.slots[k][1][64 - tag : 64 + seen.captured], f"ring {n}, slot of packet {k}"
    saturated = any(len(frame.data) > MAX_FRAME_BYTES for frame in order)  # the card does not count all of them
    different = {
        name: (counters[name], value)
        for name, value in model.counters.items()
        if counters[name] != value and not (saturated and name.endswith("received_bytes"))
    }
    assert not different, f"counter: (card, model): {different}"
    assert all(counters[name] == model.counters[name] for name in DROP_REASONS)


def random_ring(r: random.Random) -> Ring:
    """A ring with a filter, sampling, snap length and spread that each may be anything, and usually let much pass."""
    count = r.choice((0, 0, 0, 1, 2, 3, 7, 127))
    return Ring(
        filter_ports=r.choice((0xF, 0xF, 0xF, 1, 2, 0)),
        filter_protocols=r.choice((0xFFFF, 0xFFFF, r.getrandbits(16), 1 << r.randrange(8))),
        filter_verdicts=r.choice((0xFFFF, 0xFFFF, r.getrandbits(16), 1 << r.randrange(6))),
        sample=r.choice((0, 1, 1, 1, 2, 3, 100, 65_535)),
        snap_length=r.choice((9600, 9600, 0, 0, 0, 1, 63, 64, 65, 96, 128, 1500, r.randrange(9601), 16_383)),
        bare_plain=r.random() < 0.5,
        spread_count=count,
        spread_index=r.randrange(max(count, 1)) if r.random() < 0.9 else r.randrange(128),
        descriptors=r.choice((64, 64, 128, 512)),
        data_bytes=r.choice((1 << 17, 1 << 17, 1 << 18, 1 << 20)),
    )


def random_memory(r: random.Random, *, errors: bool = False) -> MemoryOptions:
    """Memory from quick to very slow."""
    calm = r.random() < 0.3
    return MemoryOptions(
        latency=r.choice((0, 1, 8, 60, 400, 3000)),
        outstanding=r.choice((1, 2, 8, 64)),
        aw_stall=0.0 if calm else r.choice((0.0, 0.3, 0.9)),
        w_stall=0.0 if calm else r.choice((0.0, 0.3, 0.9)),
        rx_idle=0.0 if calm else r.choice((0.0, 0.4, 0.9)),
        seed=r.randrange(1 << 30),
        error_every=r.choice((0, 1, 2, 7, 40)) if errors else 0,
    )

"""What the card leaves in memory and counts, for frames given one by one, with hosts that always keep up.

Decisions beyond the design, which gateware and this model share
----------------------------------------------------------------
- Ingress: an errored frame counts as ``dropped_error`` whatever its length, then oversize, then runt.
- A ring wants a packet when ports, protocols and verdicts each have its bit and its part of the spread is hit (count 0
  and 1: every part).  A ring that is off wants nothing.
- Sampling counts what the ring wants, lost or not; of each n it takes the first.
- Fate: delivered by any ring; else lost by any ring (``dropped_ring_full``); else passed over by sampling in any ring;
  else filtered.
- ``snap_length`` 1..63 counts as 64.  With 0 a packet takes no slot: its descriptor captures nothing, has no tag, and
  says in place of the slot's offset how many packets were lost before it.
- A plain segment at a ring with ``bare_plain`` takes no slot either, unless there are losses to tell: the descriptor
  then has its sequence number for the slot's offset, its acknowledgment number for the flow hash, and is not truncated.
- ``malformed`` counts verdict ``MALFORMED``; it, ``extension_depth`` and the checksum counters count whatever the rings
  do.
- A slot that does not fit before the data ring's end begins at its start.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sentinic.abi.verdicts import Checksum, ParseError, Verdict
from sentinic.driver.frames import FrameBatch
from sentinic.driver.records import DESCRIPTOR_DTYPE

from .parser import Headers, flow_hash, parse

#: Microsoft's key for verifying RSS implementations, and four more bytes.
TEST_KEY = int.from_bytes(
    bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fac3a5961e"), "big"
)


class Frame(NamedTuple):
    data: bytes
    timestamp: int = 0  # ns
    port: int = 0
    wire_length: int | None = None  # None: as many bytes as there are
    error: bool = False


def frames_of_batch(batch: FrameBatch) -> list[Frame]:
    """The rows of a batch."""
    columns = (batch.offset, batch.length, batch.timestamp, batch.port, batch.wire_length, batch.error)
    return [
        Frame(batch.data[offset : offset + length].tobytes(), timestamp, port, wire_length, bool(error))
        for offset, length, timestamp, port, wire_length, error in zip(*(c.tolist() for c in columns), strict=True)
    ]


@dataclass
class Ring:
    """A ring's configuration, named as its registers, and what it holds.

    ``descriptors`` and ``data_bytes`` are the rings' sizes; 0 means as large as it takes.  ``blocked`` may be switched
    between frames: the ring then loses what it wants, as when its host does not read.
    """

    enable: bool = True
    filter_ports: int = 0xF
    filter_protocols: int = 0xFFFF
    filter_verdicts: int = 0xFFFF
    sample: int = 1
    snap_length: int = 9600
    bare_plain: bool = False
    spread_count: int = 0
    spread_index: int = 0
    descriptors: int = 0
    data_bytes: int = 0

    blocked: bool = False
    records: list[bytes] = field(default_factory=list)  # every descriptor, in order, overwritten ones too
    slots: list[tuple[int, bytes]] = field(default_factory=list)  # offset and bytes of every slot, likewise
    head: int = 0  # where the next slot begins if it fits, bytes
    wanted: int = 0
    lost_since: int = 0
    delivered_bytes: int = 0
    sampled_out: int = 0
    lost: int = 0

    def wants(self, headers: Headers, port: int, hash_: int) -> bool:
        if not self.enable or not (self.filter_ports >> port & self.filter_protocols >> headers.protocol_class & 1):
            return False
        if not self.filter_verdicts >> headers.verdict & 1:
            return False
        return self.spread_count <= 1 or (hash_ >> 16) * self.spread_count >> 16 == self.spread_index

    def is_plain(self, frame: Frame, headers: Headers) -> bool:
        """Whether the descriptor is to tell all of it, if nothing was lost before."""
        return self.bare_plain and is_plain(frame, headers)

    def captured(self, frame: Frame) -> int:
        """Bytes of a frame that this ring takes, if it takes any."""
        return min(len(frame.data), max(self.snap_length, 64)) if self.snap_length else 0

    def offer(self, frame: Frame, headers: Headers, hash_: int) -> str:
        """What becomes of a frame at this ring: filtered, sampled_out, lost or delivered."""
        if not self.wants(headers, frame.port, hash_):
            return "filtered"
        taken = self.wanted % max(self.sample, 1) == 0
        self.wanted += 1
        if not taken:
            self.sampled_out += 1
            return "sampled_out"
        if self.blocked:
            self.lost += 1
            self.lost_since += 1
            return "lost"
        plain = self.is_plain(frame, headers) and not self.lost_since
        captured = 0 if plain else self.captured(frame)
        slot = build_slot(frame, headers, hash_, captured, self.lost_since)
        if self.data_bytes and self.head + len(slot) > self.data_bytes:
            self.head = 0
        number = len(self.records)
        phase = 1 if not self.descriptors else 1 - (number // self.descriptors & 1)
        record = (
            build_plain(frame, headers, phase)
            if plain
            else build_descriptor(frame, headers, hash_, captured, self.lost_since, self.head, phase)
        )
        self.records.append(record)
        self.slots.append((self.head, slot))
        self.head += len(slot)
        self.lost_since = 0
        self.delivered_bytes += captured
        return "delivered"

    @property
    def delivered(self) -> npt.NDArray[Any]:
        """Every descriptor delivered, in order, as ``DESCRIPTOR_DTYPE``."""
        return np.frombuffer(b"".join(self.records), DESCRIPTOR_DTYPE)

    @property
    def descriptor_ring(self) -> npt.NDArray[Any]:
        """The memory of the descriptor ring: what is not written is zero."""
        if not self.descriptors:
            return self.delivered
        ring = bytearray(64 * self.descriptors)
        for number, record in enumerate(self.records):
            at = 64 * (number % self.descriptors)
            ring[at : at + 64] = record
        return np.frombuffer(bytes(ring), DESCRIPTOR_DTYPE)

    @property
    def data_ring(self) -> npt.NDArray[np.uint8]:
        """The memory of the data ring: what is not written, or undefined (before the tag, after the frame), is zero."""
        ring = bytearray(self.data_bytes or self.head)
        for at, slot in self.slots:
            ring[at : at + len(slot)] = slot
        return np.frombuffer(bytes(ring), np.uint8)


class ReferenceCard:
    """The card with ``rings`` on; ``key`` has 352 bits."""

    def __init__(self, rings: list[Ring] | None = None, *, key: int = TEST_KEY, ports: int = 2) -> None:
        self.rings = [Ring()] if rings is None else rings
        self.key = key
        fates = ("received", "held", "delivered", "offloaded", "filtered", "sampled_out")
        drops = ("runt", "oversize", "error", "overflow", "ring_full", "congested", "dma_error")
        marks = ("malformed", "extension_depth", "network_checksum_bad", "transport_checksum_bad", "stage_packets")
        names = [*fates, *(f"dropped_{reason}" for reason in drops), *marks]
        names += [f"port{n}.{name}" for n in range(ports) for name in ("received", "received_bytes", "dropped")]
        self._counters = dict.fromkeys(names, 0)

    @property
    def counters(self) -> dict[str, int]:
        """Counters by their names in a snapshot; cycles, beats and interrupts are not the model's to know."""
        counters = dict(self._counters)
        for number, ring in enumerate(self.rings):
            counters[f"ring{number}.delivered"] = len(ring.records)
            counters[f"ring{number}.delivered_bytes"] = ring.delivered_bytes
            counters[f"ring{number}.sampled_out"] = ring.sampled_out
            counters[f"ring{number}.lost"] = ring.lost
            counters[f"ring{number}.errors"] = 0
        return counters

    def run(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            self.take(frame)

    def take(self, frame: Frame) -> str:
        """Takes a frame; returns the name of the counter of its fate."""
        fate = self._fate(frame)
        self._counters[fate] += 1
        return fate

    def _fate(self, frame: Frame) -> str:
        count = self._counters
        port = f"port{frame.port}"
        count["received"] += 1
        count[f"{port}.received"] += 1
        count[f"{port}.received_bytes"] += len(frame.data)
        reason = (
            "error" if frame.error else "oversize" if len(frame.data) > 9600 else "runt" if len(frame.data) < 14 else ""
        )
        if reason:
            count[f"{port}.dropped"] += 1
            return f"dropped_{reason}"

        headers = parse(frame.data, frame.wire_length)
        count["malformed"] += headers.verdict == Verdict.MALFORMED
        count["extension_depth"] += headers.parse_error == ParseError.EXTENSION_DEPTH
        count["network_checksum_bad"] += headers.network_checksum_bad
        count["transport_checksum_bad"] += headers.transport_checksum == Checksum.BAD
        count["stage_packets"] += 1
        hash_ = flow_hash(headers, self.key)
        outcomes = [ring.offer(frame, headers, hash_) for ring in self.rings]
        if "delivered" in outcomes:
            return "delivered"
        if "lost" in outcomes:
            return "dropped_ring_full"
        return "sampled_out" if "sampled_out" in outcomes else "filtered"


def build_tag(frame: Frame, headers: Headers, hash_: int, captured: int, lost: int) -> bytes:
    """The tag, EtherType first."""
    tlvs = b""
    if lost:
        tlvs += struct.pack(">BBHI", 4, 2, 0, lost)
    if headers.has_tcp:
        tlvs += struct.pack(">BBHII", 3, 3, headers.tcp_window, headers.tcp_sequence, headers.tcp_acknowledgment)
    tlvs += struct.pack(
        ">BBBBBBBBHH",
        2,
        3,
        headers.parse_error,
        headers.protocol_class,
        headers.network_offset,
        headers.transport_offset,
        headers.payload_offset,
        headers.verdict,
        headers.payload_length,
        headers.ip_id,
    )
    tlvs += struct.pack(">BBBBQHHI", 1, 5, frame.port, 0, frame.timestamp, wire_length(frame), captured, hash_)
    return struct.pack(">HBB", 0x88B5, 1, (4 + len(tlvs)) // 4) + tlvs


def build_slot(frame: Frame, headers: Headers, hash_: int, captured: int, lost: int) -> bytes:
    """A slot's bytes, with zeros where the card leaves what was there; none for a descriptor alone."""
    if not captured:
        return b""
    tag = build_tag(frame, headers, hash_, captured, lost)
    before = 12 + 4 * headers.vlan_count
    tagged = frame.data[:before] + tag + frame.data[before:captured]
    return bytes(64 - len(tag)) + tagged + bytes(-captured % 64)


def build_descriptor(
    frame: Frame, headers: Headers, hash_: int, captured: int, lost: int, offset: int, phase: int
) -> bytes:
    tag_words = 9 + 3 * headers.has_tcp + 2 * (lost > 0) if captured else 0
    status = (
        phase
        | frame.port << 1
        | headers.ip_version << 3
        | headers.fragment << 5
        | headers.network_checksum_bad << 7
        | headers.transport_checksum << 8
        | headers.parse_error << 10
        | headers.vlan_count << 15
        | (headers.mpls_count > 0) << 17
        | (lost > 0) << 18
        | (captured < wire_length(frame)) << 19
        | (headers.has_tcp and captured > 0) << 22
        | tag_words << 24
    )
    return struct.pack(
        "<Q16s16sHHIIHHHBBI",
        frame.timestamp,
        headers.source.to_bytes(16, "big"),
        headers.destination.to_bytes(16, "big"),
        headers.source_port,
        headers.destination_port,
        offset if captured else lost,
        hash_,
        wire_length(frame),
        captured,
        headers.ip_length,
        headers.protocol,
        headers.tcp_flags,
        status,
    )


def is_plain(frame: Frame, headers: Headers) -> bool:
    """A TCP segment of which a descriptor can tell all: whole, clean, no header but Ethernet's, IP's and TCP's."""
    ends = {1: 14 + 20, 2: 14 + 40}
    return bool(
        headers.has_tcp
        and headers.verdict == Verdict.CLEAN
        and headers.transport_offset == ends[headers.ip_version]
        and not headers.ip_length_is_rest
        and wire_length(frame) == len(frame.data)
    )


def build_plain(frame: Frame, headers: Headers, phase: int) -> bytes:
    """The descriptor of a plain segment, in place of :func:`build_descriptor`'s."""
    data_offset = (headers.payload_offset - headers.transport_offset) // 4
    status = (
        phase
        | frame.port << 1
        | headers.ip_version << 3
        | Checksum.GOOD << 8
        | 1 << 23
        | data_offset << 24
        | (headers.tcp_window == 0) << 28
    )
    return struct.pack(
        "<Q16s16sHHIIHHHBBI",
        frame.timestamp,
        headers.source.to_bytes(16, "big"),
        headers.destination.to_bytes(16, "big"),
        headers.source_port,
        headers.destination_port,
        headers.tcp_sequence,
        headers.tcp_acknowledgment,
        len(frame.data),
        0,
        headers.ip_length,
        6,
        headers.tcp_flags,
        status,
    )


def wire_length(frame: Frame) -> int:
    """As ingress takes it: at least the bytes that came."""
    return max(frame.wire_length or 0, len(frame.data))


def records_of_capture(
    frames: Iterable[Frame], *, key: int = TEST_KEY, bare_plain: bool = False
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """All descriptors and the data ring of one ring that takes everything and never wraps."""
    card = ReferenceCard([Ring(bare_plain=bare_plain)], key=key)
    card.run(frames)
    return card.rings[0].delivered, card.rings[0].data_ring

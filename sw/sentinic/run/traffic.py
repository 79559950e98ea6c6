"""What a ring's traffic was made of, gathered in one pass over its descriptors."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.descriptor import DESCRIPTOR, HEADROOM
from sentinic.abi.tag import HEADERS, HEADERS_FROM_END
from sentinic.abi.verdicts import Checksum, Fragment, ParseError, Protocol, Verdict
from sentinic.capture.jit import I64, U8, U32, U64, frozen, jit

#: Bins of the time series before it is folded by ten; the first are a microsecond wide.
BINS = 4000
FOLD = 10
FIRST_BIN_NS = 1000
#: Upper ends of the frame size classes in bytes without FCS, after RMON's (RFC 2819 etherStatsPkts64Octets...).
SIZE_CLASSES = (60, 123, 251, 507, 1019, 1514, 9600, 65535)

_CLASSES = len(Protocol)
_HEADERS_AT = HEADROOM + 12 - HEADERS_FROM_END
_CLASS_AT = _HEADERS_AT + HEADERS.record.member("protocol_class").offset
_VERDICT_AT = _HEADERS_AT + HEADERS.record.member("verdict").offset


def _lsb(name: str) -> np.uint32:
    return np.uint32(DESCRIPTOR.bit("status", name).lsb)


_PORT, _VERSION, _FRAGMENT = _lsb("port"), _lsb("ip_version"), _lsb("fragment")
_NETWORK, _TRANSPORT, _ERROR = _lsb("network_checksum_bad"), _lsb("transport_checksum"), _lsb("parse_error")
_VLAN, _MPLS, _TRUNCATED = _lsb("vlan_count"), _lsb("mpls"), _lsb("truncated")
#: Of a plain segment there is no tag, and the descriptor tells what it is.
_PLAIN, _TCP, _CLEAN = _lsb("plain"), np.int64(Protocol.TCP), np.int64(Verdict.CLEAN)

# Layout of the one array of small counts: (begin, size) of each table.
_TABLES = {
    "verdict": (0, 8),
    "parse_error": (8, 32),
    "port": (40, 4),
    "ip_version": (44, 4),
    "fragment": (48, 4),
    "transport_checksum": (52, 4),
    "vlan_count": (56, 4),
    "network_checksum_bad": (60, 2),
    "mpls": (62, 2),
    "truncated": (64, 2),
}


@jit
def _update(
    timestamp: U64,
    wire_length: npt.NDArray[np.uint16],
    slots: U32,
    status: U32,
    ip_protocol: U8,
    data: U8,
    bins: npt.NDArray[np.int64],
    totals: npt.NDArray[np.int64],
    lengths: I64,
    protocols: I64,
    counts: I64,
    clock: I64,
) -> None:
    """``clock`` holds: origin, bin width, last used bin, first and last time (all ns but the bin), packets."""
    one = np.uint32(1)
    three = np.uint32(3)
    for row in range(len(timestamp)):
        time = np.int64(timestamp[row])
        length = np.int64(wire_length[row])
        word = status[row]
        vlans = (word >> _VLAN) & three
        slot = np.int64(slots[row]) + 4 * np.int64(vlans)
        kind: Any = _TCP
        verdict: Any = _CLEAN
        if not (word >> _PLAIN) & one:
            kind = min(np.int64(data[slot + _CLASS_AT]), _CLASSES - 1)
            verdict = min(np.int64(data[slot + _VERDICT_AT]), 7)
        if clock[5] == 0:
            clock[0] = time - time % FIRST_BIN_NS
            clock[3] = time
            clock[4] = time
        clock[5] += 1
        clock[3] = min(clock[3], time)
        clock[4] = max(clock[4], time)
        index: Any = max(time - clock[0], 0) // clock[1]
        while index >= BINS:
            for old in range(BINS):
                for which in range(_CLASSES):
                    packets, octets = bins[which, old, 0], bins[which, old, 1]
                    bins[which, old, 0] = 0
                    bins[which, old, 1] = 0
                    bins[which, old // FOLD, 0] += packets
                    bins[which, old // FOLD, 1] += octets
            clock[1] *= FOLD
            clock[2] //= FOLD
            index //= FOLD
        clock[2] = max(clock[2], index)
        bins[kind, index, 0] += 1
        bins[kind, index, 1] += length
        totals[kind, 0] += 1
        totals[kind, 1] += length
        lengths[length] += 1
        protocols[ip_protocol[row]] += 1
        counts[verdict] += 1
        counts[8 + ((word >> _ERROR) & np.uint32(31))] += 1
        counts[40 + ((word >> _PORT) & three)] += 1
        counts[44 + ((word >> _VERSION) & three)] += 1
        counts[48 + ((word >> _FRAGMENT) & three)] += 1
        counts[52 + ((word >> _TRANSPORT) & three)] += 1
        counts[56 + vlans] += 1
        counts[60 + ((word >> _NETWORK) & one)] += 1
        counts[62 + ((word >> _MPLS) & one)] += 1
        counts[64 + ((word >> _TRUNCATED) & one)] += 1


class TrafficSummary:
    """Counts of packets and wire bytes: over time, by protocol class, verdict, size.  Of bounded size."""

    def __init__(self) -> None:
        self._bins = np.zeros((_CLASSES, BINS, 2), np.int64)
        self._totals = np.zeros((_CLASSES, 2), np.int64)
        self._lengths = np.zeros(65536, np.int64)
        self._protocols = np.zeros(256, np.int64)
        self._counts = np.zeros(66, np.int64)
        self._clock = np.zeros(6, np.int64)
        self._clock[1] = FIRST_BIN_NS

    def update(self, descriptors: npt.NDArray[Any], data: U8) -> None:
        """Count polled descriptors; ``data`` is the data ring."""
        _update(
            descriptors["timestamp"], descriptors["wire_length"], descriptors["offset"], descriptors["status"],
            descriptors["protocol"], frozen(data), self._bins, self._totals, self._lengths, self._protocols,
            self._counts, self._clock,
        )  # fmt: skip

    @property
    def packets(self) -> int:
        return int(self._clock[5])

    @property
    def bytes(self) -> int:
        """Bytes on the wire."""
        return int(self._totals[:, 1].sum())

    def series(self, most: int = 240) -> dict[str, Any]:
        """Packets and wire bytes over time in at most ``most`` bins of 1, 2 or 5 times a power of ten ns.

        ``{"start_ns", "bin_ns", "packets": [...], "bytes": [...], "protocols": {name: {"packets", "bytes"}}}``, with
        the protocols that occur.
        """
        used, width = (int(self._clock[2]) + 1, int(self._clock[1])) if self.packets else (0, FIRST_BIN_NS)
        factor = next(step * 10**power for power in range(5) for step in (1, 2, 5) if used <= most * step * 10**power)
        count = -(-used // factor)
        padded = np.zeros((_CLASSES, count * factor, 2), np.int64)
        padded[:, :used] = self._bins[:, :used]
        bins = padded.reshape(_CLASSES, count, factor, 2).sum(axis=2)
        total = bins.sum(axis=0)
        return {
            "start_ns": int(self._clock[0]),
            "bin_ns": width * factor,
            "packets": total[:, 0].tolist(),
            "bytes": total[:, 1].tolist(),
            "protocols": {
                kind.name: {"packets": bins[kind, :, 0].tolist(), "bytes": bins[kind, :, 1].tolist()}
                for kind in Protocol
                if self._totals[kind, 0]
            },
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; names as in the ABI, lengths in bytes, times in ns."""
        edges = (-1, *SIZE_CLASSES)
        cumulated = np.concatenate([[0], np.cumsum(self._lengths)])
        sizes = [
            {
                "from_bytes": low + 1,
                "to_bytes": high,
                "packets": int(cumulated[high + 1] - cumulated[low + 1]),
            }
            for low, high in pairwise(edges)
        ]
        return {
            "packets": self.packets,
            "bytes": self.bytes,
            "first_ns": int(self._clock[3]),
            "last_ns": int(self._clock[4]),
            "protocols": {
                kind.name: {"packets": int(self._totals[kind, 0]), "bytes": int(self._totals[kind, 1])}
                for kind in Protocol
            },
            "ip_protocols": {str(n): int(self._protocols[n]) for n in np.flatnonzero(self._protocols)},
            "verdicts": {kind.name: self._count("verdict", kind) for kind in Verdict},
            "parse_errors": {kind.name: self._count("parse_error", kind) for kind in ParseError if kind},
            "fragments": {kind.name: self._count("fragment", kind) for kind in Fragment},
            "transport_checksums": {kind.name: self._count("transport_checksum", kind) for kind in Checksum},
            "network_checksum_bad": self._count("network_checksum_bad", 1),
            "ports": {str(n): self._count("port", n) for n in range(4) if self._count("port", n)},
            "ip_versions": {name: self._count("ip_version", n) for n, name in enumerate(("none", "IPv4", "IPv6"))},
            "vlan_tags": {str(n): self._count("vlan_count", n) for n in range(3)},
            "mpls": self._count("mpls", 1),
            "truncated": self._count("truncated", 1),
            "sizes": sizes,
            "series": self.series(),
        }

    def _count(self, table: str, value: int) -> int:
        begin, size = _TABLES[table]
        return int(self._counts[begin + value]) if value < size else 0

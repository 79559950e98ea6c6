"""Descriptors as eight 64-bit words, and integers in network order: how compiled code reads the ring.

Everything is ``int64``: numba turns ``uint64`` mixed with ``int64`` into floating point.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.descriptor import DESCRIPTOR, PLAIN_TAG_WORDS
from sentinic.monitor.jit import I64, U8, frozen, int64, jit

WORDS = DESCRIPTOR.size // 8


def _place(name: str, word: int, shift: int, size: int, count: int = 1) -> None:
    """Guards the constants of compiled code against a change of the ABI."""
    member = DESCRIPTOR.member(name)
    if (member.offset, member.size, member.count) != (8 * word + shift // 8, size, count):
        raise AssertionError(f"descriptor member {name!r} has moved: sentinic.monitor.words must follow")


TIME, SOURCE, DESTINATION = 0, 1, 3  #: words; the addresses take two each
PORTS = 5  #: source port, destination port, offset
HASHED = 6  #: flow hash, wire length, captured length
LAST = 7  #: IP length, protocol, TCP flags, status
_place("timestamp", TIME, 0, 8)
_place("source", SOURCE, 0, 1, 16)
_place("destination", DESTINATION, 0, 1, 16)
_place("source_port", PORTS, 0, 2)
_place("destination_port", PORTS, 16, 2)
_place("offset", PORTS, 32, 4)
_place("wire_length", HASHED, 32, 2)
_place("captured_length", HASHED, 48, 2)
_place("ip_length", LAST, 0, 2)
_place("protocol", LAST, 16, 1)
_place("tcp_flags", LAST, 24, 1)
_place("status", LAST, 32, 4)


def _shift(name: str) -> int:
    return 32 + DESCRIPTOR.bit("status", name).lsb


IP_VERSION = _shift("ip_version")
FRAGMENT = _shift("fragment")
NETWORK_BAD = _shift("network_checksum_bad")
TRANSPORT = _shift("transport_checksum")
PARSE_ERROR = _shift("parse_error")
VLANS = _shift("vlan_count")
KIND = _shift("kind")
TCP_TLV = _shift("tcp")
TAG_WORDS = _shift("tag_words")
PLAIN = _shift("plain")
DATA_OFFSET, WINDOW_ZERO = (TAG_WORDS + bits.lsb for bits in PLAIN_TAG_WORDS)


def descriptor_words(descriptors: npt.NDArray[Any]) -> I64:
    """``int64[n, 8]`` over descriptors, read-only; copies only where they are not contiguous."""
    words: I64 = np.ascontiguousarray(descriptors).view(np.int64).reshape(-1, WORDS)
    return frozen(words)


@jit
def be16(data: U8, at: int) -> int:
    """A 16-bit number in network order."""
    return int64(data[at]) << 8 | int64(data[at + 1])


@jit
def be32(data: U8, at: int) -> int:
    """A 32-bit number in network order."""
    return be16(data, at) << 16 | be16(data, at + 2)


@jit
def le64(data: U8, at: int) -> int:
    """Eight bytes as they lie in memory: halves of addresses, compared and stored only."""
    value = int64(0)
    for index in range(8):
        value |= int64(data[at + index]) << (8 * index)
    return value


@jit
def mix(value: int, word: int) -> int:
    """One step of a hash over words (multiplicative, with the high half folded in)."""
    value = (value ^ word) * int64(-7046029254386353131)
    return value ^ (value >> 32 & 0xFFFFFFFF)

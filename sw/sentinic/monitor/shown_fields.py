"""What packets show to statistics rules, from ring records: the card's fields, as seven 64-bit words a packet.

The words hold the fields at the places that :mod:`sentinic.abi.statistics` gives them, the lowest bits first, as the
card's own rules see them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.descriptor import DESCRIPTOR, HEADROOM
from sentinic.abi.statistics import FIELD_BITS, field
from sentinic.abi.tag import HEADERS, HEADERS_FROM_END
from sentinic.abi.verdicts import Fragment
from sentinic.monitor import words
from sentinic.monitor.jit import I64, U8, frozen, int64, jit
from sentinic.monitor.words import be16, be32

WORDS = 7
#: Beside the words of a packet: when it came, how long it was on the wire, what it adds to a history.
TIME, LENGTH, EVENTS = 0, 1, 2
_FACTS = 3
#: Bits of ``EVENTS``, in the order in which they are noted.
SYN, HANDSHAKE, FIN, RST, DATA, ACK = range(6)

#: (word, shift) of each field; compiled code below relies on what stands here.
_PLACES = {
    "in_port": (0, 0), "ip_version": (0, 2), "is_fragment": (0, 4), "vlan_present": (0, 5), "verdict": (0, 6),
    "protocol_class": (0, 9), "ip_dscp": (0, 14), "vlan_vid": (0, 20), "ip_proto": (0, 32), "tcp_flags": (0, 40),
    "eth_type": (0, 48), "source_port": (1, 0), "destination_port": (1, 16), "eth_src": (1, 32), "eth_dst": (2, 16),
    "source": (3, 0), "destination": (5, 0),
}  # fmt: skip
if FIELD_BITS != 64 * WORDS or any(divmod(field(name).lsb, 64) != place for name, place in _PLACES.items()):
    raise AssertionError("the fields of statistics have moved: sentinic.monitor.shown_fields must follow")

_CLASS, _VERDICT, _NETWORK, _PAYLOAD_LENGTH = (
    HEADERS.record.member(name).offset - HEADERS_FROM_END
    for name in ("protocol_class", "verdict", "network_offset", "payload_length")
)
_PORT = 32 + DESCRIPTOR.bit("status", "port").lsb
_TAG = 32 + DESCRIPTOR.bit("status", "tag_words").lsb
_WHOLE = int(Fragment.WHOLE)
_ADDRESSES = 12
_FIRST_ETHERTYPE = 0x0600


@jit
def _fill(batch: I64, data: U8, shown: I64, facts: I64) -> None:
    for row in range(batch.shape[0]):
        last = batch[row, words.LAST]
        version = last >> words.IP_VERSION & 3
        vlans = last >> words.VLANS & 3
        ports = batch[row, words.PORTS]
        slot = ports >> 32 & 0xFFFFFFFF
        frame = slot + HEADROOM
        end = frame + _ADDRESSES + 4 * vlans  # of the tag, where the original EtherType stands
        captured_end = frame + (batch[row, words.HASHED] >> 48 & 0xFFFF)
        first = frame - 4 * (last >> _TAG & 0xFF)
        verdict = int64(data[end + _VERDICT])
        flags = last >> 24 & 0xFF

        kind = be16(data, end)
        # LLC and SNAP of an Ethernet type (RFC 1042).
        snap = kind < _FIRST_ETHERTYPE and end + 10 <= captured_end
        if snap and be32(data, end + 2) == 0xAAAA0300 and be16(data, end + 6) == 0:
            kind = be16(data, end + 8)
        service = int64(0)
        if version:
            at = frame + int64(data[end + _NETWORK])
            service = int64(data[at + 1]) >> 2 if version == 1 else be16(data, at) >> 6 & 0x3F
        vlan = be16(data, first + _ADDRESSES + 2) & 0xFFF if vlans else int64(0)

        shown[row, 0] = (
            (last >> _PORT & 3)
            | version << 2
            | int64((last >> words.FRAGMENT & 3) != _WHOLE) << 4
            | int64(vlans != 0) << 5
            | verdict << 6
            | int64(data[end + _CLASS]) << 9
            | service << 14
            | vlan << 20
            | (last >> 16 & 0xFF) << 32
            | flags << 40
            | kind << 48
        )
        source = be16(data, first + 6) << 32 | be32(data, first + 8)
        destination = be16(data, first) << 32 | be32(data, first + 2)
        shown[row, 1] = (ports & 0xFFFFFFFF) | (source & 0xFFFFFFFF) << 32
        shown[row, 2] = source >> 32 | destination << 16
        shown[row, 3] = _turned(batch[row, words.SOURCE + 1])
        shown[row, 4] = _turned(batch[row, words.SOURCE])
        shown[row, 5] = _turned(batch[row, words.DESTINATION + 1])
        shown[row, 6] = _turned(batch[row, words.DESTINATION])

        facts[row, TIME] = batch[row, words.TIME]
        facts[row, LENGTH] = batch[row, words.HASHED] >> 32 & 0xFFFF
        events = int64(0)
        payload = be16(data, end + _PAYLOAD_LENGTH) != 0
        if payload:
            events |= 1 << DATA
        if last >> words.TCP_TLV & 1:
            fin, syn, rst, ack = flags & 1, flags >> 1 & 1, flags >> 2 & 1, flags >> 4 & 1
            if syn:
                events |= 1 << (HANDSHAKE if ack else SYN)
            if fin:
                events |= 1 << FIN
            if rst:
                events |= 1 << RST
            if ack and not (syn or fin or rst or payload):
                events |= 1 << ACK
        facts[row, EVENTS] = events


@jit
def _turned(word: int) -> int:
    """The eight bytes in the other order."""
    value = int64(0)
    for _ in range(8):
        value = value << 8 | (word & 0xFF)
        word >>= 8
    return value


def shown_fields(descriptors: npt.NDArray[Any], data: npt.NDArray[np.uint8]) -> tuple[I64, I64]:
    """``int64[n, 7]``, the fields of each packet, and ``int64[n, 3]``, its time (ns), wire length and events.

    ``descriptors`` must be of packets; ``data`` is the data ring.  Raises ValueError when a packet has no slot, or
    one that lies beyond the data ring.
    """
    shown: I64 = np.empty((len(descriptors), WORDS), np.int64)
    facts: I64 = np.empty((len(descriptors), _FACTS), np.int64)
    if not len(descriptors):
        return shown, facts
    if not descriptors["captured_length"].all():
        raise ValueError("every packet must have a slot: a descriptor alone does not show all fields")
    last = int((descriptors["offset"].astype(np.int64) + descriptors["captured_length"]).max()) + HEADROOM
    if last > len(data):
        raise ValueError(f"slots must lie within the data ring of {len(data)} bytes, not end at {last}")
    _fill(words.descriptor_words(descriptors), frozen(data), shown, facts)
    return shown, facts


def turned_round(shown: I64) -> I64:
    """The fields as the packets' other ends would show them."""
    one, two = shown[:, 1], shown[:, 2]
    low, high = np.int64(0xFFFF), np.int64(0xFFFFFFFF)
    source = one >> 32 & high | (two & low) << 32
    destination = two >> 16 & np.int64((1 << 48) - 1)
    other = np.empty_like(shown)
    other[:, 0] = shown[:, 0]
    other[:, 1] = (one & low) << 16 | one >> 16 & low | destination << 32
    other[:, 2] = destination >> 32 | source << 16
    other[:, 3:5], other[:, 5:7] = shown[:, 5:7], shown[:, 3:5]
    return other

"""Tags of many packets at once, straight from the data ring."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.descriptor import DESCRIPTOR, HEADROOM
from sentinic.abi.tag import HEADERS, HEADERS_FROM_END, LOSS, PACKET, PACKET_FROM_END, TCP, TCP_FROM_END, Tlv
from sentinic.driver.records import record_dtype, status_bits

_ADDRESSES = 12


def tag_end(descriptors: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Where each packet's tag ends in the data ring, in bytes."""
    vlans = status_bits(descriptors["status"], "vlan_count").astype(np.int64)
    end: npt.NDArray[np.int64] = descriptors["offset"].astype(np.int64) + HEADROOM + _ADDRESSES + 4 * vlans
    return end


def frame_bytes(descriptor: np.void, data: npt.NDArray[np.uint8]) -> bytes:
    """The frame of one descriptor as it was on the wire, without the tag, as far as it was captured; a copy.

    Empty when the descriptor has no slot.
    """
    length = int(descriptor["captured_length"])
    if not length:
        return b""
    frame = int(descriptor["offset"]) + HEADROOM
    begin = frame - 4 * int(status_bits(descriptor["status"], "tag_words"))
    before = min(_ADDRESSES + 4 * int(status_bits(descriptor["status"], "vlan_count")), length)
    return data[begin : begin + before].tobytes() + data[frame + before : frame + length].tobytes()


def tlv_rows(descriptors: npt.NDArray[Any], data: npt.NDArray[np.uint8], tlv: Tlv) -> npt.NDArray[Any]:
    """A TLV of every packet, copied: a structured array with the members of ``tlv.record``.

    Every packet must have the TLV: choose them by :func:`has_tlv` first.
    """
    if tlv is PACKET or tlv is HEADERS:
        back = np.full(len(descriptors), PACKET_FROM_END if tlv is PACKET else HEADERS_FROM_END)
    else:
        back = np.where(has_tlv(descriptors, TCP), TCP_FROM_END, HEADERS_FROM_END)
        if tlv is LOSS:
            back = back + LOSS.record.size
    at = tag_end(descriptors) - back
    octets = data[at[:, None] + np.arange(tlv.record.size)]
    rows: npt.NDArray[Any] = np.ascontiguousarray(octets).view(record_dtype(tlv.record))[:, 0]
    return rows


def has_tlv(descriptors: npt.NDArray[Any], tlv: Tlv) -> npt.NDArray[np.bool_]:
    """Which packets' tags hold the TLV; a descriptor without a slot has no tag."""
    found: npt.NDArray[np.bool_] = descriptors["captured_length"] != 0
    if tlv.optional:
        found &= (descriptors["status"] & np.uint32(DESCRIPTOR.bit("status", tlv.name).mask)) != 0
    return found


def losses(descriptors: npt.NDArray[Any], data: npt.NDArray[np.uint8]) -> int:
    """Packets that the ring lost before these ones, as the loss TLVs in their tags tell, or descriptors without."""
    lost = descriptors[status_bits(descriptors["status"], "loss") != 0]
    if not len(lost):
        return 0
    tagged = has_tlv(lost, LOSS)
    told = int(lost["offset"][~tagged].sum(dtype=np.uint64))
    return told + int(tlv_rows(lost[tagged], data, LOSS)["lost"].sum(dtype=np.uint64))

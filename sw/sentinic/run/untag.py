"""Original frames out of a data ring."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.descriptor import DESCRIPTOR, HEADROOM
from sentinic.capture.jit import I64, U8, U32, frozen, jit

_HEADROOM = HEADROOM
_VLAN_LSB = DESCRIPTOR.bit("status", "vlan_count").lsb
_TAG_LSB = DESCRIPTOR.bit("status", "tag_words").lsb


@jit
def _untag(slots: U32, lengths: npt.NDArray[np.uint16], status: U32, data: U8, out: U8, starts: I64) -> None:
    at: Any = 0
    for row in range(len(slots)):
        starts[row] = at
        frame = np.int64(slots[row]) + _HEADROOM
        length = np.int64(lengths[row])
        tag = 4 * np.int64(status[row] >> np.uint32(_TAG_LSB))
        before = 12 + 4 * np.int64((status[row] >> np.uint32(_VLAN_LSB)) & np.uint32(3))
        before = min(before, length)
        out[at : at + before] = data[frame - tag : frame - tag + before]
        out[at + before : at + length] = data[frame + before : frame + length]
        at += length


class Untagger:
    """Copies frames without their tags into a buffer of its own, which the next call uses again."""

    def __init__(self) -> None:
        self._buffer: U8 = np.empty(0, np.uint8)

    def untag(self, descriptors: npt.NDArray[Any], data: U8) -> tuple[U8, I64]:
        """The bytes of the frames one after the other, and where each begins; they are ``captured_length`` long."""
        lengths = descriptors["captured_length"]
        total = int(lengths.sum(dtype=np.int64))
        if len(self._buffer) < total:
            self._buffer = np.empty(max(total, 2 * len(self._buffer)), np.uint8)
        starts = np.empty(len(descriptors), np.int64)
        _untag(descriptors["offset"], lengths, descriptors["status"], frozen(data), self._buffer, starts)
        return self._buffer[:total], starts


def tagged(descriptors: npt.NDArray[Any]) -> tuple[I64, npt.NDArray[np.uint32]]:
    """Where each tagged frame begins in the data ring, and how many bytes its tag adds: no copy is needed.

    A frame of which no byte was captured lies at the ring's start, and has no tag.
    """
    tag: npt.NDArray[np.uint32] = 4 * (descriptors["status"] >> np.uint32(_TAG_LSB))
    start: I64 = descriptors["offset"].astype(np.int64) + _HEADROOM - tag
    start[descriptors["captured_length"] == 0] = 0
    return start, tag

"""Report frames in a ring: which descriptors stand for them, what they hold, and their items as arrays."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentinic.abi.descriptor import HEADROOM
from sentinic.abi.reports import ITEMS, REPORT, REPORT_HEAD_BYTES
from sentinic.abi.tag import TAG_ETHERTYPE, TAG_HEADER_BYTES
from sentinic.abi.verdicts import Content, Kind
from sentinic.driver.records import record_dtype, status_bits
from sentinic.driver.ring import Bytes, Descriptors
from sentinic.errors import DeviceError

#: dtype of the head of a report, in network order.
REPORT_DTYPE = record_dtype(REPORT.record)
_REPORT_AT = REPORT_HEAD_BYTES - REPORT.record.size
_CONTENT_AT = HEADROOM + _REPORT_AT + REPORT.record.member("content").offset


class Items(NamedTuple):
    """Heads of report frames as ``REPORT_DTYPE``, their items, and where these begin in the data ring; copied."""

    heads: npt.NDArray[np.void]
    items: npt.NDArray[np.void]
    at: npt.NDArray[np.int64]


def are_reports(descriptors: Descriptors) -> npt.NDArray[np.bool_]:
    """Which descriptors stand for report frames, whatever these hold."""
    found: npt.NDArray[np.bool_] = status_bits(descriptors["status"], "kind") == Kind.REPORT
    return found


def hold(descriptors: Descriptors, data: Bytes, content: Content) -> npt.NDArray[np.bool_]:
    """Which descriptors stand for reports of this content; ``data`` is the data ring."""
    found = are_reports(descriptors)
    rows = np.flatnonzero(found)
    found[rows] = data[descriptors["offset"][rows].astype(np.int64) + _CONTENT_AT] == content
    return found


def read_items(descriptors: Descriptors, data: Bytes, content: Content) -> Items:
    """The items of reports, of descriptors that stand for reports of ``content`` and nothing else.

    Raises :class:`DeviceError` when a report is not as the ABI says.
    """
    tlv = ITEMS[content]
    size = tlv.record.size
    frames = descriptors["offset"].astype(np.int64) + HEADROOM
    heads = rows_at(data, frames + _REPORT_AT, REPORT_DTYPE)
    counts = heads["items"].astype(np.int64)
    length = REPORT_HEAD_BYTES + counts * size + 2
    kinds = data[frames + _REPORT_AT - TAG_HEADER_BYTES].astype(np.int64) << 8
    kinds |= data[frames + _REPORT_AT - TAG_HEADER_BYTES + 1]
    bad = np.flatnonzero(
        (kinds != TAG_ETHERTYPE)
        | (heads["type"] != REPORT.type)
        | (heads["content"] != content)
        | (descriptors["captured_length"] != length)
    )
    if len(bad):
        row = int(bad[0])
        raise DeviceError(
            f"a report of {int(counts[row])} {content.name.lower()} must be {int(length[row])} bytes of TLV "
            f"{REPORT.type:#04x}, not {int(descriptors['captured_length'][row])} bytes of TLV "
            f"{int(heads['type'][row]):#04x} with content {int(heads['content'][row])}"
        )
    first = np.repeat(frames + REPORT_HEAD_BYTES, counts)
    within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = first + within * size
    items = rows_at(data, at, record_dtype(tlv.record))
    if np.any(items["type"] != tlv.type):
        wrong = int(items["type"][items["type"] != tlv.type][0])
        raise DeviceError(
            f"each item of a report of {content.name.lower()} must be TLV {tlv.type:#04x}, not {wrong:#04x}"
        )
    return Items(heads, items, at)


def rows_at(data: Bytes, at: npt.NDArray[np.int64], dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Records that begin at bytes ``at`` of the data ring, copied."""
    octets = data[at[:, None] + np.arange(dtype.itemsize)]
    rows: npt.NDArray[np.void] = np.ascontiguousarray(octets).view(dtype)[:, 0]
    return rows

"""Records of attempts that nobody answered, as rows beside those of packets: one a record instead of one a report."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.syn_offload import RECORD
from sentinic.driver.syn_offload import are_records, read_records
from sentinic.monitor import words
from sentinic.monitor.jit import I64, U8, jit
from sentinic.monitor.state import (
    FAULT_NONE,
    P_ACKNOWLEDGMENT,
    P_AT,
    P_DESTINATION_HIGH,
    P_DESTINATION_LOW,
    P_DESTINATION_PORT,
    P_END,
    P_FAULT,
    P_FLAGS,
    P_HAVE,
    P_LENGTH,
    P_MISSING,
    P_ONE_WAY,
    P_PROTOCOL,
    P_SEQUENCE,
    P_SOURCE_HIGH,
    P_SOURCE_LOW,
    P_SOURCE_PORT,
    P_TIME,
    P_TOTAL,
    P_VLANS,
    P_WINDOW,
    TCP,
)
from sentinic.monitor.words import be16, be32

_ORIGIN, _SEQUENCE, _REASON, _AGAIN, _LAST = (
    RECORD.record.member(name).offset for name in ("origin", "sequence", "reason", "retransmissions", "last")
)
_WINDOW_ZERO = RECORD.record.bit("origin", "window_zero").lsb


def rows_of(descriptors: npt.NDArray[Any], data: U8) -> I64:
    """``int64[n, 8]``: the words of each descriptor, but for a report of attempts, in its place, a row a record.

    Such a row is a descriptor's, of kind REPORT: the time is that of the SYN, the offset that of the record.
    """
    rows = words.descriptor_words(descriptors)
    reports = are_records(descriptors, data)
    if not reports.any():
        return rows
    found = read_records(descriptors[reports], data)
    times = np.ones(len(rows), np.int64)
    times[reports] = found.heads["items"]
    rows = np.repeat(rows, times, axis=0)
    at = np.repeat(reports, times)
    items = found.items
    new = np.zeros((len(items), words.WORDS), np.uint64)
    new[:, words.TIME] = items["first"]
    new[:, words.SOURCE : words.SOURCE + 2] = np.ascontiguousarray(items["source"]).view(np.uint64)
    new[:, words.DESTINATION : words.DESTINATION + 2] = np.ascontiguousarray(items["destination"]).view(np.uint64)
    new[:, words.PORTS] = items["source_port"].astype(np.uint64)
    new[:, words.PORTS] |= items["destination_port"].astype(np.uint64) << np.uint64(16)
    new[:, words.PORTS] |= found.at.astype(np.uint64) << np.uint64(32)
    new[:, words.LAST] = items["ip_length"].astype(np.uint64) | np.uint64(TCP << 16)
    new[:, words.LAST] |= items["tcp_flags"].astype(np.uint64) << np.uint64(24)
    new[:, words.LAST] |= rows[at, words.LAST].view(np.uint64) & np.uint64(3 << words.KIND)
    rows[at] = new.view(np.int64)
    return rows


@jit
def open_record(row: I64, data: U8, packet: I64) -> tuple[int, int, int]:
    """Set the cells of the packet at hand from a record: its SYN.  Reason, how many more came, and when the last."""
    at = row[words.PORTS] >> 32 & 0xFFFFFFFF
    last = row[words.LAST]
    packet[P_TIME] = row[words.TIME]
    packet[P_SOURCE_HIGH], packet[P_SOURCE_LOW] = row[words.SOURCE], row[words.SOURCE + 1]
    packet[P_DESTINATION_HIGH], packet[P_DESTINATION_LOW] = row[words.DESTINATION], row[words.DESTINATION + 1]
    packet[P_SOURCE_PORT], packet[P_DESTINATION_PORT] = row[words.PORTS] & 0xFFFF, row[words.PORTS] >> 16 & 0xFFFF
    packet[P_PROTOCOL] = TCP
    packet[P_TOTAL] = last & 0xFFFF
    packet[P_FLAGS] = last >> 24 & 0xFF
    packet[P_SEQUENCE] = be32(data, at + _SEQUENCE)
    packet[P_WINDOW] = 1 - (data[at + _ORIGIN] >> _WINDOW_ZERO & 1)  # only whether it was 0 matters
    packet[P_FAULT] = FAULT_NONE
    packet[P_ONE_WAY] = packet[P_VLANS] = packet[P_MISSING] = packet[P_ACKNOWLEDGMENT] = 0
    packet[P_LENGTH] = packet[P_HAVE] = packet[P_AT] = packet[P_END] = 0
    until = be32(data, at + _LAST) << 32 | be32(data, at + _LAST + 4)
    return int(data[at + _REASON]), be16(data, at + _AGAIN), until

"""Flow records against a plain dictionary."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinic.abi.descriptor import DESCRIPTOR
from sentinic.driver.records import DESCRIPTOR_DTYPE
from sentinic.monitor.flows import FLOW_DTYPE, FlowMeter

ADDRESSES = [
    bytes(10) + b"\xff\xff\x0a\0\0\1",
    bytes(10) + b"\xff\xff\x0a\0\0\2",
    bytes.fromhex("2001" + "0" * 27 + "1"),
]
KIND, VERSION = DESCRIPTOR.bit("status", "kind").lsb, DESCRIPTOR.bit("status", "ip_version").lsb

packet = st.tuples(
    st.sampled_from(ADDRESSES),
    st.sampled_from(ADDRESSES),
    st.sampled_from([1, 2, 65535]),
    st.sampled_from([1, 2, 65535]),
    st.sampled_from([6, 17]),
    st.integers(0, 2),  # IP version
    st.integers(0, 3),  # kind
    st.integers(0, 2**40),  # time
    st.integers(0, 9600),
    st.integers(0, 9600),
    st.integers(0, 255),
)


def descriptors(packets: list[Any]) -> npt.NDArray[Any]:
    out: npt.NDArray[Any] = np.zeros(len(packets), DESCRIPTOR_DTYPE)
    for row, values in zip(out, packets, strict=True):
        source, destination, sport, dport, protocol, version, kind, time, wire, size, flags = values
        row["source"], row["destination"] = np.frombuffer(source, "u1"), np.frombuffer(destination, "u1")
        row["source_port"], row["destination_port"], row["protocol"] = sport, dport, protocol
        row["status"] = kind << KIND | version << VERSION | 1
        row["timestamp"], row["wire_length"], row["ip_length"], row["tcp_flags"] = time, wire, size, flags
    return out


def model(packets: list[Any], both: bool) -> tuple[dict[Any, list[int]], int]:
    """Flows by key: packets, bytes, IP bytes, flags of each direction, first, last."""
    flows: dict[Any, list[int]] = {}
    other = 0
    for source, destination, sport, dport, protocol, version, kind, time, wire, size, flags in packets:
        if not version or kind not in (0, 2):
            other += 1
            continue
        key = (source, destination, sport, dport, protocol, version)
        mirror = (destination, source, dport, sport, protocol, version)
        at = 0
        if both and key not in flows and mirror in flows:
            key, at = mirror, 4
        flow = flows.setdefault(key, [0] * 8 + [time, time])
        flow[at] += 1
        flow[at + 1] += wire
        flow[at + 2] += size
        flow[at + 3] |= flags
        flow[8], flow[9] = min(flow[8], time), max(flow[9], time)
    return flows, other


def as_model(records: npt.NDArray[Any]) -> dict[Any, list[int]]:
    return {
        (
            row["source"].tobytes(), row["destination"].tobytes(), row["source_port"], row["destination_port"],
            row["protocol"], row["ip_version"],
        ): [
            row["packets"], row["bytes"], row["ip_bytes"], row["tcp_flags"], row["reverse_packets"],
            row["reverse_bytes"], row["reverse_ip_bytes"], row["reverse_tcp_flags"], row["first"], row["last"],
        ]
        for row in records
    }  # fmt: skip


@given(st.lists(packet, max_size=60), st.booleans(), st.integers(1, 60))
def test_flows_are_what_a_dictionary_says(packets: list[Any], both: bool, size: int) -> None:
    meter = FlowMeter(bidirectional=both)
    rows = descriptors(packets)
    for start in range(0, len(rows), size):
        meter.update(rows[start : start + size])
    flows, other = model(packets, both)
    assert as_model(meter.records()) == flows
    assert len(meter) == len(flows)
    assert meter.not_ip == other


@pytest.mark.parametrize("both", [False, True])
def test_the_table_grows_without_losing_a_packet(both: bool) -> None:
    count, flows = 300_000, 100_000
    rng = np.random.default_rng(7)
    rows: npt.NDArray[Any] = np.zeros(count, DESCRIPTOR_DTYPE)
    numbers = rng.integers(0, flows, count).astype("<u4")
    rows["source"][:, 12:] = numbers.view("u1").reshape(-1, 4)
    rows["status"] = 1 << VERSION
    rows["wire_length"] = 64
    meter = FlowMeter(bidirectional=both, capacity=1)
    meter.update(rows)
    records = meter.records()
    got = records["source"][:, 12:].copy().view("<u4")[:, 0]
    np.testing.assert_array_equal(np.sort(got), np.unique(numbers))
    np.testing.assert_array_equal(records["packets"], np.bincount(numbers)[got])
    assert records["bytes"].sum() == 64 * count


def test_flows_come_in_the_order_of_their_first_packets_and_are_a_copy() -> None:
    values = (ADDRESSES[0], ADDRESSES[1], 5, 6, 17, 1, 0, 10, 60, 46, 0)
    meter = FlowMeter()
    meter.update(descriptors([values, (*values[:2], 4, *values[3:]), values]))
    records = meter.records()
    assert records.dtype == FLOW_DTYPE
    assert records["source_port"].tolist() == [5, 4]
    records["packets"] = 0
    assert meter.records()["packets"].tolist() == [2, 1]

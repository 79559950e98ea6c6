"""Records of attempts that nobody answered give the connections that their SYNs would have given."""

import struct

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from sentinic.abi.descriptor import DESCRIPTOR
from sentinic.abi.syn_offload import Reason
from sentinic.abi.verdicts import Kind
from sentinic.driver.records import DESCRIPTOR_DTYPE
from sentinic.monitor.connections import ConnectionTracker
from tests.reference.card import Frame, records_of_capture
from tests.sw.monitor.packets import CLIENT, SERVER, frames, handshake, tcp, udp
from tests.vectors import load

SECOND = 10**9
SLOT = 2048


def record(
    first: int, last: int, again: int, *, reason: int = Reason.EXPIRED, seq: int = 100, sport: int = 40000,
    zero: bool = False, length: int = 40,
) -> bytes:  # fmt: skip
    """The TLV of an attempt of ``tcp(True, "S", seq)``, packed by hand; times in ns."""
    head = struct.pack(
        ">BBBBBBHQQIHH", 0x12, 16, reason, 1 << 2 | zero << 4, 0x02, length, again, first, last, seq, sport, 9999
    )
    mapped = bytes(10) + b"\xff\xff"
    ends = (bytes(map(int, end.split("."))) for end in (CLIENT, SERVER))
    return head + b"".join(mapped + end for end in ends)


def reports(*contents: list[bytes]) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint8]]:
    """Report frames as they lie in a ring, one for each list of records."""
    descriptors = np.zeros(len(contents), DESCRIPTOR_DTYPE)
    data = np.zeros(SLOT * len(contents), np.uint8)
    for n, records in enumerate(contents):
        body = b"".join(records)
        head = bytes(12) + struct.pack(">HBB", 0x88B5, 1, 13 + len(body) // 4)
        frame = head + struct.pack(">BBBBIQ", 0x11, 12, len(records), 1, n, 0) + bytes(32) + body + b"\0\0"
        data[SLOT * n + 64 : SLOT * n + 64 + len(frame)] = np.frombuffer(frame, np.uint8)
        descriptors[n]["offset"], descriptors[n]["captured_length"] = SLOT * n, len(frame)
        descriptors[n]["status"] = int(Kind.REPORT) << DESCRIPTOR.bit("status", "kind").lsb
    return descriptors, data


def told(tracker: ConnectionTracker) -> list[tuple[object, ...]]:
    rows = tracker.finish()
    names = [name for name in rows.dtype.names or () if name != "serial"]
    return sorted(tuple(row[name].tobytes() for name in names) for row in rows)


def syn(seq: int, sport: int, zero: bool) -> Packet:
    packet = tcp(True, "S", seq, sport=sport)
    if zero:
        packet[TCP].window = 0
    return packet


ATTEMPTS = st.lists(
    st.tuples(
        st.integers(1, 10**12),  # first, ns
        st.integers(0, 4_999_999_999),  # last, after that
        st.integers(0, 4),
        st.booleans(),
        st.integers(0, 2**32 - 1),
    ),
    max_size=40,
)


def followed(packets: list[tuple[int, Packet]]) -> ConnectionTracker:
    """Packets at wire times in ns, each delivered as it comes."""
    tracker = ConnectionTracker()
    ether = Ether(src="02::1", dst="02::2")
    ordered = sorted(packets, key=lambda item: item[0])
    tracker.update(*records_of_capture(Frame(bytes(ether / packet), time) for time, packet in ordered))
    return tracker


@settings(max_examples=40, deadline=None)
@given(ATTEMPTS, st.integers(1, 14))
def test_records_give_the_rows_of_their_syns(attempts: list[tuple[int, int, int, bool, int]], size: int) -> None:
    records: list[bytes] = []
    packets: list[tuple[int, Packet]] = []
    for n, (first, after, again, zero, seq) in enumerate(attempts):
        last = first + (after if again else 0)
        records.append(record(first, last, again, seq=seq, sport=20000 + n, zero=zero))
        packets += [(time, syn(seq, 20000 + n, zero)) for time in [first] + [last] * again]
    tracker = ConnectionTracker()
    tracker.update(*reports(*(records[n : n + size] for n in range(0, len(records), size))))
    assert tracker.live == 0, "it keeps no state for them"
    assert told(tracker) == told(followed(packets))


def test_an_attempt_that_was_evicted_may_still_be_answered() -> None:
    start = 1_700_000_000 * SECOND
    tracker = ConnectionTracker()
    tracker.update(*reports([record(start, start, 0, reason=Reason.EVICTED)]))
    assert tracker.live == 1
    tracker.update(*records_of_capture(frames(handshake()[1:])))
    assert told(tracker) == told(followed([(start + round(at * SECOND), packet) for at, packet in handshake()]))


def test_a_record_that_comes_behind_a_younger_connection_is_a_row_of_its_own() -> None:
    start = 1_700_000_000 * SECOND
    tracker = ConnectionTracker()
    tracker.update(*records_of_capture(frames(handshake(20))))
    tracker.update(*reports([record(start + SECOND, start + 2 * SECOND, 1)]))
    assert tracker.live == 1
    alone = ConnectionTracker()
    alone.update(*reports([record(start + SECOND, start + 2 * SECOND, 1)]))
    younger = ConnectionTracker()
    younger.update(*records_of_capture(frames(handshake(20))))
    assert told(tracker) == sorted(told(alone) + told(younger))


def test_many_attempts_make_the_tables_grow() -> None:
    tracker = ConnectionTracker(room=64)
    kinds = (Reason.EXPIRED, Reason.EVICTED)
    records = [record(n, n, 0, sport=n, reason=kinds[n % 2]) for n in range(1, 2001)]
    tracker.update(*reports(*(records[n : n + 14] for n in range(0, len(records), 14))))
    assert tracker.live == 1000
    assert len(tracker.finish()) == 2000


def test_the_hand_written_report_gives_its_connection() -> None:
    frame = load("reports")["one_attempt"]
    descriptors, data = reports([record(0, 0, 0)])
    data[64 : 64 + len(frame)] = np.frombuffer(frame, np.uint8)
    descriptors["captured_length"] = len(frame)
    tracker = ConnectionTracker()
    tracker.update(descriptors, data)
    (row,) = tracker.finish()
    assert (row["ts"], row["duration"]) == (1_699_999_995 * SECOND, 3 * SECOND)
    assert (row["orig_pkts"], row["orig_ip_bytes"], row["resp_pkts"]) == (3, 180, 0)
    assert (row["orig_p"], row["resp_p"]) == (49152, 443)


def test_with_vlan_ids_in_the_keys_records_are_refused() -> None:
    with pytest.raises(ValueError, match="records of attempts do not say VLAN ids"):
        ConnectionTracker(vlan_key=True).update(*reports([record(1, 1, 0)]))


@pytest.mark.parametrize(("held", "packets", "kept"), [(0, 1000, False), (5, 60_000, True), (5, 80_000, False)])
def test_an_attempt_that_is_over_is_kept_until_no_syn_from_before_can_come(held: int, packets: int, kept: bool) -> None:
    tracker = ConnectionTracker(held=held * SECOND)
    tracker.update(*records_of_capture(frames([(0, tcp(True, "SP", 100))])))
    others, data = records_of_capture(frames((7 + n / 1000, udp(True)) for n in range(1000)))
    for first in range(0, packets, 1000):
        batch = others.copy()
        batch["timestamp"] += first // 1000 * SECOND
        tracker.update(batch, data)
    assert tracker.live == 1 + kept

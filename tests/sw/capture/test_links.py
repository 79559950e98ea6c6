"""Frames that are not Ethernet: a synthetic header in, the original one out."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Ether, Loopback
from scapy.layers.ppp import HDLC, PPP
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapNgReader

from sentinic.capture import SUPPORTED, CaptureReader, CaptureWriter, LinkTable
from tests.sw.capture.builders import (
    FRAME,
    Record,
    Seen,
    enhanced,
    interface,
    needs_tshark,
    pcap,
    read,
    rows,
    section,
    tshark,
)

V4 = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(b"payload"))
V6 = bytes(IPv6(src="fe80::1", dst="fe80::2") / UDP(sport=1, dport=2) / Raw(b"payload"))
OTHER_LINKS = sorted(set(SUPPORTED) - {1})
UNKNOWN = 0x88B6

CASES = [
    (0, "02000000", V4, 0x0800),
    (0, "00000002", V4, 0x0800),
    (0, "1e000000", V6, 0x86DD),
    (0, "0000001c", V6, 0x86DD),
    (0, "18000000", V6, 0x86DD),
    (0, "07000000", b"other", UNKNOWN),
    (108, "00000002", V4, 0x0800),
    (108, "02000000", V4, UNKNOWN),
    (12, "", V4, 0x0800),
    (14, "", V6, 0x86DD),
    (101, "", V4, 0x0800),
    (101, "", V6, 0x86DD),
    (101, "", b"\x00", UNKNOWN),
    (101, "", b"", UNKNOWN),
    (228, "", V4, 0x0800),
    (229, "", V6, 0x86DD),
    (113, "0000 0001 0006 0011223344550000 0800", V4, 0x0800),
    (113, "0004 0304 0006 0000000000000000 86dd", V6, 0x86DD),
    (113, "0000 0001 0006 0011223344550000 8100", b"\x00\x05\x08\x00" + V4, 0x8100),
    (113, "0000 0001 0006 0011223344550000 0004", b"\x42\x42\x03" + bytes(35), 38),
    (113, "0000 0338 0000 0000000000000000 0800", bytes(20), UNKNOWN),  # netlink: a family, not an EtherType
    (276, "0800 0000 00000003 0001 00 06 0011223344550000", V4, 0x0800),
    (276, "86dd 0000 00000003 0001 04 06 0011223344550000", V6, 0x86DD),
    (9, "0021", V4, 0x0800),
    (9, "21", V4, 0x0800),
    (9, "ff030021", V4, 0x0800),
    (9, "ff0321", V4, 0x0800),
    (9, "0057", V6, 0x86DD),
    (9, "0281", bytes.fromhex("00001140") + V4, 0x8847),
    (9, "ff03c021", b"\x01\x02\x00\x04", UNKNOWN),
    (50, "ff030057", V6, 0x86DD),
    (50, "0f000800", V4, 0x0800),
    (50, "8f002000", b"cdp", 0x2000),
]


def through(tmp_path: Path, content: bytes) -> tuple[LinkTable, list[Seen], list[tuple[int, bytes, int]]]:
    """A capture as the card sees it, and as (link type, bytes, wire length) of what the writer makes of it."""
    source, target = tmp_path / "in", tmp_path / "out.pcapng"
    source.write_bytes(content)
    links = LinkTable()
    seen = []
    with CaptureWriter(target, links=links) as writer:
        for batch in CaptureReader(source, links=links):
            seen += rows(batch)
            writer.write_batch(batch)
    with RawPcapNgReader(str(target)) as back:
        out = [(meta.linktype, data, meta.wirelen) for data, meta in iter(lambda: _next(back), None)]
    return links, seen, out


def _next(reader: RawPcapNgReader) -> tuple[bytes, RawPcapNgReader.PacketMetadata] | None:
    try:
        return reader._read_packet(size=1 << 20)
    except EOFError:
        return None


@pytest.mark.parametrize(("link", "header", "payload", "kind"), CASES)
def test_the_header_becomes_ethernet_and_comes_back(
    tmp_path: Path, link: int, header: str, payload: bytes, kind: int
) -> None:
    frame = bytes.fromhex(header) + payload
    links, seen, out = through(tmp_path, pcap([Record(1, 2, frame, len(frame) + 100)], link=link))
    ((data, time, wire),) = seen
    if kind == 38:  # 802.3: the length on the wire
        kind += 100
    assert data[0] == data[6] == 0x02
    assert data[12:] == struct.pack(">H", kind) + payload
    assert time == 1_000_002_000
    assert wire == 14 + len(payload) + 100
    assert out == [(link, frame, len(frame) + 100)]
    assert links.restore(data, wire) == out[0]
    assert not links.plain


@pytest.mark.parametrize(
    ("link", "packet"),
    [
        (0, Loopback(type=2) / IP() / UDP()),
        (113, CookedLinux(proto=0x800) / IP() / UDP()),
        (276, CookedLinuxV2(proto=0x86DD) / IPv6() / UDP()),
        (9, HDLC() / PPP(proto=0x21) / IP() / UDP()),
        (50, HDLC() / PPP(proto=0x57) / IPv6() / UDP()),
    ],
)
def test_scapy_sees_the_same_network_packet_below_either_header(tmp_path: Path, link: int, packet: Packet) -> None:
    _, seen, _ = through(tmp_path, pcap([Record(0, 0, bytes(packet))], link=link))
    network = IP if IP in packet else IPv6
    assert bytes(Ether(seen[0].data)[network]) == bytes(packet[network])


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([1, *OTHER_LINKS]),
    st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 100)), max_size=20),
)
def test_any_bytes_behind_any_link_type_come_back(
    tmp_path_factory: pytest.TempPathFactory, link: int, frames: list[tuple[bytes, int]]
) -> None:
    records = [Record(0, 0, data, len(data) + more) for data, more in frames]
    _, seen, out = through(tmp_path_factory.mktemp("any"), pcap(records, link=link))
    assert out == [(link, record.data, record.original) for record in records]
    assert link == 1 or all(len(frame.data) >= 14 for frame in seen)


def test_an_ethernet_frame_that_carries_the_magic_is_wrapped_itself(tmp_path: Path) -> None:
    _, (wrapped,), _ = through(tmp_path, pcap([Record(0, 0, b"\x45" + bytes(19))], link=101))
    links, seen, out = through(tmp_path, pcap([Record(0, 0, wrapped.data), Record(0, 0, FRAME)]))
    assert out == [(1, wrapped.data, len(wrapped.data)), (1, FRAME, 60)]
    assert links.header(1) == (1, wrapped.data[:14])
    assert seen[0].data[12:] == wrapped.data[12:]


def test_interfaces_of_different_link_types_are_kept_apart(tmp_path: Path) -> None:
    content = section() + interface(link=101) + interface(link=1) + interface(link=113) + interface(link=0)
    cooked = bytes.fromhex(CASES[16][1]) + V4
    content += enhanced(V4, 1, number=0) + enhanced(FRAME, 2, number=1) + enhanced(cooked, 3, number=2)
    content += enhanced(FRAME, 4, number=1) + enhanced(V6, 5, number=0)
    links, seen, out = through(tmp_path, content)
    assert out == [(101, V4, len(V4)), (1, FRAME, 60), (113, cooked, len(cooked)), (1, FRAME, 60), (101, V6, len(V6))]
    assert seen[1].data == FRAME
    assert [frame.time for frame in seen] == [1000, 2000, 3000, 4000, 5000]
    assert len(links) == 3  # Ethernet, raw, the one cooked header


def test_ten_thousand_different_headers_are_restored(tmp_path: Path) -> None:
    records = [
        Record(0, 0, bytes.fromhex("0000 0001 0006") + struct.pack(">Q", index) + b"\x08\x00" + V4)
        for index in range(10_000)
    ]
    links, _, out = through(tmp_path, pcap(records + records[:10], link=113))
    assert len(links) == 10_001
    assert [data for _, data, _ in out] == [record.data for record in records + records[:10]]


def test_readers_share_a_table(tmp_path: Path) -> None:
    links = LinkTable()
    (tmp_path / "a").write_bytes(pcap([Record(0, 0, V4)], link=101))
    (tmp_path / "b").write_bytes(pcap([Record(0, 0, bytes.fromhex("02000000") + V4)], link=0))
    first, _ = read(CaptureReader(tmp_path / "a", links=links))
    second, _ = read(CaptureReader(tmp_path / "b", links=links))
    assert links.restore(*_frame(first))[:2] == (101, V4)
    assert links.restore(*_frame(second))[:2] == (0, bytes.fromhex("02000000") + V4)


def _frame(seen: list[Seen]) -> tuple[bytes, int]:
    return seen[0].data, seen[0].wire


def test_a_frame_cut_on_the_card_keeps_header_and_wire_length(tmp_path: Path) -> None:
    links = LinkTable()
    (tmp_path / "a").write_bytes(pcap([Record(0, 0, bytes.fromhex("02000000") + V4)], link=0))
    (frame,), _ = read(CaptureReader(tmp_path / "a", links=links))
    assert links.restore(frame.data[:24], frame.wire) == (0, bytes.fromhex("02000000") + V4[:10], 4 + len(V4))


def test_header_refuses_an_index_it_does_not_have() -> None:
    assert LinkTable().header(0) == (1, b"")
    with pytest.raises(IndexError, match=r"0\.\.0, not 1"):
        LinkTable().header(1)


@needs_tshark
@pytest.mark.parametrize("link", OTHER_LINKS)
def test_tshark_reads_the_restored_capture_as_the_original(tmp_path: Path, link: int) -> None:
    header = next(bytes.fromhex(header) + payload for number, header, payload, _ in CASES if number == link)
    through(tmp_path, pcap([Record(5, index, header, 500) for index in range(5)], link=link))
    original = tshark(tmp_path / "in")
    assert len(original) == 5
    assert tshark(tmp_path / "out.pcapng") == original

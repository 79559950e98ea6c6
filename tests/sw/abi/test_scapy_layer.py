"""The scapy layer against the hand-written bytes."""

import pytest

pytest.importorskip("scapy", reason="scapy is not installed (extra 'dev')")

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, LLC, Dot1Q, Ether
from scapy.packet import Raw

from sentinic.scapy_layer import TLV_LAYERS, SentinicTag, SentinicUnknown, untag
from tests.vectors import load

TAGS = load("tags")
FRAMES = load("frames")
REPORTS = load("reports")
ORIGINALS = [name for name in FRAMES if not name.endswith("_tagged")]
ADDRESSES = FRAMES["ethernet"][:12]


@pytest.mark.parametrize("name", [name for name in FRAMES if name.endswith("_tagged")])
def test_a_tagged_frame_is_dissected_and_built_again_byte_for_byte(name: str) -> None:
    packet = Ether(FRAMES[name])
    assert SentinicTag in packet
    rebuilt = packet.copy()
    rebuilt[SentinicTag].length = None
    assert bytes(packet) == bytes(rebuilt) == FRAMES[name]


@pytest.mark.parametrize("name", ORIGINALS)
def test_untag_gives_the_original_frame(name: str) -> None:
    tagged = Ether(FRAMES[f"{name}_tagged"])
    tagged.time = 12.5
    original = untag(tagged)
    assert bytes(original) == FRAMES[name]
    assert original.time == 12.5


def test_the_members_read_as_the_comments_say() -> None:
    packet = Ether(FRAMES["vlan_tagged"])
    assert packet[Dot1Q].vlan == 5
    headers, whole = packet[SentinicTag].tlvs
    assert isinstance(headers, TLV_LAYERS["headers"])
    assert (headers.protocol_class, headers.transport_offset, headers.ip_id) == (4, 34, 0x1234)
    assert headers.sprintf("%protocol_class%") == "UDP"
    assert (whole.port, whole.timestamp_high, whole.timestamp_low) == (1, 0x17979CFE, 0x362A0001)
    assert (whole.wire_length, whole.captured_length, whole.flow_hash) == (47, 47, 0xDEADBEEF)
    assert packet[UDP].load == b"hello"


def test_each_tlv_is_found_in_its_order() -> None:
    packet = Ether(ADDRESSES + TAGS["loss_tcp"] + b"\x08\x06")
    loss, tcp, headers, _ = packet[SentinicTag].tlvs
    assert loss.lost == 0xFFFFFFFF
    assert tcp.acknowledgment == 0xFFFFFFFF
    assert headers.sprintf("%parse_error% %verdict%") == "TCP_DATA_OFFSET MALFORMED"


def test_an_unknown_tlv_is_kept_and_what_follows_is_read() -> None:
    packet = Ether(ADDRESSES + TAGS["unknown"] + b"\x08\x06")
    unknown, _, whole = packet[SentinicTag].tlvs
    assert isinstance(unknown, SentinicUnknown)
    assert (unknown.type, unknown.data) == (0x7F, bytes.fromhex("aabbccddeeff"))
    assert whole.captured_length == 14


@pytest.mark.parametrize(
    ("payload", "inner"),
    [(IP(), 0x0800), (IPv6(), 0x86DD), (ARP(), 0x0806), (Dot1Q() / IP(), 0x8100), (LLC() / b"12", 5), (None, 0)],
    ids=["ipv4", "ipv6", "arp", "vlan", "llc", "nothing"],
)
def test_building_fills_in_lengths_and_the_inner_ethertype(payload: Raw | None, inner: int) -> None:
    tag = SentinicTag(tlvs=[TLV_LAYERS["loss"](lost=256), TLV_LAYERS["packet"](port=1)])
    frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / tag
    built = bytes(frame / payload if payload is not None else frame)
    assert built[:16] == ADDRESSES + bytes.fromhex("88b50108")
    assert built[16:24] == bytes.fromhex("0402000000000100")
    assert built[12 + 4 + 8 + 20 :][:2] == inner.to_bytes(2, "big")


@pytest.mark.parametrize("size", range(14, len(FRAMES["ethernet_tagged"])))
def test_a_tag_cut_short_anywhere_is_dissected_without_an_error(size: int) -> None:
    assert Ether(FRAMES["ethernet_tagged"][:size]).type == (0x88B5 if size >= 14 else 0)


def test_a_report_is_dissected_to_its_groups_and_built_again() -> None:
    packet = Ether(REPORTS["one_group"])
    report, group = packet[SentinicTag].tlvs
    assert (report.items, report.sequence, report.timestamp) == (1, 7, 1_700_000_000_000_000_001)
    assert (group.rule, group.flags, group.generation, group.packets, group.bytes) == (3, 1, 2, 256, 65_538)
    assert (group.last - group.first, group.source_port, group.destination_port) == (254, 49152, 53)
    assert (group.source, group.destination) == ("::ffff:192.0.2.1", "::ffff:198.51.100.2")
    assert (group.eth_src, group.eth_dst, group.vlan_vid) == ("02:00:00:00:00:01", "02:00:00:00:00:02", 5)
    rebuilt = packet.copy()
    rebuilt[SentinicTag].length = None
    assert bytes(packet) == bytes(rebuilt) == REPORTS["one_group"]


def test_a_report_of_attempts_is_dissected_and_built_again() -> None:
    packet = Ether(REPORTS["one_attempt"])
    report, attempt = packet[SentinicTag].tlvs
    assert (report.items, report.content, report.sequence) == (1, 1, 9)
    assert (attempt.reason, attempt.origin, attempt.tcp_flags, attempt.ip_length) == (5, 0x15, 0xC2, 60)
    assert (attempt.retransmissions, attempt.last - attempt.first) == (2, 3 * 10**9)
    assert (attempt.source, attempt.source_port) == ("::ffff:192.0.2.1", 49152)
    assert (attempt.destination, attempt.destination_port) == ("::ffff:198.51.100.2", 443)
    rebuilt = packet.copy()
    rebuilt[SentinicTag].length = None
    assert bytes(packet) == bytes(rebuilt) == REPORTS["one_attempt"]

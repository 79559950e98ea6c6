"""The hand-written bytes, read and written by everything that is derived from the ABI."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinic.abi.codec import (
    decode_bits,
    decode_record,
    decode_tag,
    encode_bits,
    encode_record,
    encode_tag,
    find_tag,
    split_tag,
    strip_tag,
)
from sentinic.abi.descriptor import DESCRIPTOR
from sentinic.abi.tag import ATTEMPT, CROSSING, HEADERS, LOSS, PACKET, TAG_MAX_BYTES, TCP, TLVS
from sentinic.driver.records import DESCRIPTOR_DTYPE, record_dtype, status_bits
from tests.vectors import load

DESCRIPTORS = load("descriptors")
TAGS = load("tags")
FRAMES = load("frames")
MAPPED = bytes(10) + b"\xff\xff"

#: What the descriptors' comments say, members then status bits; bits left out are zero.
EXPECTED: dict[str, tuple[dict[str, int | bytes], dict[str, int]]] = {
    "tcp4": (
        {
            "timestamp": 1_700_000_000_000_000_001,
            "source": MAPPED + bytes((192, 0, 2, 1)),
            "destination": MAPPED + bytes((198, 51, 100, 2)),
            "source_port": 49152,
            "destination_port": 443,
            "offset": 0x12340,
            "flow_hash": 0xDEADBEEF,
            "wire_length": 74,
            "captured_length": 74,
            "ip_length": 60,
            "protocol": 6,
            "tcp_flags": 2,
            "status": 0x0C40010B,
        },
        {"phase": 1, "port": 1, "ip_version": 1, "transport_checksum": 1, "tcp": 1, "tag_words": 12},
    ),
    "udp6": (
        {
            "timestamp": 5,
            "source": bytes.fromhex("20010db8000000000000000000000001"),
            "destination": bytes.fromhex("20010db8000000000000000000000002"),
            "source_port": 53,
            "destination_port": 5353,
            "offset": 0xFFFFFFC0,
            "flow_hash": 1,
            "wire_length": 9600,
            "captured_length": 128,
            "ip_length": 9578,
            "protocol": 17,
            "tcp_flags": 0,
            "status": 0x0B0D0010,
        },
        {"ip_version": 2, "vlan_count": 2, "loss": 1, "truncated": 1, "tag_words": 11},
    ),
    "fragment": (
        {
            "timestamp": 1 << 63,
            "source": MAPPED + b"\xff\xff\xff\xff",
            "destination": MAPPED + bytes(4),
            "source_port": 0,
            "destination_port": 0,
            "offset": 0,
            "flow_hash": 1 << 31,
            "wire_length": 14,
            "captured_length": 14,
            "ip_length": 65535,
            "protocol": 132,
            "tcp_flags": 255,
            "status": 0x0922B3CF,
        },
        {
            "phase": 1,
            "port": 3,
            "ip_version": 1,
            "fragment": 2,
            "network_checksum_bad": 1,
            "transport_checksum": 3,
            "parse_error": 12,
            "vlan_count": 1,
            "mpls": 1,
            "kind": 2,
            "tag_words": 9,
        },
    ),
}

#: What the tags' comments say; members left out are zero.
EXPECTED_TAGS: dict[str, dict[str, dict[str, int]]] = {
    "plain": {
        "headers": {
            "protocol_class": 4,
            "network_offset": 14,
            "transport_offset": 34,
            "payload_offset": 42,
            "payload_length": 5,
            "ip_id": 0x1234,
        },
        "packet": {
            "port": 1,
            "timestamp_high": 0x17979CFE,
            "timestamp_low": 0x362A0001,
            "wire_length": 47,
            "captured_length": 47,
            "flow_hash": 0xDEADBEEF,
        },
    },
    "tcp": {
        "tcp": {"window": 65534, "sequence": 0x11223344, "acknowledgment": 0x55667788},
        "headers": {
            "protocol_class": 3,
            "network_offset": 14,
            "transport_offset": 34,
            "payload_offset": 54,
            "ip_id": 1,
        },
        "packet": {"timestamp_low": 5, "wire_length": 54, "captured_length": 54, "flow_hash": 1},
    },
    "loss": {
        "loss": {"lost": 256},
        "headers": {"protocol_class": 1},
        "packet": {"port": 1, "timestamp_high": 1, "wire_length": 9600, "captured_length": 128},
    },
    "crossing_tcp": {
        "crossing": {"flags": 1, "rules": 0x8002, "value": (1 << 55) + 3},
        "tcp": {"window": 1, "acknowledgment": 2},
        "headers": {"protocol_class": 3},
        "packet": {"wire_length": 54, "captured_length": 54},
    },
    "attempt_tcp": {
        "attempt": {"reason": 5, "retransmissions": 2, "last": 1_700_000_005_000_000_001},
        "tcp": {"window": 8192, "sequence": 0x1122_3344},
        "headers": {
            "protocol_class": 3,
            "network_offset": 14,
            "transport_offset": 34,
            "payload_offset": 54,
            "ip_id": 1,
        },
        "packet": {
            "port": 1,
            "kind": 2,
            "timestamp_high": 0x1797_9CFE,
            "timestamp_low": 0x362A_0001,
            "wire_length": 54,
            "captured_length": 54,
            "flow_hash": 1,
        },
    },
    "crossing_loss": {
        "crossing": {"rules": 1, "value": 100},
        "loss": {"lost": 7},
        "headers": {"protocol_class": 4},
        "packet": {"wire_length": 64, "captured_length": 64},
    },
    "loss_tcp": {
        "loss": {"lost": 0xFFFFFFFF},
        "tcp": {"acknowledgment": 0xFFFFFFFF},
        "headers": {
            "parse_error": 14,
            "protocol_class": 3,
            "network_offset": 14,
            "transport_offset": 34,
            "verdict": 5,
            "payload_length": 0,
        },
        "packet": {"wire_length": 64, "captured_length": 64, "flow_hash": 0x12345678},
    },
    "unknown": {"headers": {}, "packet": {"wire_length": 14, "captured_length": 14}},
}
ORIGINALS = [name for name in FRAMES if not name.endswith("_tagged")]


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_numpy_reads_a_descriptor_as_its_comments_say(name: str) -> None:
    members, bits = EXPECTED[name]
    row = np.frombuffer(DESCRIPTORS[name], DESCRIPTOR_DTYPE)
    assert len(row) == 1
    for member, value in members.items():
        assert (row[member].tobytes() if isinstance(value, bytes) else int(row[member][0])) == value, member
    for item in DESCRIPTOR.bits["status"]:
        assert int(status_bits(row["status"], item.name)[0]) == bits.get(item.name, 0), item.name


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_the_codec_reads_and_writes_a_descriptor_as_its_comments_say(name: str) -> None:
    members, bits = EXPECTED[name]
    assert decode_record(DESCRIPTOR, DESCRIPTORS[name]) == members
    assert encode_record(DESCRIPTOR, members) == DESCRIPTORS[name]
    status = members["status"]
    assert isinstance(status, int)
    assert {k: v for k, v in decode_bits(DESCRIPTOR.bits["status"], status).items() if v} == bits
    assert encode_bits(DESCRIPTOR.bits["status"], bits) == status


@pytest.mark.parametrize("name", TAGS)
def test_the_codec_reads_a_tag_as_its_comments_say(name: str) -> None:
    decoded = decode_tag(TAGS[name])
    assert list(decoded) == list(EXPECTED_TAGS[name])
    for tlv, members in EXPECTED_TAGS[name].items():
        assert {k: v for k, v in decoded[tlv].items() if v} == {k: v for k, v in members.items() if v}, tlv


@pytest.mark.parametrize("name", [name for name in TAGS if name != "unknown"])
def test_the_codec_writes_a_tag_as_its_comments_say(name: str) -> None:
    assert encode_tag(EXPECTED_TAGS[name]) == TAGS[name]


@pytest.mark.parametrize("name", TAGS)
def test_numpy_finds_the_fixed_tlvs_from_the_tags_end(name: str) -> None:
    tag = TAGS[name]
    for tlv, back in ((PACKET, 20), (HEADERS, 32), (TCP, 44)):
        if tlv.name not in EXPECTED_TAGS[name]:
            continue
        row = np.frombuffer(tag, record_dtype(tlv.record), count=1, offset=len(tag) - back)
        assert int(row["type"][0]) == tlv.type
        for member, value in EXPECTED_TAGS[name][tlv.name].items():
            assert int(row[member][0]) == value, member


def test_an_unknown_tlv_is_skipped_by_its_length() -> None:
    assert next(data.hex() for data in split_tag(TAGS["unknown"])) == "7f02aabbccddeeff"


@pytest.mark.parametrize("name", ORIGINALS)
def test_stripping_gives_back_the_original_frame(name: str) -> None:
    assert strip_tag(FRAMES[f"{name}_tagged"]) == FRAMES[name]
    assert strip_tag(FRAMES[name]) == FRAMES[name]


def test_a_report_has_inner_ethertype_zero() -> None:
    span = find_tag(FRAMES["report_tagged"])
    assert span is not None
    assert (span.start, span.length) == (12, 24)
    assert FRAMES["report_tagged"][span.end :] == b"\0\0"


@pytest.mark.parametrize("length", [0, 17, 255])
def test_an_impossible_tag_length_is_refused(length: int) -> None:
    frame = bytearray(FRAMES["ethernet_tagged"])
    frame[15] = length
    with pytest.raises(ValueError, match=rf"the tag's length must be 4\.\.64 bytes here, not {4 * length}"):
        strip_tag(bytes(frame))


@pytest.mark.parametrize("length", [0, 9])
def test_an_impossible_tlv_length_is_refused(length: int) -> None:
    tag = bytearray(TAGS["plain"])
    tag[5] = length
    with pytest.raises(ValueError, match=rf"TLV 0x02 at byte 4 of the tag must be 4\.\.32 bytes, not {4 * length}"):
        decode_tag(bytes(tag))


def test_a_value_that_does_not_fit_is_refused_with_its_limit_and_unit() -> None:
    with pytest.raises(ValueError, match=r"packet\.wire_length must be 0\.\.65535 bytes, not 65536"):
        encode_tag({"packet": {"wire_length": 65536}})
    with pytest.raises(ValueError, match=r"descriptor\.source must be 16 bytes, not 4"):
        encode_record(DESCRIPTOR, {"source": b"\x7f\0\0\1"})
    with pytest.raises(ValueError, match=r"parse_error must be 0\.\.31, not 32"):
        encode_bits(DESCRIPTOR.bits["status"], {"parse_error": 32})


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        ValueError, match="no TLV 'statistics'; there are crossing, attempt, loss, tcp, headers, packet"
    ):
        encode_tag({"statistics": {}})
    with pytest.raises(ValueError, match="record 'packet' has no member 'colour'"):
        encode_tag({"packet": {"colour": 1}})


def test_the_longest_tag_fits_the_headroom() -> None:
    assert [tlv.name for tlv in TLVS if tlv.optional] == [CROSSING.name, ATTEMPT.name, LOSS.name, TCP.name]
    # The loss waits where a TCP segment crosses a threshold, or was held; it is never both.
    for name, others in (("crossing_tcp", (ATTEMPT, LOSS)), ("attempt_tcp", (CROSSING, LOSS))):
        assert 4 + sum(tlv.record.size for tlv in TLVS if tlv not in others) == len(TAGS[name]) == 64
    assert max(map(len, TAGS.values())) == 64
    with pytest.raises(ValueError, match="the tag must be at most 64 bytes, not 88"):
        encode_tag({tlv.name: {} for tlv in TLVS})


def _tlv_values() -> st.SearchStrategy[dict[str, dict[str, int]]]:
    return st.fixed_dictionaries(
        {},
        optional={
            tlv.name: st.fixed_dictionaries(
                {
                    member.name: st.integers(0, (1 << 8 * member.size) - 1)
                    for member in tlv.record
                    if member.name not in ("type", "length")
                }
            )
            for tlv in TLVS
        },
    )


def _fits(values: dict[str, dict[str, int]]) -> bool:
    return 4 + sum(tlv.record.size for tlv in TLVS if tlv.name in values) <= TAG_MAX_BYTES


@given(_tlv_values().filter(_fits), st.binary(min_size=14, max_size=80))
def test_any_tag_can_be_read_and_cut_out_again(values: dict[str, dict[str, int]], frame: bytes) -> None:
    # Neither a VLAN tag nor a tag of our own in the random frame.
    frame = frame[:12] + b"\x08\x00" + frame[14:]
    tag = encode_tag(values)
    assert decode_tag(tag) == values
    assert strip_tag(frame[:12] + tag + frame[12:]) == frame

"""Statistics rules: the words they become, and what is refused, with the reason."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinic.driver.rules import MAX_THRESHOLD_BYTES, Rule, encode, encode_all
from sentinic.errors import ConfigError
from tests.reference.statistics import RuleSpec, key_of, matches
from tests.reference.statistics_card import vector
from tests.reference.traffic import shown_packets

#: Where the fields lie, by hand: bits of the 448 that a packet shows.
VERSION, FRAGMENT, VLAN, DSCP, VID, PROTOCOL, FLAGS, TYPE = 2, 4, 5, 14, 20, 32, 40, 48
SOURCE_PORT, DESTINATION_PORT, ETH_SOURCE, ETH_DESTINATION, SOURCE, DESTINATION = 64, 80, 96, 144, 192, 320


@pytest.mark.parametrize(
    ("match", "value", "mask"),
    [
        ({}, 0, 0),
        ({"in_port": 1}, 1, 3),
        ({"tcp_dst": 80}, 80 << DESTINATION_PORT | 6 << PROTOCOL, 0xFFFF << DESTINATION_PORT | 0xFF << PROTOCOL),
        ({"udp_src": "0x35"}, 53 << SOURCE_PORT | 17 << PROTOCOL, 0xFFFF << SOURCE_PORT | 0xFF << PROTOCOL),
        ({"tcp_flags": "0x02/0x12"}, 2 << FLAGS | 6 << PROTOCOL, 0x12 << FLAGS | 0xFF << PROTOCOL),
        (
            {"ipv4_src": "10.0.0.0/8"},
            0x0A000000 << SOURCE | 1 << VERSION,
            0xFF000000 << SOURCE | 3 << VERSION,
        ),
        (
            {"ipv4_dst": "10.0.0.7/255.0.0.255"},
            0x0A000007 << DESTINATION | 1 << VERSION,
            0xFF0000FF << DESTINATION | 3 << VERSION,
        ),
        (
            {"ipv6_dst": "2001:db8::/32"},
            0x20010DB8 << 96 + DESTINATION | 2 << VERSION,
            0xFFFFFFFF << 96 + DESTINATION | 3 << VERSION,
        ),
        ({"vlan_vid": 5}, 5 << VID | 1 << VLAN, 0xFFF << VID | 1 << VLAN),
        ({"eth_src": "02:00:00:00:00:01"}, 0x020000000001 << ETH_SOURCE, (1 << 48) - 1 << ETH_SOURCE),
        (
            {"eth_dst": "01:00:00:00:00:00/01:00:00:00:00:00"},
            1 << 40 + ETH_DESTINATION,
            1 << 40 + ETH_DESTINATION,
        ),
        (
            {"icmpv6_type": 135},
            135 << SOURCE_PORT | 58 << PROTOCOL | 2 << VERSION,
            0xFF << SOURCE_PORT | 0xFF << PROTOCOL | 3 << VERSION,
        ),
        ({"is_fragment": True, "ip_dscp": 46}, 1 << FRAGMENT | 46 << DSCP, 1 << FRAGMENT | 63 << DSCP),
        ({"eth_type": 0x0800, "ip_version": 4}, 0x0800 << TYPE | 1 << VERSION, 0xFFFF << TYPE | 3 << VERSION),
        ({"source": "10.0.0.1"}, 0x0A000001 << SOURCE | 1 << VERSION, 0xFFFFFFFF << SOURCE | 3 << VERSION),
    ],
)  # fmt: skip
def test_a_match_becomes_bits_at_their_places(match: Mapping[str, Any], value: int, mask: int) -> None:
    encoded = encode(Rule("r", match))
    assert (encoded.value, encoded.mask, encoded.group) == (value, mask, 0)


@pytest.mark.parametrize(
    ("group", "bits", "mask"),
    [
        (["ipv4_src/24"], 0xFFFFFF00 << SOURCE, 3 << VERSION),
        (["ipv6_src/1"], 1 << 127 + SOURCE, 3 << VERSION),
        (["tcp_dst"], 0xFFFF << DESTINATION_PORT, 0xFF << PROTOCOL),
        (["source"], (1 << 128) - 1 << SOURCE | 3 << VERSION, 0),
        (["ip_proto", "destination_port"], 0xFF << PROTOCOL | 0xFFFF << DESTINATION_PORT, 0),
        (["icmpv4_type"], 0xFF << SOURCE_PORT, 0xFF << PROTOCOL | 3 << VERSION),
    ],
)
def test_a_group_becomes_bits_and_asks_for_packets_that_have_the_field(group: list[str], bits: int, mask: int) -> None:
    encoded = encode(Rule("r", {}, group))
    assert (encoded.group, encoded.mask) == (bits, mask)


def test_words_are_the_lowest_first() -> None:
    words = encode(Rule("r", {"tcp_dst": 80}, ["ipv4_dst"])).words("value")
    assert words == [1 << VERSION, 6, 80 << 16, *[0] * 11]


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        (Rule("r", {"tcp_source": 1}), ["r", "unknown field", "tcp_source", "tcp_src"]),
        (Rule("r", {}, ["port"]), ["group", "unknown field", "port"]),
        (Rule("r", {"tcp_src": 1, "udp_dst": 2}), ["udp_dst contradicts tcp_src", "ip_proto", "0x11", "0x6"]),
        (Rule("r", {"ipv4_src": "1.2.3.4", "ipv6_dst": "::1"}), ["ipv6_dst contradicts ipv4_src", "ip_version"]),
        (Rule("r", {"tcp_src": 1}, ["udp_dst"]), ["udp_dst contradicts tcp_src"]),
        (Rule("r", {"ip_proto": 17, "tcp_flags": 2}), ["tcp_flags contradicts ip_proto"]),
        (Rule("r", {"source": "10.0.0.1", "destination": "::1"}), ["destination contradicts source"]),
        (Rule("r", {"eth_type": 0x86DD, "ipv4_src": "1.2.3.4"}), ["eth_type contradicts ipv4_src", "0x86dd", "IPv4"]),
        (Rule("r", {"eth_type": 0x0806, "icmpv4_type": 8}), ["eth_type contradicts", "0x0806"]),
        (Rule("r", {"eth_type": 0x0806, "tcp_dst": 80}), ["eth_type contradicts tcp_dst", "0x0806", "no IP"]),
        (Rule("r", {"eth_type": 0x0806}, ["udp_dst"]), ["eth_type contradicts udp_dst"]),
        (Rule("r", {"ip_dscp": 46, "eth_type": "0x0806"}), ["eth_type contradicts ip_dscp"]),
        (Rule("r", {"is_fragment": True, "eth_type": 0x0806}), ["eth_type contradicts is_fragment"]),
        (Rule("r", {"eth_type": 0x88CC, "tcp_dst": 80}), ["eth_type contradicts", "0x88cc"]),
        (Rule("r", {"eth_type": 0x8864}, ["ipv6_src/64"]), ["eth_type contradicts ipv6_src", "no IPv6"]),
        (Rule("r", {"icmpv4_type": 8}, bidirectional=True), ["match", "bidirectional", "icmpv4_type", "no port"]),
        (Rule("r", {}, ["icmpv6_code"], bidirectional=True), ["group", "bidirectional", "icmpv6_code"]),
        (Rule("r", {}, ["ipv4_src/\u0662\u0664"]), ["ipv4_src", "1..32 bits"]),
        (Rule("r", {"ipv4_src": "10.0.0.0/\u0668"}), ["ipv4_src", "IPv4 address"]),
        (Rule("r", {"ip_version": [4]}), ["ip_version", "4 or 6", "[4]"]),  # type: ignore[dict-item]
        (Rule("r", {"ip_version": 4.0}), ["ip_version", "4 or 6", "4.0"]),  # type: ignore[dict-item]
        (Rule("r", {"ip_proto": "1_0"}), ["ip_proto", "number", "1_0"]),
        (Rule("r", {"ip_proto": "+6"}), ["ip_proto", "number", "+6"]),
        (Rule("r", {"ip_proto": "-1"}), ["ip_proto", "0..0xff", "-1"]),
        (Rule("r", {"eth_src": "02:00:00:00:00:+1"}), ["eth_src", "02:00:00:00:00:01"]),
        (Rule("r", {"eth_src": "02:00:00:00:00: 1"}), ["eth_src", "02:00:00:00:00:01"]),
        (Rule("r", {"ipv6_src": "fe80::1%eth0"}), ["ipv6_src", "IPv6 address", "%eth0"]),
        (Rule("r", {"tcp_src": "0x10000"}), ["tcp_src", "0..0xffff", "16 bits", "0x10000"]),
        (Rule("r", {"tcp_flags": "0x02/0x112"}), ["tcp_flags", "mask", "0..0xff", "8 bits"]),
        (Rule("r", {"tcp_flags": "0x03/0x02"}), ["tcp_flags", "bits outside of its mask"]),
        (Rule("r", {"ipv4_src": "10.0.0.1/8"}), ["ipv4_src", "bits outside of its mask"]),
        (Rule("r", {"ipv4_src": "10.0.0.0/33"}), ["ipv4_src", "0..32 bits", "33"]),
        (Rule("r", {"ipv4_src": "::1"}), ["ipv4_src", "IPv4 address", "::1"]),
        (Rule("r", {"eth_src": "02:00"}), ["eth_src", "02:00:00:00:00:01"]),
        (Rule("r", {"is_fragment": 1}), ["is_fragment", "true or false"]),
        (Rule("r", {"tcp_src": True}), ["tcp_src", "number"]),
        (Rule("r", {"tcp_src": "http"}), ["tcp_src", "number", "http"]),
        (Rule("r", {"ip_version": 5}), ["ip_version", "4 or 6", "5"]),
        (Rule("r", {"in_port": 4}), ["in_port", "0..0x3", "2 bits"]),
        (Rule("r", {}, ["ipv4_src/33"]), ["ipv4_src", "1..32 bits", "33"]),
        (Rule("r", {}, ["ipv6_src/x"]), ["ipv6_src", "1..128 bits"]),
        (Rule("r", {}, ["tcp_src/8"]), ["tcp_src", "no prefix length"]),
        (Rule("r", {}, ["tcp_src", "tcp_src"]), ["tcp_src", "once"]),
        (Rule("r", {}, ["ipv4_src"], bidirectional=True), ["both ends alike", "source", "destination"]),
        (Rule("r", {}, ["ipv4_src/8", "ipv4_dst/9"], bidirectional=True), ["both ends alike"]),
        (Rule("r", report_every=1 << 64), ["report_every", str((1 << 64) - 1), "ns"]),
        (Rule("r", threshold_packets=1 << 48), ["threshold_packets", str((1 << 48) - 1), "packets"]),
        (Rule("r", threshold_bytes=-1), ["threshold_bytes", str((1 << 56) - 1), "bytes"]),
    ],
)  # fmt: skip
def test_a_bad_rule_is_refused_with_place_reason_and_limit(rule: Rule, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        encode(rule, "here")
    for part in ["here: rule 'r'", *parts]:
        assert part in str(error.value)


def test_too_many_rules_and_two_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 4 statistics rules fit this card, not 5"):
        encode_all([Rule(str(n)) for n in range(5)], most=4)
    with pytest.raises(ConfigError, match="x: rule 'a' must have a name of its own"):
        encode_all([Rule("a"), Rule("b"), Rule("a")], "x")
    assert MAX_THRESHOLD_BYTES == (1 << 56) - 1


RULES = st.builds(
    lambda match, group: RuleSpec(dict(match), sorted(group)),
    st.lists(
        st.sampled_from(
            [
                ("in_port", 1), ("eth_type", 0x0800), ("eth_type", "0x8000/0x8000"), ("vlan_vid", 7), ("ip_proto", 6),
                ("ip_dscp", 46), ("ipv4_src", "10.0.0.0/30"), ("ipv4_dst", "10.0.0.1"), ("ipv6_src", "2001:db8::/64"),
                ("tcp_src", 80), ("tcp_dst", "0x0040/0xffc0"), ("tcp_flags", "0x02/0x12"), ("udp_dst", 53),
                ("sctp_src", 80), ("icmpv4_type", 8), ("icmpv6_type", 8), ("is_fragment", True), ("ip_version", 6),
                ("source", "10.0.0.1"), ("destination", "2001:db8::1"), ("destination_port", 53),
                ("eth_src", "02:00:00:00:00:00/ff:ff:ff:ff:ff:fc"),
            ]
        ),
        max_size=2,
        unique_by=lambda item: item[0],
    ),
    st.sets(
        st.sampled_from(
            [
                "in_port", "eth_src", "eth_dst", "eth_type", "vlan_vid", "ip_proto", "ip_dscp", "ipv4_src/30",
                "ipv6_dst/64", "tcp_src", "tcp_flags", "udp_dst", "icmpv4_code", "icmpv6_code", "is_fragment",
                "ip_version", "source", "destination", "source_port",
            ]
        ),
        max_size=3,
    ),
)  # fmt: skip


@given(RULES, shown_packets())
def test_what_the_words_select_and_tell_apart_is_what_the_rule_says(spec: RuleSpec, packets: list[Any]) -> None:
    try:
        encoded = encode(Rule("r", spec.match, spec.group))
    except ConfigError:
        # What contradicts itself matches nothing.
        assert not any(matches(spec, packet.fields()) for packet in packets)
        return
    keys = {}
    for packet in packets:
        bits = vector(packet)
        hit = not (bits ^ encoded.value) & encoded.mask
        assert hit == matches(spec, packet.fields())
        if hit:
            key = key_of(spec, packet.fields())
            assert keys.setdefault(bits & encoded.group, key) == key
    assert len(set(keys.values())) == len(keys)

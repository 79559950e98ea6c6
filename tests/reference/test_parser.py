"""The corners of the parser, each with a frame made for it."""

import socket
import struct

import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Raw

from sentinic.abi.verdicts import Checksum, Fragment, ParseError, Protocol, Verdict

from .card import TEST_KEY
from .parser import flow_hash, parse, toeplitz

MACS = bytes.fromhex("020000000001020000000002")
ETH = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
V4 = IP(src="192.0.2.1", dst="198.51.100.2")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
FLOW = TCP(sport=1000, dport=80, seq=7, ack=9, flags="PA", window=512)


def ether(type_: int, rest: bytes) -> bytes:
    return MACS + struct.pack(">H", type_) + rest


def test_a_plain_tcp_packet_gives_every_field():
    frame = bytes(ETH / V4 / FLOW / b"hello") + bytes(1)  # the odd length reaches the checksum; a byte of padding
    h = parse(frame)
    assert (h.eth_type, h.ip_version, h.protocol, h.protocol_class) == (0x0800, 1, 6, Protocol.TCP)
    assert h.source == 0xFFFF_C000_0201
    assert h.destination == 0xFFFF_C633_6402
    assert (h.source_port, h.destination_port, h.tcp_sequence, h.tcp_acknowledgment) == (1000, 80, 7, 9)
    assert (h.tcp_flags, h.tcp_window, h.has_tcp) == (0x18, 512, 1)
    assert (h.network_offset, h.transport_offset, h.payload_offset, h.payload_length) == (14, 34, 54, 5)
    assert (h.ip_length, h.transport_checksum, h.verdict) == (45, Checksum.GOOD, Verdict.CLEAN)


@pytest.mark.parametrize(
    ("below", "count", "tag0", "tag1"),
    [
        (Dot1Q(vlan=5, prio=3), 1, 0x8100_6005, 0),
        (Dot1AD(vlan=9) / Dot1Q(vlan=5), 2, 0x88A8_0009, 0x8100_0005),
    ],
)
def test_vlan_tags_are_kept_with_their_tpid(below, count, tag0, tag1):
    h = parse(bytes(ETH / below / V4 / FLOW))
    assert (h.vlan_count, h.vlan0, h.vlan1, h.eth_type) == (count, tag0, tag1, 0x0800)
    assert h.network_offset == 14 + 4 * count
    assert h.verdict == Verdict.CLEAN


LINK_ERRORS = {
    "third VLAN tag": (ether(0x8100, bytes.fromhex("000181000002 8100")), ParseError.VLAN_DEPTH, 0x8100),
    "VLAN tag cut": (ether(0x8100, b"\0\1\x08"), ParseError.LINK_TRUNCATED, 0x8100),
    "LLC cut": (ether(46, b"\xaa\xaa"), ParseError.LINK_TRUNCATED, 46),
    "SNAP cut": (ether(46, b"\xaa\xaa\3\0\0\0\x08"), ParseError.LINK_TRUNCATED, 46),
    "another LLC": (ether(38, b"\x42\x42\3" + bytes(35)), ParseError.NONE, 38),
    "another OUI": (ether(38, b"\xaa\xaa\3\0\0\x0c\x20\0" + bytes(30)), ParseError.NONE, 38),
    "label cut": (ether(0x8847, b"\0\0\1"), ParseError.LINK_TRUNCATED, 0x8847),
    "nothing below labels": (ether(0x8847, b"\0\0\1\x40"), ParseError.LINK_TRUNCATED, 0x8847),
    "fifth label": (ether(0x8848, b"\0\0\0\x40" * 4), ParseError.MPLS_DEPTH, 0x8848),
    "pseudowire": (ether(0x8847, b"\0\0\1\x40\0\0\0\0" + bytes(40)), ParseError.NONE, 0x8847),
    "channel of a pseudowire": (ether(0x8848, b"\0\0\1\x40\x10\0\0\x21" + bytes(40)), ParseError.NONE, 0x8848),
    "one byte below labels": (ether(0x8847, b"\0\0\1\x40\xf0"), ParseError.NONE, 0x8847),
    "unknown type": (ether(0x88CC, b""), ParseError.NONE, 0x88CC),
}


@pytest.mark.parametrize(("frame", "error", "eth_type"), LINK_ERRORS.values(), ids=LINK_ERRORS.keys())
def test_a_frame_without_ip_or_arp_is_other(frame, error, eth_type):
    h = parse(frame)
    assert (h.parse_error, h.eth_type, h.protocol_class) == (error, eth_type, Protocol.OTHER)
    assert (h.ip_version, h.network_offset, flow_hash(h, TEST_KEY)) == (0, 0, 0)
    assert h.verdict == (Verdict.MALFORMED if error else Verdict.CLEAN)


def test_ip_over_snap_and_below_four_labels_is_found():
    packet = bytes(V4 / FLOW)
    assert parse(ether(8 + len(packet), b"\xaa\xaa\3\0\0\0\x08\0" + packet)).transport_offset == 42
    labels = MPLS(s=0) / MPLS(s=0) / MPLS(s=0) / MPLS(s=1)
    h = parse(bytes(Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02", type=0x8847) / labels / V6 / FLOW))
    assert (h.mpls_count, h.network_offset, h.ip_version, h.transport_checksum) == (4, 30, 2, Checksum.GOOD)


def test_arp_needs_28_bytes():
    for length, error in ((28, ParseError.NONE), (27, ParseError.ARP_TRUNCATED)):
        h = parse(ether(0x0806, bytes(length)))
        assert (h.protocol_class, h.parse_error) == (Protocol.ARP, error)


IP_ERRORS = {
    "v4 cut": (ether(0x0800, bytes(V4 / FLOW)[:19]), ParseError.IP_TRUNCATED, Protocol.IP_OTHER, 0),
    "v6 cut": (ether(0x86DD, bytes(V6 / FLOW)[:39]), ParseError.IP_TRUNCATED, Protocol.IP_OTHER, 0),
    "options cut": (ether(0x0800, b"\x4f" + bytes(V4)[1:]), ParseError.IP_TRUNCATED, Protocol.IP_OTHER, 1),
    "v6 in 0800": (ether(0x0800, bytes(V6 / FLOW)), ParseError.IP_VERSION, Protocol.OTHER, 0),
    "v4 in 86dd": (ether(0x86DD, bytes(V4 / FLOW)), ParseError.IP_VERSION, Protocol.OTHER, 0),
    "IHL 4": (bytes(ETH / IP(ihl=4) / FLOW), ParseError.IPV4_HEADER_LENGTH, Protocol.IP_OTHER, 1),
    "total 19": (bytes(ETH / IP(len=19) / FLOW), ParseError.IPV4_TOTAL_LENGTH, Protocol.IP_OTHER, 1),
    "ping of death": (
        bytes(ETH / IP(frag=8191, proto=1) / bytes(8)),
        ParseError.FRAGMENT_RANGE,
        Protocol.ICMP,
        1,
    ),
    "TCP 19": (bytes(ETH / IP(proto=6) / bytes(19)), ParseError.TRANSPORT_TRUNCATED, Protocol.TCP, 1),
    "offset 4": (bytes(ETH / V4 / TCP(dataofs=4)), ParseError.TCP_DATA_OFFSET, Protocol.TCP, 1),
    "offset 6": (bytes(ETH / V4 / TCP(dataofs=6)), ParseError.TCP_DATA_OFFSET, Protocol.TCP, 1),
    "UDP 7": (bytes(ETH / V4 / UDP(len=7)), ParseError.UDP_LENGTH, Protocol.UDP, 1),
    "UDP 9 of 8": (bytes(ETH / V4 / UDP(len=9)), ParseError.UDP_LENGTH, Protocol.UDP, 1),
    "ICMP 3": (bytes(ETH / IP(proto=1) / bytes(3)), ParseError.TRANSPORT_TRUNCATED, Protocol.ICMP, 1),
    "no TCP": (bytes(ETH / IP(proto=6)), ParseError.TRANSPORT_TRUNCATED, Protocol.TCP, 1),
}


@pytest.mark.parametrize(("frame", "error", "kind", "version"), IP_ERRORS.values(), ids=IP_ERRORS.keys())
def test_what_is_wrong_with_ip_or_transport_is_named(frame, error, kind, version):
    h = parse(frame)
    assert (h.parse_error, h.protocol_class, h.ip_version) == (error, kind, version)
    assert (h.transport_checksum, h.verdict) == (Checksum.UNCHECKED, Verdict.MALFORMED)


def test_ports_are_taken_from_a_cut_transport_if_they_are_there():
    h = parse(bytes(ETH / IP(proto=6) / b"\0\x01\0\x02"))
    assert (h.source_port, h.destination_port, h.has_tcp, h.transport_offset, h.payload_offset) == (1, 2, 0, 34, 0)
    assert parse(bytes(ETH / IP(proto=6) / b"\0\x01\0")).source_port == 0
    assert parse(bytes(ETH / IP(proto=6))).transport_offset == 0
    h = parse(bytes(ETH / IPv6(nh=60) / Raw(options(1, 16) + bytes(FLOW))))
    assert (h.transport_offset, h.source_port) == (190, 0)  # in the frame, but beyond the window


def test_missing_bytes_are_truncation_not_malformation():
    frame = bytes(ETH / V4 / FLOW / bytes(100))
    h = parse(frame[:60])
    assert (h.parse_error, h.verdict) == (ParseError.IP_BEYOND_FRAME, Verdict.TRUNCATED)
    assert (h.payload_length, h.transport_checksum, h.tcp_sequence) == (100, Checksum.UNCHECKED, 7)
    assert parse(frame[:40]).parse_error == ParseError.IP_BEYOND_FRAME  # the TCP header too, but that comes second
    h = parse(frame, len(frame) + 4)
    assert (h.parse_error, h.verdict, h.transport_checksum) == (ParseError.NONE, Verdict.TRUNCATED, Checksum.UNCHECKED)


def test_segmentation_offload_takes_the_rest_of_the_frame():
    h = parse(bytes(ETH / IP(len=0) / FLOW / bytes(100)))
    assert (h.ip_length, h.payload_length, h.parse_error) == (140, 100, ParseError.NONE)
    h = parse(bytes(ETH / IPv6(plen=0, nh=6) / FLOW / bytes(100)))
    assert (h.ip_length, h.payload_length) == (160, 100)
    h = parse(bytes(ETH / IPv6(plen=0, nh=17) / UDP(len=108) / bytes(100)))
    assert (h.ip_length, h.payload_length) == (148, 100)
    h = parse(bytes(ETH / IPv6(plen=0, nh=58) / bytes(100)))
    assert (h.ip_length, h.parse_error) == (40, ParseError.TRANSPORT_TRUNCATED)


def test_checksums_are_judged():
    assert parse(bytes(ETH / IP(chksum=1) / FLOW)).verdict == Verdict.BAD_NETWORK_CHECKSUM
    assert parse(bytes(ETH / IP(chksum=1) / TCP(chksum=1))).verdict == Verdict.BAD_TRANSPORT_CHECKSUM
    states = {
        Checksum.GOOD: [V4 / ICMP() / b"odd", V6 / ICMPv6EchoRequest(data=b"odd"), V6 / UDP() / b"odd", V4 / UDP()],
        Checksum.BAD: [V4 / ICMP(chksum=1), V6 / ICMPv6EchoRequest(cksum=1), V6 / UDP(chksum=0), V4 / UDP(chksum=1)],
        Checksum.ABSENT: [V4 / UDP(chksum=0)],
        Checksum.UNCHECKED: [V4 / SCTP() / SCTPChunkData(data=b"abcd"), IP(proto=47) / bytes(40)],
    }
    for state, packets in states.items():
        for packet in packets:
            assert parse(bytes(ETH / packet)).transport_checksum == state, packet.summary()


def test_sctp_and_icmp_payloads_begin_behind_their_headers():
    h = parse(bytes(ETH / V4 / SCTP(sport=3, dport=4) / SCTPChunkData(data=b"abcd")))
    assert (h.protocol_class, h.source_port, h.payload_offset, h.payload_length) == (Protocol.SCTP, 3, 46, 20)
    h = parse(bytes(ETH / V4 / ICMP() / b"abc"))
    assert (h.source_port, h.payload_offset, h.payload_length) == (8, 42, 3)
    h = parse(bytes(ETH / IP(proto=1) / b"\x05\1\0\0\0\0"))  # 6 bytes: enough for type, code and checksum
    assert (h.parse_error, h.source_port, h.payload_offset, h.payload_length) == (ParseError.NONE, 5, 42, 0)


def test_udp_may_be_shorter_than_its_packet():
    datagram = bytes(V4 / UDP(sport=1, dport=2) / b"abc")
    packet = IP(src="192.0.2.1", dst="198.51.100.2", proto=17) / Raw(datagram[20:] + b"trailer")
    h = parse(bytes(ETH / packet))
    assert (h.payload_length, h.transport_checksum) == (3, Checksum.GOOD)


def test_fragments_have_ports_only_in_the_first():
    first = parse(bytes(ETH / IP(flags="MF", id=7) / UDP(sport=5, dport=6, len=2000) / bytes(100)))
    later = parse(bytes(ETH / IP(frag=14, proto=17, id=7) / bytes(100)))
    assert (first.fragment, first.source_port, first.payload_length) == (Fragment.FIRST, 5, 100)
    assert (later.fragment, later.source_port, later.transport_offset) == (Fragment.LATER, 0, 0)
    assert (later.payload_offset, later.payload_length, later.protocol_class) == (34, 100, Protocol.UDP)
    assert first.verdict == later.verdict == Verdict.FRAGMENT
    assert flow_hash(first, TEST_KEY) == flow_hash(later, TEST_KEY) != 0


def test_extension_headers_lead_to_the_transport():
    between = (
        IPv6ExtHdrHopByHop()
        / IPv6ExtHdrDestOpt()
        / AH(nh=44, payloadlen=4, icv=bytes(12))
        / IPv6ExtHdrFragment(id=0x12345678)
    )
    h = parse(bytes(ETH / V6 / between / FLOW))
    assert (h.protocol, h.transport_offset, h.fragment, h.ip_id) == (6, 54 + 8 + 8 + 24 + 8, Fragment.WHOLE, 0x5678)
    assert h.transport_checksum == Checksum.GOOD
    segment = Raw(bytes(V4 / FLOW)[20:])  # scapy computes no checksum behind AH over IPv4
    h = parse(bytes(ETH / V4 / AH(nh=6, payloadlen=4, icv=bytes(12)) / segment))
    assert (h.protocol, h.transport_offset, h.transport_checksum) == (6, 58, Checksum.GOOD)


def test_a_packet_still_to_be_routed_is_not_checked():
    h = parse(bytes(ETH / V6 / IPv6ExtHdrRouting(addresses=["2001:db8::3"], segleft=1) / TCP(chksum=1)))
    assert (h.protocol, h.transport_checksum, h.verdict) == (6, Checksum.UNCHECKED, Verdict.CLEAN)


def test_ipv6_fragments_say_first_and_later():
    h = parse(bytes(ETH / V6 / IPv6ExtHdrFragment(m=1, id=1) / UDP(sport=3, len=4000) / bytes(8)))
    assert (h.fragment, h.source_port, h.parse_error) == (Fragment.FIRST, 3, ParseError.NONE)
    h = parse(bytes(ETH / V6 / IPv6ExtHdrFragment(offset=2, nh=60) / bytes(16)))
    assert (h.fragment, h.protocol, h.protocol_class) == (Fragment.LATER, 60, Protocol.IP_OTHER)
    assert (h.payload_offset, h.payload_length) == (62, 16)
    assert parse(bytes(ETH / V6 / IPv6ExtHdrFragment(offset=1) / bytes(16))).fragment == Fragment.LATER
    for length, error in ((7, ParseError.NONE), (8, ParseError.FRAGMENT_RANGE)):
        h = parse(bytes(ETH / V6 / IPv6ExtHdrFragment(offset=8191, nh=17) / bytes(length)))
        assert h.parse_error == error
    atomic_second = IPv6ExtHdrFragment(m=1, id=1) / IPv6ExtHdrFragment(id=2)
    h = parse(bytes(ETH / V6 / atomic_second / UDP()))
    assert (h.fragment, h.ip_id) == (Fragment.FIRST, 2)


def options(count: int, length: int = 0, last: int = 6) -> bytes:
    """``count`` destination option headers of 8 + 8 * ``length`` bytes."""
    return b"".join(
        bytes([60 if number < count - 1 else last, length]) + bytes(6 + 8 * length) for number in range(count)
    )


@pytest.mark.parametrize(
    ("rest", "error", "protocol", "transport_offset"),
    [
        (options(6) + bytes(FLOW), ParseError.NONE, 6, 102),
        (options(7) + bytes(FLOW), ParseError.EXTENSION_DEPTH, 60, 0),
        (options(1)[:7], ParseError.EXTENSION_TRUNCATED, 60, 0),
        (options(1, 2)[:23], ParseError.EXTENSION_TRUNCATED, 60, 0),
        (options(1, 16) + bytes(FLOW), ParseError.WINDOW, 6, 54 + 136),  # TCP begins at 190: no whole header in 192
        (options(1, 17) + bytes(FLOW), ParseError.WINDOW, 60, 0),  # ends at 198
        (options(1, 16) + options(1)[:7], ParseError.TRANSPORT_TRUNCATED, 6, 190),
        (options(1, 16, 60) + options(1), ParseError.WINDOW, 60, 0),
        (options(1, last=59) + b"abc", ParseError.NONE, 59, 0),
        (options(1, last=47) + b"abc", ParseError.NONE, 47, 62),
    ],
)
def test_the_walk_over_extension_headers_has_bounds(rest, error, protocol, transport_offset):
    h = parse(bytes(ETH / IPv6(nh=60) / Raw(rest)))
    assert (h.parse_error, h.protocol, h.transport_offset, h.payload_offset) == (
        error,
        protocol,
        transport_offset,
        122 if error == ParseError.NONE and protocol == 6 else 0,
    )


def test_every_cut_of_a_frame_is_parsed():
    between = IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(m=1) / AH(nh=6, payloadlen=4, icv=bytes(12))
    frame = bytes(ETH / Dot1Q() / MPLS(s=1) / V6 / between / FLOW / bytes(20))
    for length in range(14, len(frame)):
        h = parse(frame[:length])
        assert h.verdict in (Verdict.MALFORMED, Verdict.TRUNCATED)
    with pytest.raises(ValueError, match="at least 14 bytes, not 13"):
        parse(frame[:13])


def test_the_flow_hash_is_the_same_for_both_directions():
    there = parse(bytes(ETH / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5, dport=9)))
    back = parse(bytes(ETH / IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=9, dport=5)))
    other = parse(bytes(ETH / IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=5, dport=9)))
    assert flow_hash(there, TEST_KEY) == flow_hash(back, TEST_KEY) != flow_hash(other, TEST_KEY)


def test_icmp_type_and_code_do_not_count_in_the_flow_hash():
    request = parse(bytes(ETH / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=8)))
    reply = parse(bytes(ETH / IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=0)))
    assert (request.source_port, reply.source_port) == (8, 0)
    assert flow_hash(request, TEST_KEY) == flow_hash(reply, TEST_KEY)


#: "Verifying the RSS hash calculation", Windows network driver documentation.
RSS_KEY = TEST_KEY >> 32
RSS_VECTORS = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323E8FC2, 0x51CCC178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xD718262A, 0xC626B0EA),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xD2D0A5DE, 0x5C2B394A),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xAFC7327F),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5D1809C5, 0x10E828A2),
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2CC18CD5, 0x40207D3D),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0F0C461C, 0xDDE51BBF),
    ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4B61E985, 0x02D1FEEF),
]


@pytest.mark.parametrize(("source", "source_port", "destination", "destination_port", "pair", "whole"), RSS_VECTORS)
def test_toeplitz_gives_the_published_vectors(source, source_port, destination, destination_port, pair, whole):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    assert toeplitz(addresses, RSS_KEY, 320) == pair
    assert toeplitz(addresses + struct.pack(">HH", source_port, destination_port), RSS_KEY, 320) == whole

"""The receive descriptor: 64 bytes a packet, little-endian, in the descriptor ring of each receive ring."""

from sentinic.abi.layout import Bits, ByteOrder, Member, Record

#: A slot in the data ring starts at a multiple of this many bytes.
SLOT_ALIGNMENT = 64
#: Bytes before the original frame in its slot, in which the tagged frame begins.
HEADROOM = 64

_STATUS = (
    Bits("phase", 0, 1, "toggles each time the ring wraps; the first pass writes 1"),
    Bits("port", 1, 2, "ingress port"),
    Bits("ip_version", 3, 2, "0 none, 1 IPv4, 2 IPv6"),
    Bits("fragment", 5, 2, "Fragment"),
    Bits("network_checksum_bad", 7, 1, "the IPv4 header checksum is wrong"),
    Bits("transport_checksum", 8, 2, "Checksum"),
    Bits("parse_error", 10, 5, "ParseError"),
    Bits("vlan_count", 15, 2, "VLAN tags outside the Sentinic tag"),
    Bits("mpls", 17, 1, "at least one MPLS label"),
    Bits(
        "loss",
        18,
        1,
        "packets for this ring were lost since the one before; the tag says how many, without a slot ``offset``",
    ),
    Bits("truncated", 19, 1, "fewer bytes were captured than were on the wire"),
    Bits("kind", 20, 2, "Kind"),
    Bits("tcp", 22, 1, "the tag holds the TCP TLV"),
    Bits("plain", 23, 1, "a TCP segment without a slot, of which the descriptor tells all: see below"),
    Bits("tag_words", 24, 8, "length of the tag in 32-bit words, its EtherType included; 0 without a slot"),
)
#: What ``tag_words`` is made of where ``plain`` is set.
PLAIN_TAG_WORDS = (
    Bits("data_offset", 0, 4, "32-bit words in the TCP header"),
    Bits("window_zero", 4, 1, "the window is 0"),
)

DESCRIPTOR = Record(
    "descriptor",
    64,
    ByteOrder.LITTLE,
    (
        Member("timestamp", 0, 8, "wire time of the frame's first byte", "ns"),
        Member("source", 8, 1, "source address, network order; IPv4 as IPv4-mapped (RFC 4291 2.5.5.2)", count=16),
        Member("destination", 24, 1, "destination address, as source", count=16),
        Member("source_port", 40, 2, "TCP, UDP or SCTP source port; ICMP type"),
        Member("destination_port", 42, 2, "TCP, UDP or SCTP destination port; ICMP code"),
        Member("offset", 44, 4, "where the slot begins in the data ring; without a slot, packets lost before", "bytes"),
        Member("flow_hash", 48, 4, "symmetric hash of the 5-tuple (Toeplitz over the sorted endpoints)"),
        Member("wire_length", 52, 2, "length on the wire, without FCS", "bytes"),
        Member("captured_length", 54, 2, "bytes of the original frame in the slot; 0 if there is no slot", "bytes"),
        Member("ip_length", 56, 2, "length of the IP packet, header included; 0 if none", "bytes"),
        Member("protocol", 58, 1, "IP protocol number; 0 if none"),
        Member("tcp_flags", 59, 1, "TCP flags CWR..FIN (RFC 9293 3.1), 0 if not TCP"),
        Member("status", 60, 4, "phase bit, verdicts and tag length"),
    ),
    {"status": _STATUS},
)

"""The tag: binary TLVs between the Ethernet header and the original EtherType, in network byte order.

::

    dst src [VLAN tags] | 0x88B5 version length | TLV | TLV | ... | original EtherType, rest of the frame

The tag's length, its EtherType included, and each TLV's length count 32-bit words.  A TLV is a type byte, a length
byte and a 16-bit value, then further words.  Unknown types are skipped by length.  The TLVs stand in a fixed order:
optional ones first, then ``headers`` and ``packet`` last, so that these two lie at a fixed distance from the tag's end.
"""

from dataclasses import dataclass

from sentinic.abi.layout import ByteOrder, Member, Record

#: IEEE 802 Local Experimental EtherType 1.
TAG_ETHERTYPE = 0x88B5
TAG_VERSION = 1
#: Inner EtherType of a frame that carries no packet.
NO_PACKET_ETHERTYPE = 0
#: EtherType, version, length.
TAG_HEADER_BYTES = 4
#: The tag of a packet never grows beyond the headroom of a slot: with ``crossing`` or ``attempt``, of which a packet
#: has one at most, ``loss`` waits for the ring's next packet.
TAG_MAX_BYTES = 64


@dataclass(frozen=True)
class Tlv:
    """A TLV type: ``record`` covers the whole TLV, its type and length bytes included."""

    type: int
    record: Record
    optional: bool
    doc: str

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def words(self) -> int:
        return self.record.size // 4


def _tlv(type_: int, name: str, words: int, members: tuple[Member, ...], doc: str, optional: bool = False) -> Tlv:
    head = (Member("type", 0, 1, "TLV type"), Member("length", 1, 1, "length of the TLV", "32-bit words"))
    return Tlv(type_, Record(name, words * 4, ByteOrder.BIG, head + members), optional, doc)


CROSSING = _tlv(
    0x05,
    "crossing",
    4,
    (
        Member("flags", 2, 1, "bit 0: the value is bytes, else packets"),
        Member("reserved", 3, 1, "zero"),
        Member("rules", 4, 4, "bit n: the packet made a group of statistics rule n reach its threshold"),
        Member("value", 8, 8, "what the group of the lowest of these rules has counted, this packet included"),
    ),
    "Thresholds of statistics rules that the packet crosses.",
    optional=True,
)
ATTEMPT = _tlv(
    0x06,
    "attempt",
    4,
    (
        Member("reason", 2, 1, "Reason: why it is delivered now"),
        Member("reserved", 3, 1, "zero"),
        Member("retransmissions", 4, 4, "how many more of the same SYN came while it was held", "packets"),
        Member("last", 8, 8, "wire time of the last of these, or of the SYN itself", "ns"),
    ),
    "A SYN that the card has held (kind REGENERATED); the wire time of the tag is when it came.",
    optional=True,
)
LOSS = _tlv(
    0x04,
    "loss",
    2,
    (
        Member("reserved", 2, 2, "zero"),
        Member("lost", 4, 4, "packets that this ring wanted and could not take since its last one", "packets"),
    ),
    "Loss on this ring since the packet before.",
    optional=True,
)
TCP = _tlv(
    0x03,
    "tcp",
    3,
    (
        Member("window", 2, 2, "window field, unscaled"),
        Member("sequence", 4, 4, "sequence number"),
        Member("acknowledgment", 8, 4, "acknowledgment number"),
    ),
    "The TCP header's numbers (RFC 9293 3.1).",
    optional=True,
)
HEADERS = _tlv(
    0x02,
    "headers",
    3,
    (
        Member("parse_error", 2, 1, "ParseError"),
        Member("protocol_class", 3, 1, "Protocol"),
        Member("network_offset", 4, 1, "where the network header begins in the original frame; 0 if none", "bytes"),
        Member("transport_offset", 5, 1, "where the transport header begins in the original frame; 0 if none", "bytes"),
        Member("payload_offset", 6, 1, "where the transport payload begins in the original frame; 0 if none", "bytes"),
        Member("verdict", 7, 1, "Verdict"),
        Member("payload_length", 8, 2, "transport payload, padding excluded", "bytes"),
        Member("ip_id", 10, 2, "IPv4 identification, or the low half of the IPv6 fragment's"),
    ),
    "Where the headers lie, and what is wrong with them.",
)
PACKET = _tlv(
    0x01,
    "packet",
    5,
    (
        Member("port", 2, 1, "ingress port"),
        Member("kind", 3, 1, "Kind"),
        Member("timestamp_high", 4, 4, "wire time, bits 63..32", "ns"),
        Member("timestamp_low", 8, 4, "wire time, bits 31..0", "ns"),
        Member("wire_length", 12, 2, "length on the wire, without FCS", "bytes"),
        Member("captured_length", 14, 2, "bytes of the original frame delivered", "bytes"),
        Member("flow_hash", 16, 4, "symmetric hash of the 5-tuple"),
    ),
    "The packet as a whole.",
)

#: In the order in which they stand in a tag.
TLVS: tuple[Tlv, ...] = (CROSSING, ATTEMPT, LOSS, TCP, HEADERS, PACKET)
#: ``packet`` and ``headers`` begin this many bytes before the tag's end.
PACKET_FROM_END = PACKET.record.size
HEADERS_FROM_END = PACKET_FROM_END + HEADERS.record.size
#: When the tag holds it (descriptor bit ``tcp``), ``tcp`` begins this many bytes before the tag's end.
TCP_FROM_END = HEADERS_FROM_END + TCP.record.size

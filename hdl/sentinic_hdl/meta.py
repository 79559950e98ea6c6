"""What travels between blocks: frames in beats, and one ``PacketMeta`` a packet.

Layouts depend on the profile, so each is a function of it.
"""

from amaranth.lib import data
from amaranth.utils import bits_for

from sentinic.abi.profiles import MAX_FRAME_BYTES, Profile

LENGTH_BITS = bits_for(MAX_FRAME_BYTES)
#: Bits of a cell number of the largest packet store.
CELL_BITS = 17


def cell_shape(profile: Profile) -> int:
    """Bits of a cell number of the packet store."""
    assert profile.cells <= 1 << CELL_BITS, f"cells must be at most {1 << CELL_BITS}, not {profile.cells}"
    return bits_for(profile.cells - 1)


class FrameInfo(data.Struct):
    """What is known of a whole, good frame before its first beat is read."""

    length: LENGTH_BITS  # bytes in the frame
    wire_length: 16  # bytes on the wire: more than ``length`` for a frame cut before the card
    timestamp: 64  # wire time of the first byte, ns
    port: 2


def frame_beat(profile: Profile) -> data.StructLayout:
    """One beat of a frame.  Byte 0 of the frame is in bits 7..0 of the first beat; bytes past its end are undefined."""
    return data.StructLayout({"data": profile.data_width, "first": 1, "last": 1, "info": FrameInfo})


class ParsedHeaders(data.Struct):
    """What the parser learns of a frame.

    Addresses and ports are numbers: the first byte on the wire is the highest.  IPv4 addresses are IPv4-mapped
    (``::ffff:a.b.c.d``).  Offsets are bytes from the frame's start, 0 for "no such header".
    """

    eth_type: 16  # the innermost EtherType, after VLAN tags; a length for 802.3
    vlan_count: 2
    vlan0: 32  # outer tag: TPID in 31..16, TCI in 15..0
    vlan1: 32  # inner tag
    mpls_count: 3
    ip_version: 2  # 0 none, 1 IPv4, 2 IPv6
    source: 128
    destination: 128
    protocol: 8  # the transport's number, past extension headers; 0 if not IP
    ip_length: 16  # header and payload
    ip_length_is_rest: 1  # the IP header does not tell it (segmentation offload): what is left of the frame
    ip_id: 16
    ip_dscp: 6
    fragment: 2  # sentinic.abi.verdicts.Fragment
    source_port: 16  # ICMP: type
    destination_port: 16  # ICMP: code
    tcp_flags: 8
    tcp_sequence: 32
    tcp_acknowledgment: 32
    tcp_window: 16
    has_tcp: 1  # the fixed TCP header lies within frame, packet and window
    quotes_tcp: 1  # an ICMP error; what it quotes, the parser says in a :class:`Quote`
    network_offset: 8
    transport_offset: 8
    payload_offset: 8
    payload_length: 16
    protocol_class: 4  # sentinic.abi.verdicts.Protocol
    parse_error: 5  # sentinic.abi.verdicts.ParseError
    network_checksum_bad: 1
    transport_checksum: 2  # sentinic.abi.verdicts.Checksum
    verdict: 3  # sentinic.abi.verdicts.Verdict
    flow_hash: 32


class Quote(data.Struct):
    """Whose packet an ICMP error quotes: addresses, ports and sequence number of a TCP packet, as in ParsedHeaders.

    Its IP version is that of the error.
    """

    source: 128
    destination: 128
    source_port: 16
    destination_port: 16
    sequence: 32


class Crossing(data.Struct):
    """Statistics thresholds that a packet crosses: which rules', and the count of the lowest of them.

    Of a SYN that was held, which crosses none: how often it was sent again (``rules``), and when last (``value``).
    """

    rules: 16
    of_bytes: 1
    value: 64


class PacketMeta(data.Struct):
    """One packet: where its bytes lie, when it came, what it is.  What stages receive and hand on."""

    cell: CELL_BITS  # first cell in the packet store
    kind: 2  # sentinic.abi.verdicts.Kind
    link: 96  # the first 12 bytes of the frame as they lie in memory: destination and source address
    info: FrameInfo
    headers: ParsedHeaders
    crossing: Crossing
    reason: 3  # sentinic.abi.syn_offload.Reason: why a SYN that was held goes on
    raw: 1  # a SYN that waits or ends in SYN offload, for rings that want raw SYNs; for no other
    shared: 1  # a SYN that waits in SYN offload comes twice: ``raw``, and later, which alone gives its cell back

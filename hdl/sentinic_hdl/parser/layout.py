"""What the parser's parts hand each other.

Every header begins at byte 14 + 4k of the frame (VLAN and MPLS 4, SNAP 8, IPv4 4n, IPv6 40, extension headers 4n), so
positions travel as *words*: units of 4 bytes past byte 14, the end of the untagged Ethernet header.  ``body`` is the
frame's length past that byte, in bytes.
"""

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import data, enum
from amaranth.utils import bits_for

from sentinic.abi.profiles import MAX_FRAME_BYTES, PARSE_WINDOW_BYTES

ETHERNET_BYTES = 14
BODY_BITS = bits_for(MAX_FRAME_BYTES)
#: Headers may end at this word, the last one within the parser's window.
WINDOW_WORDS = (PARSE_WINDOW_BYTES - ETHERNET_BYTES) // 4
WORD_BITS = bits_for(WINDOW_WORDS)
#: VLAN tags, SNAP and MPLS labels take at most this many words.
LINK_WORDS = 2 + 2 + 4
NETWORK_BYTES = 40
TRANSPORT_BYTES = 20


def number(octets: Value, first: int, count: int) -> Value:
    """The number in bytes ``first`` to ``first + count - 1``, most significant first; byte 0 is in bits 7..0."""
    return Cat(octets[8 * at : 8 * at + 8] for at in reversed(range(first, first + count)))


def pick(m: Module, domain: str, target: Value, window: Value, words: Value, positions: range) -> None:
    """Assigns the bytes from word ``words`` on to ``target``.  A switch, as shifting the whole window would be slow."""
    with m.Switch(words):
        for n in positions:
            with m.Case(n):
                m.d[domain] += target.eq(window[32 * n : 32 * n + len(target)])


class NetworkKind(enum.Enum, shape=2):
    """What the link layer announces."""

    NONE = 0
    IPV4 = 1
    IPV6 = 2
    BY_VERSION = 3  # below MPLS: the first nibble tells; neither 4 nor 6 is a pseudowire, which nobody opens


class Frame(data.Struct):
    """What of the frame itself goes along with the headers."""

    body: BODY_BITS
    cut: 1  # it lost bytes before the card


class Link(data.Struct):
    """Ethernet, VLAN tags and SNAP."""

    eth_type: 16
    vlan_count: 2
    vlan0: 32
    vlan1: 32
    words: 3  # of VLAN tags and SNAP
    parse_error: 5


class Labels(data.Struct):
    """MPLS, and what comes below."""

    mpls_count: 3
    kind: NetworkKind
    words: 4  # where the network header begins
    parse_error: 5
    is_arp: 1


class Network(data.Struct):
    """The fixed IP header's fields, not yet compared with the frame's length."""

    is_ip: 1  # the type says IP: class is IP_OTHER at least, unless the version is wrong
    ip_version: 2
    has_offset: 1
    source: 128
    destination: 128
    words: 4  # of the header
    length: 17
    length_is_rest: 1  # the packet takes what is left of the frame (segmentation offload); ``length`` is not used
    fragment: 2
    fragment_offset: 13
    ip_id: 16
    ip_dscp: 6
    protocol: 8
    parse_error: 5


class Cursor(data.Struct):
    """Where the parser stands between the IP header and the transport, and what it carries on."""

    words: WORD_BITS
    protocol: 8
    protocol_class: 4  # as it is if nothing more is opened
    ip_version: 2
    fragment: 2
    fragment_offset: 13
    ip_id: 16
    ip_dscp: 6
    routed: 1  # a routing header with segments left: the transport checksum covers another destination
    extension: 1  # ``protocol`` is an extension header or AH, and it is here
    stopped: 1  # nothing more is read
    parse_error: 5
    end: 17  # of the IP packet, bytes past byte 14
    limit: BODY_BITS  # of packet and frame, whichever ends first, bytes past byte 14
    network_checksum_bad: 1


class Reach(data.Struct):
    """How much of the transport header the packet, the frame and the window hold."""

    protocol_class: 4
    later: 1  # a fragment without transport header
    is_there: 1  # a header the parser knows, all of its fixed part
    has_offset: 1  # a byte of it
    has_ports: 1  # 4 bytes of it, of a protocol the parser knows
    parse_error: 5
    carried: 16  # bytes from the cursor to the packet's end


class Transport(data.Struct):
    """The part of ``ParsedHeaders`` that is known last, but for checksum and verdict."""

    protocol: 8
    ip_id: 16
    ip_dscp: 6
    fragment: 2
    source_port: 16
    destination_port: 16
    tcp_flags: 8
    tcp_sequence: 32
    tcp_acknowledgment: 32
    tcp_window: 16
    has_tcp: 1
    transport_offset: 8
    payload_offset: 8
    payload_length: 16
    protocol_class: 4
    parse_error: 5
    network_checksum_bad: 1


class LinkFields(data.Struct):
    """The part of ``ParsedHeaders`` that the link layer knows."""

    eth_type: 16
    vlan_count: 2
    vlan0: 32
    vlan1: 32
    mpls_count: 3


class NetworkFields(data.Struct):
    """The part of ``ParsedHeaders`` that the IP header settles."""

    ip_version: 2
    source: 128
    destination: 128
    ip_length: 16
    ip_length_is_rest: 1
    network_offset: 8


class CheckJob(data.Struct):
    """What to sum over a frame's beats, and what the verdict needs besides."""

    beats: BODY_BITS
    active: 1  # sum and compare; else ``state`` stands
    state: 2  # sentinic.abi.verdicts.Checksum
    words: WORD_BITS  # where the transport begins
    end: BODY_BITS  # byte of the frame past the last one to sum
    seed: 20  # of the pseudo header, bytes swapped as in ``Sum16``
    malformed: 1
    truncated: 1
    fragment: 1
    network_checksum_bad: 1


class CheckResult(data.Struct):
    transport_checksum: 2
    verdict: 3

"""Statistics rules: the fields they select by, the words that carry a rule to the card, and what a report says.

Field names are those of OpenFlow's OXM (OpenFlow Switch Specification 1.5.1, 7.2.3.8); several of OXM's names share a
place here, as ``tcp_src`` and ``udp_src`` do: what tells them apart is ``ip_proto``.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from sentinic.abi.layout import ByteOrder, Member, Record
from sentinic.abi.tag import Tlv


@dataclass(frozen=True)
class Field:
    """A run of ``width`` bits at bit ``lsb`` of a rule's value, mask and group words."""

    name: str
    lsb: int
    width: int
    doc: str


def _fields(*parts: tuple[str, int, str]) -> tuple[Field, ...]:
    lsb, found = 0, []
    for name, width, doc in parts:
        found.append(Field(name, lsb, width, doc))
        lsb += width
    return tuple(found)


#: What a packet shows to the rules; numbers, the first byte on the wire the highest.  Fields that it lacks are 0.
FIELDS = _fields(
    ("in_port", 2, "ingress port"),
    ("ip_version", 2, "0 none, 1 IPv4, 2 IPv6"),
    ("is_fragment", 1, "an IP fragment, first or later"),
    ("vlan_present", 1, "the frame has a VLAN tag"),
    ("verdict", 3, "Verdict"),
    ("protocol_class", 4, "Protocol"),
    ("reserved", 1, "zero"),
    ("ip_dscp", 6, "differentiated services code point (RFC 2474)"),
    ("vlan_vid", 12, "VLAN identifier of the outer tag"),
    ("ip_proto", 8, "the transport's protocol number, past extension headers"),
    ("tcp_flags", 8, "CWR..FIN (RFC 9293 3.1)"),
    ("eth_type", 16, "the innermost EtherType, after VLAN tags"),
    ("source_port", 16, "TCP, UDP or SCTP source port; ICMP and ICMPv6 type"),
    ("destination_port", 16, "TCP, UDP or SCTP destination port; ICMP and ICMPv6 code"),
    ("eth_src", 48, "Ethernet source address"),
    ("eth_dst", 48, "Ethernet destination address"),
    ("source", 128, "IP source address; IPv4 as IPv4-mapped (RFC 4291 2.5.5.2)"),
    ("destination", 128, "IP destination address, as source"),
)
FIELD_BITS = FIELDS[-1].lsb + FIELDS[-1].width
FIELD_WORDS = -(-FIELD_BITS // 32)
#: What a bidirectional rule takes from the other end when the packet flows the other way.
PAIRS = (("source", "destination"), ("source_port", "destination_port"), ("eth_src", "eth_dst"))


def field(name: str) -> Field:
    """The field called ``name``; KeyError when there is none."""
    for item in FIELDS:
        if item.name == name:
            return item
    raise KeyError(f"no statistics field is called {name!r}; known are {', '.join(item.name for item in FIELDS)}")


def _halves(names: tuple[str, ...]) -> tuple[int, ...]:
    """Where the fields lie in a rule's words, as numbers of half words, the lowest first."""
    found: list[int] = []
    for name in names:
        place = field(name)
        assert place.lsb % HALF_BITS == place.width % HALF_BITS == 0
        found += range(place.lsb // HALF_BITS, (place.lsb + place.width) // HALF_BITS)
    return tuple(found)


def _beats() -> tuple[tuple[int, ...], ...]:
    # The lower end is told by address, then port, then Ethernet address: the highest comes last.
    first, second = (_halves(tuple(pair[end] for pair in reversed(PAIRS))) for end in (0, 1))
    common = tuple(half for half in range(2 * FIELD_WORDS) if half not in first + second)
    end, rest = len(first) // FOLDED_BEATS, len(common) // FOLDED_BEATS
    assert len(first) == len(second) == end * FOLDED_BEATS
    assert len(common) == rest * FOLDED_BEATS
    return tuple(
        common[rest * n : rest * (n + 1)] + first[end * n : end * (n + 1)] + second[end * n : end * (n + 1)]
        for n in range(FOLDED_BEATS)
    )


#: Builds with folded statistics read a rule's words, and a packet's fields, in so many beats of half words.
FOLDED_BEATS = 4
HALF_BITS = 16
#: Half words of each beat: some of what both ends share, then a part of one end, then the same part of the other.
FOLDED_LAYOUT = _beats()


def hashed_at(name: str, folded: bool) -> range | list[int]:
    """Which bits of the tables' secret meet the field's bits, the lowest first; bit *j* of a hash is *j* bits on."""
    place = field(name)
    bits = range(place.lsb, place.lsb + place.width)
    if not folded:
        return bits
    order = [half for beat in FOLDED_LAYOUT for half in beat]
    return [HALF_BITS * order.index(bit // HALF_BITS) + bit % HALF_BITS for bit in bits]


class Event(IntEnum):
    """A kind of packet in a group's history; 8 is added for those against the direction of the group's first packet.

    The letters are Zeek's (``history`` of ``conn.log``); those of the other direction are small.
    """

    NONE = 0
    SYN = 1  #: S: SYN without ACK
    HANDSHAKE = 2  #: H: SYN with ACK
    ACK = 3  #: A: ACK without payload, SYN, FIN or RST
    DATA = 4  #: D: payload, of any protocol
    FIN = 5  #: F
    RST = 6  #: R


EVENT_LETTERS = {Event.SYN: "S", Event.HANDSHAKE: "H", Event.ACK: "A", Event.DATA: "D", Event.FIN: "F", Event.RST: "R"}
REVERSE = 8
#: Distinct events that a history keeps in order.
HISTORY_EVENTS = 8


class ReportFlag(IntFlag):
    """Why a group was reported, and what the report is: a sum of these."""

    INTERVAL = 1  #: the report interval ended
    EVICTED = 2  #: it left the table to make room; it may come back
    FINAL = 4  #: the rule was changed or removed
    DEMAND = 8  #: the host asked
    #: not a group: what reports that could not be sent would have said, packets and bytes; of a cumulative rule, whose
    #: groups have been told in part, all that it has counted so far: when its groups fall short of that, and at its end
    OVERFLOW = 16
    REVERSED = 32  #: the group's first packet went from ``destination`` to ``source`` (bidirectional rules)


def _record(*members: tuple[str, int, int, str, str] | tuple[str, int, int, str, str, int]) -> Record:
    head = (Member("type", 0, 1, "TLV type"), Member("length", 1, 1, "length of the TLV", "32-bit words"))
    return Record("group", 128, ByteOrder.BIG, head + tuple(Member(*item) for item in members))


GROUP = Tlv(
    0x10,
    _record(
        ("rule", 2, 1, "number of the rule", ""),
        ("flags", 3, 1, "ReportFlag", ""),
        ("generation", 4, 4, "generation of the rule, as the host set it", ""),
        ("packets", 8, 8, "packets since the group came, or since its last report if not cumulative", "packets"),
        ("bytes", 16, 8, "their bytes on the wire, without FCS", "bytes"),
        ("first", 24, 8, "wire time of the first of them", "ns"),
        ("last", 32, 8, "wire time of the last of them", "ns"),
        ("history", 40, 4, "the first eight distinct events in order, four bits each, the first lowest", ""),
        ("seen", 44, 2, "bit n: event n was seen", ""),
        ("in_port", 46, 1, "ingress port", ""),
        ("ip_version", 47, 1, "0 none, 1 IPv4, 2 IPv6", ""),
        ("is_fragment", 48, 1, "an IP fragment", ""),
        ("vlan_present", 49, 1, "the frame has a VLAN tag", ""),
        ("verdict", 50, 1, "Verdict", ""),
        ("protocol_class", 51, 1, "Protocol", ""),
        ("ip_dscp", 52, 1, "differentiated services code point", ""),
        ("ip_proto", 53, 1, "protocol number", ""),
        ("tcp_flags", 54, 1, "CWR..FIN", ""),
        ("reserved", 55, 1, "zero", ""),
        ("vlan_vid", 56, 2, "VLAN identifier", ""),
        ("eth_type", 58, 2, "EtherType", ""),
        ("source_port", 60, 2, "source port, ICMP type", ""),
        ("destination_port", 62, 2, "destination port, ICMP code", ""),
        ("source", 64, 1, "source address, network order", "", 16),
        ("destination", 80, 1, "destination address, as source", "", 16),
        ("eth_src", 96, 1, "Ethernet source address", "", 6),
        ("eth_dst", 102, 1, "Ethernet destination address", "", 6),
        ("reserved1", 108, 4, "zero", ""),
        ("reserved2", 112, 8, "zero", ""),
        ("reserved3", 120, 8, "zero", ""),
    ),
    False,
    "A group of a statistics rule: its fields (those it does not group by are 0) and what was counted.",
)

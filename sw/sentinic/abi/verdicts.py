"""What the parser says of a packet: one enumeration each, the same on the card and in the host."""

from enum import IntEnum


class Protocol(IntEnum):
    """The protocol class that ring filters select by (bit n of ``filter_protocols``)."""

    OTHER = 0  #: neither IP nor ARP
    ARP = 1
    IP_OTHER = 2  #: IPv4 or IPv6 with a transport the parser does not open
    TCP = 3
    UDP = 4
    SCTP = 5
    ICMP = 6
    ICMPV6 = 7


class Verdict(IntEnum):
    """The one class of a packet that ring filters select by (bit n of ``filter_verdicts``); the highest that holds."""

    CLEAN = 0  #: nothing to remark
    FRAGMENT = 1  #: an IP fragment, first or later
    TRUNCATED = 2  #: fewer bytes than the IP header promises, or cut by a snap length before the card
    BAD_NETWORK_CHECKSUM = 3  #: IPv4 header checksum (RFC 791)
    BAD_TRANSPORT_CHECKSUM = 4  #: TCP, UDP, ICMP or ICMPv6 checksum
    MALFORMED = 5  #: see :class:`ParseError`


class Fragment(IntEnum):
    WHOLE = 0
    FIRST = 1  #: offset 0, more fragments follow; the transport header is parsed
    LATER = 2  #: offset above 0: no transport header


class Checksum(IntEnum):
    """State of the transport checksum."""

    UNCHECKED = 0  #: no checksum known for this protocol, a fragment, or truncated
    GOOD = 1
    BAD = 2
    ABSENT = 3  #: UDP over IPv4 with checksum field 0 (RFC 768)


class Kind(IntEnum):
    """What a record in a ring stands for."""

    PACKET = 0
    REPORT = 1
    REGENERATED = 2
    VOID = 3  #: a write of the packet's bytes failed: the slot holds nothing, only its space counts


class Content(IntEnum):
    """What the items of a report are."""

    GROUPS = 0  #: groups of statistics rules
    ATTEMPTS = 1  #: connection attempts that nobody answered


class ParseError(IntEnum):
    """What is wrong with a frame; the first thing found counts.  The frame is delivered all the same."""

    NONE = 0
    LINK_TRUNCATED = 1  #: the frame ends within VLAN tags, MPLS labels or LLC/SNAP
    VLAN_DEPTH = 2  #: a third VLAN tag
    MPLS_DEPTH = 3  #: a fifth MPLS label
    IP_VERSION = 4  #: version field disagrees with the EtherType
    IP_TRUNCATED = 5  #: the frame ends within the fixed IP header or the IPv4 options
    IPV4_HEADER_LENGTH = 6  #: IHL below 5
    #: total length below the header length (0, used with segmentation offload, is taken as the frame's)
    IPV4_TOTAL_LENGTH = 7
    IP_BEYOND_FRAME = 8  #: total or payload length runs past the frame's end
    EXTENSION_TRUNCATED = 9  #: the IP packet ends within an extension header
    EXTENSION_DEPTH = 10  #: more extension headers than the parser follows
    WINDOW = 11  #: headers run past the parser's window
    FRAGMENT_RANGE = 12  #: fragment offset plus length exceeds 65,535 bytes
    TRANSPORT_TRUNCATED = 13  #: the IP packet ends within the fixed transport header
    TCP_DATA_OFFSET = 14  #: data offset below 5, or past the end of the IP packet
    UDP_LENGTH = 15  #: UDP length below 8 or past the end of the IP packet
    ARP_TRUNCATED = 16  #: shorter than an IPv4-over-Ethernet ARP packet

"""One combinational step a header layer, the same for both schedules of the parser.

A step sees its header at byte 0 of ``octets`` (byte 0 in bits 7..0) and never trusts a byte that the length does not cover.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.verdicts import Checksum, Fragment, ParseError, Protocol

from .layout import (
    BODY_BITS,
    ETHERNET_BYTES,
    LINK_WORDS,
    NETWORK_BYTES,
    TRANSPORT_BYTES,
    WINDOW_WORDS,
    CheckJob,
    Cursor,
    Labels,
    Link,
    Network,
    NetworkKind,
    Transport,
    number,
)

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
ROUTING, FRAGMENT, AUTHENTICATION, NO_NEXT = 43, 44, 51, 59
IPV6_EXTENSIONS = (0, ROUTING, FRAGMENT, AUTHENTICATION, 60, 135, 139, 140)


def is_vlan(eth_type: Value) -> Value:
    return (eth_type == 0x8100) | (eth_type == 0x88A8) | (eth_type == 0x9100)


def is_extension(protocol: Value, ip_version: Value) -> Value:
    """Whether ``protocol`` is a header the parser passes on its way to the transport."""
    others = [protocol == each for each in IPV6_EXTENSIONS if each != AUTHENTICATION]
    return (protocol == AUTHENTICATION) | ((ip_version == 2) & Cat(others).any())


class LinkStep(wiring.Component):
    """Ethernet type, VLAN tags and SNAP.

    Members
    -------
    octets: bytes 12 to 29 of the frame
    """

    octets: In(8 * 18)
    body: In(BODY_BITS)
    o: Out(Link)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        o = self.o
        types = [number(self.octets, 4 * n, 2) for n in range(3)]
        tagged = [is_vlan(each) for each in types]
        words = self.body[2:]
        count = Signal(2)
        vlan_error = Signal(5)
        with m.If(tagged[0] & (words >= 1)):
            with m.If(tagged[1] & (words >= 2)):
                m.d.comb += [count.eq(2), vlan_error.eq(Mux(tagged[2], ParseError.VLAN_DEPTH, 0))]
            with m.Else():
                m.d.comb += [count.eq(1), vlan_error.eq(Mux(tagged[1], ParseError.LINK_TRUNCATED, 0))]
        with m.Else():
            m.d.comb += vlan_error.eq(Mux(tagged[0], ParseError.LINK_TRUNCATED, 0))

        eth_type = Signal(16)
        llc = Signal(8 * 8)
        left = Signal(BODY_BITS)
        with m.Switch(count):
            for n in range(3):
                with m.Case(n):
                    at = 2 + 4 * n
                    m.d.comb += [
                        eth_type.eq(types[n]),
                        llc.eq(self.octets[8 * at : 8 * (at + 8)]),
                        # Only 3 and 8 bytes matter, so a frame with fewer than count * 4 never gets here.
                        left.eq(self.body - 4 * n),
                    ]
        m.d.comb += [
            o.vlan_count.eq(count),
            o.vlan0.eq(Mux(count >= 1, Cat(number(self.octets, 2, 2), types[0]), 0)),
            o.vlan1.eq(Mux(count == 2, Cat(number(self.octets, 6, 2), types[1]), 0)),
            o.eth_type.eq(eth_type),
            o.words.eq(count),
            o.parse_error.eq(vlan_error),
        ]
        with m.If((vlan_error == 0) & (eth_type < 0x0600)):
            with m.If(left < 3):
                m.d.comb += o.parse_error.eq(ParseError.LINK_TRUNCATED)
            with m.Elif(number(llc, 0, 3) == 0xAAAA03):
                with m.If(left < 8):
                    m.d.comb += o.parse_error.eq(ParseError.LINK_TRUNCATED)
                with m.Elif(number(llc, 3, 3) == 0):
                    # Types that only a SNAP header carries on are a type nobody opens: "no IP" below.
                    m.d.comb += [o.eth_type.eq(number(llc, 6, 2)), o.words.eq(count + 2)]
        return m


class LabelStep(wiring.Component):
    """MPLS labels, and what the EtherType announces.

    Members
    -------
    bottoms: bottom-of-stack bit (byte 2, bit 0) of the words 0 to 7
    """

    link: In(Link)
    bottoms: In(LINK_WORDS)
    body: In(BODY_BITS)
    o: Out(Labels)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        o, link = self.o, self.link
        words = self.body[2:]
        bottoms = Signal(4)
        for n in range(5):
            with m.If(link.words == n):
                m.d.comb += bottoms.eq(self.bottoms[n : n + 4])
        m.d.comb += [o.words.eq(link.words), o.parse_error.eq(link.parse_error)]

        stacked = Signal()
        m.d.comb += stacked.eq((link.eth_type == 0x8847) | (link.eth_type == 0x8848))
        with m.If(link.parse_error == 0):
            with m.If(stacked):
                found = Signal()
                depth = Signal(range(5), init=4)
                there = Signal(range(5))
                for n in reversed(range(4)):
                    # The first bottom counts: later assignments win.
                    with m.If(bottoms[n]):
                        m.d.comb += [found.eq(1), depth.eq(n + 1)]
                for n in range(1, 5):
                    with m.If(words >= link.words + n):
                        m.d.comb += there.eq(n)
                m.d.comb += [o.mpls_count.eq(depth), o.words.eq(link.words + depth)]
                with m.If(depth > there):
                    m.d.comb += [o.mpls_count.eq(there), o.parse_error.eq(ParseError.LINK_TRUNCATED)]
                with m.Elif(~found):
                    m.d.comb += o.parse_error.eq(ParseError.MPLS_DEPTH)
                with m.Elif(self.body == Cat(Const(0, 2), o.words)):
                    m.d.comb += o.parse_error.eq(ParseError.LINK_TRUNCATED)
                with m.Else():
                    m.d.comb += o.kind.eq(NetworkKind.BY_VERSION)
            with m.Elif(link.eth_type == 0x0806):
                m.d.comb += o.is_arp.eq(1)
                with m.If(words < link.words + 7):
                    m.d.comb += o.parse_error.eq(ParseError.ARP_TRUNCATED)
            with m.Elif(link.eth_type == 0x0800):
                m.d.comb += o.kind.eq(NetworkKind.IPV4)
            with m.Elif(link.eth_type == 0x86DD):
                m.d.comb += o.kind.eq(NetworkKind.IPV6)
        return m


class NetworkStep(wiring.Component):
    """The fixed IPv4 or IPv6 header, but for what depends on its length fields (:class:`BoundsStep`).

    Members
    -------
    octets: the first 40 bytes from the network header on
    at: its first word
    body_words: whole words in the frame past byte 14
    """

    labels: In(Labels)
    body: In(BODY_BITS)
    octets: In(8 * NETWORK_BYTES)
    o: Out(Network)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        o, octets, labels = self.o, self.octets, self.labels
        words = self.body[2:]
        version = number(octets, 0, 1)[4:]
        by_type4 = labels.kind == NetworkKind.IPV4
        by_type6 = labels.kind == NetworkKind.IPV6
        below_mpls = labels.kind == NetworkKind.BY_VERSION
        is4, is6 = Signal(), Signal()
        m.d.comb += [
            is4.eq(by_type4 | (below_mpls & (version == 4))),
            is6.eq(by_type6 | (below_mpls & (version == 6))),
            o.has_offset.eq(is4 | is6),
            o.parse_error.eq(labels.parse_error),
        ]
        with m.If(is4):
            with m.If(words < labels.words + 5):
                m.d.comb += [o.parse_error.eq(ParseError.IP_TRUNCATED), o.is_ip.eq(1)]
            with m.Elif(version != 4):
                m.d.comb += o.parse_error.eq(ParseError.IP_VERSION)
            with m.Else():
                m.d.comb += [o.is_ip.eq(1), o.ip_version.eq(1)]
        with m.Elif(is6):
            with m.If(words < labels.words + 10):
                m.d.comb += [o.parse_error.eq(ParseError.IP_TRUNCATED), o.is_ip.eq(1)]
            with m.Elif(version != 6):
                m.d.comb += o.parse_error.eq(ParseError.IP_VERSION)
            with m.Else():
                m.d.comb += [o.is_ip.eq(1), o.ip_version.eq(2)]
        with m.Elif(below_mpls):
            m.d.comb += o.parse_error.eq(ParseError.IP_VERSION)

        flags = number(octets, 6, 2)
        offset = flags[:13]
        total = number(octets, 2, 2)
        payload = number(octets, 4, 2)
        following = number(octets, 6, 1)
        with m.If(o.ip_version == 1):
            m.d.comb += [
                o.source.eq(Cat(number(octets, 12, 4), Const(0xFFFF, 16))),
                o.destination.eq(Cat(number(octets, 16, 4), Const(0xFFFF, 16))),
                o.words.eq(octets[:4]),
                o.length.eq(total),
                o.length_is_rest.eq(total == 0),
                o.fragment_offset.eq(offset),
                o.fragment.eq(Mux(offset.any(), Fragment.LATER, Mux(flags[13], Fragment.FIRST, Fragment.WHOLE))),
                o.ip_id.eq(number(octets, 4, 2)),
                o.protocol.eq(number(octets, 9, 1)),
            ]
        with m.Elif(o.ip_version == 2):
            m.d.comb += [
                o.source.eq(number(octets, 8, 16)),
                o.destination.eq(number(octets, 24, 16)),
                o.words.eq(10),
                o.length.eq(payload + 40),
                o.length_is_rest.eq((payload == 0) & ((following == TCP) | (following == UDP))),
                o.protocol.eq(following),
            ]
        return m


class BoundsStep(wiring.Component):
    """Compares the IP header's lengths with the frame's, and places the cursor behind the header.

    Members
    -------
    at: the network header's first word
    body_left: bytes of the frame from the network header on; 0 or more wherever ``network.ip_version`` is set
    network_checksum_bad: what the header checksum says, if there is one
    ip_length: as in ``ParsedHeaders``
    """

    network: In(Network)
    at: In(4)
    is_arp: In(1)
    body: In(BODY_BITS)
    body_left: In(BODY_BITS)
    network_checksum_bad: In(1)
    ip_length: Out(16)
    o: Out(Cursor)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        o, network = self.o, self.network
        length = Signal(16)
        with m.If(network.length_is_rest):
            m.d.comb += length.eq(self.body_left)
        with m.Else():
            m.d.comb += length.eq(Mux(network.length[16], 0xFFFF, network.length))
        header_bytes = Cat(Const(0, 2), network.words)
        beyond = Signal()
        m.d.comb += [
            self.ip_length.eq(length),
            beyond.eq(length > self.body_left),
            o.words.eq(self.at + network.words),
            o.protocol.eq(network.protocol),
            o.ip_version.eq(network.ip_version),
            o.fragment.eq(network.fragment),
            o.fragment_offset.eq(network.fragment_offset),
            o.ip_id.eq(network.ip_id),
            o.parse_error.eq(network.parse_error),
            o.stopped.eq(network.ip_version == 0),
            o.end.eq(Cat(Const(0, 2), self.at) + length),
            o.limit.eq(Mux(beyond, self.body, o.end)),
        ]
        with m.If(network.is_ip):
            m.d.comb += o.protocol_class.eq(Protocol.IP_OTHER)
        with m.Elif(self.is_arp):
            m.d.comb += o.protocol_class.eq(Protocol.ARP)
        with m.If(network.ip_version == 1):
            with m.If(network.words < 5):
                m.d.comb += [o.parse_error.eq(ParseError.IPV4_HEADER_LENGTH), o.stopped.eq(1)]
            with m.Elif(header_bytes > self.body_left):
                m.d.comb += [o.parse_error.eq(ParseError.IP_TRUNCATED), o.stopped.eq(1)]
            with m.Else():
                m.d.comb += o.network_checksum_bad.eq(self.network_checksum_bad)
                with m.If(length < header_bytes):
                    m.d.comb += [o.parse_error.eq(ParseError.IPV4_TOTAL_LENGTH), o.stopped.eq(1)]
                with m.Elif(beyond):
                    m.d.comb += o.parse_error.eq(ParseError.IP_BEYOND_FRAME)
        with m.Elif((network.ip_version == 2) & beyond):
            m.d.comb += o.parse_error.eq(ParseError.IP_BEYOND_FRAME)
        return m


class ExtensionStep(wiring.Component):
    """One IPv6 extension header or AH, if the cursor stands before one.

    Members
    -------
    octets: 8 bytes from the cursor on
    deepest: no more headers may be passed
    """

    i: In(Cursor)
    octets: In(8 * 8)
    deepest: In(1)
    active: Out(1)
    o: Out(Cursor)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, o, octets = self.i, self.o, self.octets
        fragment = i.protocol == FRAGMENT
        words = Signal(10)
        with m.If(fragment):
            m.d.comb += words.eq(2)
        with m.Elif(i.protocol == AUTHENTICATION):
            m.d.comb += words.eq(octets[8:16] + 2)
        with m.Else():
            m.d.comb += words.eq(Cat(Const(1, 1), octets[8:16]) + 1)
        end = Signal(10)
        limit = i.limit[2:]
        error = Signal(5)
        m.d.comb += [
            self.active.eq(~i.stopped & (i.fragment != Fragment.LATER) & is_extension(i.protocol, i.ip_version)),
            end.eq(i.words + words),
            o.eq(i),
        ]
        with m.If(self.deepest):
            m.d.comb += error.eq(ParseError.EXTENSION_DEPTH)
        with m.Elif(limit < i.words + 2):
            m.d.comb += error.eq(ParseError.EXTENSION_TRUNCATED)
        with m.Elif(i.words > WINDOW_WORDS - 2):
            m.d.comb += error.eq(ParseError.WINDOW)
        with m.Elif(limit < end):
            m.d.comb += error.eq(ParseError.EXTENSION_TRUNCATED)
        with m.Elif(end > WINDOW_WORDS):
            m.d.comb += error.eq(ParseError.WINDOW)

        with m.If(self.active):
            with m.If(error != 0):
                m.d.comb += o.stopped.eq(1)
                with m.If(i.parse_error == 0):
                    m.d.comb += o.parse_error.eq(error)
            with m.Else():
                m.d.comb += [o.words.eq(end), o.protocol.eq(octets[:8])]
                with m.If((i.protocol == ROUTING) & octets[24:32].any()):
                    m.d.comb += o.routed.eq(1)
                with m.If(fragment):
                    offset = number(octets, 2, 2)[3:]
                    m.d.comb += [o.fragment_offset.eq(offset), o.ip_id.eq(number(octets, 6, 2))]
                    with m.If(offset.any()):
                        m.d.comb += o.fragment.eq(Fragment.LATER)
                    with m.Elif(octets[24]):
                        m.d.comb += o.fragment.eq(Fragment.FIRST)
        return m


class TransportStep(wiring.Component):
    """The transport header, and what the checksum unit has to do.

    Members
    -------
    octets: 20 bytes from the cursor on
    carried: bytes from the cursor to the packet's end
    cut: the frame lost bytes before the card, so no transport checksum can be checked
    check: ``beats``, ``words``, ``seed`` and ``truncated``'s other cause are the caller's
    add_pseudo: ``check.seed`` takes in the pseudo header
    """

    i: In(Cursor)
    octets: In(8 * TRANSPORT_BYTES)
    carried: In(16)
    cut: In(1)
    o: Out(Transport)
    check: Out(CheckJob)
    add_pseudo: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, o, octets, check = self.i, self.o, self.octets, self.check
        here = Cat(Const(0, 2), i.words)
        offset = Signal(8)
        protocol_class = Signal(Protocol)
        opened = Signal()
        m.d.comb += [
            offset.eq(here + ETHERNET_BYTES),
            opened.eq(~i.stopped & (i.fragment != Fragment.LATER) & (i.protocol != NO_NEXT)),
            o.protocol.eq(i.protocol),
            o.ip_id.eq(i.ip_id),
            o.fragment.eq(i.fragment),
            o.network_checksum_bad.eq(i.network_checksum_bad),
            o.protocol_class.eq(i.protocol_class),
        ]
        needed = Signal(3)
        with m.Switch(i.protocol):
            for value, each, words in ((TCP, Protocol.TCP, 5), (UDP, Protocol.UDP, 2), (SCTP, Protocol.SCTP, 3)):
                with m.Case(value):
                    m.d.comb += [protocol_class.eq(each), needed.eq(words)]
            with m.Case(ICMP):
                m.d.comb += [protocol_class.eq(Mux(i.ip_version == 1, Protocol.ICMP, Protocol.IP_OTHER)), needed.eq(1)]
            with m.Case(ICMPV6):
                m.d.comb += [protocol_class.eq(Mux(i.ip_version == 2, Protocol.ICMPV6, Protocol.IP_OTHER)), needed.eq(1)]
            with m.Default():
                m.d.comb += protocol_class.eq(Protocol.IP_OTHER)
        with m.If(~i.stopped):
            m.d.comb += o.protocol_class.eq(protocol_class)

        limit = i.limit[2:]
        error = Signal(5)
        is_icmp = (protocol_class == Protocol.ICMP) | (protocol_class == Protocol.ICMPV6)
        known = opened & (protocol_class != Protocol.IP_OTHER)
        beyond = limit < i.words + needed
        outside = i.words + needed > WINDOW_WORDS
        with m.If(opened & (here < i.limit)):
            m.d.comb += o.transport_offset.eq(offset)
        with m.If(known & (i.words < limit) & (i.words < WINDOW_WORDS)):
            with m.If(is_icmp):
                m.d.comb += [o.source_port.eq(octets[0:8]), o.destination_port.eq(octets[8:16])]
            with m.Else():
                m.d.comb += [o.source_port.eq(number(octets, 0, 2)), o.destination_port.eq(number(octets, 2, 2))]

        header_words = octets[8 * 12 + 4 : 8 * 13]
        udp_length = number(octets, 4, 2)
        carried_words = self.carried[2:]
        checked = Signal(16)
        udp_zero = Signal()
        sums = Signal()
        m.d.comb += checked.eq(self.carried)
        with m.If(i.fragment == Fragment.LATER):
            with m.If(~i.stopped):
                m.d.comb += [o.payload_offset.eq(offset), o.payload_length.eq(self.carried)]
                with m.If(Cat(Const(0, 3), i.fragment_offset) + self.carried > 0xFFFF):
                    m.d.comb += error.eq(ParseError.FRAGMENT_RANGE)
        with m.Elif(known):
            with m.If(beyond):
                m.d.comb += error.eq(ParseError.TRANSPORT_TRUNCATED)
            with m.Elif(outside):
                m.d.comb += error.eq(ParseError.WINDOW)
            with m.Else():
                m.d.comb += sums.eq(protocol_class != Protocol.SCTP)
                with m.Switch(protocol_class):
                    with m.Case(Protocol.TCP):
                        m.d.comb += [
                            o.has_tcp.eq(1),
                            o.tcp_sequence.eq(number(octets, 4, 4)),
                            o.tcp_acknowledgment.eq(number(octets, 8, 4)),
                            o.tcp_flags.eq(octets[8 * 13 : 8 * 14]),
                            o.tcp_window.eq(number(octets, 14, 2)),
                        ]
                        with m.If((header_words < 5) | (header_words > carried_words)):
                            m.d.comb += error.eq(ParseError.TCP_DATA_OFFSET)
                        with m.Else():
                            header_bytes = Cat(Const(0, 2), header_words)
                            m.d.comb += [
                                o.payload_offset.eq(offset + header_bytes),
                                o.payload_length.eq(self.carried - header_bytes),
                            ]
                    with m.Case(Protocol.UDP):
                        m.d.comb += [
                            o.payload_offset.eq(offset + 8),
                            o.payload_length.eq(self.carried - 8),
                            udp_zero.eq(number(octets, 6, 2) == 0),
                            checked.eq(udp_length),
                        ]
                        with m.If(udp_length < 8):
                            m.d.comb += error.eq(ParseError.UDP_LENGTH)
                        with m.Elif(i.fragment == Fragment.WHOLE):
                            with m.If(udp_length > self.carried):
                                m.d.comb += error.eq(ParseError.UDP_LENGTH)
                            with m.Else():
                                m.d.comb += o.payload_length.eq(udp_length - 8)
                    with m.Case(Protocol.SCTP):
                        m.d.comb += [o.payload_offset.eq(offset + 12), o.payload_length.eq(self.carried - 12)]
                    with m.Default():
                        m.d.comb += [
                            o.payload_offset.eq(offset + 8),
                            o.payload_length.eq(Mux(self.carried < 8, 0, self.carried - 8)),
                        ]

        m.d.comb += o.parse_error.eq(Mux(i.parse_error == 0, error, i.parse_error))
        checkable = sums & (o.parse_error == 0) & (i.fragment == Fragment.WHOLE) & ~i.routed & ~self.cut
        m.d.comb += [
            self.add_pseudo.eq(protocol_class != Protocol.ICMP),
            check.length.eq(checked),
            check.words.eq(i.words),
            check.malformed.eq((o.parse_error != 0) & (o.parse_error != ParseError.IP_BEYOND_FRAME)),
            check.truncated.eq(o.parse_error == ParseError.IP_BEYOND_FRAME),
            check.fragment.eq(i.fragment != Fragment.WHOLE),
            check.network_checksum_bad.eq(i.network_checksum_bad),
        ]
        with m.If(checkable):
            with m.If(udp_zero):
                m.d.comb += check.state.eq(Mux(i.ip_version == 1, Checksum.ABSENT, Checksum.BAD))
            with m.Else():
                m.d.comb += check.active.eq(1)
        return m

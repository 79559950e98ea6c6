"""Header steps of IP: the fixed header, its lengths, extension headers.

A step is combinational and the same for both schedules.  It sees its header at byte 0 of ``octets`` (byte 0 in bits
7..0) and never trusts a byte that the length does not cover.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.verdicts import Fragment, ParseError, Protocol

from .layout import (
    BODY_BITS,
    NETWORK_BYTES,
    WINDOW_WORDS,
    Cursor,
    Labels,
    Network,
    NetworkKind,
    number,
)

TCP, UDP = 6, 17
ROUTING, FRAGMENT, AUTHENTICATION = 43, 44, 51
IPV6_EXTENSIONS = (0, ROUTING, FRAGMENT, AUTHENTICATION, 60, 135, 139, 140)


def is_extension(protocol: Value, ip_version: Value) -> Value:
    """Whether ``protocol`` is a header the parser passes on its way to the transport."""
    others = [protocol == each for each in IPV6_EXTENSIONS if each != AUTHENTICATION]
    return (protocol == AUTHENTICATION) | ((ip_version == 2) & Cat(others).any())


def mapped(octets: Value, first: int) -> Value:
    """The IPv4 address from byte ``first`` on, IPv4-mapped."""
    return Cat(number(octets, first, 4), Const(0xFFFF, 16))


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
        ip_version = Signal(2)  # a signal of its own: reading ``o`` back would look like a loop to simulators
        m.d.comb += [
            is4.eq(by_type4 | (below_mpls & (version == 4))),
            is6.eq(by_type6 | (below_mpls & (version == 6))),
            o.has_offset.eq(is4 | is6),
            o.ip_version.eq(ip_version),
            o.parse_error.eq(labels.parse_error),
        ]
        with m.If(is4):
            with m.If(words < labels.words + 5):
                m.d.comb += [o.parse_error.eq(ParseError.IP_TRUNCATED), o.is_ip.eq(1)]
            with m.Elif(version != 4):
                m.d.comb += o.parse_error.eq(ParseError.IP_VERSION)
            with m.Else():
                m.d.comb += [o.is_ip.eq(1), ip_version.eq(1)]
        with m.Elif(is6):
            with m.If(words < labels.words + 10):
                m.d.comb += [o.parse_error.eq(ParseError.IP_TRUNCATED), o.is_ip.eq(1)]
            with m.Elif(version != 6):
                m.d.comb += o.parse_error.eq(ParseError.IP_VERSION)
            with m.Else():
                m.d.comb += [o.is_ip.eq(1), ip_version.eq(2)]

        flags = number(octets, 6, 2)
        offset = flags[:13]
        total = number(octets, 2, 2)
        payload = number(octets, 4, 2)
        following = number(octets, 6, 1)
        with m.If(ip_version == 1):
            m.d.comb += [
                o.source.eq(mapped(octets, 12)),
                o.destination.eq(mapped(octets, 16)),
                o.words.eq(octets[:4]),
                o.length.eq(total),
                o.length_is_rest.eq(total == 0),
                o.fragment_offset.eq(offset),
                o.fragment.eq(Mux(offset.any(), Fragment.LATER, Mux(flags[13], Fragment.FIRST, Fragment.WHOLE))),
                o.ip_id.eq(number(octets, 4, 2)),
                o.ip_dscp.eq(number(octets, 1, 1)[2:]),
                o.protocol.eq(number(octets, 9, 1)),
            ]
        with m.Elif(ip_version == 2):
            m.d.comb += [
                o.source.eq(number(octets, 8, 16)),
                o.ip_dscp.eq(number(octets, 0, 2)[6:12]),
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
        end = Cat(Const(0, 2), self.at) + length
        m.d.comb += [
            self.ip_length.eq(length),
            beyond.eq(length > self.body_left),
            o.words.eq(self.at + network.words),
            o.protocol.eq(network.protocol),
            o.ip_version.eq(network.ip_version),
            o.fragment.eq(network.fragment),
            o.fragment_offset.eq(network.fragment_offset),
            o.ip_id.eq(network.ip_id),
            o.ip_dscp.eq(network.ip_dscp),
            o.parse_error.eq(network.parse_error),
            o.extension.eq((network.fragment != Fragment.LATER) & is_extension(network.protocol, network.ip_version)),
            o.stopped.eq(network.ip_version == 0),
            o.end.eq(end),
            o.limit.eq(Mux(beyond, self.body, end)),
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
            self.active.eq(~i.stopped & i.extension),
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
                m.d.comb += [
                    o.words.eq(end),
                    o.protocol.eq(octets[:8]),
                    o.extension.eq(is_extension(octets[:8], i.ip_version)),
                ]
                with m.If((i.protocol == ROUTING) & octets[24:32].any()):
                    m.d.comb += o.routed.eq(1)
                with m.If(fragment):
                    offset = number(octets, 2, 2)[3:]
                    m.d.comb += [o.fragment_offset.eq(offset), o.ip_id.eq(number(octets, 6, 2))]
                    with m.If(offset.any()):
                        m.d.comb += [o.fragment.eq(Fragment.LATER), o.extension.eq(0)]
                    with m.Elif(octets[24]):
                        m.d.comb += o.fragment.eq(Fragment.FIRST)
        return m

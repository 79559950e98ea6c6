"""Header step of the transport: TCP, UDP, SCTP, ICMP and ICMPv6.

A step is combinational and the same for both schedules.  It sees its header at byte 0 of ``octets`` (byte 0 in bits
7..0) and never trusts a byte that the length does not cover.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.verdicts import Checksum, Fragment, ParseError, Protocol

from .layout import (
    ETHERNET_BYTES,
    TRANSPORT_BYTES,
    WINDOW_WORDS,
    CheckJob,
    Cursor,
    Reach,
    Transport,
    number,
)

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
NO_NEXT = 59


def pseudo_rest(length: Value, protocol: Value) -> Value:
    """The pseudo header's words besides addresses, with bytes swapped as they are in a sum over little-endian lanes."""
    high = length[8:]
    return Cat(high, Const(0, 8 - len(high)), length[:8]) + Cat(Const(0, 8), protocol)


def is_icmp(protocol: Value, ip_version: Value) -> Value:
    """Whether ``protocol`` is ICMP, or ICMPv6 over IPv6."""
    return ((protocol == ICMP) & (ip_version == 1)) | ((protocol == ICMPV6) & (ip_version == 2))


class ReachStep(wiring.Component):
    """Whether the transport header can be opened: what is known of it before its bytes are."""

    i: In(Cursor)
    o: Out(Reach)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, o = self.i, self.o
        here, limit = Cat(Const(0, 2), i.words), i.limit[2:]
        protocol_class = Signal(Protocol, init=Protocol.IP_OTHER)
        opened, known, needed = Signal(), Signal(), Signal(3)
        with m.Switch(i.protocol):
            for value, each, words in ((TCP, Protocol.TCP, 5), (UDP, Protocol.UDP, 2), (SCTP, Protocol.SCTP, 3)):
                with m.Case(value):
                    m.d.comb += [protocol_class.eq(each), needed.eq(words)]
            for value, each, version in ((ICMP, Protocol.ICMP, 1), (ICMPV6, Protocol.ICMPV6, 2)):
                with m.Case(value):
                    m.d.comb += [protocol_class.eq(Mux(i.ip_version == version, each, Protocol.IP_OTHER)), needed.eq(1)]
        m.d.comb += [
            opened.eq(~i.stopped & (i.fragment != Fragment.LATER) & (i.protocol != NO_NEXT)),
            known.eq(opened & (protocol_class != Protocol.IP_OTHER)),
            o.protocol_class.eq(Mux(i.stopped, i.protocol_class, protocol_class)),
            o.later.eq(~i.stopped & (i.fragment == Fragment.LATER)),
            o.has_offset.eq(opened & (here < i.limit)),
            o.has_ports.eq(known & (i.words < limit) & (i.words < WINDOW_WORDS)),
            o.carried.eq(i.end - here),
        ]
        with m.If(known):
            with m.If(limit < i.words + needed):
                m.d.comb += o.parse_error.eq(ParseError.TRANSPORT_TRUNCATED)
            with m.Elif(i.words + needed > WINDOW_WORDS):
                m.d.comb += o.parse_error.eq(ParseError.WINDOW)
            with m.Else():
                m.d.comb += o.is_there.eq(1)
        return m


class TransportStep(wiring.Component):
    """The transport header, and what the checksum unit has to do.

    Members
    -------
    reach: what :class:`ReachStep` says of ``i``
    octets: 20 bytes from the cursor on
    cut: the frame lost bytes before the card, so no transport checksum can be checked
    check: ``beats`` and ``seed`` are the caller's
    covered: bytes that the transport checksum covers
    add_pseudo: ``check.seed`` takes in the pseudo header
    """

    i: In(Cursor)
    reach: In(Reach)
    octets: In(8 * TRANSPORT_BYTES)
    cut: In(1)
    o: Out(Transport)
    check: Out(CheckJob)
    covered: Out(16)
    add_pseudo: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, o, octets, check, reach = self.i, self.o, self.octets, self.check, self.reach
        protocol_class, carried = reach.protocol_class, reach.carried
        is_icmp = (protocol_class == Protocol.ICMP) | (protocol_class == Protocol.ICMPV6)
        offset = Signal(8)
        error = Signal(5)
        m.d.comb += [
            offset.eq(Cat(Const(0, 2), i.words) + ETHERNET_BYTES),
            o.protocol.eq(i.protocol),
            o.ip_id.eq(i.ip_id),
            o.ip_dscp.eq(i.ip_dscp),
            o.fragment.eq(i.fragment),
            o.network_checksum_bad.eq(i.network_checksum_bad),
            o.protocol_class.eq(protocol_class),
            o.transport_offset.eq(Mux(reach.has_offset, offset, 0)),
            error.eq(reach.parse_error),
        ]
        with m.If(reach.has_ports):
            with m.If(is_icmp):
                m.d.comb += [o.source_port.eq(octets[0:8]), o.destination_port.eq(octets[8:16])]
            with m.Else():
                m.d.comb += [o.source_port.eq(number(octets, 0, 2)), o.destination_port.eq(number(octets, 2, 2))]

        header_words = octets[8 * 12 + 4 : 8 * 13]
        udp_length = number(octets, 4, 2)
        carried_words = carried[2:]
        checked = Signal(16)
        udp_zero = Signal()
        sums = Signal()
        m.d.comb += checked.eq(carried)
        with m.If(reach.later):
            m.d.comb += [o.payload_offset.eq(offset), o.payload_length.eq(carried)]
            with m.If(Cat(Const(0, 3), i.fragment_offset) + carried > 0xFFFF):
                m.d.comb += error.eq(ParseError.FRAGMENT_RANGE)
        with m.Elif(reach.is_there):
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
                            o.payload_length.eq(carried - header_bytes),
                        ]
                with m.Case(Protocol.UDP):
                    m.d.comb += [
                        o.payload_offset.eq(offset + 8),
                        o.payload_length.eq(carried - 8),
                        udp_zero.eq(number(octets, 6, 2) == 0),
                        checked.eq(udp_length),
                    ]
                    with m.If(udp_length < 8):
                        m.d.comb += error.eq(ParseError.UDP_LENGTH)
                    with m.Elif(i.fragment == Fragment.WHOLE):
                        with m.If(udp_length > carried):
                            m.d.comb += error.eq(ParseError.UDP_LENGTH)
                        with m.Else():
                            m.d.comb += o.payload_length.eq(udp_length - 8)
                with m.Case(Protocol.SCTP):
                    m.d.comb += [o.payload_offset.eq(offset + 12), o.payload_length.eq(carried - 12)]
                with m.Default():
                    m.d.comb += [
                        o.payload_offset.eq(offset + 8),
                        o.payload_length.eq(Mux(carried < 8, 0, carried - 8)),
                    ]

        parse_error = Signal(5)
        m.d.comb += [parse_error.eq(Mux(i.parse_error == 0, error, i.parse_error)), o.parse_error.eq(parse_error)]
        checkable = sums & (parse_error == 0) & (i.fragment == Fragment.WHOLE) & ~i.routed & ~self.cut
        m.d.comb += [
            self.add_pseudo.eq(protocol_class != Protocol.ICMP),
            check.end.eq(offset + checked),
            check.words.eq(i.words),
            self.covered.eq(checked),
            check.malformed.eq((parse_error != 0) & (parse_error != ParseError.IP_BEYOND_FRAME)),
            check.truncated.eq(self.cut | (parse_error == ParseError.IP_BEYOND_FRAME)),
            check.fragment.eq(i.fragment != Fragment.WHOLE),
            check.network_checksum_bad.eq(i.network_checksum_bad),
        ]
        with m.If(checkable):
            with m.If(udp_zero):
                m.d.comb += check.state.eq(Mux(i.ip_version == 1, Checksum.ABSENT, Checksum.BAD))
            with m.Else():
                m.d.comb += check.active.eq(1)
        return m

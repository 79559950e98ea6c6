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
    Transport,
    number,
)

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
NO_NEXT = 59


def pseudo_rest(length: Value, protocol: Value) -> Value:
    """The pseudo header's words besides addresses, with bytes swapped as they are in a sum over little-endian lanes."""
    high = length[8:]
    return Cat(high, Const(0, 8 - len(high)), length[:8]) + Cat(Const(0, 8), protocol)


class TransportStep(wiring.Component):
    """The transport header, and what the checksum unit has to do.

    Members
    -------
    octets: 20 bytes from the cursor on
    carried: bytes from the cursor to the packet's end
    cut: the frame lost bytes before the card, so no transport checksum can be checked
    check: ``beats`` and ``seed`` are the caller's
    covered: bytes that the transport checksum covers
    add_pseudo: ``check.seed`` takes in the pseudo header
    """

    i: In(Cursor)
    octets: In(8 * TRANSPORT_BYTES)
    carried: In(16)
    cut: In(1)
    o: Out(Transport)
    check: Out(CheckJob)
    covered: Out(16)
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
                m.d.comb += [
                    protocol_class.eq(Mux(i.ip_version == 2, Protocol.ICMPV6, Protocol.IP_OTHER)),
                    needed.eq(1),
                ]
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

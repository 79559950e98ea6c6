"""What ICMP errors quote: the TCP packet that could not go on, by the first bytes that come back of it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.verdicts import Fragment, ParseError, Protocol

from ..meta import Quote
from .layout import WINDOW_WORDS, Cursor, Network, NetworkKind, Reach, number, pick
from .network import TCP, BoundsStep, ExtensionStep, NetworkStep, mapped

#: Errors that quote the packet they are of: RFC 1122 3.2.2 (destination unreachable, source quench, redirect, time
#: exceeded, parameter problem), and RFC 4443 2.1.
ICMP_ERRORS = (3, 4, 5, 11, 12)
ICMPV6_ERRORS = (1, 2, 3, 4)
#: Of the ICMP header, before the quote.
QUOTE_HEADER_WORDS = 2
#: What every error quotes of a TCP packet at least: an IPv4 header and 8 bytes (RFC 792).
SHORTEST_QUOTE_WORDS = 7
#: Bytes of a quote that are read: 8 of TCP behind an IPv4 header with options, or an IPv6 header and 24 bytes more.
QUOTE_BYTES = 72
#: As many extension headers as fit.
QUOTE_EXTENSIONS = 3
_SHORTEST_HEADER_WORDS = 5
_TCP_WORDS = 2


class QuoteReader(wiring.Component):
    """Reads the TCP packet that an ICMP error quotes.

    Taken are whole errors, of which the checksum is for others to look at, with a quote that is a packet of the same
    IP version, not a fragment, and reaches as far as TCP's sequence number within ``QUOTE_BYTES``, the error, and the
    parser's window.  The quote's checksums are not looked at: a router changes what they are of.

    A frame a cycle; ``quoting`` and ``quote`` come 7 cycles after ``valid``.

    Members
    -------
    valid: a frame's headers are at hand, up to the transport
    cursor, reach: of its transport
    type: the transport's first byte
    octets: ``QUOTE_BYTES`` from behind an ICMP header on
    quoting: for each frame, whether there is a ``quote``
    """

    valid: In(1)
    cursor: In(Cursor)
    reach: In(Reach)
    type: In(8)
    octets: In(8 * QUOTE_BYTES)
    quoting: Out(stream.Signature(1, always_ready=True))
    quote: Out(stream.Signature(Quote, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Cycle 1: whether it is an error, and how much of the quote there is.
        start = Cat(Const(0, 2), self.cursor.words) + 4 * QUOTE_HEADER_WORDS
        end = Mux(self.cursor.limit < 4 * WINDOW_WORDS, self.cursor.limit, 4 * WINDOW_WORDS)
        left = Signal(range(4 * WINDOW_WORDS + 1))
        is_error = Signal()
        with m.If(self.reach.protocol_class == Protocol.ICMP):
            m.d.comb += is_error.eq(Cat(self.type == each for each in ICMP_ERRORS).any())
        with m.Elif(self.reach.protocol_class == Protocol.ICMPV6):
            m.d.comb += is_error.eq(Cat(self.type == each for each in ICMPV6_ERRORS).any())
        # A packet with any other error is malformed.
        in_order = Cat(self.cursor.parse_error == each for each in (ParseError.NONE, ParseError.IP_BEYOND_FRAME)).any()
        m.d.comb += left.eq(end - start)
        come, valid, octets = Signal(), Signal(), Signal.like(self.octets, reset_less=True)
        left1, is_ipv6 = Signal(range(QUOTE_BYTES + 1)), Signal()
        m.d.sync += [
            come.eq(self.valid),
            valid.eq(
                self.valid
                & is_error
                & self.reach.is_there
                & in_order
                & (self.cursor.fragment == Fragment.WHOLE)
                & (start < end)
            ),
        ]
        with m.If(self.valid & is_error):
            m.d.sync += [
                octets.eq(self.octets),
                left1.eq(Mux(left < QUOTE_BYTES, left, QUOTE_BYTES)),
                is_ipv6.eq(self.cursor.ip_version == 2),
            ]

        # Cycle 2: the IP header.
        m.submodules.network_step = network_step = NetworkStep()
        m.d.comb += [
            network_step.labels.kind.eq(Mux(is_ipv6, NetworkKind.IPV6, NetworkKind.IPV4)),
            network_step.body.eq(left1),
            network_step.octets.eq(octets),
        ]
        network, left2 = Signal(Network), Signal.like(left1)
        with m.If(valid):
            m.d.sync += [network.eq(network_step.o), left2.eq(left1)]
        come, valid, octets = self._forward(m, come, valid, octets)

        # Cycle 3: its lengths.
        m.submodules.bounds_step = bounds_step = BoundsStep()
        m.d.comb += [
            bounds_step.network.eq(network),
            bounds_step.body.eq(left2),
            bounds_step.body_left.eq(left2),
        ]
        cursor = Signal(Cursor)
        with m.If(valid):
            m.d.sync += cursor.eq(bounds_step.o)
        come, valid, octets = self._forward(m, come, valid, octets)

        # Cycles 4 to 6: extension headers.
        positions = range(_SHORTEST_HEADER_WORDS, QUOTE_BYTES // 4 - _TCP_WORDS + 1)
        for n in range(QUOTE_EXTENSIONS):
            m.submodules[f"extension_step{n}"] = step = ExtensionStep()
            passed = Signal(Cursor, name=f"cursor{n}")
            m.d.comb += step.i.eq(cursor)
            with m.If(step.active):
                pick(m, "comb", step.octets, octets, cursor.words, positions)
            with m.If(valid):
                m.d.sync += passed.eq(step.o)
            cursor = passed
            come, valid, octets = self._forward(m, come, valid, octets)

        # Cycle 7: TCP.
        found, transport = Signal(), Signal(8 * 4 * _TCP_WORDS)
        quote = self.quote.payload
        m.d.comb += found.eq(
            valid
            & ~cursor.stopped
            & (cursor.protocol == TCP)
            & (cursor.fragment == Fragment.WHOLE)
            & (cursor.limit[2:] >= cursor.words + _TCP_WORDS)
        )
        m.d.sync += [self.quoting.valid.eq(come), self.quoting.payload.eq(found), self.quote.valid.eq(found)]
        with m.If(found):
            is_ipv4 = cursor.ip_version == 1
            pick(m, "comb", transport, octets, cursor.words, positions)
            m.d.sync += [
                quote.source.eq(Mux(is_ipv4, mapped(octets, 12), number(octets, 8, 16))),
                quote.destination.eq(Mux(is_ipv4, mapped(octets, 16), number(octets, 24, 16))),
                quote.source_port.eq(number(transport, 0, 2)),
                quote.destination_port.eq(number(transport, 2, 2)),
                quote.sequence.eq(number(transport, 4, 4)),
            ]
        return m

    def _forward(self, m: Module, come: Signal, valid: Signal, octets: Signal) -> tuple[Signal, Signal, Signal]:
        """One cycle on."""
        o_come, o_valid, o_octets = Signal(), Signal(), Signal.like(octets, reset_less=True)
        m.d.sync += [o_come.eq(come), o_valid.eq(valid)]
        with m.If(valid):
            m.d.sync += o_octets.eq(octets)
        return o_come, o_valid, o_octets

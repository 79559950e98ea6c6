"""Header steps of the link layer: Ethernet, VLAN tags, SNAP, MPLS.

A step is combinational and the same for both schedules.  It sees its header at byte 0 of ``octets`` (byte 0 in bits
7..0) and never trusts a byte that the length does not cover.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.verdicts import ParseError

from .layout import (
    BODY_BITS,
    LINK_WORDS,
    Labels,
    Link,
    NetworkKind,
    number,
)


def is_vlan(eth_type: Value) -> Value:
    return (eth_type == 0x8100) | (eth_type == 0x88A8) | (eth_type == 0x9100)


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
                below = link.words + depth
                m.d.comb += [o.mpls_count.eq(depth), o.words.eq(below)]
                with m.If(depth > there):
                    m.d.comb += [o.mpls_count.eq(there), o.parse_error.eq(ParseError.LINK_TRUNCATED)]
                with m.Elif(~found):
                    m.d.comb += o.parse_error.eq(ParseError.MPLS_DEPTH)
                with m.Elif(self.body == Cat(Const(0, 2), below)):
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

"""The symmetric Toeplitz hash of a flow, a 32-bit word a cycle, for the folded parser."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .flow_hash import KEY_BITS, hashed_ports
from .layout import NetworkFields, Transport

WORDS = 10
ADDRESS_WORDS = 8


class SerialHash(wiring.Component):
    """Hashes a frame's addresses, then its ports and protocol: 13 cycles a frame.

    The addresses pass by word after word here, so their sum for the pseudo header is made here too.

    Members
    -------
    network, transport: one a frame each; both stay until they are taken
    key: bit 351 meets the first bit of the input; the frame being hashed while it changes gets a mixture
    hash, address_sum: valid while ``transport`` is being taken; the sum is that of little-endian lanes
    """

    network: In(stream.Signature(NetworkFields))
    transport: In(stream.Signature(Transport))
    key: In(KEY_BITS)
    hash: Out(32)
    address_sum: Out(17)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        network, transport = self.network.payload, self.transport.payload
        swapped, equal, is_ip = Signal(), Signal(), Signal()
        word = Signal(32)
        absorb, is_address = Signal(), Signal()
        place = Signal(range(WORDS))
        window, result = Signal(64), Signal(32)
        address_sum = Signal(35)

        words = [network.source[at : at + 32] for at in (96, 64, 32, 0)]
        words += [network.destination[at : at + 32] for at in (96, 64, 32, 0)]
        low, high = hashed_ports(transport, equal, swapped)
        m.d.sync += absorb.eq(0)
        with m.FSM():
            with m.State("ORDER"):
                m.d.sync += [
                    swapped.eq(network.source > network.destination),
                    equal.eq(network.source == network.destination),
                    is_ip.eq(network.ip_version != 0),
                    window.eq(self.key[KEY_BITS - 64 :]),
                    result.eq(0),
                    address_sum.eq(0),
                    place.eq(0),
                ]
                with m.If(self.network.valid):
                    m.next = "ADDRESSES"
            with m.State("ADDRESSES"):
                with m.Switch(place[:3] ^ Cat(Const(0, 2), swapped)):
                    for n, each in enumerate(words):
                        with m.Case(n):
                            m.d.sync += word.eq(each)
                m.d.sync += [absorb.eq(1), is_address.eq(1), place.eq(place + 1)]
                with m.If(place == ADDRESS_WORDS - 1):
                    m.d.comb += self.network.ready.eq(1)
                    m.next = "PORTS"
            with m.State("PORTS"):
                m.d.sync += [word.eq(Cat(high, low)), is_address.eq(0)]
                with m.If(self.transport.valid):
                    m.d.sync += absorb.eq(1)
                    m.next = "PROTOCOL"
            with m.State("PROTOCOL"):
                m.d.sync += [word.eq(Cat(Const(0, 24), transport.protocol)), absorb.eq(1)]
                m.next = "LAST"
            with m.State("LAST"):
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.transport.ready.eq(1)
                m.next = "ORDER"

        # ``window`` has the 64 key bits that begin where ``word`` does; the words behind follow one by one.
        following, next_word = Signal(32), Signal(range(2, 2 + WORDS))
        with m.Switch(next_word):
            for n in range(2, KEY_BITS // 32):
                with m.Case(n):
                    m.d.comb += following.eq(self.key[KEY_BITS - 32 * (n + 1) : KEY_BITS - 32 * n])
        with m.If(absorb):
            m.d.sync += [
                window.eq(Cat(following, window[:32])),
                next_word.eq(next_word + 1),
                result.eq(result ^ reduce(xor, (Mux(word[31 - n], window[32 - n : 64 - n], 0) for n in range(32)))),
            ]
            with m.If(is_address):
                m.d.sync += address_sum.eq(address_sum + word)
        with m.Elif(place == 0):
            m.d.sync += next_word.eq(2)

        once = Signal(18)
        m.d.sync += once.eq(address_sum[:16] + address_sum[16:32] + address_sum[32:])
        m.d.comb += [
            # Swapping bytes is multiplying by 256 modulo 65535, for the carries too.
            self.address_sum.eq(Cat(once[8:16], once[:8]) + Cat(Const(0, 8), once[16:])),
            self.hash.eq(Mux(is_ip, result, 0)),
        ]
        return m

"""The hash of a 5-tuple, the same from both ends, a word of it a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic_hdl.stages.syn_offload.types import KEY_BITS, End

WORD_BITS = 32
_WORDS = -(-KEY_BITS // WORD_BITS)


class KeyHash(wiring.Component):
    """The hash that :class:`sentinic_hdl.stages.syn_offload.table.Attempts` has as well, lower end first.

    Parameters
    ----------
    bits: of the hash

    Members
    -------
    valid, source, destination, ipv6: a packet's; they stay until ``done``
    secret: key of the hash
    restart: forget what there is of a hash, there is another packet
    done, hash: it is there, a cycle a word after ``valid`` and one more, until ``restart``
    """

    def __init__(self, *, bits: int):
        self._bits = bits
        super().__init__(
            {
                "valid": In(1),
                "source": In(End),
                "destination": In(End),
                "ipv6": In(1),
                "secret": In(KEY_BITS + bits),
                "restart": In(1),
                "done": Out(1),
                "hash": Out(bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        ordered, reverse = Signal(), Signal()
        step = Signal(range(_WORDS))
        source, destination = self.source.as_value(), self.destination.as_value()
        key = Cat(Mux(reverse, Cat(destination, source), Cat(source, destination)), self.ipv6)
        padding = Const(0, _WORDS * WORD_BITS - KEY_BITS)
        window = WORD_BITS + self._bits - 1
        secret = Cat(self.secret, Const(0, _WORDS * WORD_BITS + window - len(self.secret)))
        word, part = Signal(WORD_BITS), Signal(window)
        m.d.comb += [
            word.eq(Cat(key, padding).word_select(step, WORD_BITS)),
            part.eq(
                Cat(secret[n : n + window] for n in range(0, _WORDS * WORD_BITS, WORD_BITS)).word_select(step, window)
            ),
        ]
        with m.If(self.restart | ~self.valid):
            m.d.sync += [self.done.eq(0), ordered.eq(0), step.eq(0), self.hash.eq(0)]
        with m.Elif(~ordered):
            m.d.sync += [ordered.eq(1), reverse.eq(source > destination)]
        with m.Elif(~self.done):
            m.d.sync += [
                step.eq(step + 1),
                self.done.eq(step == _WORDS - 1),
                self.hash.eq(self.hash ^ Cat((word & part[bit : bit + WORD_BITS]).xor() for bit in range(self._bits))),
            ]
        return m


__all__ = ["KeyHash"]

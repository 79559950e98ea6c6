"""What becomes of an attempt when a packet of its 5-tuple comes, or when it is looked after."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data

from sentinic.abi.syn_offload import Reason


class Fate:
    """The decision, as signals.

    Parameters
    ----------
    op: the operation; its ``quoted``, ``reset`` and ``sweep`` are looked at
    syn: it is a packet that may be held
    there: a record is meant
    held: it holds a SYN
    hit: it is of the packet's 5-tuple
    over: its time is over
    forward: the packet comes from the originator
    anew, again: its sequence number is another one; it looks like the SYN that is held
    full: no more retransmissions can be counted

    Members
    -------
    absorb: the packet is the held SYN once more, and ends here
    insert: it is held, in the record's place
    give: the SYN of the record goes on, for ``reason``
    remove: the record goes
    """

    def __init__(
        self, m: Module, op: data.View, *, syn: Value, there: Value, held: Value, hit: Value, over: Value,
        forward: Value, anew: Value, again: Value, full: Value,
    ):  # fmt: skip
        self.absorb, self.insert, self.give, self.remove = (
            Signal(name=name) for name in ("absorb", "insert", "give", "remove")
        )
        self.reason = Signal(Reason)
        supersede, named = Signal(), Signal()
        m.d.comb += [
            self.absorb.eq(syn & hit & held & ~over & again & ~full),
            supersede.eq(syn & hit & held & ~over & (anew | (again & full))),
            self.insert.eq(syn & (~hit | over | supersede)),
            # What is quoted is the SYN itself, or of another attempt of the 5-tuple.
            named.eq(~op.quoted | over | (forward & ~anew)),
            self.give.eq(held & (op.sweep | self.insert | (hit & ~self.absorb & named))),
            self.remove.eq(there & (op.sweep | (hit & over))),
        ]
        with m.If(over):
            m.d.comb += self.reason.eq(Reason.EXPIRED)
        with m.Elif(~hit):
            m.d.comb += self.reason.eq(Reason.EVICTED)
        with m.Elif(supersede):
            m.d.comb += self.reason.eq(Reason.SUPERSEDED)
        with m.Elif(op.quoted):
            m.d.comb += self.reason.eq(Reason.UNREACHABLE)
        with m.Elif(forward):
            m.d.comb += self.reason.eq(Reason.INTERRUPTED)
        with m.Elif(op.reset):
            m.d.comb += self.reason.eq(Reason.REFUSED)
        with m.Else():
            m.d.comb += self.reason.eq(Reason.ANSWERED)


__all__ = ["Fate"]

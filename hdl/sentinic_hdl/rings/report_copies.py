"""Copies of reports: how one that a stage hands out comes to each ring that is there for it."""

from amaranth.hdl import Cat, Mux, Signal


class ReportCopies:
    """One kind of report: one copy of the report offered after another, for each ring that is there for it.

    Parameters
    ----------
    m, select: the selection that they are part of
    name, extra: of its stream of such reports, and of what a ring's config says of them
    bare: a bit a ring: it holds descriptors only
    ready: there is a place for a copy
    at_leisure: decide first, and make the copies then

    Members
    -------
    wanting: the rings that are there for it
    may_begin: to be driven: its first copy may go
    first: to be driven: the rings that it begins for
    copy, chosen, rest: a copy is to be placed, for which ring, and those after it
    begun: there was a first copy, or is to be one
    taken: which rings it begins for, in this cycle
    lost: there is no ring for it; it is taken
    """

    def __init__(self, m, select, name, extra, bare, ready, *, at_leisure):
        rings = range(len(select.rings))
        source = getattr(select, name)
        self.wanting, self.first, self.rest, self.taken, todo, taking = (
            Signal(len(rings), name=f"{name}_{what}")
            for what in ("wanting", "first", "rest", "taken", "todo", "taking")
        )
        self.begun, self.may_begin, self.copy, self.lost = (
            Signal(name=f"{name}_{what}") for what in ("begun", "may_begin", "copy", "none")
        )
        self.chosen = Signal(rings, name=f"{name}_chosen")
        # A ring of descriptors has no place for a report.
        m.d.sync += self.wanting.eq(
            Cat(
                config.enable & getattr(config, extra) & ~select.fault[n] & ~bare[n]
                for n, config in enumerate(select.rings)
            )
        )
        enabled = Cat(config.enable for config in select.rings)
        m.d.comb += [
            taking.eq(Mux(self.begun, todo, self.first & enabled)),
            self.rest.eq(taking & (taking - 1)),
            self.copy.eq(self.begun if at_leisure else (self.may_begin | self.begun) & taking.any()),
            self.lost.eq(self.may_begin & ~taking.any()),
            self.taken.eq(taking & (self.may_begin & (ready | at_leisure)).replicate(len(rings))),
            source.ready.eq(Mux(taking.any(), self.copy & ready & ~self.rest.any(), self.may_begin)),
        ]
        for n in reversed(rings):
            with m.If(taking[n]):
                m.d.comb += self.chosen.eq(n)
        with m.If(self.copy & ready):
            m.d.sync += [self.begun.eq(self.rest.any()), todo.eq(self.rest)]
        if at_leisure:
            with m.If(self.may_begin):
                m.d.sync += [self.begun.eq(taking.any()), todo.eq(taking)]


__all__ = ["ReportCopies"]

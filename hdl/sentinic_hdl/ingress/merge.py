"""Several ports into one stream of frames, in the order of their wire times."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile
from sentinic_hdl.meta import frame_beat

#: Frames of a port that may have come before one of the other, beside those that its buffer holds.
SLACK = 4


def patience_of(profile: Profile) -> int:
    """Frames after which a port that was passed over so often is served next, however young its frame is.

    As long as both ports have one clock, no more than that came before it.
    """
    return profile.port_frames + SLACK


class Merge(wiring.Component):
    """Two frame streams into one, whole frames, the earlier wire time first.

    Combinational, one beat a cycle within a frame.  Between equal times the ports take turns.  A port whose clock runs
    ahead still gets one frame in ``patience_of(profile) + 1``.  Where the smallest frame on the wire is several beats,
    a choice between two takes a cycle: which is earlier hangs on 128 bits, and on it whether a port has its next beat
    out.

    Members
    -------
    i0, i1: the ports
    o: the merged stream
    """

    def __init__(self, *, profile: Profile):
        self._patience = patience_of(profile)
        self._at_leisure = profile.smallest_frame_beats > 1
        beat = stream.Signature(frame_beat(profile))
        super().__init__({"i0": In(beat), "i1": In(beat), "o": Out(beat)})

    def elaborate(self, platform):
        m = Module()
        locked = Signal()  # within a frame, or offering its first beat
        owner = Signal()
        chosen = Signal()
        last_served = Signal()
        passed_over = Signal(range(self._patience + 1))

        difference = Signal(65)
        m.d.comb += difference.eq(self.i0.p.info.timestamp - self.i1.p.info.timestamp)
        equal = difference == 0
        one_first = Mux(equal, ~last_served, ~difference[64])
        impatient = passed_over == self._patience
        both = self.i0.valid & self.i1.valid
        known = Signal(init=not self._at_leisure)  # which of the two is first
        if self._at_leisure:
            earlier = Signal()
            m.d.sync += [earlier.eq(one_first), known.eq(both & ~locked & ~self.o.valid)]
            one_first = earlier
        may_offer = Signal()
        m.d.comb += may_offer.eq(locked | ~both | known)
        with m.If(locked):
            m.d.comb += chosen.eq(owner)
        with m.Elif(both):
            m.d.comb += chosen.eq(Mux(impatient, ~last_served, one_first))
        with m.Else():
            m.d.comb += chosen.eq(self.i1.valid)

        m.d.comb += [
            self.o.valid.eq(may_offer & Mux(chosen, self.i1.valid, self.i0.valid)),
            self.o.payload.eq(Mux(chosen, self.i1.payload, self.i0.payload)),
            self.i0.ready.eq(self.o.ready & may_offer & ~chosen),
            self.i1.ready.eq(self.o.ready & may_offer & chosen),
        ]
        with m.If(self.o.valid):
            # A beat once offered stays offered, whatever comes in at the other port.
            m.d.sync += [locked.eq(~(self.o.ready & self.o.p.last)), owner.eq(chosen)]
            with m.If(self.o.ready & self.o.p.first):
                m.d.sync += last_served.eq(chosen)
                with m.If((chosen == last_served) & both):
                    m.d.sync += passed_over.eq(Mux(impatient, passed_over, passed_over + 1))
                with m.Else():
                    m.d.sync += passed_over.eq(both)
        return m

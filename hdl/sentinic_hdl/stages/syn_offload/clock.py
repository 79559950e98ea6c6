"""What time it is for attempts: that of the last packet; when none came for long, that of the wire."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

#: Cycles without a packet after which time alone may end an attempt, and how much later than its time-out.
QUIET_CYCLES = 4096
GRACE_NS = 1 << 20


class PacketClock(wiring.Component):
    """Wire time by which attempts are over.

    Members
    -------
    valid, timestamp: a packet, and its wire time, ns
    time: wire time, ns
    lossless: time moves with packets only
    now: ns
    """

    valid: In(1)
    timestamp: In(64)
    time: In(64)
    lossless: In(1)
    now: Out(64)

    def elaborate(self, platform):
        m = Module()
        quiet = Signal(range(QUIET_CYCLES + 1))
        with m.If(self.valid):
            m.d.sync += [quiet.eq(0), self.now.eq(self.timestamp)]
        with m.Elif(quiet != QUIET_CYCLES):
            m.d.sync += quiet.eq(quiet + 1)
        with m.Elif(~self.lossless & (self.time - GRACE_NS > self.now) & (self.time > GRACE_NS)):
            m.d.sync += self.now.eq(self.time - GRACE_NS)
        return m


__all__ = ["GRACE_NS", "QUIET_CYCLES", "PacketClock"]

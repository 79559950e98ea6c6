"""When a rule changes and when an interval ends: always between two packets."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.statistics import ReportFlag
from sentinic_hdl.stages.statistics.intervals import TIME_BITS, Intervals

#: Cycles without a packet after which time alone may end an interval, and how much later than its end.
QUIET_CYCLES = 4096
GRACE_NS = 1 << 20


class Changes(wiring.Component):
    """Stops packets, lets those inside leave, acts, and lets packets go on.

    What was counted before is to be reported by a sweep; one thing after another, so what is asked for waits for the
    sweep before to end, and while a rule that has been changed is ``closing``.  Packets do not wait with it; at the end
    of an interval they do, if the sweep before has not ended, and two more cycles a rule (:class:`Intervals`).

    Parameters
    ----------
    settle: cycles after a packet's last one until it is surely counted
    looked: a packet is looked at in the cycle in which it comes, and may begin in the next

    Members
    -------
    valid, timestamp: a packet waits, with its wire time; with ``looked``, for two cycles at least
    time: wire time, ns
    lossless: time alone ends no interval
    ask, rule, length: set, remove or report a rule, with a report interval in ns; for one cycle, while not ``pending``
    between: no packet is half way in
    sweeping: a sweep is under way
    closing: what a rule left behind when it was changed is not all on its way
    stop: no packet may begin
    seen: whether ``stop`` is of the packet that waits
    pending: what was asked for has not been done
    change: rules that now become what is staged, or are off
    enabled: rules that are on
    sweep, reason, final: rules to be reported, why, and whether for the last time
    """

    def __init__(self, *, rules: int, settle: int, looked: bool = False):
        self._rules, self._settle, self._looked = rules, settle, looked
        super().__init__(
            {
                "valid": In(1),
                "timestamp": In(TIME_BITS),
                "time": In(TIME_BITS),
                "lossless": In(1),
                "ask": In(3),
                "rule": In(8),
                "length": In(TIME_BITS),
                "between": In(1),
                "sweeping": In(1),
                "closing": In(1),
                "stop": Out(1),
                "seen": Out(1),
                "pending": Out(1),
                "change": Out(rules),
                "enabled": Out(rules),
                "sweep": Out(rules),
                "reason": Out(8),
                "final": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rules = self._rules
        m.submodules.intervals = intervals = Intervals(rules=rules)
        asked, asked_rule = Signal(3), Signal(8)  # set, remove, report
        asked_set = asked[0]
        quiet = Signal(range(QUIET_CYCLES + 1))
        timed = Signal()
        with m.If(self.valid):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet != QUIET_CYCLES):
            m.d.sync += quiet.eq(quiet + 1)
        m.d.comb += [
            timed.eq((quiet == QUIET_CYCLES) & ~self.lossless & (self.time >= GRACE_NS)),
            intervals.now.eq(Mux(self.valid, self.timestamp, self.time - GRACE_NS)),
            intervals.rule.eq(asked_rule),
            intervals.length.eq(Mux(asked_set, self.length, 0)),
            self.pending.eq(asked.any()),
        ]
        with m.If(self.ask.any()):
            m.d.sync += [asked.eq(self.ask), asked_rule.eq(self.rule)]
        late, due, act = Signal(), Signal(), Signal()
        is_late = intervals.late
        if self._looked:
            # Two additions are compared there, and much hangs on what comes of it.
            is_late = Signal()
            m.d.sync += [is_late.eq(intervals.late), self.seen.eq(self.valid)]
        else:
            m.d.comb += self.seen.eq(1)
        drained = Signal(range(self._settle + 1))
        m.d.comb += [
            late.eq(Mux(self.valid, self.seen, timed) & is_late),
            due.eq(asked.any() & ~self.sweeping & ~self.closing),
            self.stop.eq((self.between & (late | due)) | ~intervals.ready),
            act.eq((drained == self._settle) & ~self.sweeping & intervals.ready & self.stop),
            self.reason.eq(ReportFlag.INTERVAL),
        ]
        with m.If(self.stop & self.between):
            with m.If(drained != self._settle):
                m.d.sync += drained.eq(drained + 1)
        with m.Else():
            m.d.sync += drained.eq(0)
        with m.If(act):
            m.d.sync += drained.eq(0)
            with m.If(due):
                m.d.sync += asked.eq(0)
                m.d.comb += [
                    self.final.eq(~asked[2]),
                    self.reason.eq(Mux(asked[2], ReportFlag.DEMAND, ReportFlag.FINAL)),
                    intervals.set.eq(~asked[2] & (asked_rule < rules)),
                ]
                for n in range(rules):
                    with m.If(asked_rule == n):
                        m.d.comb += [self.sweep[n].eq(1), self.change[n].eq(~asked[2])]
                        with m.If(~asked[2]):
                            m.d.sync += self.enabled[n].eq(asked_set)
            with m.Else():
                m.d.comb += intervals.advance.eq(1)
        with m.If(intervals.ended):
            m.d.comb += self.sweep.eq(intervals.rules)
        return m


__all__ = ["GRACE_NS", "QUIET_CYCLES", "Changes"]

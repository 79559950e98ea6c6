"""When to look after which set: attempts are over in the order in which they began."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2


def sweep_shape(sets: int) -> data.StructLayout:
    """Look after set ``index`` at wire time ``now``; with ``flush`` its attempts are over whatever their time."""
    return data.StructLayout({"index": exact_log2(sets), "flush": 1, "now": 64})


class Expiry(wiring.Component):
    """Asks for a sweep of an attempt's set when the attempt's time is over.

    Attempts wait in a queue.  Those that find it full are found by going through all sets when the first of these is
    over, and again as long as there are others; so a flood that fills the queue costs lateness, of one time-out at
    most, and no expiry.  When time has gone back by more than a time-out, attempts from before are in the future, and
    would keep all behind them in the queue waiting: they leave it, and from then on all sets are gone through once a
    time-out, until there is no attempt.  What the time-out is counts when an attempt may be over, not when it began;
    when it is changed, all sets are gone through a time-out later, for what was looked at meanwhile.

    A sweep removes one attempt that is over, if there is one, the oldest first, and there are as many sweeps to come as
    attempts to be found.  So the next need not wait for what came of the last: one a cycle.

    Parameters
    ----------
    sets, ways: of the table
    depth: attempts in the queue

    Members
    -------
    insert, index, at: an attempt began: its set and its wire time
    timeout: ns
    horizon_timeout: the one by which a sweep is due now, in the cycle in which it is done
    now: wire time of the last packet, ns
    flush: end all attempts now
    empty: there is no attempt to be found, nor one about to begin; what waits in the queue is forgotten
    flushing: that is under way
    due, sweep: a sweep is wanted, and which; it may change until it is done
    done: it is done in this cycle
    """

    def __init__(self, *, sets: int, ways: int, depth: int):
        self._sets, self._ways, self._depth = sets, ways, depth
        super().__init__(
            {
                "insert": In(1),
                "index": In(exact_log2(sets)),
                "at": In(64),
                "timeout": In(64),
                "horizon_timeout": Out(64),
                "now": In(64),
                "flush": In(1),
                "empty": In(1),
                "flushing": Out(1),
                "due": Out(1),
                "sweep": Out(sweep_shape(sets)),
                "done": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        entry_shape = data.StructLayout({"index": exact_log2(self._sets), "at": 64})
        m.submodules.queue = queue = SyncFIFOBuffered(width=entry_shape.size, depth=self._depth)
        entry, head = Signal(entry_shape), Signal(entry_shape)
        m.d.comb += [
            entry.index.eq(self.index),
            entry.at.eq(self.at),
            queue.w_data.eq(entry),
            queue.w_en.eq(self.insert),
            head.eq(queue.r_data),
        ]

        # What began at the horizon is over.  A register, with the time that it is of.
        now, horizon, ahead = Signal(64), Signal(65), Signal(65)
        m.d.sync += [now.eq(self.now), horizon.eq(self.now - self.timeout), ahead.eq(self.now + self.timeout)]
        changed = Signal()  # a sweep under way may have found nothing over, under a time-out that is no more
        m.d.sync += [self.horizon_timeout.eq(self.timeout), changed.eq(self.horizon_timeout != self.timeout)]

        def is_over(at):
            return ~horizon[64] & (at <= horizon[:64])

        # The first attempt in the queue.
        waiting, index, at = Signal(), Signal.like(self.index), Signal(64)
        listed, strays, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            listed.eq(waiting & is_over(at)),
            strays.eq(waiting & (at > ahead)),
            queue.r_en.eq(~waiting | taken),
        ]
        with m.If(~waiting | taken):
            m.d.sync += [waiting.eq(queue.r_rdy), index.eq(head.index), at.eq(head.at)]

        # What is not in the queue: when the first of it began, and whether there was more.  All of that is over a
        # time-out after the sets are gone through for the first; but not what is in the future.
        missed = Signal()
        missing, more, future, missing_at = Signal(), Signal(), Signal(), Signal(64)
        scanning, scan, place = Signal(), Signal(), Signal(range(self._sets * self._ways))
        m.d.comb += [
            missed.eq(self.insert & ~queue.w_rdy),
            scan.eq(missing & ~scanning & ~self.flush & ~changed & is_over(missing_at)),
        ]
        with m.If(strays):
            m.d.sync += future.eq(1)
        with m.Elif(self.empty):
            m.d.sync += future.eq(0)
        with m.If(self.empty):
            m.d.sync += [missing.eq(0), more.eq(0)]
        with m.Elif(changed):
            m.d.sync += [missing.eq(1), more.eq(1), missing_at.eq(now)]
        with m.Elif(scan):
            m.d.sync += [missing.eq(more | missed | future | strays), more.eq(0), missing_at.eq(now)]
        with m.Elif(missing & (missing_at > ahead)):
            m.d.sync += [missing_at.eq(now), future.eq(1)]
        with m.Elif(missed):
            m.d.sync += [missing.eq(1), more.eq(missing)]
            with m.If(~missing):
                m.d.sync += missing_at.eq(self.at)
        with m.Elif(strays & ~missing):
            m.d.sync += [missing.eq(1), missing_at.eq(now)]

        # Through all sets, as often as there are places in one.
        with m.If(self.flush):
            m.d.sync += [scanning.eq(1), self.flushing.eq(1), place.eq(0)]
        with m.Elif(scan):
            m.d.sync += [scanning.eq(1), place.eq(0)]
        with m.Elif(scanning & (self.done | self.empty)):
            m.d.sync += place.eq(place + 1)
            with m.If((place == self._sets * self._ways - 1) | self.empty):
                m.d.sync += [scanning.eq(0), self.flushing.eq(0)]

        m.d.comb += [
            self.due.eq(scanning | listed),
            self.sweep.index.eq(Mux(scanning, place >> exact_log2(self._ways), index)),
            self.sweep.flush.eq(self.flushing),
            self.sweep.now.eq(now),
            taken.eq((self.done & listed & ~scanning) | strays | self.empty),
        ]
        return m

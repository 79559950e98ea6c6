"""SYNs that are held and had extra copies when they came: what became of these, and when the SYN is given back."""

from amaranth.hdl import Mux, Signal
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory

from sentinic_hdl.rings.types import SelectFates
from sentinic_hdl.store import cells_of

#: Places for SYNs that end behind extra copies of them, and for such copies.
ENDS = 64


def earlier_fates(m, profile, coming, meta, fate, extra):
    """What became of the extra copies of the packet in ``meta``; 0 if there were none, or nobody wanted them.

    ``extra``: it is one now, whose ``fate`` is to be kept until the packet comes again.
    """
    earlier = Signal(SelectFates)
    if not profile.attempts:
        return earlier
    names = ("delivered", "sampled_out", "ring_full", "congested")
    shape = data.StructLayout(dict.fromkeys(names, 1))
    m.submodules.earlier = memory = Memory(shape=shape, depth=profile.cells, init=[])
    write, read = memory.write_port(), memory.read_port()
    # What is written in the cycle in which it is read, and so not read.
    last = Signal(shape)
    last_cell = Signal.like(meta.cell)
    m.d.comb += [
        write.addr.eq(meta.cell),
        write.en.eq(extra),
        read.addr.eq(coming.payload.cell),
        read.en.eq(coming.ready & coming.valid & coming.payload.shared),
        *(write.data[name].eq(fate[name]) for name in names),
    ]
    with m.If(extra):
        m.d.sync += [last.eq(write.data), last_cell.eq(meta.cell)]
    with m.If(meta.shared & ~meta.raw):
        for name in names:
            m.d.comb += earlier[name].eq(Mux(last_cell == meta.cell, last[name], read.data[name]))
    return earlier


def give_back(m, profile, release, extra_read, meta, gone, extra, ready):
    """Give back what is ``gone``; what was copied before, when these extra copies are read.

    The latter waits in a queue, in which each extra copy is a place that goes when one has been read, and then for
    a cycle in which nothing else is given back: no packet waits for it, unless the queue is full.
    """
    cell_bits = len(release.p.cell)
    m.submodules.ends = ends = SyncFIFOBuffered(width=cell_bits + 1, depth=ENDS)
    free = Signal()
    at_once = Signal()
    ending = Signal()
    skipping = Signal()
    unread = Signal()  # there is no news of the copy yet
    news = Signal(range(ENDS + 1))  # extra copies that were read, and still have a place
    m.d.comb += [
        # Through a register: once offered, a packet stays given up, even if a ring has room again meanwhile.
        free.eq(~release.valid | release.ready),
        at_once.eq(gone & ~meta.shared),
        ending.eq(ends.r_rdy & ends.r_data[-1]),
        unread.eq(~news.any() & ~extra_read),
        skipping.eq(ends.r_rdy & ~ends.r_data[-1] & ~unread),
        ends.r_en.eq(Mux(ending, free & ~at_once, skipping)),
        ready.eq(Mux(meta.shared, extra | ends.w_rdy, free)),
    ]
    m.d.sync += news.eq(news + extra_read - skipping)
    with m.If(free):
        m.d.sync += [
            release.valid.eq(at_once | ending),
            release.p.cell.eq(Mux(at_once, meta.cell, ends.r_data[:cell_bits])),
            # A SYN that waits has one cell.
            release.p.cells.eq(Mux(at_once, cells_of(profile, meta.info.length), 1)),
        ]
    return ends

"""The packet store: a frame's bytes are written once, in cells, and read when dispatch wants them.

A frame is a linked list of cells.  Cells come from a free list and go back to it when the frame is released; stages may
hold, reorder and drop frames by their first cell alone.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from sentinic.abi.profiles import MAX_FRAME_BYTES, Profile
from sentinic_hdl.meta import CELL_BITS, FrameInfo, cell_shape, frame_beat


class StoredFrame(data.Struct):
    """A frame in the store: its first cell, its first 12 bytes, and what ingress knew of it."""

    cell: CELL_BITS
    link: 96
    info: FrameInfo


def release_shape(profile: Profile) -> data.StructLayout:
    """A frame to give back: first cell and number of cells, at least 1."""
    return data.StructLayout({"cell": cell_shape(profile), "cells": range(MAX_FRAME_BYTES // profile.cell_bytes + 2)})


def read_shape(profile: Profile) -> data.StructLayout:
    """A frame to read: first cell, beats to read, cells of the frame, and whether to release it after.

    Without beats it is released behind whatever was read of it before.
    """
    return data.StructLayout(
        {
            "cell": cell_shape(profile),
            "beats": range(MAX_FRAME_BYTES // profile.beat_bytes + 2),
            "cells": range(MAX_FRAME_BYTES // profile.cell_bytes + 2),
            "release": 1,
        }
    )


def cells_of(profile: Profile, length):
    """Cells that a frame of ``length`` bytes (at least 1) takes."""
    return ((length - 1) >> ceil_log2(profile.cell_bytes)) + 1


class FreeList(wiring.Component):
    """The cells that nobody uses.

    After reset every cell is free.  One cell out and one back in a cycle.

    Members
    -------
    o: a free cell
    i: a cell given back; always ready
    """

    def __init__(self, *, cells: int):
        # The FIFO takes one item less while its output register is empty, which only two cells would come across.
        if cells < 3:
            raise ValueError(f"cells must be at least 3, not {cells}")
        self._cells = cells
        shape = bits_for(cells - 1)
        super().__init__({"i": In(stream.Signature(shape, always_ready=True)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=bits_for(self._cells - 1), depth=self._cells)
        # Cells that were never used need not pass through the FIFO first.  Those that came back go before them: no more
        # of a large store is touched than packets need at once, which a simulator's caches like.
        fresh = Signal(range(self._cells + 1))
        any_fresh = Signal(init=1)
        from_fresh, stays = Signal(), Signal()  # what was offered stays offered
        m.d.comb += [
            from_fresh.eq(any_fresh & (stays | ~fifo.r_rdy)),
            self.o.valid.eq(any_fresh | fifo.r_rdy),
            self.o.payload.eq(Mux(from_fresh, fresh, fifo.r_data)),
            fifo.r_en.eq(self.o.ready & ~from_fresh),
            fifo.w_data.eq(self.i.payload),
            fifo.w_en.eq(self.i.valid),
        ]
        m.d.sync += stays.eq(from_fresh & ~self.o.ready)
        with m.If(self.o.ready & from_fresh):
            m.d.sync += [fresh.eq(fresh + 1), any_fresh.eq(fresh != self._cells - 1)]
        return m


class PacketStore(wiring.Component):
    """Frames in cells.

    Writing takes one beat a cycle, also when every beat is a frame, and waits when no cell is free.  Reading gives one
    beat a cycle without a gap between frames, the first two cycles after the command; a command without beats takes one
    cycle.  Releasing takes one frame of one cell a cycle, and two cycles a cell for longer ones.

    Members
    -------
    i: frames
    stored: one record a frame, when its last beat is in the store
    read: frames to read; may release them
    o: the beats read
    release: frames to give back unread
    cells_used: cells in use a cycle before
    """

    def __init__(self, *, profile: Profile):
        if profile.cell_bytes % profile.beat_bytes or profile.cell_bytes < 2 * profile.beat_bytes:
            raise ValueError(
                f"cell_bytes must be at least two beats of {profile.beat_bytes} bytes, and whole ones, "
                f"not {profile.cell_bytes}"
            )
        self._profile = profile
        super().__init__(
            {
                "i": In(stream.Signature(frame_beat(profile))),
                "stored": Out(stream.Signature(StoredFrame)),
                "read": In(stream.Signature(read_shape(profile))),
                "o": Out(stream.Signature(profile.data_width)),
                "release": In(stream.Signature(release_shape(profile))),
                "cells_used": Out(range(profile.cells + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self._profile
        cell_beats = profile.cell_bytes // profile.beat_bytes
        cell_bits = cell_shape(profile)

        m.submodules.memory = memory = Memory(shape=profile.data_width, depth=profile.cells * cell_beats, init=[])
        w_port = memory.write_port()
        r_port = memory.read_port()
        m.submodules.links = links = Memory(shape=cell_bits, depth=profile.cells, init=[])
        w_link = links.write_port()
        r_link = links.read_port()
        walk_link = links.read_port()
        m.submodules.free = free = FreeList(cells=profile.cells)

        self._write(m, w_port, w_link, free)
        self._read(m, r_port, r_link)
        self._release(m, walk_link, free)

        taken = free.o.valid & free.o.ready
        given = free.i.valid
        taken_before = Signal()
        given_before = Signal()
        m.d.sync += [
            taken_before.eq(taken),
            given_before.eq(given),
            self.cells_used.eq(self.cells_used + taken_before - given_before),
        ]
        return m

    def _write(self, m, w_port, w_link, free):
        profile = self._profile
        cell_beats = profile.cell_bytes // profile.beat_bytes
        head = Signal(cell_shape(profile))
        cell = Signal(cell_shape(profile), name="write_cell")
        position = Signal(range(cell_beats), name="write_position")
        current = Signal.like(cell, name="write_current")
        link = Signal(96)
        new_cell = Signal()
        last_taken = Signal()
        # Room for the record of this frame is needed only with its last beat, but asking always is no slower.
        m.d.comb += [
            new_cell.eq(self.i.p.first | (position == 0)),
            self.i.ready.eq((~new_cell | free.o.valid) & (~self.stored.valid | self.stored.ready)),
            free.o.ready.eq(self.i.valid & self.i.ready & new_cell),
            current.eq(Mux(new_cell, free.o.payload, cell)),
            w_port.addr.eq(Cat(Mux(self.i.p.first, 0, position), current)),
            w_port.data.eq(self.i.p.data),
            w_port.en.eq(self.i.valid & self.i.ready),
            w_link.addr.eq(cell),
            w_link.data.eq(current),
            w_link.en.eq(self.i.valid & self.i.ready & new_cell & ~self.i.p.first),
            last_taken.eq(self.i.valid & self.i.ready & self.i.p.last),
        ]
        if profile.data_width >= 96:
            m.d.comb += link.eq(Mux(self.i.p.first, self.i.p.data[:96], self.stored.p.link))
        else:
            width = profile.data_width
            assert width == 64, "the link bytes are gathered from two beats of 64 bits, or one"
            second = Signal()
            gathered = Signal(96)
            m.d.comb += link.eq(gathered)
            with m.If(self.i.p.first):
                m.d.comb += link.eq(self.i.p.data)
            with m.Elif(second):
                m.d.comb += link.eq(Cat(gathered[:64], self.i.p.data[:32]))
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [second.eq(self.i.p.first), gathered.eq(link)]
        with m.If(self.stored.ready):
            m.d.sync += self.stored.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                cell.eq(current),
                position.eq(Mux(self.i.p.first, 1, position + 1)),
                self.stored.p.link.eq(link),
                self.stored.p.info.eq(self.i.p.info),
            ]
            with m.If(self.i.p.first):
                m.d.sync += head.eq(current)
            with m.If(last_taken):
                m.d.sync += [
                    self.stored.valid.eq(1),
                    self.stored.p.cell.eq(Mux(self.i.p.first, current, head)),
                ]

    def _read(self, m, r_port, r_link):
        profile = self._profile
        cell_beats = profile.cell_bytes // profile.beat_bytes
        m.submodules.done = done = SyncFIFOBuffered(width=release_shape(profile).size, depth=4)
        self._done = done

        cell = Signal(cell_shape(profile), name="read_cell")
        position = Signal(range(cell_beats), name="read_position")
        left = Signal(read_shape(profile)["beats"].shape, name="read_left")
        step = Signal()
        begin = Signal()
        current = Signal.like(cell, name="read_current")
        giving = Signal(release_shape(profile))
        m.d.comb += [
            step.eq(~self.o.valid | self.o.ready),
            begin.eq(step & (left == 0) & self.read.valid & done.w_rdy),
            self.read.ready.eq(step & (left == 0) & done.w_rdy),
            r_link.addr.eq(cell),
            current.eq(Mux(left == 0, self.read.p.cell, Mux(position == 0, r_link.data, cell))),
            r_port.addr.eq(Cat(Mux(left == 0, 0, position), current)),
            r_port.en.eq(step),
            self.o.payload.eq(r_port.data),
        ]
        # A frame is released once the address of its last beat went out; a cell given back is written again two cycles
        # later at the earliest, so the beat is safe.
        held = Signal(release_shape(profile))
        held_release = Signal()
        last = Signal()
        m.d.comb += [
            last.eq(step & Mux(left == 0, self.read.valid & done.w_rdy & (self.read.p.beats <= 1), left == 1)),
            giving.eq(held),
            done.w_data.eq(giving),
            done.w_en.eq(last & Mux(left == 0, self.read.p.release, held_release)),
        ]
        with m.If(left == 0):
            m.d.comb += [giving.cell.eq(self.read.p.cell), giving.cells.eq(self.read.p.cells)]
        with m.If(step):
            m.d.sync += self.o.valid.eq((begin & self.read.p.beats.any()) | (left != 0))
            with m.If(begin):
                m.d.sync += [
                    left.eq(Mux(self.read.p.beats.any(), self.read.p.beats - 1, 0)),
                    cell.eq(current),
                    position.eq(1),
                    held.cell.eq(self.read.p.cell),
                    held.cells.eq(self.read.p.cells),
                    held_release.eq(self.read.p.release),
                ]
            with m.Elif(left != 0):
                m.d.sync += [left.eq(left - 1), cell.eq(current), position.eq(position + 1)]

    def _release(self, m, walk_link, free):
        profile = self._profile
        m.submodules.dropped = dropped = SyncFIFOBuffered(width=release_shape(profile).size, depth=8)
        m.d.comb += [
            dropped.w_data.eq(self.release.payload),
            dropped.w_en.eq(self.release.valid),
            self.release.ready.eq(dropped.w_rdy),
        ]
        done = self._done
        prefer_done = Signal()
        chosen_done = Signal()
        frame = Signal(release_shape(profile))
        available = Signal()
        m.d.comb += [
            chosen_done.eq(done.r_rdy & (prefer_done | ~dropped.r_rdy)),
            available.eq(done.r_rdy | dropped.r_rdy),
            frame.eq(Mux(chosen_done, done.r_data, dropped.r_data)),
        ]
        cell = Signal(cell_shape(profile), name="walk_cell")
        left = Signal.like(frame.cells, name="walk_left")
        waiting = Signal()  # for the link memory
        m.d.comb += walk_link.addr.eq(cell)
        with m.If(left == 0):
            m.d.comb += [
                free.i.valid.eq(available),
                free.i.payload.eq(frame.cell),
                done.r_en.eq(chosen_done),
                dropped.r_en.eq(available & ~chosen_done),
            ]
            with m.If(available):
                m.d.sync += [
                    cell.eq(frame.cell),
                    left.eq(frame.cells - 1),
                    waiting.eq(1),
                    prefer_done.eq(~chosen_done),
                ]
        with m.Elif(waiting):
            m.d.sync += waiting.eq(0)
        with m.Else():
            m.d.comb += [free.i.valid.eq(1), free.i.payload.eq(walk_link.data)]
            m.d.sync += [cell.eq(walk_link.data), left.eq(left - 1), waiting.eq(1)]

"""The packet store: every cell in use belongs to one frame, comes back exactly once when that is given up, and what is
read is what was written."""

from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Array, Cat, Mux, Signal

from sentinic_hdl import store
from sentinic_hdl.store import release_shape
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute
from tests.hdl.formal.test_free_list import free_list_invariants

pytestmark = pytest.mark.slow

#: Frames of one, two and three cells; each of two beats, the fewest that a cell may have.
CELLS = 3
PROFILE = replace(SMALL, store_cells=CELLS)
BEATS = 2 * CELLS
NONE, WRITING, STORED, KNOWN, GIVEN = range(5)


def each_cell(name: str, shape=1) -> Array:
    return Array(Signal(shape, name=f"{name}{cell}") for cell in range(CELLS))


def split(address):
    """The cell and the place in it that an address of the memory means."""
    return address[1:], address[0]


class Ghosts:
    """What the store ought to hold, from what goes in and comes out.

    Of each cell: whether it is in ``use``, whose it is (``owner``, the frame's first cell) and its ``index`` in the
    frame, or that it is one of those that the frame being given back still has (``walked``).  Of each first cell: the
    ``state`` of its frame, its ``cells`` and ``beats``, and whether it was ever ``read``.
    """

    def __init__(self, bench: Bench, dut):
        m, inner = bench.m, bench.inner
        self.use, self.walked, self.owner = each_cell("use"), each_cell("walked"), each_cell("owner", range(CELLS))
        self.index, self.cells = each_cell("index", range(CELLS)), each_cell("cells", range(CELLS + 1))
        self.state, self.beats, self.read = (
            each_cell("state", 3),
            each_cell("beats", range(BEATS + 1)),
            each_cell("read"),
        )
        self.frames = bench.frames(PROFILE, dut.i)
        self.writing = Signal(range(CELLS), name="writing")  # the first cell of the frame that comes in

        self.comes, self.leaves = dut.i.valid & dut.i.ready, dut.stored.valid & dut.stored.ready
        self.reads, self.drops = dut.read.valid & dut.read.ready, dut.release.valid & dut.release.ready
        self.taken, self.fresh = inner("dut.free.o__valid") & inner("dut.free.o__ready"), inner("dut.free.o__payload")
        self.returns, self.returned = inner("dut.free.i__valid"), inner("dut.free.i__payload")
        self.first_returns = self.returns & (inner("dut.walk_left") == 0)
        self._follow_frames(m, dut)
        self._follow_cells(m, dut)

    def _follow_frames(self, m, dut):
        first = dut.i.p.first
        head = Signal(range(CELLS), name="head")
        m.d.comb += head.eq(Mux(first, self.fresh, self.writing))
        with m.If(self.first_returns):
            m.d.sync += self.state[self.returned].eq(NONE)
        with m.If(self.comes):
            m.d.sync += [
                self.writing.eq(head),
                self.state[head].eq(Mux(dut.i.p.last, STORED, WRITING)),
                self.beats[head].eq(Mux(first, 1, self.beats[head] + 1)),
            ]
        with m.If(self.taken):
            m.d.sync += [
                self.owner[self.fresh].eq(head),
                self.index[self.fresh].eq(Mux(first, 0, self.cells[head])),
                self.cells[head].eq(Mux(first, 1, self.cells[head] + 1)),
            ]
        with m.If(self.leaves):
            m.d.sync += [self.state[dut.stored.p.cell].eq(KNOWN), self.read[dut.stored.p.cell].eq(0)]
        with m.If(self.reads):
            m.d.sync += self.read[dut.read.p.cell].eq(1)
            with m.If(dut.read.p.release):
                m.d.sync += self.state[dut.read.p.cell].eq(GIVEN)
        with m.If(self.drops):
            m.d.sync += self.state[dut.release.p.cell].eq(GIVEN)

    def _follow_cells(self, m, dut):
        with m.If(self.returns):
            m.d.sync += [self.use[self.returned].eq(0), self.walked[self.returned].eq(0)]
        for cell in range(CELLS):
            mine = self.use[cell] & ~self.walked[cell] & (self.owner[cell] == self.returned)
            with m.If(self.first_returns & mine & (self.returned != cell)):
                m.d.sync += self.walked[cell].eq(1)
        with m.If(self.taken):
            m.d.sync += self.use[self.fresh].eq(1)

    def belongs(self, cell, head, index):
        """``cell`` is the frame's of first cell ``head``, at this place."""
        in_range = (cell < CELLS) & (head < CELLS)
        return in_range & self.use[cell] & ~self.walked[cell] & (self.owner[cell] == head) & (self.index[cell] == index)


class Reader:
    """The beat that is being read: of which frame, and which one."""

    def __init__(self, bench: Bench, dut):
        begin, step, self.left = (bench.inner(f"dut.{name}") for name in ("begin", "step", "read_left"))
        self.now = Signal(name="reading")
        self.head, self.kept = Signal(range(CELLS), name="read_head"), Signal(range(CELLS), name="read_kept")
        self.beat, self.past = Signal(range(BEATS), name="read_beat"), Signal(range(BEATS + 1), name="read_past")
        bench.m.d.comb += [
            self.now.eq(step & ((begin & (dut.read.p.beats != 0)) | (self.left != 0))),
            self.head.eq(Mux(begin, dut.read.p.cell, self.kept)),
            self.beat.eq(Mux(begin, 0, self.past)),
        ]
        with bench.m.If(self.now):
            bench.m.d.sync += [self.kept.eq(self.head), self.past.eq(self.beat + 1)]


def assume_neighbours(bench: Bench, dut, ghosts: Ghosts) -> None:
    read, release = dut.read.p, dut.release.p
    bench.assume(ghosts.frames.first_kept, because="ports and merge pass whole frames")
    known = (read.cell < CELLS) & (ghosts.state[read.cell] == KNOWN) & (read.cells == ghosts.cells[read.cell])
    bench.assume(
        ~dut.read.valid | (known & (read.beats <= ghosts.beats[read.cell])),
        because="the writer reads frames that the store has told of and nobody gave up",
    )
    known = (release.cell < CELLS) & (ghosts.state[release.cell] == KNOWN)
    known = known & (release.cells == ghosts.cells[release.cell]) & ~ghosts.read[release.cell]
    bench.assume(
        ~dut.release.valid | (known & ~(dut.read.valid & (read.cell == release.cell))),
        because="select gives up only frames that it makes no copies of",
    )


def packet_store(dut) -> Bench:
    bench = Bench()
    m = bench.m
    bench.add("dut", dut, free=True)
    ghosts, reader = Ghosts(bench, dut), Reader(bench, dut)
    use, state, owner = ghosts.use, ghosts.state, ghosts.owner
    assume_neighbours(bench, dut, ghosts)
    bench.check(bench.rules(dut.stored).kept)
    bench.check(bench.rules(dut.o).kept)

    # No cell is handed out twice, nor given back twice, nor by anyone whose frame was not given up.
    bench.check(~ghosts.taken | ~use[ghosts.fresh])
    given_up = Mux(ghosts.first_returns, state[ghosts.returned] == GIVEN, ghosts.walked[ghosts.returned])
    bench.check(~ghosts.returns | (use[ghosts.returned] & given_up))
    bench.check(dut.cells_used == bench.past(sum(use)))
    bench.check(~ghosts.leaves | (state[dut.stored.p.cell] == STORED))
    # None is lost: when nothing is on its way back, every cell in use belongs to a frame that nobody has given up.
    done, dropped = bench.queue("dut.done", depth=4), bench.queue("dut.dropped", depth=8)
    held, held_release = release_shape(PROFILE)(bench.inner("dut.held")), bench.inner("dut.held_release")
    walk_left = bench.inner("dut.walk_left")
    quiet = (
        ~Cat(there for there, _ in (*done, *dropped)).any() & (walk_left == 0) & ((reader.left == 0) | ~held_release)
    )
    for cell in range(CELLS):
        whose = state[owner[cell]]
        bench.check(~(quiet & use[cell]) | (whose == WRITING) | (whose == STORED) | (whose == KNOWN))

    # A beat goes to the place that it has in its frame, and is read from there while the place is still the frame's.
    cell, place = split(bench.inner("dut.w_port__addr"))
    beat = Signal(range(BEATS + 1), name="write_beat")
    m.d.comb += beat.eq(Mux(dut.i.p.first, 0, ghosts.beats[ghosts.writing]))
    bench.check(~ghosts.comes | ((place == beat[0]) & (ghosts.taken == ~beat[0])))
    kept = ghosts.belongs(cell, ghosts.writing, beat >> 1)
    bench.check(~ghosts.comes | Mux(ghosts.taken, cell == ghosts.fresh, kept))
    r_cell, r_place = split(bench.inner("dut.r_port__addr"))
    bench.check(~reader.now | (ghosts.belongs(r_cell, reader.head, reader.beat >> 1) & (r_place == reader.beat[0])))

    # What comes out of a place went in there: any one beat is followed, for as long as its cell is in use.
    follow, followed, data = Signal(name="follow"), Signal(name="followed"), Signal(PROFILE.data_width, name="data")
    its_cell, its_place = Signal(range(CELLS), name="its_cell"), Signal(name="its_place")
    bench.drive(follow)
    with m.If(ghosts.comes & follow & ~followed):
        m.d.sync += [followed.eq(1), data.eq(dut.i.p.data), its_cell.eq(cell), its_place.eq(place)]
    with m.Elif(ghosts.returns & (ghosts.returned == its_cell)):
        m.d.sync += followed.eq(0)
    shown, expected = Signal(name="shown"), Signal(PROFILE.data_width, name="expected")
    with m.If(bench.inner("dut.step")):
        m.d.sync += [shown.eq(reader.now & followed & (r_cell == its_cell) & (r_place == its_place)), expected.eq(data)]
    bench.check(~shown | (dut.o.valid & (dut.o.payload == expected)))
    # No beat comes out that was not asked for.
    asked_for = Signal(name="asked_for")
    with m.If(bench.inner("dut.step")):
        m.d.sync += asked_for.eq(reader.now)
    bench.check(dut.o.valid == asked_for)

    all_three = Signal(name="all_three")
    with m.If(ghosts.returns & (walk_left == 2)):
        m.d.sync += all_three.eq(1)
    bench.cover(all_three & (dut.cells_used == 0))
    bench.cover(ghosts.returns & ghosts.taken & reader.now & shown)
    bench.cover(ghosts.reads & (dut.read.p.beats == 0) & dut.read.p.release & ghosts.read[dut.read.p.cell] & shown)

    # --- What induction has to know ---
    bench.invariant(~followed | (use[its_cell] & (bench.word("dut.memory", Cat(its_place, its_cell)) == data)))
    unwritten = ghosts.frames.inside & (its_cell == bench.inner("dut.write_cell")) & bench.inner("dut.write_position")
    bench.invariant(~(followed & unwritten) | ~its_place)
    frame_invariants(bench, dut, ghosts)
    reader_invariants(bench, ghosts, reader, held, held_release)
    release_invariants(bench, ghosts, (*done, *dropped), (reader.left != 0) & held_release, held.cell)
    return bench


def frame_invariants(bench: Bench, dut, ghosts: Ghosts) -> None:
    """The cells of a frame are its own, numbered without a gap, and linked in this order."""
    links = [bench.word("dut.links", cell) for cell in range(CELLS)]
    live = [ghosts.use[cell] & ~ghosts.walked[cell] for cell in range(CELLS)]
    state, owner, index, cells = ghosts.state, ghosts.owner, ghosts.index, ghosts.cells
    moved = bench.inner("dut.taken_before"), bench.inner("dut.given_before")
    bench.invariant(dut.cells_used + moved[0] == sum(ghosts.use) + moved[1])
    free_list_invariants(bench, "dut.free", ghosts.use, sum(ghosts.use))
    for x in range(CELLS):
        bench.invariant(~ghosts.walked[x] | ghosts.use[x])
        bench.invariant(~live[x] | ((owner[x] < CELLS) & (state[owner[x]] != NONE) & (index[x] < cells[owner[x]])))
        for y in range(CELLS):
            together = Signal(name=f"together{x}{y}")
            both = (live[x] & live[y] & (owner[x] == owner[y])) | (ghosts.walked[x] & ghosts.walked[y])
            bench.m.d.comb += together.eq(both)
            if x != y:
                bench.invariant(~together | (index[x] != index[y]))
                bench.invariant(~together | (index[y] != index[x] + 1) | (links[x] == y))
    for head in range(CELLS):
        own = sum(live[cell] & (owner[cell] == head) for cell in range(CELLS))
        some = state[head] != NONE
        bench.invariant(state[head] <= GIVEN)
        bench.invariant(~some | (ghosts.belongs(head, head, 0) & (cells[head] == own)))
        bench.invariant(~some | (cells[head] == (ghosts.beats[head] + 1) >> 1))
        bench.invariant((state[head] == WRITING) == (ghosts.frames.inside & (ghosts.writing == head)))
        bench.invariant((state[head] == STORED) == (dut.stored.valid & (dut.stored.p.cell == head)))
    bench.invariant(~dut.stored.valid | (dut.stored.p.cell < CELLS))

    inside, writing = ghosts.frames.inside, ghosts.writing
    bench.invariant(~inside | ghosts.belongs(bench.inner("dut.write_cell"), writing, cells[writing] - 1))
    bench.invariant(~inside | (bench.inner("dut.head") == writing))
    bench.invariant(~inside | (bench.inner("dut.write_position") == ghosts.beats[writing][0]))

    # The walker gives back what is left of a frame, in the order of its links.
    at, following, waiting = (bench.inner(f"dut.{name}") for name in ("walk_cell", "walk_link__data", "waiting"))
    left, past = bench.inner("dut.walk_left"), Signal(range(CELLS), name="walk_past")
    with bench.m.If(ghosts.returns):
        bench.m.d.sync += past.eq(Mux(ghosts.first_returns, 0, past + 1))
    bench.invariant(left == sum(ghosts.walked))
    bench.invariant((left == 0) | ~waiting | ((at < CELLS) & ~ghosts.use[at]))
    for x in range(CELLS):
        bench.invariant(~ghosts.walked[x] | ((index[x] > past) & (index[x] <= past + left)))
        bench.invariant(~ghosts.walked[x] | (index[x] != past + 1) | (Mux(waiting, Array(links)[at], following) == x))


def reader_invariants(bench: Bench, ghosts: Ghosts, reader: Reader, held, held_release) -> None:
    """A frame that is being read is there, and the next cell is known when its turn comes."""
    running = Signal(name="running")
    head, past = reader.kept, reader.past
    bench.m.d.comb += running.eq(reader.left != 0)
    at, following = bench.inner("dut.read_cell"), bench.inner("dut.r_link__data")
    bench.invariant(~running | ((held.cell == head) & (held.cells == ghosts.cells[head]) & ghosts.read[head]))
    bench.invariant(~running | (ghosts.state[head] == Mux(held_release, GIVEN, KNOWN)))
    bench.invariant(~running | ((past != 0) & (reader.left + past <= ghosts.beats[head])))
    bench.invariant(~running | ghosts.belongs(at, head, (past - 1)[: len(past)] >> 1))
    bench.invariant(~running | (bench.inner("dut.read_position") == past[0]))
    links = Array(bench.word("dut.links", cell) for cell in range(CELLS))
    bench.invariant(~running | past[0] | (following == links[at]))
    bench.invariant(~(running & held_release) | bench.inner("dut.done.w_rdy"))


def release_invariants(bench: Bench, ghosts: Ghosts, waiting, being_read, read_head) -> None:
    """A frame that was given up waits in one place for the walker."""
    waiting = [(there, release_shape(PROFILE)(item)) for there, item in waiting]
    for head in range(CELLS):
        places = sum((there & (record.cell == head) for there, record in waiting), being_read & (read_head == head))
        bench.invariant(places == (ghosts.state[head] == GIVEN))
    for there, record in waiting:
        bench.invariant(~there | ((record.cell < CELLS) & (record.cells == ghosts.cells[record.cell])))


def test_cells_are_accounted_for_and_frames_stay_what_they_are(tmp_path: Path) -> None:
    prove(packet_store(store.PacketStore(profile=PROFILE)), tmp_path, k=1, cover=16)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("dropped.r_en.eq(available & ~chosen_done)", "dropped.r_en.eq(available & chosen_done)"),
        ("w_link.data.eq(current)", "w_link.data.eq(cell)"),
        ("(left == 0) & self.read.valid & done.w_rdy)", "(left[1:] == 0) & self.read.valid & done.w_rdy)"),
        ("(begin & self.read.p.beats.any())", "begin"),
        ("(self.read.p.beats <= 1)", "(self.read.p.beats == 1)"),
    ],
    ids=["gives back twice", "links cells wrongly", "cuts frames short", "reads without being asked", "keeps a frame"],
)
def test_a_store_that_mistreats_cells_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    changed = mutant(store.__name__, before, after)
    refute(packet_store(changed.PacketStore(profile=PROFILE)), tmp_path, cycles=12)

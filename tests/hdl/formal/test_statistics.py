"""No count is lost: whatever comes one after another, a group's record says how many of its packets there were."""

from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Cat, Const, Mux, Signal
from amaranth.lib import data

from sentinic_hdl.stages.statistics import table
from sentinic_hdl.stages.statistics.folded import table as folded_table
from sentinic_hdl.stages.statistics.types import Events, record_shape
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

#: Two sets of three records, which two rules share.
RULES, SETS, WAYS = 2, 2, 3
KEY, PACKETS, BYTES, LENGTH, TIME = 3, 3, 3, 2, 1
#: Cycles after which nothing is left in the pipeline of what was there before.
FLUSHED = 6


class SmallCount(data.Struct):
    sweep: 1
    rule: 1
    key: KEY
    reversed: 1
    timestamp: TIME
    length: LENGTH
    events: Events


def small_record(rules: int) -> data.StructLayout:
    """A record with fewer bits of what is but counted, compared or kept."""
    widths = {"key": KEY, "packets": PACKETS, "bytes": BYTES, "first": TIME, "last": TIME}
    return data.StructLayout({**record_shape(rules).members, **widths})


def counting(dut) -> Bench:
    """Any one group, whatever happens around it."""
    bench = Bench()
    m = bench.m
    bench.add("dut", dut, free=True)
    key, rule = Signal.like(dut.i.key), Signal(1)
    m.d.comb += [key.eq(AnyConst(len(key))), rule.eq(AnyConst(1))]
    bench.assume(dut.secret == AnyConst(len(dut.secret)), because="it is set while no rule counts")
    bench.assume(dut.i.rule < RULES, because="the unit has no other rules")
    bench.assume(~dut.valid | ~dut.clearing, because="the unit waits for it")

    # What is counted, from the way in to the way out.
    mine = dut.valid & ~dut.i.sweep & (dut.i.key == key) & (dut.i.rule == rule)
    for _ in range(4):
        mine = bench.past(mine)
    out, record = dut.o, dut.o.record
    lasting = bench.past((dut.cumulative & ~dut.final).bit_select(rule, 1))
    counted = out.valid & mine & ~out.turned_away
    of_it = out.valid & record.valid & (record.key == key) & (record.rule == rule)
    told = of_it & out.report

    # The group: whether it has a record, what that should say, and whether all of it was told.
    there, packets, octets, fresh = Signal(), Signal(PACKETS), Signal(BYTES), Signal()
    there_now, fresh_now = Signal(), Signal()
    packets_now, octets_now = Signal(PACKETS), Signal(BYTES)
    going_on, leaves = Signal(), Signal()
    m.d.comb += [
        going_on.eq(there & (~out.stale | lasting)),
        # It begins anew, another one takes its place, or it is swept away.
        leaves.eq(of_it & ~out.turned_away & Mux(out.sweep | mine, out.stale & ~lasting, 1)),
        there_now.eq(Mux(counted, 1, there & ~leaves)),
        packets_now.eq(Mux(counted, Mux(going_on, packets, 0) + 1, packets)),
        octets_now.eq(Mux(counted, Mux(going_on, octets, 0) + out.length, octets)),
        fresh_now.eq(Mux(counted, 1, fresh & ~told)),
    ]
    m.d.sync += [there.eq(there_now), packets.eq(packets_now), octets.eq(octets_now), fresh.eq(fresh_now)]

    bench.check(~counted | ((out.packets == packets_now) & (out.bytes == octets_now)))
    bench.check(~of_it | (there & (record.packets == packets) & (record.bytes == octets)))
    # What leaves has been told, or is told now.
    bench.check(~leaves | told | ~fresh)
    # What would be lost is turned away instead, only then, and its length is there to be added up elsewhere.
    may_be_turned_away = bench.past(~dut.room & dut.cumulative.any())
    bench.check(~(out.valid & out.turned_away) | (may_be_turned_away & ~out.sweep))

    # A cumulative group does not leave for another one while there is no room to tell it.
    makes_way = told & ~out.sweep & ~mine
    bench.check(~makes_way | bench.past(dut.room | ~dut.cumulative.bit_select(rule, 1)))

    # The record in the memory, once all that has come out is taken in.
    index = Signal(1)
    hashed = (key & dut.secret[: len(key)]).xor() ^ rule
    m.d.comb += index.eq(hashed)
    layout = small_record(RULES)

    def records(number):
        word = bench.word("dut.memory", number)
        ways = [layout(word[n * layout.size : (n + 1) * layout.size]) for n in range(WAYS)]
        return ways, [way.valid & (way.key == key) & (way.rule == rule) for way in ways]

    ways, is_it = records(index)
    bench.invariant(~Cat(*records(~index)[1]).any())
    bench.invariant(Cat(*is_it).any() == there_now)
    bench.invariant(sum(is_it) <= 1)
    for here, way in zip(is_it, ways, strict=True):
        bench.invariant(~here | ((way.packets == packets_now) & (way.bytes == octets_now) & (way.fresh == fresh_now)))
    inside = [dut.valid]
    for _ in range(3):
        inside.append(bench.past(inside[-1]))
    bench.invariant(~dut.clearing | ~(Cat(*inside).any() | out.valid | there_now))

    bench.cover(counted & bench.past(counted) & bench.past(bench.past(counted)) & (out.packets == 3))
    bench.cover(told & leaves & ~mine & (record.packets == 2))
    bench.cover(out.valid & mine & out.turned_away)
    return bench


def small(module) -> Bench:
    """``module``'s table, with such records."""
    with (
        patch.object(module, "KEY_BITS", KEY),
        patch.object(module, "PACKETS_BITS", PACKETS),
        patch.object(module, "BYTES_BITS", BYTES),
        patch.object(module, "Count", SmallCount),
        patch.object(module, "record_shape", small_record),
    ):
        return counting(module.Table(rules=RULES, sets=SETS, ways=WAYS))


def test_no_count_is_lost_whatever_comes_one_after_another(tmp_path: Path) -> None:
    prove(small(table), tmp_path, k=FLUSHED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Mux(written & (written_index == index2), written_set, read.data)", "read.data"),
        ("written & (written_index == index2)", "written"),
        ("Mux(after, written_set, read3)", "read3"),
        ("Mux(after & ~self._unmoved_before, shifted, same)", "same"),
        ("Mux(after & ~self._unmoved_before, shifted, same)", "Mux(after, shifted, same)"),
        ("(place >= way) & ~turned_away", "place >= way"),
        ("turned_away.eq(held & ~in_place)", "turned_away.eq(held & old_stale & ~in_place)"),
        ("(old_stale | ~in_place) & ~waits", "old_stale & ~waits"),
        ("old.fresh & (~old_stale | waits)", "old.fresh & ~old_stale"),
        ("old.valid & (~old_stale | lasting)", "old.valid & ~old_stale"),
    ],
    ids=[
        "no forwarding from two before", "forwarding of another set", "no forwarding from one before", "not moved",
        "moved by a sweep", "turned away and counted", "turned away too seldom", "left untold",
        "waits and forgets", "going on and forgotten",
    ],
)  # fmt: skip
def test_a_table_that_loses_counts_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(small(mutant(table.__name__, before, after)), tmp_path, cycles=16)


def folded_counting(dut) -> Bench:
    """Any one group, as above, in the table that takes several cycles a packet."""
    bench = Bench()
    m = bench.m
    bench.add("dut", dut, free=True)
    key, rule, index = Signal(KEY), Signal(1), Signal(1)
    m.d.comb += [key.eq(AnyConst(KEY)), rule.eq(AnyConst(1)), index.eq(AnyConst(1))]
    given = dut.i.p
    is_it = (given.key == key) & (given.rule == rule)
    bench.assume(~(dut.i.valid & is_it) | (given.index == index), because="the set is the key's hash")
    for flags in (dut.cumulative, dut.final):
        bench.assume((flags == bench.past(flags)) | bench.past(dut.idle), because="rules change while nothing is there")

    count = folded_table.count_shape(RULES, 1)(bench.inner("dut.count"))
    chosen = bench.inner("dut.chosen")
    sweeping, hit, is_stale, removed, leaving = (
        bench.inner(f"dut.{name}") for name in ("sweeping", "hit", "is_stale", "removed", "leaves")
    )
    leave, write = (bench.in_state("dut.fsm", name) for name in ("LEAVE", "WRITE"))
    layout = folded_table.record_shape(RULES)

    def holds(number):
        """The record of that number, its state, and whether it is the group's."""
        record = layout(bench.word("dut.records", number))
        state = folded_table.State(bench.word("dut.states", number))
        return record, state, state.valid & (record.key == key) & (record.rule == rule)

    record, state, is_old = holds(chosen)
    mine = ~sweeping & (count.key == key) & (count.rule == rule)
    lasting = bench.past((dut.cumulative & ~dut.final).bit_select(rule, 1))
    told = dut.left.valid & dut.left.ready & is_old

    there, packets, octets, fresh, telling = Signal(), Signal(PACKETS), Signal(BYTES), Signal(), Signal()
    going_on, counted, leaves = Signal(), Signal(), Signal()
    m.d.comb += [
        going_on.eq(there & (~is_stale | lasting)),
        counted.eq(dut.counted & mine & ~dut.turned_away),
        leaves.eq(write & is_old & ~dut.turned_away & Mux(sweeping, removed, ~mine | ~going_on)),
    ]
    m.d.sync += telling.eq(told)
    with m.If(told):
        m.d.sync += fresh.eq(0)
    with m.If(leaves):
        m.d.sync += there.eq(0)
    with m.If(counted):
        m.d.sync += [
            there.eq(1),
            fresh.eq(1),
            packets.eq(Mux(going_on, packets, 0) + 1),
            octets.eq(Mux(going_on, octets, 0) + dut.length),
        ]

    reported = dut.left.p.record
    bench.check(~told | (there & (reported.packets == packets) & (reported.bytes == octets)))
    bench.check(~told | ((reported.key == key) & (reported.rule == rule)))
    bench.check(~leaves | ~fresh)
    bench.check(~dut.turned_away | (dut.counted & bench.past(~dut.room & dut.cumulative.any())))
    makes_way = told & ~sweeping & ~mine
    bench.check(~makes_way | dut.room | ~dut.cumulative.bit_select(rule, 1))

    found = [holds(Cat(Const(way, 1), index)) for way in range(2)]
    bench.invariant(Cat(*(here for _, _, here in found)).any() == there)
    bench.invariant(~(found[0][2] & found[1][2]))
    for entry, its_state, here in found:
        bench.invariant(~here | ((entry.packets == packets) & (entry.bytes == octets)))
        bench.invariant(~here | (its_state.fresh == (fresh | telling)))
    for way in range(2):
        bench.invariant(~holds(Cat(Const(way, 1), ~index))[2])
    bench.invariant(~telling | (write & is_old))
    # What the memory held before the reset is neither told nor counted.
    bench.check(~dut.clearing | (bench.in_state("dut.fsm", "IDLE") & (dut.live == 0)))
    bench.invariant(~dut.clearing | ~there)
    # Where it may stay for long, before the record goes.
    alike = state.valid & (record.key == count.key) & (record.rule == count.rule)
    bench.invariant(~leave | ~state.valid | (reported.as_value() == record.as_value()))
    bench.invariant(~leave | (leaving == (state.valid & state.fresh & (is_stale | (~sweeping & ~hit)))))
    bench.invariant(~leave | ~is_stale | state.valid)
    bench.invariant(~leave | (hit == (~sweeping & alike)))
    cumulative, final = (flags.bit_select(record.rule, 1) for flags in (dut.cumulative, dut.final))
    may_wait = bench.inner("dut.may_wait") == (cumulative & ~(final & (sweeping | hit)))
    bench.invariant(~leave | ~state.valid | may_wait)
    bench.invariant(~leave | ~mine | ((chosen[1:] == index) & (hit == there)))
    bench.invariant(~leave | sweeping | (chosen[1:] == count.index))

    bench.cover(counted & (packets == 2))
    bench.cover(leaves & ~sweeping & ~mine)
    bench.cover(dut.turned_away & mine)
    return bench


def small_folded(module) -> Bench:
    with (
        patch.object(module, "KEY_BITS", KEY),
        patch.object(module, "FIELD_WORDS", 1),
        patch.object(module, "PACKETS_BITS", PACKETS),
        patch.object(module, "BYTES_BITS", BYTES),
        patch.object(folded_table, "KEY_BITS", KEY),
        patch.object(folded_table, "PACKETS_BITS", PACKETS),
        patch.object(folded_table, "BYTES_BITS", BYTES),
    ):
        return folded_counting(module.FoldedTable(rules=RULES, sets=SETS))


def test_the_folded_table_loses_no_count(tmp_path: Path) -> None:
    prove(small_folded(folded_table), tmp_path, k=6, cover=24)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("with m.If(begins):", "with m.If(fetch):"),
        ("kept.eq(leaves & may_wait & ~self.room)", "kept.eq(leaves & ~self.room)"),
        ("removed.eq(sweeping & is_stale & ~lasting.bit_select(rule, 1))", "removed.eq(sweeping & is_stale)"),
        ("w_state.fresh.eq(~sweeping | untold)", "w_state.fresh.eq(~sweeping)"),
        ("packets.eq(Mux(going_on, record.packets, 0) + 1)", "packets.eq(Mux(hit, record.packets, 0) + 1)"),
    ],
    ids=["tells before it is clear", "keeps for ever", "removes", "forgets", "counts on"],
)
def test_a_folded_table_that_loses_counts_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(small_folded(mutant(folded_table.__name__, before, after)), tmp_path, cycles=22)

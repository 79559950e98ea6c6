"""No count is lost: whatever comes one after another, a group's record says how many of its packets there were."""

from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import data

from sentinic_hdl.stages.statistics import table
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

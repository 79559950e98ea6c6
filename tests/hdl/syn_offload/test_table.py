"""The table of attempts against a plain model of it, operation by operation, in any order that hypothesis finds."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinic.abi.syn_offload import Reason
from sentinic_hdl.stages.syn_offload.table import LATENCY, Attempts
from sentinic_hdl.stages.syn_offload.types import KEY_BITS, secret_bits
from tests.hdl.simulation import deep_expressions
from tests.hdl.syn_offload.model import Fate, Given, Model, Segment, Sweep

# A component that refuses its parameters is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

TIMEOUT = 100
#: What a cycle does: nothing, a packet, or a sweep.
Item = Segment | Sweep | None


def key_of(segment: Segment) -> int:
    """The key as :class:`~sentinic_hdl.stages.syn_offload.types.Key` lays it out."""
    low, high = sorted(address << 16 | port for address, port in segment.ends)
    return low | high << 144 | segment.ipv6 << 288


def index_of(segment: Segment, secret: int, sets: int) -> int:
    key = key_of(segment)
    bits = sets.bit_length() - 1
    return sum(((key & (secret >> bit & ((1 << KEY_BITS) - 1))).bit_count() & 1) << bit for bit in range(bits))


class Rig:
    """The table in the simulator, which is made once and reset for each run."""

    def __init__(self, sets: int, ways: int):
        self.table = table = Attempts(sets=sets, ways=ways)
        self.items: Sequence[Item] = ()
        self.secret = 0
        self.outcomes: list[dict[str, int]] = []
        self.end = (0, 0)
        self.used = False
        self.simulator = Simulator(table)
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self._drive)
        self.simulator.add_process(self._watch)

    def run(self, items: Sequence[Item], secret: int) -> list[dict[str, int]]:
        """What came of each item but None, a cycle each."""
        self.items, self.secret, self.outcomes = items, secret, []
        with deep_expressions():
            if self.used:
                self.simulator.reset()
            self.used = True
            self.simulator.run()
        return self.outcomes

    async def _watch(self, ctx):
        table = self.table
        async for _, _, out, inserted, index, at in ctx.tick().sample(
            table.o, table.inserted, table.inserted_index, table.inserted_at
        ):
            if out.valid:
                record = out.record
                outcome = {name: int(out[name]) for name in ("give", "hold", "absorb", "reason", "slot", "sweep")}
                for name in ("first", "last", "retransmissions", "sequence", "port", "ip_length", "reversed"):
                    outcome[name] = int(record[name])
                outcome["key"] = record.key.as_bits()
                self.outcomes.append(outcome | {"inserted": int(inserted), "index": int(index), "at": int(at)})

    async def _drive(self, ctx):
        table, op = self.table, self.table.i
        ctx.set(table.secret, self.secret)
        ctx.set(table.timeout, TIMEOUT)
        while ctx.get(table.clearing):
            await ctx.tick()
        for item in self.items:
            ctx.set(table.valid, item is not None)
            if item is not None:
                ctx.set(op.now, item.now)
                ctx.set(op.sweep, isinstance(item, Sweep))
            if isinstance(item, Sweep):
                ctx.set(op.index, item.index)
                ctx.set(op.flush, item.flush)
            elif item is not None:
                ctx.set(op.flush, 0)
                for name in ("syn", "reset", "quoted", "ipv6", "sequence", "ip_length", "port"):
                    ctx.set(getattr(op, name), getattr(item, name))
                for end in ("source", "destination"):
                    ctx.set(getattr(op, end).address, getattr(item, end))
                    ctx.set(getattr(op, end).port, getattr(item, f"{end}_port"))
            await ctx.tick()
        ctx.set(table.valid, 0)
        for _ in range(LATENCY + 2):
            await ctx.tick()
        self.end = ctx.get(table.holding), ctx.get(table.live)


rig = cache(Rig)


def fates_of(items: Sequence[Item], outcomes: list[dict[str, int]], *, secret: int, sets: int) -> list[Fate]:
    """What the outcomes say, each held SYN being known by its slot."""
    slots: dict[int, Segment] = {}
    fates = []
    for item, out in zip((item for item in items if item is not None), outcomes, strict=True):
        gone = None
        assert out["sweep"] == isinstance(item, Sweep)
        if out["give"]:
            syn = slots.pop(out["slot"])
            record = {"first": syn.now, "key": key_of(syn), "reversed": syn.ends[0][0] > syn.ends[1][0]}
            record |= {name: getattr(syn, name) for name in ("sequence", "port", "ip_length")}
            assert {name: out[name] for name in record} == record
            gone = Given(syn, Reason(out["reason"]), out["retransmissions"], out["last"])
        else:
            assert out["reason"] == Reason.NONE
        assert out["inserted"] == out["hold"]
        if out["hold"]:
            assert isinstance(item, Segment)
            slots[out["slot"]] = item
            assert (out["at"], out["index"]) == (item.now, index_of(item, secret, sets))
        fates.append(Fate(gone, bool(out["hold"]), bool(out["absorb"])))
    return fates


def check(items: Sequence[Item], *, sets: int, ways: int, seed: int = 1) -> list[Fate]:
    """The table does what the model does; returns what that was."""
    secret = random.Random(seed).getrandbits(secret_bits(sets))
    model = Model(ways, TIMEOUT, lambda segment: index_of(segment, secret, sets))
    wanted = [model.step(item) for item in items if item is not None]
    device = rig(sets, ways)
    fates = fates_of(items, device.run(items, secret), secret=secret, sets=sets)
    assert fates == wanted
    assert device.end == (model.holding, model.live)
    return fates


def random_items(seed: int, count: int, hosts: int, *, sets: int, idle: float = 0.0, step: int = 3) -> list[Item]:
    """Packets between few hosts, in both directions, mostly SYNs, with sweeps among them."""
    r = random.Random(seed)
    now = 1000
    items: list[Item] = []
    while len(items) < count:
        now += r.choice((0, 0, 1, step, step, 40 if r.random() < 0.05 else 0))
        if r.random() < idle:
            items.append(None)
            continue
        if r.random() < 0.1:
            items.append(Sweep(now, r.randrange(sets), flush=r.random() < 0.1))
            continue
        a, b = r.randrange(hosts), r.randrange(hosts)
        kind = r.random()
        items.append(
            Segment(
                now, 1 + a, 1 + b, 10 + a // 2, 10 + b // 2, syn=kind < 0.6, reset=kind > 0.9,
                quoted=0.6 <= kind < 0.75, ipv6=r.random() < 0.1,
                sequence=r.randrange(2) if r.random() < 0.3 else 0, ip_length=r.choice((60, 60, 60, 44)),
                port=r.randrange(2),
            )
        )  # fmt: skip
    return items


@pytest.mark.parametrize(("sets", "ways", "hosts"), [(1, 2, 2), (2, 2, 3), (2, 4, 4), (4, 4, 3), (8, 2, 6)])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_the_table_does_what_the_model_does(sets: int, ways: int, hosts: int, idle: float) -> None:
    check(random_items(100 * sets + ways + hosts, 600, hosts, sets=sets, idle=idle), sets=sets, ways=ways)


def test_a_new_attempt_a_cycle_drives_the_oldest_out_a_cycle() -> None:
    items = [Segment(1000, n, 9, sequence=n, syn=True) for n in range(10, 130)]
    fates = check(items, sets=1, ways=4)
    assert [fate.given.syn for fate in fates if fate.given] == items[:-4]
    assert {fate.given.reason for fate in fates if fate.given} == {Reason.EVICTED}


def test_one_attempt_a_cycle_of_the_same_5_tuple_is_counted() -> None:
    syn = Segment(1000, 7, 9, syn=True)
    answer = Segment(1099, 9, 7, 80, 1000)
    fates = check([replace(syn, now=1000 + n // 2) for n in range(100)] + [answer, answer], sets=2, ways=2)
    assert fates[-2].given == Given(syn, Reason.ANSWERED, 99, 1049)
    assert fates[-1] == Fate()


def test_an_attempt_is_over_when_its_time_out_has_come_and_not_a_nanosecond_before() -> None:
    syn = Segment(1000, 7, 9, syn=True)
    for later, reason in ((TIMEOUT - 1, Reason.ANSWERED), (TIMEOUT, Reason.EXPIRED)):
        fates = check([syn, Segment(1000 + later, 9, 7, 80, 1000)], sets=2, ways=2)
        assert fates[1].given is not None
        assert fates[1].given.reason is reason
        fates = check([syn, replace(syn, now=1000 + later)], sets=2, ways=2)
        assert (fates[1].absorb, fates[1].hold) == (reason is Reason.ANSWERED, reason is Reason.EXPIRED)


@pytest.mark.parametrize("between", [0, 1, 2, 3, 5], ids=lambda count: f"{count} cycles between")
def test_an_error_that_quotes_the_syn_and_no_other_gives_it_back(between: int) -> None:
    syn = Segment(1000, 7, 9, syn=True, sequence=5)
    error = replace(syn, now=1010, syn=False, quoted=True, ip_length=0)
    back = Segment(1010, 9, 7, 80, 1000, quoted=True, sequence=5)
    pause = [None] * between
    for other in (replace(error, sequence=6), back, replace(error, source_port=1001), replace(error, ipv6=True)):
        fates = check([syn, *pause, other, *pause, error, *pause, error], sets=2, ways=2)
        assert fates == [Fate(hold=True), Fate(), Fate(Given(syn, Reason.UNREACHABLE, 0, 1000)), Fate()]


def test_an_error_after_the_time_out_finds_the_attempt_over_whatever_it_quotes() -> None:
    syn = Segment(1000, 7, 9, syn=True, sequence=5)
    for sequence in (5, 6):
        error = replace(syn, now=1000 + TIMEOUT, syn=False, quoted=True, sequence=sequence)
        assert check([syn, error], sets=2, ways=2)[1] == Fate(Given(syn, Reason.EXPIRED, 0, 1000))


def test_time_before_the_attempt_ends_nothing() -> None:
    syn = Segment(1000, 7, 9, syn=True)
    assert check([syn, Sweep(50, 0), replace(syn, now=20)], sets=1, ways=2)[1:] == [Fate(), Fate(absorb=True)]


@st.composite
def interleavings(draw: st.DrawFn) -> list[Item]:
    """Packets of very few 5-tuples, sweeps at the edge of the time-out, and idle cycles, a cycle each."""
    now = 1000
    items: list[Item] = []
    for _ in range(draw(st.integers(1, 14))):
        now += draw(st.sampled_from((0, 0, 0, 1, TIMEOUT - 1, TIMEOUT, 5)))
        kind = draw(
            st.sampled_from(
                ("idle", "sweep", "syn", "syn", "syn", "other", "answer", "reset", "odd", "error", "other error")
            )
        )
        if kind == "idle":
            items.append(None)
        elif kind == "sweep":
            items.append(Sweep(now, 0, flush=draw(st.booleans())))
        else:
            client = draw(st.integers(1, 4))
            syn = Segment(now, client, 9, syn=True, sequence=draw(st.sampled_from((0, 0, 5))))
            items.append(
                {
                    "syn": syn,
                    "other": replace(syn, syn=False),
                    "answer": Segment(now, 9, client, 80, 1000),
                    "reset": Segment(now, 9, client, 80, 1000, reset=True),
                    "odd": replace(syn, ip_length=44),
                    "error": replace(syn, syn=False, quoted=True, ip_length=0),
                    "other error": Segment(now, 9, client, 80, 1000, quoted=True, sequence=syn.sequence),
                }[kind]
            )
    return items


@given(interleavings())
@settings(max_examples=60, deadline=None)
def test_whatever_meets_in_neighbouring_cycles_comes_out_as_one_after_the_other(items: list[Item]) -> None:
    check(items, sets=1, ways=2)


@pytest.mark.parametrize("ways", [0, 1, 3])
def test_a_table_of_other_than_a_power_of_two_of_ways_is_refused(ways: int) -> None:
    with pytest.raises(ValueError, match="ways must be a power of two"):
        Attempts(sets=4, ways=ways)

"""The SYN offload stage: what goes in comes out once, each 5-tuple in its order, held SYNs as they were."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinic.abi.syn_offload import Reason
from sentinic.abi.verdicts import Checksum, Fragment, Kind, Protocol, Verdict
from tests.hdl.syn_offload.model import Given, Model, Segment, renumbered
from tests.hdl.syn_offload.stage_bench import SMALL, TIMEOUT, Bench, Out, delivered, meta_of, quote_of, unmarked

# A component that refuses its parameters is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SYN = Segment(1000, 7, 9, syn=True, sequence=5)
ANSWER = Segment(2000, 9, 7, 80, 1000)
ERROR = replace(SYN, syn=False, quoted=True)
LARGE = replace(SMALL, syn_attempts=64, syn_ways=4)
#: Cycles in which all that is inside a stage comes out.
SETTLED = 40
both = pytest.mark.parametrize("folded", [False, True], ids=["unrolled", "folded"])


def traffic(seed: int, count: int, hosts: int, *, step: int = 300) -> list[Segment]:
    r = random.Random(seed)
    now = 1000
    found = []
    for _ in range(count):
        now += r.choice((0, 0, step, step, TIMEOUT if r.random() < 0.1 else 0))
        kind = r.random()
        a, b = r.sample(range(1, hosts + 1), 2)
        found.append(
            Segment(
                now, a, b, 10 + a // 2, 10 + b // 2, syn=kind < 0.7, reset=kind > 0.9,
                quoted=0.7 <= kind < 0.8, ipv6=r.random() < 0.2,
                sequence=r.randrange(2) if r.random() < 0.3 else 0, ip_length=r.choice((60, 60, 60, 44)),
                port=r.randrange(2),
            )
        )  # fmt: skip
    return renumbered(found)


def run(segments: list[Segment], control: int = 1, **options) -> Bench:
    """The stage with offload on, these packets, and a flush behind them, in the same mode."""
    bench = Bench(**options)
    bench.quotes = [quote_of(segment) for segment in segments if segment.quoted]

    async def drive(ctx):
        await bench.write(ctx, "control", control)
        await bench.send(ctx, [meta_of(segment) for segment in segments])
        await bench.flush(ctx, control & ~1)

    bench.run(drive)
    return bench


def check_conserved(bench: Bench, segments: list[Segment]) -> None:
    """Each packet comes out once, as it was; those of a 5-tuple in their order; those never held in theirs.

    An error comes behind the SYNs that it quotes.
    """
    assert sorted(out.name for out in bench.out if not out.extra) == [segment.name for segment in segments]
    for out in bench.out:
        assert out.kind in (Kind.PACKET, Kind.REGENERATED, Kind.VOID)
        assert (out.kind is Kind.REGENERATED) == (out.reason is not Reason.NONE)
        if out.kind is not Kind.VOID:
            assert unmarked(out) == meta_of(segments[out.name])
    passed = [out.name for out in bench.out if out.kind is Kind.PACKET or out.again]
    assert passed == sorted(passed)
    flows = defaultdict(list)
    for out in delivered(bench.out):
        segment = segments[out.name]
        if not segment.quoted:
            flows[frozenset(segment.ends), segment.ipv6].append(out.name)
        if segment.quoted or segment.syn:
            flows[segment.ends, segment.sequence, segment.ipv6].append(out.name)
    for names in flows.values():
        assert names == sorted(names)


@both
@pytest.mark.parametrize(("idle", "busy"), [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
@pytest.mark.parametrize("hosts", [3, 12])
def test_what_goes_in_comes_out_once_in_the_order_of_its_flow(
    folded: bool, idle: float, busy: float, hosts: int
) -> None:
    segments = traffic(hosts, 100 if folded else 300, hosts)
    check_conserved(run(segments, idle=idle, busy=busy, folded=folded), segments)


@pytest.mark.parametrize("raw_wanted", [False, True])
def test_attempts_that_all_have_one_hash_are_told_apart_by_what_the_store_holds(raw_wanted: bool) -> None:
    segments = traffic(7, 150, 8)
    bench = run(segments, profile=LARGE, folded=True, secret=0, raw_wanted=raw_wanted)
    check_conserved(bench, segments)
    assert {out.reason for out in bench.out} >= {Reason.ANSWERED, Reason.SUPERSEDED, Reason.EXPIRED, Reason.EVICTED}


@both
@pytest.mark.parametrize("idle", [0.0, 0.6])
def test_with_room_for_all_attempts_their_fates_are_those_of_the_packets_times(folded: bool, idle: float) -> None:
    segments = traffic(5, 250, 5)
    check_fates(run(segments, idle=idle, profile=LARGE, folded=folded), segments)


def check_fates(bench: Bench, segments: list[Segment]) -> None:
    """What comes out is what the model says of a table with room for all attempts."""
    check_conserved(bench, segments)
    model = Model(1000, TIMEOUT, lambda _: 0)
    fates = [model.step(segment) for segment in segments]
    expected = {fate.given.syn.name: fate.given for fate in fates if fate.given}
    for attempt in model.sets[0]:
        if attempt.holding:
            expected[attempt.syn.name] = Given(attempt.syn, Reason.EXPIRED, attempt.retransmissions, attempt.last)
    back = {out.name: out.told for out in bench.out if out.kind is Kind.REGENERATED}
    assert back == {name: (what.reason, what.retransmissions, what.last) for name, what in expected.items()}
    absorbed = [segment.name for segment, fate in zip(segments, fates, strict=True) if fate.absorb]
    assert [out.name for out in bench.out if out.again] == absorbed
    assert sum(event["hold"] for event in bench.events) == len(expected)
    assert sum(event["absorb"] for event in bench.events) == len(absorbed)
    told = [(event["reason"], event["given_port"]) for event in bench.events if event["reason"]]
    assert sorted(told) == sorted((what.reason, what.syn.port) for what in expected.values())


@st.composite
def interleavings(draw: st.DrawFn) -> list[Segment]:
    """Packets of two or three 5-tuples at the edges of the time-out: SYNs sent again and anew, answers, errors."""
    now = 1000
    found = []
    for _ in range(draw(st.integers(1, 12))):
        now += draw(st.sampled_from((0, 0, 0, 1, TIMEOUT - 1, TIMEOUT, TIMEOUT + 1)))
        client = draw(st.integers(1, 3))
        syn = Segment(now, client, 9, syn=True, sequence=draw(st.sampled_from((0, 0, 5))), port=draw(st.integers(0, 1)))
        answer = replace(syn, source=9, destination=client, source_port=80, destination_port=1000, syn=False)
        found.append(
            draw(
                st.sampled_from(
                    (
                        syn, syn, syn, replace(syn, syn=False), replace(syn, ip_length=44), answer,
                        replace(answer, reset=True), replace(answer, syn=True, sequence=7),
                        replace(syn, syn=False, quoted=True),
                    )
                )
            )
        )  # fmt: skip
    return renumbered(found)


@both
@given(segments=interleavings(), idle=st.sampled_from((0.0, 0.6)))
@settings(max_examples=15)
def test_whatever_meets_is_told_as_one_after_the_other(folded: bool, segments: list[Segment], idle: float) -> None:
    check_fates(run(segments, idle=idle, profile=LARGE, folded=folded), segments)


def raw(out: Sequence[Out]) -> list[Out]:
    """What a ring that wants raw SYNs gets."""
    return [item for item in out if item.kind is Kind.PACKET or (item.reason and not item.values["shared"])]


@both
@pytest.mark.parametrize("control", [1, 3], ids=["syns", "records"])
@pytest.mark.parametrize(("idle", "busy"), [(0, 0), (0.5, 0), (0, 0.5)])
def test_where_nothing_may_be_lost_raw_is_all_that_came_as_it_came(
    folded: bool, idle: float, busy: float, control: int
) -> None:
    segments = traffic(3, 100 if folded else 300, 12)
    bench = run(segments, control, idle=idle, busy=busy, raw_wanted=True, folded=folded)
    assert [out.values | {"raw": 0, "shared": 0} for out in raw(bench.out)] == [meta_of(item) for item in segments]
    held = [out.name for out in bench.out if out.extra]
    assert sorted(out.name for out in bench.out if out.values["shared"] and not out.extra) == held
    assert not [event for event in bench.events if event["uncopied"]]


@pytest.mark.parametrize("idle", [0.0, 0.3])
def test_a_flood_is_not_held_up_by_raw_syns_that_come_later_or_are_counted(idle: float) -> None:
    segments = renumbered([Segment(1000 + n, 100 + n, 9, syn=True, port=n & 1) for n in range(400)])
    bench = run(segments, idle=idle, raw_wanted=True, lossless=False, timeout=10**9)
    check_conserved(bench, segments)
    uncopied = [event["port"] for event in bench.events if event["uncopied"]]
    copied = {out.name for out in bench.out if out.extra}
    assert len(uncopied) + len(copied) == len(segments)
    assert sorted(uncopied) == sorted(segment.port for segment in segments if segment.name not in copied)
    assert not [out for out in bench.out if out.again]
    # Each comes to such a ring, in time or later.
    assert sorted(out.name for out in raw(bench.out)) == list(range(len(segments)))
    if idle:
        assert len(copied) > len(segments) * idle / 2
    else:
        times = list(bench.sent.values())
        assert times == list(range(times[0], times[0] + len(segments))), "a packet had to wait"


def test_a_syn_that_comes_again_is_raw_where_the_first_was_and_else_told_of_with_it() -> None:
    """In a full table, with few gaps, some have raw copies and some have none; the last are then sent again."""
    profile = replace(SMALL, syn_attempts=64, syn_ways=4)
    syns = [Segment(1000 + n, 100 + n, 9, syn=True) for n in range(150)]
    segments = renumbered([*syns, *(replace(syn, now=5000 + n) for n, syn in enumerate(syns[-30:]))])
    bench = run(segments, profile=profile, idle=0.3, raw_wanted=True, lossless=False, timeout=10**9)
    check_conserved(bench, segments)
    shared = {out.name for out in bench.out if out.extra}
    again = [out for out in bench.out if out.again]
    first = {out.name: out.name - 30 for out in again}
    assert {out.kind for out in again} == {Kind.PACKET, Kind.VOID}
    assert all((out.kind is Kind.PACKET) == (first[out.name] in shared) for out in again)


def test_switched_off_and_empty_it_passes_everything_on_in_a_cycle() -> None:
    bench = Bench()
    segments = traffic(1, 60, 4)
    bench.quotes = [quote_of(segment) for segment in segments if segment.quoted]

    async def drive(ctx):
        await bench.send(ctx, [meta_of(segment) for segment in segments])
        await bench.wait(ctx, 5)

    bench.run(drive)
    assert [out.values for out in bench.out] == [meta_of(segment) for segment in segments]
    assert {out.cycle - bench.sent[out.name] for out in bench.out} == {1}
    assert not bench.events


@both
def test_switched_off_in_traffic_it_still_gives_back_what_it_holds(folded: bool) -> None:
    bench = Bench(folded=folded)
    segments = renumbered([SYN, replace(SYN, source=8), replace(ANSWER, destination=8), replace(SYN, source=6), ANSWER])

    async def drive(ctx):
        await bench.write(ctx, "control", 1)
        await bench.send(ctx, [meta_of(segment) for segment in segments[:2]])
        await bench.wait(ctx, SETTLED)
        await bench.write(ctx, "control", 0)
        await bench.send(ctx, [meta_of(segment) for segment in segments[2:]])
        await bench.wait(ctx, SETTLED)

    bench.run(drive)
    assert [out.name for out in bench.out] == [1, 2, 3, 0, 4]


@pytest.mark.parametrize("same", [False, True], ids=["all different", "all in one set"])
def test_a_flood_of_a_syn_a_cycle_neither_loses_nor_delays_an_established_flow(same: bool) -> None:
    profile = replace(SMALL, syn_attempts=4, syn_ways=4) if same else SMALL
    flow = [Segment(1000 + n, 1, 2) for n in range(0, 240, 3)]
    flood = [Segment(1000 + n, 100 + n, 9, syn=True) for n in range(240) if n % 3]
    segments = renumbered(sorted(flow + flood, key=lambda segment: segment.now))
    bench = run(segments, profile=profile, timeout=10**9)
    check_conserved(bench, segments)
    times = [bench.sent[segment.name] for segment in segments]
    assert times == list(range(times[0], times[0] + len(segments))), "a packet had to wait"
    delays = {out.cycle - bench.sent[out.name] for out in bench.out if not segments[out.name].syn}
    assert delays == {7}
    evicted = [out for out in bench.out if out.reason is Reason.EVICTED]
    assert len(evicted) == len(flood) - profile.syn_attempts


@pytest.mark.parametrize("gaps", [False, True], ids=["back to back", "with gaps"])
def test_attempts_are_over_in_time_while_packets_come(gaps: bool) -> None:
    profile = replace(SMALL, syn_attempts=256, syn_ways=4)
    syns = [Segment(1000 + n, 100 + n, 9, syn=True) for n in range(12)]
    later = [Segment(1000 + TIMEOUT + n, 1, 2) for n in range(850)]
    segments = renumbered(syns + later)
    bench = run(segments, profile=profile, idle=0.6 if gaps else 0)
    check_conserved(bench, segments)
    expired = [out for out in bench.out if out.reason is Reason.EXPIRED]
    assert [out.name for out in expired] == list(range(12))
    last = bench.sent[len(segments) - 1]
    assert all(out.cycle < last for out in expired), "only the flush found them"
    waits = [later - earlier for earlier, later in pairwise(bench.sent.values())]
    assert gaps or (sum(waits) - len(waits) == 12 and max(waits) == 2), "a sweep takes a cycle, and no more"
    if gaps:
        # Each at the first gap after its time.
        assert all(out.cycle - bench.sent[12 + n] < 40 for n, out in enumerate(expired))


@both
def test_a_list_of_attempts_that_is_full_makes_expiry_late_and_no_more(folded: bool) -> None:
    # The queue has room for 16 of them.
    profile = replace(SMALL, syn_attempts=64, syn_ways=4)
    syns = [Segment(1000 + 10 * n, 100 + n, 9, syn=True) for n in range(50)]
    later = [Segment(1000 + n * TIMEOUT // 100, 1, 2) for n in range(100, 230)]
    segments = renumbered(syns + later)
    bench = run(segments, profile=profile, idle=0.9, folded=folded)
    check_conserved(bench, segments)
    first, last = bench.sent[50], bench.sent[len(segments) - 1]
    over = [out for out in bench.out if out.reason is Reason.EXPIRED]
    evicted = [out for out in bench.out if out.reason is Reason.EVICTED]
    assert len(over) + len(evicted) == 50
    assert all(first < out.cycle < last for out in over)


def odd(base: Segment, **values: int) -> dict[str, int]:
    """The meta of ``base`` with fields changed; underscores for dots in their names."""
    return meta_of(base) | {name.replace("__", "."): int(value) for name, value in values.items()}


PASSING = {
    "payload": {"headers__payload_length": 1},
    "with FIN": {"headers__tcp_flags": 0x03},
    "with RST": {"headers__tcp_flags": 0x06},
    "with PSH": {"headers__tcp_flags": 0x0A},
    "with URG": {"headers__tcp_flags": 0x22},
    "SYN and ACK": {"headers__tcp_flags": 0x12},
    "no flags": {"headers__tcp_flags": 0},
    "bad checksum": {"headers__transport_checksum": Checksum.BAD, "headers__verdict": Verdict.BAD_TRANSPORT_CHECKSUM},
    "unchecked": {"headers__transport_checksum": Checksum.UNCHECKED},
    "bad IP checksum": {"headers__network_checksum_bad": 1, "headers__verdict": Verdict.BAD_NETWORK_CHECKSUM},
    "first fragment": {"headers__fragment": Fragment.FIRST, "headers__verdict": Verdict.FRAGMENT},
    "malformed": {"headers__parse_error": 14, "headers__verdict": Verdict.MALFORMED},
    "header cut short": {"headers__parse_error": 13, "headers__has_tcp": 0},
    "behind MPLS": {"headers__mpls_count": 1, "headers__eth_type": 0x8847},
    "behind SNAP": {"headers__network_offset": 22},
    "cut before the card": {"info__wire_length": 200},
    "longer than a cell": {"info__length": 129, "info__wire_length": 129},
    "length left to the frame": {"headers__ip_length_is_rest": 1},
    "long options before TCP": {"headers__ip_length": 256},
    "crosses a threshold": {"crossing__rules": 4, "crossing__value": 100},
}


@both
@pytest.mark.parametrize("what", PASSING)
def test_a_syn_that_is_more_than_a_syn_passes(folded: bool, what: str) -> None:
    bench = Bench(folded=folded)
    base = replace(SYN, name=3)
    values = odd(base, **PASSING[what]) | {"headers.vlan_count": 0, "headers.vlan0": 0, "headers.vlan1": 0}
    if what != "behind SNAP":
        values["headers.network_offset"] = 14

    async def drive(ctx):
        await bench.write(ctx, "control", 1)
        await bench.send(ctx, [values])
        await bench.wait(ctx, SETTLED)
        assert await bench.read(ctx, "holding") == 0

    bench.run(drive)
    assert [out.values for out in bench.out] == [values]


AFTER = {
    "answered": (ANSWER, Reason.ANSWERED),
    "answered at the other port": (replace(ANSWER, port=1), Reason.ANSWERED),
    "simultaneous open": (replace(ANSWER, syn=True, sequence=77), Reason.ANSWERED),
    "refused": (replace(ANSWER, reset=True), Reason.REFUSED),
    "reset by the originator": (replace(SYN, syn=False, reset=True), Reason.INTERRUPTED),
    "data of the originator": (replace(SYN, syn=False), Reason.INTERRUPTED),
    "another length": (replace(SYN, ip_length=44), Reason.INTERRUPTED),
    "quoted by an error": (ERROR, Reason.UNREACHABLE),
    "quoted by an error at the other port": (replace(ERROR, port=1), Reason.UNREACHABLE),
}


@both
@pytest.mark.parametrize("what", AFTER)
def test_whatever_else_comes_of_the_5_tuple_has_the_syn_before_it(folded: bool, what: str) -> None:
    other, reason = AFTER[what]
    segments = renumbered([SYN, replace(SYN, now=1500), replace(other, now=2000), replace(SYN, now=2500, sequence=6)])
    bench = run(segments, folded=folded)
    assert [out.name for out in bench.out] == [1, 0, 2, 3]
    assert bench.out[1].told == (reason, 1, 1500)
    # The 5-tuple passes from now on, until the attempt's time would have been over.
    assert [out.kind for out in bench.out[2:]] == [Kind.PACKET, Kind.PACKET]


@both
def test_another_sequence_number_begins_another_attempt(folded: bool) -> None:
    segments = renumbered([SYN, replace(SYN, now=1500), replace(SYN, now=2000, sequence=6), replace(ANSWER, now=3000)])
    bench = run(segments, folded=folded)
    assert [out.name for out in bench.out] == [1, 0, 2, 3]
    assert bench.out[1].told == (Reason.SUPERSEDED, 1, 1500)
    assert bench.out[2].told == (Reason.ANSWERED, 0, 2000)


@both
def test_packets_without_ports_or_of_another_protocol_end_nothing(folded: bool) -> None:
    bench = Bench(folded=folded)
    later = odd(replace(ANSWER, name=1), headers__fragment=Fragment.LATER)
    other = odd(replace(ANSWER, name=2), headers__protocol_class=Protocol.UDP, headers__protocol=17)
    version = odd(replace(ANSWER, name=3), headers__ip_version=2)

    async def drive(ctx):
        await bench.write(ctx, "control", 1)
        await bench.send(ctx, [meta_of(SYN), later, other, version])
        await bench.wait(ctx, SETTLED)
        assert await bench.read(ctx, "holding") == 1

    bench.run(drive)
    assert [out.name for out in bench.out] == [1, 2, 3]


IN_VAIN = {
    "of another attempt": ({"sequence": 6}, {}),
    "of the other direction": ({"source": 9, "destination": 7, "source_port": 80, "destination_port": 1000}, {}),
    "with a bad checksum": ({}, {"transport_checksum": Checksum.BAD, "verdict": Verdict.BAD_TRANSPORT_CHECKSUM}),
    "with a bad IP checksum": ({}, {"network_checksum_bad": 1, "verdict": Verdict.BAD_NETWORK_CHECKSUM}),
}


@both
@pytest.mark.parametrize("what", IN_VAIN)
def test_an_error_in_vain_passes_and_the_next_ends_the_wait(folded: bool, what: str) -> None:
    quoted, headers = IN_VAIN[what]
    syn, vain, error = renumbered([SYN, replace(ERROR, now=1500, **quoted), replace(ERROR, now=2000)])
    metas = [meta_of(syn), odd(vain, **{f"headers__{name}": value for name, value in headers.items()}), meta_of(error)]
    bench = Bench(folded=folded)
    bench.quotes = [quote_of(vain), quote_of(error)]

    async def drive(ctx):
        await bench.write(ctx, "control", 1)
        await bench.send(ctx, metas[:2])
        await bench.wait(ctx, SETTLED)
        assert await bench.read(ctx, "holding") == 1
        await bench.send(ctx, metas[2:])
        await bench.wait(ctx, SETTLED)

    bench.run(drive)
    assert [out.name for out in bench.out] == [1, 0, 2]
    assert [out.values for out in bench.out[::2]] == metas[1:]
    assert bench.out[1].told == (Reason.UNREACHABLE, 0, 1000)


@both
def test_an_error_cut_before_the_card_is_believed(folded: bool) -> None:
    syn, error = renumbered([SYN, ERROR])
    bench = Bench(folded=folded)
    bench.quotes = [quote_of(error)]
    cut = odd(error, headers__verdict=Verdict.TRUNCATED, headers__transport_checksum=Checksum.UNCHECKED)

    async def drive(ctx):
        await bench.write(ctx, "control", 1)
        await bench.send(ctx, [meta_of(syn), cut])
        await bench.wait(ctx, SETTLED)

    bench.run(drive)
    assert [out.reason for out in bench.out] == [Reason.UNREACHABLE, Reason.NONE]


def test_syns_and_errors_that_quote_them_wait_for_nothing_at_the_pace_of_the_wire() -> None:
    """An error that quotes a TCP packet has 70 bytes at least: two beats of ``wide``."""
    syns = [Segment(1000 + n, 100 + n, 9, syn=True, sequence=n) for n in range(60)]
    errors = [replace(syn, syn=False, quoted=True) for syn in syns]
    segments = renumbered([segment for pair in zip(syns, errors, strict=True) for segment in pair])
    bench = Bench(profile=LARGE, timeout=10**9)
    bench.quotes = [quote_of(segment) for segment in segments if segment.quoted]

    async def drive(ctx):
        await bench.write(ctx, "control", 1)
        for n in range(0, len(segments), 2):
            await bench.send(ctx, [meta_of(segment) for segment in segments[n : n + 2]])
            await bench.wait(ctx, 1)
        await bench.wait(ctx, 30)

    bench.run(drive)
    check_conserved(bench, segments)
    assert [out.name for out in bench.out] == list(range(len(segments)))
    assert [event["reason"] for event in bench.events if event["reason"]] == [Reason.UNREACHABLE] * len(syns)
    times = [bench.sent[segment.name] for segment in segments]
    assert times == [times[0] + 3 * n + of for n in range(len(syns)) for of in (0, 1)], "a packet had to wait"


@both
def test_a_stage_without_room_for_a_set_is_refused(folded: bool) -> None:
    with pytest.raises(ValueError, match="syn_attempts must be at least syn_ways 2, not 1"):
        Bench(profile=replace(SMALL, syn_attempts=1), folded=folded)


@both
def test_after_a_reset_nothing_of_before_is_held(folded: bool) -> None:
    """The records of before are still in the memories; SYNs, answers and the time say nothing of them."""
    bench = Bench(folded=folded)
    held = renumbered([replace(SYN, source=n) for n in range(6)])
    after = renumbered([replace(ANSWER, destination=n) for n in range(6)] + [replace(SYN, now=9000)])
    answer = replace(ANSWER, name=20, now=9500)
    late = replace(ANSWER, name=21, now=10 * TIMEOUT)

    async def drive(ctx):
        await bench.write(ctx, "control", 1)
        await bench.send(ctx, [meta_of(segment) for segment in held])
        await bench.wait(ctx, SETTLED)
        assert await bench.read(ctx, "holding") == len(held)
        await bench.reset(ctx)
        await bench.write(ctx, "control", 1)
        assert await bench.read(ctx, "holding") == 0
        await bench.send(ctx, [meta_of(segment) for segment in (*after, answer, late)])
        await bench.wait(ctx, 4 * SETTLED)
        assert await bench.read(ctx, "holding") == 0

    bench.run(drive)
    kinds = [(out.name, out.kind) for out in bench.out]
    packets = [(n, Kind.PACKET) for n in range(6)]
    assert kinds == [*packets, (6, Kind.REGENERATED), (20, Kind.PACKET), (21, Kind.PACKET)]
    assert bench.out[6].reason is Reason.ANSWERED

"""Compact mode: an attempt that nobody answered comes out as a record, and its SYN ends."""

from collections import defaultdict
from dataclasses import replace

import pytest

from sentinic.abi.syn_offload import UNANSWERED, Reason
from sentinic.abi.verdicts import Kind
from tests.hdl.syn_offload.model import Given, Model, Segment, renumbered
from tests.hdl.syn_offload.stage_bench import TIMEOUT, Bench, Told, delivered, mapped, meta_of
from tests.hdl.syn_offload.test_stage import ANSWER, LARGE, SYN, both, run, traffic

ENABLE, COMPACT = 1, 2


def compact(segments: list[Segment], **options) -> Bench:
    return run(segments, control=ENABLE | COMPACT, **options)


def record_of(segment: Segment) -> dict[str, int]:
    """What the record of a SYN says of it besides its ends, whatever came of it."""
    meta = meta_of(segment)
    return {
        "record.key.ipv6": segment.ipv6,
        "record.port": segment.port,
        "record.first": segment.now,
        "record.sequence": segment.sequence,
        "record.ip_length": segment.ip_length,
        "congestion": meta["headers.tcp_flags"] >> 6,
        "window_zero": meta["headers.tcp_window"] == 0,
    }


def ends_of(segment: Segment) -> tuple[tuple[int, int], tuple[int, int]]:
    source, destination = ((mapped(address, ipv6=segment.ipv6), port) for address, port in segment.ends)
    return source, destination


def check_conserved(bench: Bench, segments: list[Segment]) -> dict[int, Told]:
    """Each packet comes out once, none that nobody answered as a SYN.  The records, by the name of their SYN."""
    assert sorted(out.name for out in bench.out) == [segment.name for segment in segments]
    assert not [out for out in bench.out if out.kind is Kind.REGENERATED and out.reason in UNANSWERED]
    wanted = {segment.name: record_of(segment) for segment in segments if segment.syn}
    found: dict[int, Told] = {}
    for record in bench.records:
        names = [
            name
            for name, values in wanted.items()
            if name not in found
            and record.ends == ends_of(segments[name])
            and all(record.values[key] == value for key, value in values.items())
        ]
        assert names, "a record of no SYN"
        found[names[0]] = record
    return found


@both
@pytest.mark.parametrize(("idle", "busy"), [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
def test_unanswered_attempts_are_told_of_in_records_and_all_others_by_their_syns(
    folded: bool, idle: float, busy: float
) -> None:
    segments = traffic(5, 250, 5)
    bench = compact(segments, idle=idle, busy=busy, profile=LARGE, folded=folded)
    records = check_conserved(bench, segments)
    model = Model(1000, TIMEOUT, lambda _: 0)
    fates = [model.step(segment) for segment in segments]
    given = [fate.given for fate in fates if fate.given]
    given += [
        Given(attempt.syn, Reason.EXPIRED, attempt.retransmissions, attempt.last)
        for attempt in model.sets[0]
        if attempt.holding
    ]
    wanted = {what.syn.name: what for what in given}
    ended = {name for name, what in wanted.items() if what.reason in UNANSWERED}
    assert len(ended) > 15
    assert {name: record.told for name, record in records.items()} == {
        name: (wanted[name].reason, wanted[name].retransmissions, wanted[name].last) for name in ended
    }
    assert {out.name for out in bench.out if out.kind is Kind.REGENERATED} == set(wanted) - ended
    absorbed = {segment.name for segment, fate in zip(segments, fates, strict=True) if fate.absorb}
    assert {out.name for out in bench.out if out.kind is Kind.VOID and not out.again} == ended
    assert {out.name for out in bench.out if out.again} == absorbed
    ports = sorted(segments[name].port for name in ended)
    assert sorted(event["ended_port"] for event in bench.events if event["recorded"]) == ports
    assert not [event for event in bench.events if event["unreported"]]


@both
@pytest.mark.parametrize("busy", [0.0, 0.6])
def test_where_nothing_may_be_lost_a_record_is_gone_before_the_next_packet_leaves(folded: bool, busy: float) -> None:
    segments = traffic(9, 300, 12)
    bench = compact(segments, busy=busy, folded=folded)
    records = check_conserved(bench, segments)
    assert len(records) > 50
    ends = {out.name: out.cycle for out in bench.out if out.name in records}
    passing = delivered(bench.out)
    for name, record in records.items():
        later = [out.cycle for out in passing if out.cycle > ends[name]]
        assert not later or record.cycle < later[0]
    # So packets and records of a 5-tuple are in their order.
    flows: dict[object, list[tuple[int, int]]] = defaultdict(list)
    came = [(out.name, out.cycle) for out in passing] + [(name, record.cycle) for name, record in records.items()]
    for name, cycle in came:
        flows[frozenset(segments[name].ends), segments[name].ipv6].append((cycle, name))
    for pairs in flows.values():
        names = [name for _, name in sorted(pairs)]
        assert names == sorted(names)


def test_a_flood_of_a_syn_a_cycle_delays_nobody_and_every_attempt_is_recorded_or_counted() -> None:
    flow = [Segment(1000 + n, 1, 2) for n in range(0, 480, 3)]
    flood = [Segment(1000 + n, 100 + n, 9, syn=True, port=n & 1) for n in range(480) if n % 3]
    segments = renumbered(sorted(flow + flood, key=lambda segment: segment.now))
    bench = compact(segments, timeout=10**9, lossless=False, busy_records=0.8)
    records = check_conserved(bench, segments)
    times = [bench.sent[segment.name] for segment in segments]
    assert times == list(range(times[0], times[0] + len(segments))), "a packet had to wait"
    assert {out.cycle - bench.sent[out.name] for out in bench.out if not segments[out.name].syn} == {7}
    unreported = [event["ended_port"] for event in bench.events if event["unreported"]]
    recorded = [event["ended_port"] for event in bench.events if event["recorded"]]
    assert len(recorded) == len(records)
    assert min(len(recorded), len(unreported)) > 50
    assert sorted(recorded + unreported) == sorted(segment.port for segment in flood)


@both
def test_without_anybody_who_takes_records_attempts_are_counted_as_unreported(folded: bool) -> None:
    segments = renumbered([SYN, replace(SYN, source=8, port=1)])
    bench = compact(segments, wanted=False, folded=folded)
    assert not bench.records
    assert [out.kind for out in bench.out] == [Kind.VOID, Kind.VOID]
    assert sorted(event["ended_port"] for event in bench.events if event["unreported"]) == [0, 1]


@both
def test_an_answered_attempt_is_given_back_as_ever(folded: bool) -> None:
    bench = compact(renumbered([SYN, replace(SYN, now=1500), ANSWER]), folded=folded)
    assert [(out.name, out.kind) for out in bench.out] == [(1, Kind.VOID), (0, Kind.REGENERATED), (2, Kind.PACKET)]
    assert bench.out[0].again
    assert bench.out[1].told == (Reason.ANSWERED, 1, 1500)
    assert not bench.records

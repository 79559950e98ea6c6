"""Tasks: planned by what the card can do, with the same answer either way; and the recipes."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinic.driver.device import Device
from sentinic.driver.statistics import Statistics, StatisticsShape
from sentinic.errors import ConfigError, RingError
from sentinic.monitor.statistics import recipes
from sentinic.monitor.statistics.answers import Answers
from sentinic.monitor.statistics.tasks import Answer, Count, Distinct, Sum, Task, TopK, make_plan
from tests.reference.card import Frame
from tests.reference.corpus import CORPUS, frames_of, needs_corpus
from tests.reference.statistics import shown
from tests.reference.traffic import random_frames
from tests.sw.driver.fake import FakeTransport
from tests.sw.driver.fake_statistics import StatisticsTransport
from tests.sw.monitor.statistics_runs import batch_of

WIDE = StatisticsShape(16, 65_536, 1)


def ask(tasks: Sequence[Task], frames: Sequence[Frame], transport: FakeTransport) -> list[Answer]:
    """Answers of a card; of one without the stage, in software."""
    device = Device(transport)
    try:
        ring = device.open_ring(0, descriptors=2048, data_bytes=1 << 23)
        ring.enable()
        device.enable()
        statistics = Statistics(device) if isinstance(transport, StatisticsTransport) else None
        answers = Answers(make_plan(tasks, statistics.shape if statistics else None), statistics, ring)
        for first in range(0, len(frames), 200):
            device.transport.send(batch_of(frames[first : first + 200]))
            while device.transport.pending:
                device.transport.step(50)
                answers.poll()
        return answers.close()
    finally:
        device.close()


TASKS = st.builds(
    Task,
    st.just("t"),
    st.sampled_from([{}, {"ip_proto": [6, 17]}, {"tcp_flags": "0x02/0x12"}, {"ip_version": 4, "ip_proto": (6, 1)}]),
    st.sampled_from([[], ["source"], ["ip_proto", "source_port"], ["eth_src"]]),
    st.sampled_from([Count(), Sum(), Distinct("destination"), Distinct("destination_port", "in_port"), TopK(2)]),
    st.sampled_from([0, 20_000]),
    st.sampled_from([None, 3, 500]),
)


@settings(max_examples=25, deadline=None)
@given(TASKS, st.integers(0, 1 << 32), st.sampled_from([2, 1000]))
def test_a_task_has_the_same_answer_on_the_card_and_in_software(task: Task, seed: int, capacity: int) -> None:
    frames = random_frames(seed, 150)
    on_card = ask([task], frames, StatisticsTransport(capacity=capacity))
    assert on_card == ask([task], frames, FakeTransport())
    # The first group's value, by hand.
    wanted: dict[int, dict[Any, set[Any] | int]] = defaultdict(dict)
    for frame in frames:
        fields = shown(frame).fields()
        if not all(_is(fields, name, value) for name, value in task.match.items()):
            continue
        key = tuple(fields[name] for name in task.group)
        interval = frame.timestamp // task.every if task.every else 0
        found = wanted[interval]
        if isinstance(task.measure, Distinct):
            found.setdefault(key, set()).add(tuple(fields[name] for name in task.measure.fields))  # type: ignore[union-attr]
        else:
            amount = 1 if isinstance(task.measure, Count) else max(frame.wire_length or 0, len(frame.data))
            found[key] = found.get(key, 0) + amount  # type: ignore[operator]
    values = {
        interval: sorted((len(item) if isinstance(item, set) else item for item in found.values()), reverse=True)
        for interval, found in wanted.items()
    }
    most = task.measure.count if isinstance(task.measure, TopK) else None
    assert {answer.interval: list(answer.values) for answer in on_card} == {k: v[:most] for k, v in values.items()}
    for answer in on_card:
        assert answer.crossed == tuple(task.threshold is not None and v >= task.threshold for v in answer.values)


def _is(fields: dict[str, int], name: str, value: Any) -> bool:
    if name == "tcp_flags":
        return name in fields and fields[name] & 0x12 == 2
    return fields.get(name) in (value if isinstance(value, list | tuple) else [value])


def test_the_planner_fills_the_card_and_says_what_is_left_to_software_and_why() -> None:
    tasks = [Task("a"), Task("b", {"ip_proto": [6, 17]}), Task("c", {"tcp_dst": [80, 443]}), Task("d")]
    plan = make_plan(tasks, StatisticsShape(4, 1024, 4))
    assert plan.explain().splitlines() == [
        "a: on the card (1 rule)",
        "b: on the card (2 rules)",
        "c: in software (2 rules): of the card's 4 rules 1 are free",
        "d: on the card (1 rule)",
    ]
    assert [rule.name for rule in plan.card_rules] == ["a", "b/0", "b/1", "d"]
    assert [item.rule.name for item in plan.software_rules] == ["c/0", "c/1"]
    nothing = make_plan(tasks, None)
    assert not nothing.card_rules
    assert nothing.explain().count("in software") == 4
    assert "this card has no statistics stage" in nothing.explain()


def test_tasks_split_between_card_and_software_are_both_answered() -> None:
    frames = random_frames(4, 200)
    tasks = [Task(str(n), group=["source_port"], measure=Sum()) for n in range(20)]
    answers = ask(tasks, frames, StatisticsTransport())
    assert [answer.task for answer in answers] == [str(n) for n in range(20)]
    assert len({(answer.groups, answer.values) for answer in answers}) == 1
    assert sum(answers[0].values) == sum(max(frame.wire_length or 0, len(frame.data)) for frame in frames)


def test_an_answer_says_how_much_is_missing_from_its_groups() -> None:
    """Twelve of 300 groups are reported."""
    frames = random_frames(8, 300, hosts=40)
    tasks = [Task("hosts", {"ip_version": [4, 6]}, ["source", "source_port"]), Task("bytes", measure=Sum())]
    hosts, octets = ask(tasks, frames, StatisticsTransport(capacity=3, room=4))
    [exact, _] = ask(tasks, frames, FakeTransport())
    assert exact.exact
    assert 0 < hosts.missing.overflow_packets == sum(exact.values) - sum(hosts.values)
    assert hosts.missing.overflow_bytes > hosts.missing.overflow_packets
    assert not hosts.exact
    assert octets.exact
    [nothing] = ask(tasks[:1], frames, StatisticsTransport(room=0))
    assert (nothing.interval, nothing.groups, nothing.missing.overflow_packets) == (0, (), sum(exact.values))


@pytest.mark.parametrize("transport", [StatisticsTransport, FakeTransport], ids=["card", "software"])
def test_what_the_ring_still_holds_is_taken_when_answers_are_closed(transport: type[FakeTransport]) -> None:
    with Device(transport()) as device:
        ring = device.open_ring(0, descriptors=64, data_bytes=1 << 17)
        ring.enable()
        device.enable()
        statistics = Statistics(device) if transport is StatisticsTransport else None
        plan = make_plan([Task("all")], statistics.shape if statistics else None)
        answers = Answers(plan, statistics, ring)
        device.transport.send(batch_of(random_frames(4, 20)))
        device.transport.step()
        [answer] = answers.close()
        assert answer.values == (20,)
        assert answers.poll() == 0


def test_answers_without_what_they_need_are_refused() -> None:
    plan = make_plan([Task("a"), Task("b")], WIDE)
    with pytest.raises(ConfigError, match="answers must have the card's statistics: 2 rules are planned there"):
        Answers(plan, None)
    with pytest.raises(RingError, match="answers must have a ring to poll"):
        Answers(make_plan([Task("a")], None), None).poll()


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([Task("t", measure=Distinct())], "task 't': distinct must name at least one field"),
        ([Task("t", group=["source"], measure=Distinct("source"))], "distinct source must not be one of the group's"),
        ([Task("t", measure=Sum("payload"))], "sum must be of bytes, not of 'payload'"),
        ([Task("t", measure=TopK(0))], "top must be a whole number of groups from 1 on, not 0"),
        ([Task("t", measure=TopK(1, "age"))], "by packets or bytes, not 'age'"),
        ([Task("t", threshold=0)], "threshold must be a whole number from 1 on, not 0"),
        ([Task("t", threshold=2.5, measure=Distinct("source"))], "from 1 on, not 2.5"),  # type: ignore[arg-type]
        ([Task("t", threshold="5")], "from 1 on, not '5'"),  # type: ignore[arg-type]
        ([Task("t", measure=Count)], "measure must be Count()"),  # type: ignore[arg-type]
        ([Task("t", measure="count")], "measure must be Count()"),  # type: ignore[arg-type]
        ([Task("t", measure=TopK(2.5))], "from 1 on, not 2.5"),  # type: ignore[arg-type]
        ([Task("t", measure=Distinct(["a"]))], "must be names of fields"),  # type: ignore[arg-type]
        ([Task("t", None)], "match must be values by field name, not None"),  # type: ignore[arg-type]
        ([Task("t", group="source")], "group must be a list of fields, not 'source'"),
        ([recipes.connection_sizes(top=0)], "from 1 on, not 0"),
        ([Task("t", {"tcp_dst": []})], "match: tcp_dst must have at least one value"),
        ([Task("t", {"tcp_dst": 80.0})], "match: tcp_dst: must be a number"),  # type: ignore[dict-item]
        ([Task("t", every=1.5)], "report_every must be 0..18446744073709551615 ns, not 1.5"),  # type: ignore[arg-type]
        ([Task("t", {"ip_proto": [6, 6]})], "alternatives must exclude each other"),
        ([Task("t", {"ipv4_src": ["10.0.0.0/8", "10.1.0.0/16"]})], "alternatives must exclude each other"),
        ([Task("t", {"tcp_dst": [1, 2]}, bidirectional=True)], "a bidirectional task takes no alternatives"),
        ([Task("t", {"tcp_dst": 70_000})], "0..0xffff"),
        ([Task("t"), Task("t")], "rule 't' must have a name of its own"),
    ],
)  # fmt: skip
def test_a_bad_task_is_refused_with_the_reason(tasks: list[Task], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_plan(tasks, WIDE)
    assert message in str(error.value)


def test_the_recipes_ask_what_they_say() -> None:
    frames = random_frames(6, 300, hosts=6)
    tasks = [
        recipes.fan_out(every=0), recipes.port_distribution(every=0), recipes.connection_sizes(top=3),
        recipes.throughput(every=0), recipes.port_scan(every=0, threshold=2), recipes.address_scan(every=0),
    ]  # fmt: skip
    found = {answer.task: answer for answer in ask(tasks, frames, StatisticsTransport(capacity=3))}
    packets = [(shown(frame), max(frame.wire_length or 0, len(frame.data))) for frame in frames]
    hosts: dict[int, set[int]] = defaultdict(set)
    ports: dict[tuple[int, int], int] = defaultdict(int)
    sizes: dict[Any, int] = defaultdict(int)
    opened: dict[Any, set[int]] = defaultdict(set)
    for packet, length in packets:
        h = packet.headers
        hosts[h.source].add(h.destination)
        ports[h.protocol, h.destination_port] += 1
        ends = sorted([(h.source, h.source_port), (h.destination, h.destination_port)])
        sizes[h.ip_version, h.protocol, ends[0], ends[1]] += length
        if h.protocol == 6 and h.tcp_flags & 0x12 == 2:
            opened[h.source, h.destination].add(h.destination_port)
    assert list(found["fan-out"].values) == sorted(map(len, hosts.values()), reverse=True)
    assert list(found["ports"].values) == sorted(ports.values(), reverse=True)
    assert list(found["connections"].values) == sorted(sizes.values(), reverse=True)[:3]
    assert list(found["throughput"].values) == [sum(length for _, length in packets)]
    assert list(found["port scan"].values) == sorted(map(len, opened.values()), reverse=True)
    assert sum(found["port scan"].crossed) == sum(len(item) >= 2 for item in opened.values())


@needs_corpus
def test_the_scanner_of_synscan_is_found_and_nobody_else() -> None:
    frames = frames_of(CORPUS / "ndpi" / "synscan.pcap")
    for transport in (StatisticsTransport(capacity=8), FakeTransport()):
        [answer] = ask([recipes.port_scan(every=0)], frames, transport)
        marked = [dict(group) for group, crossed in zip(answer.groups, answer.crossed, strict=True) if crossed]
        assert marked == [{"source": "172.16.0.8", "destination": "64.13.134.52"}]
        assert answer.values[0] > 900

"""Rules count the same on the card and in software, and what a plain model says they do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sentinic.abi.statistics import field as abi_field
from sentinic.driver.device import Device
from sentinic.driver.rules import Encoded, Rule, encode
from sentinic.driver.statistics import Statistics, read_reports
from sentinic.errors import ConfigError
from sentinic.monitor.statistics.counting import Crossings, ReportCollector, SoftwareCounter, read_card_crossings
from sentinic.monitor.statistics.groups import Rows, field_numbers, group_texts, history_text
from tests.reference.card import records_of_capture
from tests.reference.statistics import RuleSpec, count, shown
from tests.reference.traffic import random_frames
from tests.sw.driver.fake_statistics import StatisticsTransport
from tests.sw.monitor.statistics_runs import SPECS, Gathered, batch_of, by_card, by_software, of_model, rule_of


@settings(max_examples=60, deadline=None)
@given(SPECS, st.integers(0, 1 << 32), st.sampled_from([2, 5, 1000]))
def test_any_rule_on_any_traffic_counts_as_the_model_says(spec: RuleSpec, seed: int, capacity: int) -> None:
    rule = rule_of(spec)
    try:
        encoded = encode(rule)
    except ConfigError:
        assume(False)
    frames = random_frames(seed, 150)
    wanted = of_model(count(spec, frames))
    software, counter = by_software(encoded, frames)
    assert software == wanted
    card, collector = by_card(rule, frames, capacity=capacity)
    assert card == wanted
    packets, octets = (sum(item[n] for item in wanted.values()) for n in (0, 1))
    for totals in (counter.totals["r"], collector.totals["r"]):
        assert (totals.packets, totals.bytes, totals.overflow_packets) == (packets, octets, 0)
    assert collector.lost == 0


@settings(max_examples=25, deadline=None)
@given(SPECS, st.integers(0, 1 << 32), st.sampled_from([2, 1000]))
def test_a_cumulative_rule_tells_at_the_end_of_each_interval_all_that_a_group_has_counted(
    spec: RuleSpec, seed: int, capacity: int
) -> None:
    spec = replace(spec, report_every=20_000)
    rule = rule_of(spec, cumulative=True)
    try:
        encoded = encode(rule)
    except ConfigError:
        assume(False)
    frames = random_frames(seed, 120)
    wanted = {}
    for interval, key in count(spec, frames):
        until = [frame for frame in frames if frame.timestamp // spec.report_every <= interval]
        wanted[interval, key] = of_model(count(replace(spec, report_every=0), until))[0, key]
    assert by_software(encoded, frames)[0] == wanted
    assert by_card(rule, frames, capacity=capacity)[0] == wanted


def test_what_finds_no_room_is_missing_from_the_groups_and_the_rules_total_is_exact() -> None:
    spec = RuleSpec({}, ["source", "source_port"])
    frames = random_frames(8, 300, hosts=40)
    wanted = of_model(count(spec, frames))
    found, collector = by_card(rule_of(spec), frames, capacity=3, room=4)
    totals = collector.totals["r"]
    assert not totals.exact
    assert 0 < totals.overflow_packets == 300 - sum(item[0] for item in found.values())
    assert totals.overflow_bytes == totals.bytes - sum(item[1] for item in found.values())
    assert (totals.packets, totals.bytes) == (300, sum(item[1] for item in wanted.values()))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([3, 20]), st.integers(1, 12), st.sampled_from([20_000, 300_000]))
def test_what_a_cumulative_rule_leaves_untold_is_missing_from_its_groups_once(
    seed: int, capacity: int, room: int, every: int
) -> None:
    """Also at its end, where the card has no room left for groups that it has told in part before."""
    spec = RuleSpec({}, ["source", "source_port"], every)
    frames = random_frames(seed, 300, hosts=20)
    wanted = of_model(count(replace(spec, report_every=0), frames))
    found, collector = by_card(rule_of(spec, cumulative=True), frames, part=40, capacity=capacity, room=room)
    totals = collector.totals["r"]
    assert (totals.packets, totals.bytes) == (300, sum(item[1] for item in wanted.values()))
    last: dict[tuple[int, ...], int] = {}
    for (_, group), item in sorted(found.items()):
        last[group] = item[0]
        assert item[0] <= wanted[0, group][0]
    assert totals.overflow_packets == 300 - sum(last.values())


def test_a_cumulative_rules_total_is_exact_when_a_group_comes_back_as_if_it_had_never_left() -> None:
    """Told, it leaves in silence; its next packet has the time of its first: that looks like no packet at all."""
    first, other = random_frames(4, 2, hosts=40)
    frames = [first._replace(timestamp=5_000), other._replace(timestamp=30_000), first._replace(timestamp=5_000)]
    rule = rule_of(RuleSpec({}, ["eth_src", "source", "source_port"], 20_000), cumulative=True)
    _, collector = by_card(rule, frames, capacity=1)
    totals = collector.totals["r"]
    assert (totals.packets, totals.bytes) == (3, sum(max(f.wire_length or 0, len(f.data)) for f in frames))


def test_a_rule_changed_in_mid_traffic_loses_and_doubles_nothing() -> None:
    frames = random_frames(9, 300)
    specs = [RuleSpec({}, ["source"]), RuleSpec({"ip_proto": 6}, ["destination_port"]), RuleSpec({}, ["source"])]
    told: dict[int, list[tuple[str, int, int]]] = {}

    def sink(encoded: Encoded, rows: Rows) -> None:
        for row in rows:
            told.setdefault(int(row["generation"]), []).append(
                (encoded.rule.name, int(row["packets"]), int(row["bytes"]))
            )

    collector = ReportCollector(sink)
    device = Device(StatisticsTransport(capacity=2))
    ring = device.open_ring(0, descriptors=4096, data_bytes=1 << 22)
    ring.registers.write("filter_ports", 0)
    ring.registers.write("extras", 1, "reports")
    ring.enable()
    device.enable()
    statistics = Statistics(device)
    for number, spec in enumerate(specs):
        statistics.set(0, replace(rule_of(spec), name=f"version {number}"))
        collector.watch(statistics.running)
        device.transport.send(batch_of(frames[100 * number : 100 * number + 100]))
        while device.transport.pending:
            device.transport.step()
    statistics.remove(0)
    collector.take(read_reports(*ring.poll()))
    collector.close()
    device.close()
    assert len(told) == 3
    for number, (rows, spec) in enumerate(zip(told.values(), specs, strict=True)):
        wanted = of_model(count(spec, frames[100 * number : 100 * number + 100]))
        assert sorted(rows) == sorted((f"version {number}", item[0], item[1]) for item in wanted.values())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.sampled_from([7_000, 50_000]),
    st.booleans(),
    st.sampled_from([2, 1000]),
    st.sampled_from([60, 200]),
)
def test_the_last_interval_in_which_a_rule_counted_is_final_and_no_other(
    seed: int, every: int, cumulative: bool, capacity: int, removed: int
) -> None:
    """Though other packets come later, though its groups left the table before, and when it is removed in mid-traffic.

    Frames from ``removed`` on come when the rule is not there any more.
    """
    frames = random_frames(seed, 200)
    spec = RuleSpec({"ip_proto": 6}, ["source"], every)
    rule = rule_of(spec, cumulative=cumulative)
    intervals = {interval for interval, _ in count(spec, frames[:removed])}
    wanted = {(interval, interval == max(intervals)) for interval in intervals}
    told: dict[str, list[tuple[int, bool]]] = {"r": [], "others": []}

    def sink(encoded: Encoded, rows: Rows) -> None:
        told[encoded.rule.name] += zip(rows["interval"].tolist(), rows["final"].tolist(), strict=True)

    counter = SoftwareCounter([encode(rule)], sink)
    descriptors, data = records_of_capture(frames[:removed])
    for first in range(0, removed, 20):
        counter.take(descriptors[first : first + 20], data)
    counter.close()
    assert set(told["r"]) == wanted
    software, told["r"] = told["r"], []

    with Device(StatisticsTransport("board", capacity=capacity)) as device:
        ring = device.open_ring(0, descriptors=4096, data_bytes=1 << 22)
        ring.registers.write("filter_ports", 0)
        ring.registers.write("extras", 1, "reports")
        ring.enable()
        device.enable()
        statistics = Statistics(device)
        collector = ReportCollector(sink)
        statistics.replace([rule, Rule("others", {}, ["eth_src", "source_port"])])  # in the same table
        collector.watch(statistics.running)
        for first in range(0, len(frames), 20):
            if first == removed:
                statistics.remove(0)
            device.transport.send(batch_of(frames[first : first + 20]))
            while device.transport.pending:
                device.transport.step()
            descriptors, data = ring.poll()
            collector.take(read_reports(descriptors, data))
            ring.release(len(descriptors))
        statistics.replace([])
        collector.take(read_reports(*ring.poll()))
        collector.close()
    assert sorted(told["r"]) == sorted(software)


def test_a_group_whose_time_runs_backwards_counts_in_the_interval_that_has_begun() -> None:
    frames = [
        frame._replace(timestamp=time, data=random_frames(4, 1)[0].data)
        for frame, time in zip(random_frames(4, 4), (500, 1_100, 950, 2_000), strict=True)
    ]
    spec = RuleSpec({}, ["eth_src"], 1_000)
    wanted = of_model(count(spec, frames))
    assert [item[0] for item in wanted.values()] == [1, 2, 1]
    assert by_software(encode(rule_of(spec)), frames)[0] == wanted
    assert by_card(rule_of(spec), frames)[0] == wanted


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize(("packets", "octets"), [(4, 0), (0, 700), (6, 900)])
def test_the_packet_that_reaches_a_threshold_is_told_once_a_group_and_interval(
    packets: int, octets: int, cumulative: bool
) -> None:
    frames = random_frames(10, 250)
    rule = Rule(
        "r", group=["source_port"], report_every=40_000, threshold_packets=packets, threshold_bytes=octets,
        cumulative=cumulative,
    )  # fmt: skip
    wanted = []
    counts: dict[tuple[int, int], list[int]] = {}
    for frame in frames:
        port = shown(frame).headers.source_port
        group = counts.setdefault((0 if cumulative else frame.timestamp // 40_000, port), [0, 0])
        before = list(group)
        group[0] += 1
        group[1] += max(frame.wire_length or 0, len(frame.data))
        if packets and before[0] < packets <= group[0]:
            wanted.append((frame.timestamp, port, False, group[0]))
        elif octets and before[1] < octets <= group[1]:
            wanted.append((frame.timestamp, port, True, group[1]))
    assert wanted
    found = []

    def crossed(encoded: Encoded, crossings: Crossings) -> None:
        columns = (
            crossings.timestamp,
            field_numbers(crossings.key, "source_port"),
            crossings.of_bytes,
            crossings.value,
        )
        found.extend(zip(*(np.asarray(column).tolist() for column in columns), strict=True))

    counter = SoftwareCounter([encode(rule)], Gathered(), crossed)
    descriptors, data = records_of_capture(frames)
    for first in range(0, len(descriptors), 60):
        counter.take(descriptors[first : first + 60], data)
    counter.close()
    assert found == wanted

    transport = StatisticsTransport()
    device = Device(transport)
    ring = device.open_ring(0, descriptors=1024, data_bytes=1 << 20)
    ring.registers.write("filter_ports", 0)
    ring.registers.write("extras", 1, "crossings")
    ring.enable()
    device.enable()
    statistics = Statistics(device)
    statistics.set(2, rule)
    transport.send(batch_of(frames))
    transport.step()
    found.clear()
    for encoded, crossings in read_card_crossings(statistics.running, *ring.poll()):
        crossed(encoded, crossings)
    device.close()
    assert found == wanted


def test_a_packet_that_crosses_several_thresholds_names_each_rule_and_what_its_group_has_counted() -> None:
    (frame,) = random_frames(4, 1)
    frames = [frame._replace(timestamp=time) for time in range(6)]
    octets = 4 * len(frame.data)
    rules = {
        1: Rule("bytes", group=["eth_src"], threshold_bytes=octets - 1),
        2: Rule("packets", group=["in_port"], threshold_packets=4),
        3: Rule("either", group=["eth_dst"], threshold_packets=4, threshold_bytes=octets),
        4: Rule("later", group=["eth_dst"], threshold_packets=5),
    }
    transport = StatisticsTransport()
    with Device(transport) as device:
        ring = device.open_ring(0, descriptors=1024, data_bytes=1 << 20)
        ring.registers.write("extras", 1, "crossings")
        ring.enable()
        device.enable()
        statistics = Statistics(device)
        for number, rule in rules.items():
            statistics.set(number, rule)
        transport.send(batch_of(frames))
        transport.step()
        found = {
            encoded.rule.name: (crossings.timestamp.tolist(), crossings.of_bytes.tolist(), crossings.value.tolist())
            for encoded, crossings in read_card_crossings(statistics.running, *ring.poll())
        }
    assert found == {
        "bytes": ([3], [True], [octets]),
        "packets": ([3], [False], [4]),
        "either": ([3], [False], [0]),  # the tag tells the lowest rule's alone
        "later": ([4], [False], [5]),
    }


def test_a_group_reads_as_the_rule_names_it() -> None:
    group = ["ipv4_src/24", "ipv6_dst", "eth_src", "is_fragment", "ip_version", "source", "tcp_dst"]
    # ``source`` has all bits of the address that ``ipv4_src`` has a part of.
    values = {"is_fragment": 1, "ip_version": 1, "destination_port": 443, "eth_src": 0x0200000000FE}
    values |= {"source": 0xFFFF_0A01_0205, "destination": 0x20010DB8 << 96 | 5}
    number = sum(value << abi_field(name).lsb for name, value in values.items())
    keys = np.frombuffer(number.to_bytes(56, "little"), np.int64).reshape(1, 7)
    parts = [encode(Rule("r", {}, [name])).fields[0] for name in group]
    encoded = replace(encode(Rule("r")), fields=tuple(parts))
    assert group_texts(encoded, keys) == [
        {
            "ipv4_src": "10.1.2.0/24", "ipv6_dst": "2001:db8::5", "eth_src": "02:00:00:00:00:fe", "is_fragment": True,
            "ip_version": 4, "source": "10.1.2.5", "tcp_dst": 443,
        }
    ]  # fmt: skip
    assert group_texts(encode(Rule("r")), keys) == [{}]
    assert history_text(0x65DC_BA91) == "SshadfFR"
    assert history_text(0) == ""


def test_a_packet_without_a_slot_is_refused() -> None:
    descriptors, data = records_of_capture(random_frames(1, 3))
    bare = descriptors.copy()
    bare["captured_length"][1] = 0
    counter = SoftwareCounter([encode(Rule("r"))], Gathered())
    with pytest.raises(ValueError, match="every packet must have a slot"):
        counter.take(bare, data)
    with pytest.raises(ValueError, match="slots must lie within"):
        counter.take(descriptors, data[:128])

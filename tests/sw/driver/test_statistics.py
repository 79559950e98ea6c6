"""The statistics stage: found, set, changed, never waited for without end; its reports as arrays."""

import time

import numpy as np
import pytest

from sentinic.abi.registers import STATISTICS
from sentinic.abi.statistics import ReportFlag
from sentinic.driver import statistics as driver
from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import (
    Statistics,
    are_reports,
    have_crossing,
    read_crossings,
    read_reports,
)
from sentinic.errors import ConfigError, DeviceError, StageMissingError
from tests.reference.card import Frame
from tests.reference.statistics_card import StatisticsModel
from tests.reference.traffic import random_frames
from tests.sw.driver.fake import FakeTransport
from tests.sw.driver.fake_statistics import Silent, StatisticsTransport

RULE = Rule("by source", group=["source"], report_every=5, threshold_packets=3, threshold_bytes=(1 << 40) + 7)


def batch(frames: list[Frame]) -> FrameBatch:
    return FrameBatch.from_frames(
        [frame.data for frame in frames],
        timestamp=[frame.timestamp for frame in frames],
        wire_length=[max(frame.wire_length or 0, len(frame.data)) for frame in frames],
        port=[frame.port for frame in frames],
    )


def word(transport: FakeTransport, name: str) -> int:
    return transport.words[STATISTICS.address(name)]


@pytest.mark.parametrize("transport", [FakeTransport, Silent], ids=["reads 0", "answers an error"])
def test_a_build_without_the_stage_is_told_with_its_stages(transport: type[FakeTransport]) -> None:
    with pytest.raises(StageMissingError, match=r"this build of the wide card has no statistics stage.*passthrough"):
        Statistics(Device(transport()))


@pytest.mark.parametrize(("profile", "shape"), [("wide", (16, 65_536, 1)), ("board", (4, 1024, 4))])
def test_the_card_tells_its_shape(profile: str, shape: tuple[int, int, int]) -> None:
    found = Statistics(Device(StatisticsTransport(profile))).shape
    assert (found.rules, found.groups, found.rules_a_table) == shape


def test_the_secret_is_another_each_time_and_512_bits_wide() -> None:
    secrets = []
    for _ in range(2):
        transport = StatisticsTransport()
        Statistics(Device(transport))
        secrets.append([word(transport, f"hash_key{n}") for n in range(16)])
    assert secrets[0] != secrets[1]
    assert all(len(set(words)) == 16 for words in secrets)
    transport = StatisticsTransport()
    Statistics(Device(transport), secret=5 | 7 << 480)
    assert (word(transport, "hash_key0"), word(transport, "hash_key15")) == (5, 7)
    with pytest.raises(ConfigError, match="must fit 512 bits, not 513"):
        Statistics(Device(StatisticsTransport()), secret=1 << 512)


def test_a_rule_reaches_its_registers_and_has_a_generation_of_its_own() -> None:
    transport = StatisticsTransport()
    statistics = Statistics(Device(transport))
    first = statistics.set(3, RULE)
    assert word(transport, "rule") == 3
    assert (word(transport, "interval_low"), word(transport, "interval_high")) == (5, 0)
    assert word(transport, "threshold_packets_low") == 3
    assert (word(transport, "threshold_bytes_low"), word(transport, "threshold_bytes_high")) == (7, 1 << 8)
    assert [word(transport, f"group{n}") for n in range(14)] == [0b1100, 0, 0, 0, 0, 0, *[0xFFFFFFFF] * 4, 0, 0, 0, 0]
    assert word(transport, "generation") == first
    second = statistics.set(3, Rule("other", bidirectional=True, cumulative=True))
    assert second != first
    assert word(transport, "rule_flags") == 3
    assert statistics.running[3].rule.rule.name == "other"
    statistics.remove(3)
    assert not statistics.running
    assert not transport.statistics.rules


def test_of_replaced_rules_those_that_are_the_same_go_on_counting() -> None:
    transport = StatisticsTransport()
    statistics = Statistics(Device(transport))
    statistics.replace([RULE, Rule("b"), Rule("c")])
    before = {n: item.generation for n, item in statistics.running.items()}
    statistics.replace([RULE, Rule("b", {"in_port": 1})])
    assert list(statistics.running) == list(transport.statistics.rules) == [0, 1]
    assert statistics.running[0].generation == before[0]
    assert statistics.running[1].generation not in before.values()


def test_a_rule_that_stays_keeps_its_number_so_that_it_counts_each_packet_once() -> None:
    transport = StatisticsTransport()
    statistics = Statistics(Device(transport))
    a, b, c = Rule("a"), Rule("b"), Rule("c")
    statistics.replace([a, b, c])
    before = {n: item.generation for n, item in statistics.running.items()}
    statistics.replace([c, b])
    assert {n: item.generation for n, item in statistics.running.items()} == {1: before[1], 2: before[2]}
    assert sorted(transport.statistics.rules) == [1, 2]
    # One that is changed takes its own place, so that two of one name never count at once; new ones what is free.
    statistics.replace([Rule("d"), Rule("c", {"in_port": 1}), b])
    names = {n: item.rule.rule.name for n, item in statistics.running.items()}
    assert names == {0: "d", 1: "b", 2: "c"}
    assert statistics.running[1].generation == before[1]
    statistics.replace([Rule("x"), Rule("y")])
    assert {n: item.rule.rule.name for n, item in sorted(statistics.running.items())} == {0: "x", 1: "y"}
    assert sorted(transport.statistics.rules) == [0, 1]


def test_generations_go_on_where_another_session_ended() -> None:
    transport = StatisticsTransport()
    device = Device(transport)
    one = Statistics(device)
    used = {one.set(0, RULE), one.set(1, Rule("again"))}
    two = Statistics(device)
    assert two.set(0, RULE) not in used
    for act in (lambda: one.replace([RULE]), lambda: one.set(0, RULE), lambda: one.remove(0), lambda: one.report(0)):
        with pytest.raises(DeviceError, match="a later object has its rules: make a new one"):
            act()
    two.replace([RULE])
    assert list(two.running) == [0]


def test_what_takes_too_long_is_what_runs_once_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = StatisticsTransport()
    statistics = Statistics(Device(transport))
    statistics.replace([RULE, Rule("b")])
    monkeypatch.setattr(driver, "_WAIT_STEPS", 5)
    transport.slow = 100
    with pytest.raises(DeviceError, match="still pending"):
        statistics.remove(1)
    assert list(statistics.running) == list(transport.statistics.rules) == [0]
    monkeypatch.setattr(driver, "_WAIT_STEPS", 1000)
    statistics.replace([RULE, Rule("b")])
    assert list(statistics.running) == list(transport.statistics.rules) == [0, 1]
    monkeypatch.setattr(driver, "_WAIT_STEPS", 5)
    with pytest.raises(DeviceError, match="still pending"):
        statistics.set(0, Rule("new"))
    assert statistics.running[0].rule.rule.name == "new"
    assert statistics.running[0].generation == transport.words[STATISTICS.address("generation")]


@pytest.mark.parametrize("bad", [Rule("bad", {"tcp_src": 1, "udp_src": 1}), Rule("by source")])
def test_a_bad_rule_leaves_the_running_ones_as_they_were(bad: Rule) -> None:
    transport = StatisticsTransport()
    statistics = Statistics(Device(transport))
    statistics.replace([RULE, Rule("b")])
    before = len(transport.writes)
    for act in (
        lambda: statistics.replace([Rule("a"), RULE, bad], "here"),
        lambda: statistics.set(2, bad, "here"),
        lambda: statistics.replace([Rule(str(n)) for n in range(17)]),
        lambda: statistics.set(16, Rule("x")),
    ):
        with pytest.raises(ConfigError):
            act()
    assert len(transport.writes) == before
    assert [item.rule.rule.name for item in statistics.running.values()] == ["by source", "b"]


def test_a_change_is_waited_for_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = StatisticsTransport(slow=5)
    Statistics(Device(slow)).replace([RULE, Rule("b")])
    assert len(slow.statistics.rules) == 2
    monkeypatch.setattr(driver, "_WAIT_STEPS", 20)
    stuck = StatisticsTransport(stuck=True)
    begin = time.monotonic()
    with pytest.raises(DeviceError, match="still pending after 20 times 1000 cycles"):
        Statistics(Device(stuck))
    assert time.monotonic() - begin < 60


def test_settling_waits_for_whoever_reads_a_full_ring_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_WAIT_STEPS", 50)
    device = Device(StatisticsTransport())
    ring = device.open_ring(0, descriptors=64, data_bytes=1 << 17)
    ring.enable()
    device.enable()
    statistics = Statistics(device)
    device.transport.send(batch(random_frames(2, 60)))
    device.transport.step()
    assert ring.room()[0] == 0
    statistics.settle()  # the ring gets no reports
    ring.registers.write("extras", 1, "reports")
    with pytest.raises(DeviceError, match=r"after 50 times 1000 cycles: are all rings read that get them \(0\)"):
        statistics.settle()
    descriptors, _ = ring.poll()
    ring.release(len(descriptors))
    statistics.settle()
    assert not statistics.busy


def test_reports_are_read_as_their_bytes_say() -> None:
    transport = StatisticsTransport()
    device = Device(transport)
    ring = device.open_ring(0, descriptors=4096, data_bytes=1 << 22)
    ring.registers.write("extras", 1, "reports")
    ring.enable()
    statistics = Statistics(device)
    generation = statistics.set(2, Rule("r", group=["source", "source_port", "eth_dst"]))
    device.enable()
    frames = random_frames(5, 200)
    transport.send(batch(frames))
    while transport.pending:
        transport.step(64)
    statistics.remove(2)
    descriptors, data = ring.poll()
    reports = descriptors[are_reports(descriptors, data)]
    assert 0 < len(reports) < len(descriptors) == 200 + len(reports)
    heads, groups = read_reports(reports, data)
    assert heads["sequence"].tolist() == list(range(len(heads)))
    assert heads["items"].tolist()[:-1] == [7] * (len(heads) - 1)
    assert len(groups) == heads["items"].sum() > 20
    assert groups["packets"].sum() == 200
    assert set(groups["rule"].tolist()) == {2}
    assert set(groups["generation"].tolist()) == {generation}
    assert set(groups["flags"].tolist()) == {ReportFlag.FINAL}
    # The bytes of each group, by hand: packets at 8, the source port at 60, addresses at 64 and 102.
    twin = StatisticsModel()
    twin.apply(transport.words | {STATISTICS.address("rule"): 2}, 1)
    for frame in frames:
        twin.take(frame)
    twin.apply({STATISTICS.address("rule"): 2}, 2)
    for row, octets in zip(groups, twin.groups, strict=True):
        assert int(row["packets"]) == int.from_bytes(octets[8:16], "big")
        assert int(row["source_port"]) == int.from_bytes(octets[60:62], "big")
        assert row["source"].tobytes() == octets[64:80]
        assert row["eth_dst"].tobytes() == octets[102:108]
        assert int(row["last"]) == int.from_bytes(octets[32:40], "big")
        assert int(row["seen"]) == int.from_bytes(octets[44:46], "big")


@pytest.mark.parametrize(("at", "value"), [(12, 0), (16, 0x10), (18, 6), (64, 0x11)])
def test_a_report_that_is_none_is_refused(at: int, value: int) -> None:
    transport = StatisticsTransport()
    device = Device(transport)
    ring = device.open_ring(0, descriptors=64, data_bytes=1 << 17)
    ring.registers.write("extras", 1, "reports")
    ring.enable()
    device.enable()
    statistics = Statistics(device)
    statistics.set(0, Rule("r"))
    transport.send(batch(random_frames(1, 1)))
    transport.step()
    statistics.remove(0)
    descriptors, data = ring.poll()
    reports = descriptors[are_reports(descriptors, data)]
    assert len(read_reports(reports, data).groups) == 1
    data[int(reports["offset"][0]) + 64 + at] = value
    with pytest.raises(DeviceError, match="report"):
        read_reports(reports, data)


def test_no_reports_are_no_groups() -> None:
    device = Device(StatisticsTransport())
    ring = device.open_ring(0, descriptors=64, data_bytes=1 << 17)
    ring.enable()
    heads, groups = read_reports(*ring.poll())
    assert (len(heads), len(groups)) == (0, 0)


def test_the_packet_that_crosses_a_threshold_tells_it_in_its_tag() -> None:
    transport = StatisticsTransport()
    device = Device(transport)
    ring = device.open_ring(0, descriptors=1024, data_bytes=1 << 20)
    ring.registers.write("extras", 1, "crossings")
    ring.registers.write("sample", 100)
    ring.enable()
    device.enable()
    statistics = Statistics(device)
    statistics.set(1, Rule("many", threshold_packets=20))
    statistics.set(4, Rule("much", threshold_bytes=5000))
    frames = random_frames(3, 150)
    transport.send(batch(frames))
    transport.step()
    descriptors, data = ring.poll()
    crossing = descriptors[have_crossing(descriptors)]
    rows = read_crossings(crossing, data)
    sums = np.cumsum([max(frame.wire_length or 0, len(frame.data)) for frame in frames])
    heavy = int(np.flatnonzero(sums >= 5000)[0])
    wanted = sorted([(19, 0b10, 0, 20), (heavy, 0b10000, 1, int(sums[heavy]))])
    assert crossing["timestamp"].tolist() == [frames[n].timestamp for n, *_ in wanted]
    assert [(int(row["rules"]), int(row["flags"]), int(row["value"])) for row in rows] == [item[1:] for item in wanted]
    assert len(descriptors) < 10

"""Cumulative rules under a flood that nobody reads the reports of, changed and removed: sums stay exact."""

from collections.abc import Iterator

import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import Statistics, are_reports, read_reports
from sentinic.monitor.statistics.counting import ReportCollector
from sentinic_sim.bench.traffic import minimum_frames

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if "statistics" in profile.stages]
FRAMES = 20_000


@pytest.fixture(params=BUILDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        yield found


@pytest.mark.parametrize("groups", [300, FRAMES], ids=["that stay", "that leave"])
def test_what_finds_no_room_is_missing_from_each_rules_groups_once(device: Device, groups: int) -> None:
    """The ring of reports takes the first intervals, then nothing until all rules have been changed."""
    ring = device.open_ring(0, descriptors=256, data_bytes=1 << 18)
    ring.registers.write("filter_ports", 0)
    ring.registers.write("extras", 1, "reports")
    ring.enable()
    stage = Statistics(device)
    collector = ReportCollector(lambda encoded, rows: None)

    def rule(number: int, version: int) -> Rule:
        return Rule(f"{number} {version}", {}, ["ipv4_src"], report_every=20_000, cumulative=(number + version) % 3 > 0)

    def read() -> None:
        descriptors, data = ring.poll()
        if len(descriptors):
            assert are_reports(descriptors, data).all()
            collector.take(read_reports(descriptors, data))
            ring.release(len(descriptors))
            device.forward()

    def step_until_counted() -> int:
        while (counters := device.snapshot())["held"]:
            device.transport.step(10_000)
        check_conservation(counters)
        return counters["filtered"]

    numbers = range(min(3, stage.shape.rules))
    for number in numbers:
        stage.set(number, rule(number, 1))
    collector.watch(stage.running)
    device.set_pause(False)
    device.enable()
    for batch in (minimum_frames(FRAMES, groups), minimum_frames(FRAMES, groups)):
        device.transport.send(batch)
        device.transport.step()
    first = step_until_counted()
    for number in numbers:
        while stage.busy:
            device.transport.step(10_000)
            read()
        stage.set(number, rule(number, 2))
    collector.watch(stage.running)
    device.transport.send(minimum_frames(FRAMES, groups))
    device.transport.step()
    second = step_until_counted() - first
    for number in numbers:
        # Not by stage.remove, which waits for what is read below.
        device.registers.write("statistics", "rule", number)
        device.registers.write("statistics", "apply", 1, "remove")
        quiet = 0
        while quiet < 3:
            device.transport.step(20_000)
            before = ring.position
            read()
            quiet = 0 if ring.position != before or stage.busy else quiet + 1
    collector.close()
    assert device.snapshot()["reports_lost"] == collector.lost == 0
    assert first > 0 < second
    assert not all(totals.exact for totals in collector.totals.values()), "all found room, which shows nothing"
    for number in numbers:
        found = [collector.totals[f"{number} {version}"] for version in (1, 2)]
        assert [totals.packets for totals in found] == [first, second]
        assert [totals.bytes for totals in found] == [60 * first, 60 * second]

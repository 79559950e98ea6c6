"""Intervals on the card: time alone ends them on a quiet link, and no time stamp, however far off, stops it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.abi.statistics import ReportFlag
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.ring import Ring
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import Statistics, read_reports
from sentinic_sim.bench.traffic import minimum_frames
from sentinic_sim.native import NativeTransport

BUILDS = [name for name, profile in PROFILES.items() if "statistics" in profile.stages]
LENGTH = 1_000_000
NOW = 1_700_000_000_000_000_000


@pytest.fixture(params=BUILDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        yield found


def reports_ring(device: Device) -> Ring:
    ring = device.open_ring(0, descriptors=1 << 12, data_bytes=1 << 20)
    ring.registers.write("filter_ports", 0)
    ring.registers.write("extras", 1, "reports")
    ring.enable()
    return ring


def read(device: Device, ring: Ring) -> npt.NDArray[np.void]:
    device.forward()
    descriptors, data = ring.poll()
    if not len(descriptors):
        return np.zeros(0)
    groups = read_reports(descriptors, data).groups.copy()
    ring.release(len(descriptors))
    return groups


def test_the_interval_of_a_link_that_falls_silent_is_reported(device: Device) -> None:
    ring = reports_ring(device)
    stage = Statistics(device)
    stage.set(0, Rule("r", {}, ["ipv4_src"], report_every=LENGTH))
    device.set_pause(False)
    device.enable()
    assert isinstance(device.transport, NativeTransport)
    device.transport.send(minimum_frames(20, 4))
    while device.snapshot()["filtered"] < 20:
        device.transport.step()
    assert not len(read(device, ring)), "the interval has not ended"
    device.transport.advance_time(NOW + 3 * LENGTH)
    for _ in range(20):
        device.transport.step(1000)
    groups = read(device, ring)
    assert list(groups["packets"]) == [5] * 4
    assert (groups["flags"] == ReportFlag.INTERVAL).all()


@pytest.mark.parametrize("pause", [False, True])
@pytest.mark.parametrize(("every", "when"), [(10**10, (1 << 64) - 10**9), (1 << 63, 1 << 63), (10**9, (1 << 64) - 1)])
def test_a_time_stamp_at_the_end_of_time_stops_nothing(device: Device, pause: bool, every: int, when: int) -> None:
    ring = reports_ring(device)
    stage = Statistics(device)
    stage.set(0, Rule("r", {}, ["ipv4_src"], report_every=every))
    device.set_pause(pause)
    device.enable()
    batch = minimum_frames(100, 4)
    timestamp = batch.timestamp.copy()
    timestamp[50] = when
    device.transport.send(replace(batch, timestamp=timestamp))
    for _ in range(100):
        device.transport.step(10_000)
    counters = device.snapshot()
    check_conservation(counters)
    assert counters["held"] == 0
    assert counters["filtered"] == 100
    first = read(device, ring)
    stage.remove(0)
    stage.settle()
    packets = [int(groups["packets"].sum()) for groups in (first, read(device, ring)) if len(groups)]
    assert sum(packets) == 100

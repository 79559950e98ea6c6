"""All rules under floods: reports that nobody reads, and rules that change in mid-traffic.  Sums stay exact."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.abi.statistics import ReportFlag
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.ring import Ring
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import GROUP_DTYPE, Statistics, are_reports, read_reports
from sentinic_sim.bench.traffic import FRAME_BYTES, minimum_frames, padded
from sentinic_sim.native import MemoryOptions, NativeTransport

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if "statistics" in profile.stages]
FRAMES = 30_000
#: Share of cycles in which a port offers no beat, so that the board gets no more than a gigabit a second: frames of
#: eight beats, 42 cycles apart at 62.5 MHz.
IDLE = {"wide": 0.0, "board": 1 - 8 / 42}
FIELDS = ["ipv4_src", "ipv4_dst", "ip_proto", "eth_src", "eth_dst"]


@pytest.fixture(params=BUILDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        yield found


#: Frames of this length one after another: a group each is what the bus can just carry (17 beats for seven groups).
CARRIED_BYTES = {"wide": 192, "board": FRAME_BYTES}


def reports_ring(device: Device, descriptors: int, data_bytes: int = 1 << 20) -> Ring:
    """Ring 0, for reports and no packets."""
    ring = device.open_ring(0, descriptors=descriptors, data_bytes=data_bytes)
    ring.registers.write("filter_ports", 0)
    ring.registers.write("extras", 1, "reports")
    ring.enable()
    return ring


def all_counted(device: Device) -> dict[str, int]:
    """Step until no packet is in the card; its counters then."""
    device.transport.step()
    while (counters := device.snapshot())["held"]:
        device.transport.step()
    return counters


def drained(device: Device, ring: Ring, stage: Statistics) -> npt.NDArray[np.void]:
    """Read until no more comes."""
    parts, quiet = [], 0
    while quiet < 3:
        device.transport.step(20_000)
        descriptors, data = ring.poll()
        quiet = 0 if len(descriptors) or stage.busy else quiet + 1
        if len(descriptors):
            assert are_reports(descriptors, data).all()
            parts.append(read_reports(descriptors, data).groups.copy())
            ring.release(len(descriptors))
            device.forward()
    return np.concatenate(parts) if parts else np.zeros(0, GROUP_DTYPE)


def test_a_ring_of_reports_that_nobody_reads_stops_no_packet_and_loses_no_count(device: Device) -> None:
    ring = reports_ring(device, 64)
    stage = Statistics(device)
    rules = stage.shape.rules
    stage.replace([Rule(f"r{n}", {}, FIELDS[: 1 + n % len(FIELDS)]) for n in range(rules)])
    device.set_pause(False)
    device.enable()
    assert isinstance(device.transport, NativeTransport)
    device.transport.configure(MemoryOptions(rx_idle=IDLE[device.profile.name]))
    batch = minimum_frames(FRAMES, FRAMES)
    device.transport.send(batch)
    counters = all_counted(device)
    check_conservation(counters)
    assert counters["filtered"] == FRAMES, "packets waited for reports, or were lost for them"
    parts = []
    for number in range(rules):
        # Not by stage.remove, which waits for what is read below.
        device.registers.write("statistics", "rule", number)
        device.registers.write("statistics", "apply", 1, "remove")
        parts.append(drained(device, ring, stage))
    groups = np.concatenate(parts)
    counters = device.snapshot()
    check_conservation(counters)
    assert counters["reports_lost"] == 0
    overflows = groups["flags"] & ReportFlag.OVERFLOW != 0
    assert overflows.any(), "the ring was large enough for all, which shows nothing"
    for number in range(rules):
        mine = groups[groups["rule"] == number]
        assert int(mine["packets"].sum()) == FRAMES
        assert int(mine["bytes"].sum()) == int(batch.wire_length.sum())


def test_groups_that_the_bus_can_carry_all_reach_the_host(device: Device) -> None:
    """Every packet makes a group leave, and its report is as much as the bus takes meanwhile: no overflow at all."""
    ring = reports_ring(device, 1 << 14, 1 << 24)
    stage = Statistics(device)
    stage.set(0, Rule("r", {}, ["ipv4_src"]))
    device.set_pause(False)
    device.enable()
    assert isinstance(device.transport, NativeTransport)
    device.transport.configure(MemoryOptions(rx_idle=IDLE[device.profile.name]))
    device.transport.send(padded(minimum_frames(FRAMES, FRAMES), CARRIED_BYTES[device.profile.name]))
    assert all_counted(device)["filtered"] == FRAMES
    before = drained(device, ring, stage)
    assert len(before) > FRAMES // 2, "few had to leave, which shows nothing"
    stage.remove(0)
    groups = np.concatenate([before, drained(device, ring, stage)])
    assert not (groups["flags"] & ReportFlag.OVERFLOW).any()
    assert len(groups) == FRAMES == int(groups["packets"].sum())


def test_rules_changed_in_mid_traffic_count_every_packet_once(device: Device) -> None:
    # Room for all that must leave while a change is waited for and nobody reads, however the groups crowd.
    ring = reports_ring(device, 1 << 14, 1 << 24)
    stage = Statistics(device)
    rules = min(3, stage.shape.rules)
    generations = [[stage.set(n, Rule(f"r{n}", {}, FIELDS))] for n in range(rules)]
    device.set_pause(True)
    device.enable()
    # A sweep between packets that come back to back takes some 20,000 cycles of the wide card.
    frames = 10 * FRAMES if device.profile.name == "wide" else FRAMES
    device.transport.send(minimum_frames(frames, 97))
    parts = []
    for turn in range(1, 8):
        device.transport.step(1500 + 37 * turn)
        number = turn % rules
        generations[number].append(stage.set(number, Rule(f"r{number}", {}, FIELDS[: turn % len(FIELDS)])))
        descriptors, data = ring.poll()
        if len(descriptors):
            parts.append(read_reports(descriptors, data).groups.copy())
            ring.release(len(descriptors))
            device.forward()
    assert device.snapshot()["filtered"] < frames, "the traffic was over before the rules had changed"
    all_counted(device)
    for number in range(rules):
        stage.remove(number)
    parts.append(drained(device, ring, stage))
    groups = np.concatenate(parts)
    check_conservation(device.snapshot())
    for number in range(rules):
        mine = groups[groups["rule"] == number]
        assert int(mine["packets"].sum()) == frames
        for generation in generations[number]:
            assert int(mine["packets"][mine["generation"] == generation].sum()) > 0, "a rule that counted nothing"

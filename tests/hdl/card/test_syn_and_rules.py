"""SYN offload on the whole card beside rules that count the same flood, and before a host that reads late."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from sentinic.abi.verdicts import Protocol
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.ring import Ring
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import Statistics, read_reports
from sentinic.driver.syn_offload import Mode, SynOffload, attempts_of
from tests.hdl.card.test_syn_flood import BEGIN, BUILDS, SHARE, flood_of, settled, take, take_records, tcp_frames

pytestmark = pytest.mark.slow
FRAMES = {"wide": 200_000, "board": 6_000}
#: ``board``: four rules and a SYN that evicts another; a port of 1 GbE brings a frame of 64 bytes in 42 cycles.
RULES_FILLER_LENGTH = 600
#: Rules that a build does not all hit at once for nothing: of one group, of a group a SYN, of some groups.
RULES = [
    Rule("all", {"tcp_dst": 80}, []),
    Rule("sources", {"tcp_dst": 80}, ["ipv4_src"]),
    Rule("ports", {"tcp_dst": 80}, ["tcp_src"]),
    Rule("syns", {"tcp_flags": "0x02/0x12"}, ["ipv4_dst"]),
]


@pytest.fixture(params=BUILDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        yield found


def take_groups(device: Device, ring: Ring) -> npt.NDArray[np.void]:
    """The groups of all reports that are in the ring."""
    groups = []
    while True:
        descriptors, data = ring.poll(1 << 12)
        if not len(descriptors):
            return np.concatenate(groups)
        groups.append(read_reports(descriptors, data).groups)
        ring.release(len(descriptors))
        device.forward()


def test_a_flood_is_counted_by_rules_and_held_at_once(device: Device) -> None:
    ring = device.open_ring(0, descriptors=1 << 18, data_bytes=1 << 27)
    ring.registers.write("filter_ports", 1)
    ring.registers.write("filter_protocols", 1 << Protocol.TCP)
    reports = device.open_ring(1, descriptors=1 << 18, data_bytes=1 << 28)
    reports.registers.write("filter_ports", 0)
    reports.registers.write("extras", 1, "reports")
    ring.enable()
    reports.enable()
    statistics = Statistics(device)
    statistics.replace(RULES)
    offload = SynOffload(device)
    offload.to_ring(ring)
    offload.enable(mode=Mode.COMPACT)
    device.set_pause(False)
    device.enable()
    frames = FRAMES[device.profile.name]
    flood, fillers = flood_of(device, frames, step=8, filler_length=RULES_FILLER_LENGTH)
    device.transport.send(flood)
    counters = settled(device, offload)
    check_conservation(counters)
    assert (counters["received"], counters["dropped_overflow"]) == (frames + fillers, 0)
    flows = -(-frames // SHARE)
    if device.profile.data_width == 512:
        assert counters["dispatch.stall_cycles"] == 0, "a packet waited for reports"
    told = attempts_of(counters, device.profile)
    assert told["attempts"] == frames - flows
    assert told["evicted"] + offload.holding == told["attempts"]
    assert told["recorded"] + told["unreported"] == told["evicted"]
    flow, _, _ = take_records(device, ring)
    assert flow == flows, "the flow lost packets"
    statistics.replace([])
    statistics.settle()
    groups = take_groups(device, reports)
    for number, rule in enumerate(RULES):
        packets = groups["packets"][groups["rule"] == number].astype(np.uint64).sum()
        assert packets == (frames - flows if rule.name == "syns" else frames), rule.name
    offload.finish()
    counters = device.snapshot()
    check_conservation(counters)
    assert counters["held"] == 0


def test_a_host_that_does_not_read_loses_what_is_counted_and_reads_on_later(device: Device) -> None:
    ring = device.open_ring(0, descriptors=256, data_bytes=1 << 17)
    ring.registers.write("filter_ports", 1)
    ring.registers.write("filter_protocols", 1 << Protocol.TCP)
    ring.enable()
    offload = SynOffload(device)
    offload.enable()
    device.set_pause(False)
    device.enable()
    frames = FRAMES[device.profile.name]
    flood, fillers = flood_of(device, frames, step=8)
    device.transport.send(flood)
    counters = settled(device, offload)
    check_conservation(counters)
    flows = -(-frames // SHARE)
    told = attempts_of(counters, device.profile)
    assert (counters["received"], counters["dropped_overflow"]) == (frames + fillers, 0)
    assert told["attempts"] == frames - flows
    assert told["evicted"] + offload.holding == told["attempts"]
    flow, syns, _ = take(device, ring)
    assert 0 < flow + len(syns) < 256
    assert counters["ring0.lost"] == told["evicted"] + flows - flow - len(syns)
    assert told["unreported"] == told["evicted"] - len(syns)

    # It reads again: nothing of what comes now is lost, and what is held still is told of as far as there is room.
    device.transport.send(tcp_frames(frames, 50, 1, begin=BEGIN + 10**9, step=8))
    settled(device, offload)
    assert take(device, ring)[0] == 50
    offload.finish()
    counters = device.snapshot()
    check_conservation(counters)
    assert counters["held"] == 0
    _, late, _ = take(device, ring)
    told = attempts_of(counters, device.profile)
    assert told["evicted"] + told["expired"] == told["attempts"] == len(syns) + len(late) + told["unreported"]
    assert len(late) > 0

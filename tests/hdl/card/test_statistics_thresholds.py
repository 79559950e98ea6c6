"""Thresholds on the card: the packets that cross them, all of them, in order, whatever the rings filter."""

from collections.abc import Iterator

import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.driver.device import Device
from sentinic.driver.statistics import Statistics, have_crossing, read_crossings
from tests.reference.card import wire_length
from tests.reference.statistics import RuleSpec, key_of, matches, shown
from tests.reference.traffic import random_frames
from tests.sw.monitor.statistics_runs import batch_of, rule_of

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if "statistics" in profile.stages]
#: Of each rule: what it counts, its thresholds of packets and bytes (0: none), and whether it is cumulative.
RULES = [
    (RuleSpec({}, ["source"], 40_000), 3, 0, False),
    (RuleSpec({}, ["destination_port"], 60_000), 4, 900, True),
    (RuleSpec({"ip_proto": 6}, []), 0, 2500, False),
    (RuleSpec({}, ["in_port", "ip_proto"], 25_000), 2, 1200, False),
]


@pytest.fixture(params=BUILDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        found.set_pause(True)
        yield found


def test_the_packets_that_cross_thresholds_are_those_of_a_plain_count(device: Device) -> None:
    frames = [f._replace(timestamp=f.timestamp + n) for n, f in enumerate(random_frames(21, 400))]
    counts: dict[tuple[int, ...], list[int]] = {}
    wanted = []
    for frame in frames:
        fields = shown(frame).fields()
        crossed, told = 0, (0, 0)
        for number, (spec, packets, octets, cumulative) in enumerate(RULES):
            if not matches(spec, fields):
                continue
            interval = frame.timestamp // spec.report_every if spec.report_every and not cumulative else 0
            count = counts.setdefault((number, interval, *key_of(spec, fields)), [0, 0])
            before = list(count)
            count[0] += 1
            count[1] += wire_length(frame)
            steps = zip((packets, octets), before, count, strict=True)
            reached = [limit > 0 and old < limit <= new for limit, old, new in steps]
            if any(reached):
                told = told if crossed else ((0, count[0]) if reached[0] else (1, count[1]))
                crossed |= 1 << number
        if crossed:
            wanted.append((frame.timestamp, crossed, *told))
    assert len(wanted) > 50
    assert any(item[2] for item in wanted)
    assert any(item[1] & item[1] - 1 for item in wanted), "no packet crosses two"

    rings = [device.open_ring(number, descriptors=1024, data_bytes=1 << 20) for number in (0, 1)]
    for number, ring in enumerate(rings):  # neither asks for any packet, and one for those that cross
        ring.registers.write("filter_ports", 0)
        ring.registers.write("extras", number, "crossings")
        ring.enable()
    device.enable()
    stage = Statistics(device)
    for number, (spec, packets, octets, cumulative) in enumerate(RULES):
        rule = rule_of(spec, str(number), cumulative=cumulative, threshold_packets=packets, threshold_bytes=octets)
        stage.set(number, rule)
    device.transport.send(batch_of(frames))
    device.transport.step()
    while device.snapshot()["held"]:
        device.transport.step()
    assert not len(rings[0].poll()[0])
    descriptors, data = rings[1].poll()
    assert have_crossing(descriptors).all()
    tlvs = read_crossings(descriptors, data)
    found = [
        (int(time), int(tlv["rules"]), int(tlv["flags"]), int(tlv["value"]))
        for time, tlv in zip(descriptors["timestamp"], tlvs, strict=True)
    ]
    assert found == wanted

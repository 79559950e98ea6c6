"""A ring that packets and reports go to at once: when it is switched off, the card knows what is under way to it."""

import pytest

from sentinic.driver.device import Device, check_conservation
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import Statistics
from tests.hdl.card.test_syn_flood import BEGIN, tcp_frames

#: A group each: ``board`` makes one leave with nearly every packet, ``wide`` tells of all in each interval.
FRAMES = 4000
#: The pace of frames, ns; the card waits where it must.
STEP = {"wide": 64, "board": 1344}
INTERVALS = 10


@pytest.mark.parametrize("build", ["wide", "board"])
def test_a_ring_of_packets_and_reports_goes_off_and_on_again(build: str) -> None:
    with Device.open("native", build) as device:
        ring = device.open_ring(0, descriptors=1 << 14, data_bytes=1 << 24)
        ring.registers.write("extras", 1, "reports")
        statistics = Statistics(device)
        statistics.replace([Rule("sources", group=["ipv4_src"], report_every=FRAMES * STEP[build] // INTERVALS)])
        device.set_pause(True)
        device.enable()
        for begin in (BEGIN, BEGIN + 10**9):
            ring.enable()
            device.transport.send(tcp_frames(0, FRAMES, 8, begin=begin, step=STEP[build]))
            device.transport.step()
            while (counters := device.snapshot())["held"]:
                device.transport.step()
            check_conservation(counters)
            # The driver waits until nothing is under way, and raises if the card never says so.
            ring.disable()
            assert not ring.registers.read("status", "busy")
        assert counters["ring0.delivered"] == 2 * FRAMES
        assert counters["reports"] > 100

"""Groups of consecutive keys fill the tables evenly, whatever secret the driver draws."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import Ring
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import GROUP_DTYPE, Statistics, are_reports, read_reports
from sentinic_sim.bench.traffic import FRAME_BYTES, minimum_frames

BUILDS = [name for name, profile in PROFILES.items() if "statistics" in profile.stages]
#: Secrets tried: of random ones one in two to four is bad for a field.
DRAWS = 6


def at(byte: int, shift: int = 0) -> Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64]], None]:
    """Writes numbers, times 2^``shift``, into the three bytes that end at ``byte``."""

    def write(rows: npt.NDArray[np.uint8], numbers: npt.NDArray[np.int64]) -> None:
        values = numbers << shift
        for n in range(2 + (shift > 0)):
            rows[:, byte - n] = values >> 8 * n & 0xFF

    return write


#: Of each field the place of its last byte in the frame, and where in it the keys count.
FIELDS = {
    "eth_dst": ("eth_dst", at(5)),
    "eth_src": ("eth_src", at(11)),
    "ipv4_src": ("ipv4_src", at(29)),
    "ipv4_src of /24s": ("ipv4_src", at(29, 8)),
    "ipv4_dst": ("ipv4_dst", at(33)),
    "tcp_src": ("tcp_src", at(35)),
    "tcp_dst": ("tcp_dst", at(37)),
}


def frames_with(place: Callable[..., None], count: int) -> FrameBatch:
    batch = minimum_frames(count, 1)
    rows = batch.data.reshape(count, FRAME_BYTES).copy()
    place(rows, np.arange(count))
    return replace(batch, data=rows.reshape(-1))


def read(device: Device, ring: Ring) -> npt.NDArray[np.void]:
    device.transport.step()
    device.forward()
    descriptors, data = ring.poll()
    assert are_reports(descriptors, data).all()
    groups = read_reports(descriptors, data).groups.copy() if len(descriptors) else np.zeros(0, GROUP_DTYPE)
    ring.release(len(descriptors))
    return groups


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("build", BUILDS)
def test_as_many_groups_as_a_table_holds_stay_in_it(build: str, name: str) -> None:
    field, place = FIELDS[name]
    with Device.open("native", build) as device:
        ring = device.open_ring(0, descriptors=1 << 13, data_bytes=1 << 22)
        ring.registers.write("filter_ports", 0)
        ring.registers.write("extras", 1, "reports")
        ring.enable()
        device.set_pause(True)
        device.enable()
        shape = Statistics(device).shape
        count = shape.groups * shape.rules_a_table // shape.rules
        for _ in range(DRAWS):
            stage = Statistics(device)
            stage.set(0, Rule("r", {}, [field]))
            device.transport.send(frames_with(place, count))
            device.transport.step()
            while device.snapshot()["held"]:
                device.transport.step()
            assert len(read(device, ring)) == 0, "a group had to leave"
            stage.remove(0)
            stage.settle()
            groups = read(device, ring)
            assert len(groups) == count == int(groups["packets"].sum())
        check_conservation(device.snapshot())

"""A replay over two ports: the card delivers by wire time, however far its stages or its rings hold up one of them."""

from collections.abc import Iterator

import numpy as np
import pytest

from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import MIN_DATA_BYTES, MIN_DESCRIPTORS
from sentinic.driver.syn_offload import SynOffload, are_regenerated
from tests.hdl.card.test_paused import answer, others, read_all, syn

BEGIN = 1_700_000_000 * 10**9
#: In each, so many frames and a SYN come in at port 0, and its answer at port 1.
ROUNDS, BETWEEN = 20, 300


@pytest.fixture(params=["wide", "board"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        found.set_pause(True)
        found.enable()
        yield found


@pytest.mark.parametrize("small", [False, True], ids=["room", "a small ring"])
@pytest.mark.parametrize("on", [False, True], ids=["off", "SYN offload"])
def test_an_answer_at_the_other_port_does_not_overtake_what_came_before_it(
    device: Device, on: bool, small: bool
) -> None:
    ring = device.open_ring(0)
    if small:
        ring = device.open_ring(1, descriptors=MIN_DESCRIPTORS, data_bytes=MIN_DATA_BYTES)
    ring.enable()
    offload = SynOffload(device)
    if on:
        offload.enable()
    frames, ports = [], []
    for number in range(ROUNDS):
        frames += [*others(BETWEEN), syn(number), answer(number)]
        ports += [*[0] * (BETWEEN + 1), 1]
    stamps = [BEGIN + 100 * number for number in range(len(frames))]
    device.transport.send(FrameBatch.from_frames(frames, timestamp=stamps, port=ports))
    came: list[int] = []
    given: list[int] = []

    def use(number: int, found: np.ndarray, data: np.ndarray) -> None:
        came.extend(found["timestamp"].tolist())
        given.extend(found["timestamp"][are_regenerated(found)].tolist())

    read_all(device, [ring], use)
    assert came == stamps
    assert given == (stamps[BETWEEN :: BETWEEN + 2] if on else [])
    check_conservation(device.snapshot())

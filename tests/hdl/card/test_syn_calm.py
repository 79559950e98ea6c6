"""Attempts that expire at once on a card that drops: where nothing else wants the bus, each is told of by its SYN."""

from collections.abc import Iterator

import pytest

from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import Ring
from sentinic.driver.syn_offload import SynOffload, are_regenerated, attempts_of
from tests.hdl.card.test_paused import others, settle, syn

SECOND = 10**9
BEGIN = 1_700_000_000 * SECOND
SYNS = 600


@pytest.fixture(params=["wide", "board"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        found.enable()
        yield found


def send(device: Device, frames: list[bytes], at: int) -> None:
    """Few at a time, so that a card that drops takes all of them."""
    for first in range(0, len(frames), 20):
        some = frames[first : first + 20]
        stamps = [at + first + number for number in range(len(some))]
        device.transport.send(FrameBatch.from_frames(some, timestamp=stamps))
        settle(device)


def stamps_of(ring: Ring) -> list[int]:
    descriptors, _ = ring.poll()
    found: list[int] = descriptors["timestamp"][are_regenerated(descriptors)].tolist()
    ring.release(len(descriptors))
    return found


@pytest.mark.parametrize("end", ["a packet", "time alone", "finish"])
def test_none_of_a_burst_of_expiries_is_lost_on_a_quiet_bus(device: Device, end: str) -> None:
    ring, offload = device.open_ring(0), SynOffload(device)
    ring.enable()
    offload.enable(timeout=5 * SECOND)
    send(device, [syn(number) for number in range(SYNS)], BEGIN)
    if end == "a packet":
        send(device, others(1), BEGIN + 6 * SECOND)
    elif end == "time alone":
        device.transport.advance_time(BEGIN + 6 * SECOND)
    else:
        offload.finish()
    for _ in range(400):
        device.transport.step(1000)
        if not offload.holding:
            break
    settle(device)
    assert sorted(stamps_of(ring)) == [BEGIN + number for number in range(SYNS)]
    counters = device.snapshot()
    check_conservation(counters)
    assert attempts_of(counters, device.profile)["unreported"] == 0


def test_a_bus_that_never_rests_holds_no_attempt_for_ever(device: Device) -> None:
    """What is lost then is counted."""
    ring, offload = device.open_ring(0), SynOffload(device)
    ring.enable()
    offload.enable(timeout=SECOND)
    send(device, [syn(number) for number in range(SYNS)], BEGIN)
    stamps_of(ring)
    frames = [frame.ljust(1500, b"\0") for frame in others(3000)] * 4
    device.transport.send(FrameBatch.from_frames(frames, timestamp=[BEGIN + 2 * SECOND] * len(frames)))
    came = 0
    while device.transport.pending:
        device.transport.step(2000)
        came += len(stamps_of(ring))
        device.forward()
    for _ in range(400):
        device.transport.step(1000)
        came += len(stamps_of(ring))
        device.forward()
        if not offload.holding:
            break
    settle(device)
    came += len(stamps_of(ring))
    counters = device.snapshot()
    check_conservation(counters)
    told = attempts_of(counters, device.profile)
    assert told["attempts"] == told["expired"] + told["evicted"]
    assert offload.holding == 0
    assert came + told["unreported"] >= told["expired"]

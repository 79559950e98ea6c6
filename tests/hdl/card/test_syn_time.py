"""SYN offload when its time-out is changed, and when time goes back: attempts are over in time all the same."""

from collections.abc import Iterator

import pytest

from sentinic.abi.syn_offload import Reason
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import Ring
from sentinic.driver.syn_offload import SynOffload, are_regenerated, attempts_of, read_attempts
from tests.hdl.card.test_paused import answer, others, settle, syn

SECOND = 10**9
BEGIN = 1_700_000_000 * SECOND
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
#: Attempts at a time: so few that none is evicted.
SOME = 40
#: Until a walk through the whole table has come round, a look a cycle, while registers are read.
WALK_STEPS = 400


class Card:
    def __init__(self, device: Device) -> None:
        self.device, self.offload = device, SynOffload(device)
        self.ring: Ring = device.open_ring(0)
        self.ring.enable()
        self.told: dict[int, Reason] = {}  # by time stamp

    def send(self, frames: list[bytes], at: int) -> None:
        self.device.transport.send(
            FrameBatch.from_frames(frames, timestamp=[at + number for number in range(len(frames))])
        )
        settle(self.device)

    def syns(self, first: int, at: int) -> None:
        self.send([syn(number) for number in range(first, first + SOME)], at)

    def other(self, at: int) -> None:
        """Time goes on."""
        self.send(others(1), at)

    def take(self) -> None:
        descriptors, data = self.ring.poll()
        given = descriptors[are_regenerated(descriptors)]
        if len(given):
            reasons = [Reason(reason) for reason in read_attempts(given, data)["reason"].tolist()]
            self.told |= dict(zip(given["timestamp"].tolist(), reasons, strict=True))
        self.ring.release(len(descriptors))
        self.device.forward()

    def empty(self, most: int) -> None:
        """Until no more than ``most`` are held."""
        for _ in range(WALK_STEPS):
            if self.offload.holding <= most:
                return
            self.device.transport.step(1000)
            self.take()
        raise AssertionError(f"{self.offload.holding} attempts are still held")

    def wait(self, *begins: int) -> None:
        """Until just the attempts that began at these times have expired."""
        due = {begin + number for begin in begins for number in range(SOME)}
        self.told.clear()
        for _ in range(WALK_STEPS):
            self.device.transport.step(1000)
            self.take()
            if self.told.keys() >= due:
                break
        assert self.told == dict.fromkeys(due, Reason.EXPIRED)


@pytest.fixture(params=["wide", "board"])
def card(request: pytest.FixtureRequest) -> Iterator[Card]:
    with Device.open("native", request.param) as device:
        device.set_pause(True)
        device.enable()
        yield Card(device)
        check_conservation(device.snapshot())


def test_a_shorter_time_out_counts_for_those_held_and_those_that_come(card: Card) -> None:
    card.offload.enable(timeout=HOUR)
    card.syns(0, BEGIN)
    card.offload.enable(timeout=5 * SECOND)
    card.syns(SOME, BEGIN + SECOND)
    card.other(BEGIN + 5 * SECOND + SOME)
    card.wait(BEGIN)
    card.other(BEGIN + 6 * SECOND + SOME)
    card.wait(BEGIN + SECOND)


def test_a_longer_time_out_counts_for_those_held(card: Card) -> None:
    card.offload.enable(timeout=SECOND)
    card.syns(0, BEGIN)
    card.offload.enable(timeout=5 * SECOND)
    card.other(BEGIN + 2 * SECOND)
    card.wait()
    card.other(BEGIN + 5 * SECOND + SOME)
    card.wait(BEGIN)


def test_no_attempt_is_over_while_the_time_out_is_changed(card: Card) -> None:
    """One half of it after the other is written, and with old and new halves it would be 0."""
    card.offload.enable(timeout=(1 << 32) - 1)
    card.syns(0, BEGIN)
    card.device.transport.send(FrameBatch.from_frames(others(500), timestamp=[BEGIN + SECOND] * 500))
    card.offload.enable(timeout=1 << 32)
    assert card.device.transport.pending, "traffic goes on"
    settle(card.device)
    card.offload.enable(timeout=(1 << 32) - 1)
    card.wait()
    card.other(BEGIN + (1 << 32) + SOME)
    card.wait(BEGIN)


@pytest.mark.parametrize("before", ["finished", "answered"])
def test_what_was_held_under_a_longer_time_out_delays_nobody(card: Card, before: str) -> None:
    card.offload.enable(timeout=HOUR)
    card.syns(0, BEGIN)
    if before == "finished":
        card.offload.finish()
    else:
        card.send([answer(number) for number in range(SOME)], BEGIN + SECOND)
    card.take()
    assert not card.offload.holding
    card.offload.enable(timeout=5 * SECOND)
    card.syns(SOME, BEGIN + 2 * SECOND)
    card.other(BEGIN + 7 * SECOND + SOME)
    card.wait(BEGIN + 2 * SECOND)


def test_a_capture_of_the_day_before_delays_nobody(card: Card) -> None:
    card.offload.enable(timeout=5 * SECOND)
    card.syns(0, BEGIN)
    card.offload.finish()
    card.take()
    card.offload.enable(timeout=5 * SECOND)
    card.syns(SOME, BEGIN - DAY)
    card.other(BEGIN - DAY + 5 * SECOND + SOME)
    card.wait(BEGIN - DAY)


@pytest.mark.parametrize("jump", [HOUR, 1 << 62])
def test_attempts_from_the_future_delay_nobody_and_are_over_when_it_has_come(card: Card, jump: int) -> None:
    """A clock that is set back, or a packet with any time at all."""
    future = BEGIN + jump
    card.offload.enable(timeout=5 * SECOND)
    card.syns(0, future)
    card.syns(SOME, BEGIN)
    card.syns(2 * SOME, BEGIN + SECOND)
    card.other(BEGIN + 5 * SECOND + SOME)
    card.wait(BEGIN)
    card.other(BEGIN + 6 * SECOND + SOME)
    card.wait(BEGIN + SECOND)
    assert card.offload.holding == SOME
    card.other(future + 5 * SECOND + SOME)
    card.wait(future)
    told = attempts_of(card.device.snapshot(), card.device.profile)
    assert told["attempts"] == told["expired"] == 3 * SOME


@pytest.mark.slow
def test_what_a_walk_through_the_table_passed_under_another_time_out_is_found_again(card: Card) -> None:
    """Attempts that the queue has no room for, and no walk but this one would find."""
    listed = card.offload.shape.attempts // 4
    first, last = [syn(number) for number in range(listed * 5 // 4)], [syn(60_000 + n) for n in range(listed // 4)]
    card.offload.enable(timeout=5 * SECOND)
    for frames, begin in ((first, BEGIN), (last, BEGIN + 4 * SECOND)):
        for at in range(0, len(frames), 4096):
            card.send(frames[at : at + 4096], begin + at)
            card.take()
    held = card.offload.holding
    assert held > (len(first) + len(last)) * 9 // 10
    card.other(BEGIN + 5 * SECOND + len(first))  # the first walk; the second a time-out later, for the last ones
    look = 2 if card.device.profile.data_width == 512 else 32  # cycles, amply
    end = card.device.transport.cycles + look * card.offload.shape.attempts
    while card.device.transport.cycles < end:
        card.device.transport.step(10_000)
        card.take()
    assert card.offload.holding <= len(last)
    card.device.transport.send(FrameBatch.from_frames(others(1), timestamp=[BEGIN + 11 * SECOND]))
    card.device.transport.step(200)
    card.offload.enable(timeout=20 * SECOND)
    card.take()
    assert card.offload.holding > len(last) // 2
    card.other(BEGIN + 30 * SECOND)
    card.other(BEGIN + 51 * SECOND)
    card.empty(0)
    told = attempts_of(card.device.snapshot(), card.device.profile)
    assert told["attempts"] == told["expired"] + told["evicted"] == len(first) + len(last)

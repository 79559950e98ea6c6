"""What a run takes down of itself."""

from collections.abc import Iterator

import pytest
from numba.core import event

from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.jit import CompileTimes
from sentinic.run.pipeline import Pipeline
from tests.sw.driver.fake import FakeTransport


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def compiled(clock: Clock, seconds: float) -> None:
    with event.trigger_event("numba:compile"):
        with event.trigger_event("numba:compile"):  # what it calls
            clock.now += seconds


def test_what_compiling_takes_is_told_apart_unless_the_card_ran_meanwhile(clock: Clock) -> None:
    class Transport(FakeTransport):
        def step(self, max_cycles: int | None = None) -> int:
            compiled(clock, 7.0)
            clock.now += 1.0
            return super().step(max_cycles)

    def batches() -> Iterator[FrameBatch]:
        clock.now += 0.5
        compiled(clock, 100.0)
        yield FrameBatch.from_frames([bytes(60)] * 10)
        compiled(clock, 30.0)

    compiled(clock, 1000.0)  # before it begins
    with Device(Transport()) as device:
        device.open_ring(0).enable()
        device.enable()
        outcome = Pipeline(device, []).run(batches())
    assert outcome.error is None
    assert (outcome.compile_seconds, outcome.wall_seconds, outcome.step_seconds) == (130.0, 8.5, 8.0)


def test_spans_of_compiling_are_cut_to_what_is_asked_for(clock: Clock) -> None:
    times = CompileTimes()
    for begin, end in ((10.0, 20.0), (30.0, 40.0)):
        clock.now = begin
        times.on_start(None)
        clock.now = end
        times.on_end(None)
    clock.now = 50.0
    times.on_start(None)
    assert times.within(0.0, 45.0) == 20.0
    assert times.within(15.0, 35.0) == 10.0
    assert times.within(22.0, 28.0) == 0.0
    assert times.within(35.0, 60.0) == 15.0

"""Waiting for what is on its way through a card, while rings are read."""

import time
from collections.abc import Callable

from sentinic.driver.device import Device

#: Called again and again while something is waited for: takes from rings that nobody else reads meanwhile.
Meanwhile = Callable[[], object]

#: Cycles at a time, and how many times at most.
CYCLES, STEPS = 1000, 10_000
#: Steps without a new descriptor after which none is on its way any more.
_QUIET_STEPS = 4
#: Steps without any change after which frames in the card are there to stay.
_HELD_STEPS = 16
#: How long a consumer of a full ring is left alone.
_FULL_SECONDS = 0.001


def nothing() -> None:
    """Wait only: other threads read the rings, if there is anything to read."""


def let_in(device: Device, meanwhile: Meanwhile = nothing) -> None:
    """Wait until all frames sent are through the card, but for those that a stage holds.

    Where frames come without end, that is left after some time.
    """
    before, quiet = (-1, -1), 0
    for _ in range(STEPS):
        state = (device.transport.pending, device.snapshot()["held"])
        if state == (0, 0):
            return
        full = _full(device)
        quiet = 0 if full or state != before else quiet + 1
        if quiet == _HELD_STEPS:
            return
        before = state
        device.forward()
        device.transport.step(CYCLES)
        meanwhile()
        if full:
            time.sleep(_FULL_SECONDS)


def quiet(device: Device, meanwhile: Meanwhile = nothing, *, steps: int = STEPS) -> bool:
    """Wait until no ring gets any more; False when that is not so after ``steps`` times :data:`CYCLES`.

    What finds no room in a ring waits, and is waited for.
    """
    heads: list[int] = []
    unchanged = 0
    for _ in range(steps):
        device.forward()
        device.transport.step(CYCLES)
        meanwhile()
        before, heads = heads, [ring.head() for ring in device.rings.values()]
        full = _full(device)
        unchanged = 0 if full or heads != before else unchanged + 1
        if unchanged == _QUIET_STEPS:
            return True
        if full:
            time.sleep(_FULL_SECONDS)
    return False


def _full(device: Device) -> bool:
    return any(0 in ring.room() for ring in device.rings.values())

"""Waiting for what is on its way through a card, while rings are read."""

import time
from collections.abc import Callable, Iterable

from sentinic.driver.device import Device
from sentinic.driver.ring import Ring
from sentinic.errors import DeviceError

#: Called again and again while something is waited for: takes from rings that nobody else reads meanwhile.
Meanwhile = Callable[[], object]

#: Cycles at a time, and how many times at most.
CYCLES, STEPS = 1000, 10_000
#: Steps without a new descriptor after which none is on its way any more.
_QUIET_STEPS = 4
#: Steps in all of which every ring had room, after which all that waited for room has come, whatever comes after it.
ROOM_STEPS = 64
#: Steps without any change after which frames in the card are there to stay.
_HELD_STEPS = 16
#: How long a consumer of a full ring is left alone.
FULL_SECONDS = 0.001


def nothing() -> None:
    """Wait only: other threads read the rings, if there is anything to read."""


def let_in(device: Device, meanwhile: Meanwhile = nothing) -> bool:
    """Wait until as many frames are through the card as were in it, or sent, when this began; whether they are.

    Those that a stage holds are not waited for.  A ring that stays full may keep them in.
    """
    awaited, before, quiet = -1, (-1, -1), 0
    for _ in range(STEPS):
        # Before the counters: a simulation's clock runs while they are read, and takes in frames meanwhile.
        pending = device.transport.pending
        counters = device.snapshot()
        state = (pending, counters["held"])
        if awaited < 0:
            awaited = counters["received"] + pending
        if state == (0, 0) or counters["received"] - counters["held"] >= awaited:
            return True
        full = is_any_full(device.rings.values())
        quiet = 0 if full or state != before else quiet + 1
        if quiet == _HELD_STEPS:
            return True
        before = state
        device.forward()
        device.transport.step(CYCLES)
        meanwhile()
        if full:
            time.sleep(FULL_SECONDS)
    return False


def quiet(
    device: Device, meanwhile: Meanwhile = nothing, *, rings: Iterable[Ring] | None = None, steps: int = STEPS
) -> bool:
    """Wait until all that stages have let go is in ``rings``, or all rings: they get no more, or had room long enough.

    What finds no room in a ring waits, and is waited for; on a card that pauses, so does what is for the others.  False
    when that is so for ``steps`` times :data:`CYCLES`.
    """
    awaited = list(device.rings.values() if rings is None else rings)
    heads: list[int] = []
    unchanged = with_room = 0
    for _ in range(steps):
        device.forward()
        device.transport.step(CYCLES)
        meanwhile()
        before, heads = heads, [ring.head() for ring in awaited]
        full = is_any_full(device.rings.values() if device.pauses else awaited)
        unchanged = 0 if full or heads != before else unchanged + 1
        with_room = 0 if full else with_room + 1
        if unchanged == _QUIET_STEPS or with_room == ROOM_STEPS:
            return True
        if full:
            time.sleep(FULL_SECONDS)
    return False


def settle(device: Device, meanwhile: Meanwhile = nothing, *, rings: Iterable[Ring] | None = None) -> None:
    """Wait until what was sent is through the card and in ``rings``, or all rings, but for what a stage holds.

    ``meanwhile`` takes from the rings, unless another thread does.  Raises :class:`DeviceError` when nobody reads them.
    """
    if not (let_in(device, meanwhile) and quiet(device, meanwhile, rings=rings)):
        raise DeviceError("packets still wait for room in a ring: all rings that are on must be read")


def is_any_full(rings: Iterable[Ring]) -> bool:
    """Whether one of the rings may have no room for what comes next."""
    return any(0 in ring.room() for ring in rings)

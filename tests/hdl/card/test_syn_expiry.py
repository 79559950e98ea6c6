"""SYN offload on the whole card in a flood: attempts are over as fast as others begin, and are told of in time."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from sentinic.abi.profiles import PROFILES, WIDE
from sentinic.abi.syn_offload import Reason
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import Ring
from sentinic.driver.syn_offload import KEY_BITS, Mode, SynOffload, are_records, attempts_of, read_records
from sentinic_hdl.stages.syn_offload.clock import GRACE_NS, QUIET_CYCLES
from sentinic_sim.native import MemoryOptions
from tests.hdl.card.test_syn_flood import BEGIN, FLOW_PORT, SHARE, settled, tcp_frames

pytestmark = pytest.mark.slow
FRAMES = {"wide": 400_000, "board": 8_000}
LENGTH = 60


@dataclass(frozen=True)
class Pace:
    """A flood: cycles a frame, and of how many frames of ``wide`` one is short; ``timeout`` and ``late`` in frames.

    ``late``: within so many frames behind its time-out an attempt is in a report that is closed.
    """

    profile: str
    cycles: float
    short_every: int
    timeout: int
    late: int


#: A frame of 64 bytes takes 1.68 cycles of ``wide`` at 100 GbE, 42 of ``board`` at 1 GbE.  A look takes a cycle without
#: a packet: at 100 GbE there are fewer of these than SYNs, so that attempts wait for a walk through the table, which
#: finds more at once than reports take, and waits for these.
PACES = {
    "wide, two cycles a frame": Pace("wide", 2, 0, 1500, 50),
    "wide, 100 GbE": Pace("wide", 5 / 3, 3, 1500, 130_000),
    "board, 1 GbE": Pace("board", 42, 0, 40, 100),
}
#: A wire without packets tells the time after a millisecond of its own; seconds, and some more for what is left.
QUIET_SECONDS = 0.002
#: Until a report is closed (255 cycles without another record) and on its way.
SOME_CYCLES = 1000


def take(device: Device, ring: Ring) -> tuple[int, npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """All that is in the ring: packets of the flow, records, and for each when its report was closed."""
    flow, records, closed = 0, [], []
    while True:
        descriptors, data = ring.poll(1 << 16)
        if not len(descriptors):
            break
        reports = are_records(descriptors, data)
        assert (descriptors["source_port"][~reports] == FLOW_PORT).all()
        flow += int((~reports).sum())
        found = read_records(descriptors[reports], data)
        records.append(found.items)
        closed.append(np.repeat(found.heads["timestamp"].astype(np.int64), found.heads["items"].astype(np.int64)))
        ring.release(len(descriptors))
        device.forward()
    return flow, np.concatenate(records), np.concatenate(closed)


@pytest.mark.parametrize("name", PACES)
def test_in_a_flood_that_goes_on_every_attempt_expires_in_time_and_none_is_evicted(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    pace = PACES[name]
    if not PROFILES[pace.profile].attempts:
        pytest.skip("without the stage")
    is_wide = PROFILES[pace.profile].data_width == 512
    beats = -(-LENGTH // PROFILES[pace.profile].beat_bytes)
    idle = 0.0 if is_wide else 1 - beats / pace.cycles
    with Device.open("native", pace.profile, memory=MemoryOptions(rx_idle=idle)) as device:
        ring = device.open_ring(0, descriptors=1 << 20, data_bytes=1 << 28)
        ring.enable()
        # One that is always the same: how evenly a flood fills the sets hangs on it.
        offload = SynOffload(device, secret=random.Random(1).getrandbits(KEY_BITS))
        offload.to_ring(ring)
        step = int(pace.cycles * 1e9 / device.profile.clock_hz) + 1  # ns
        timeout = pace.timeout * step
        offload.enable(timeout, Mode.COMPACT)
        device.set_pause(False)
        device.enable()
        frames = FRAMES[pace.profile]
        flood = tcp_frames(0, frames, SHARE, begin=BEGIN, step=step, long=is_wide, port=0, short_every=pace.short_every)
        device.transport.send(flood)
        counters = settled(device, offload)
        check_conservation(counters)
        flows = -(-frames // SHARE)
        told = attempts_of(counters, device.profile)
        assert (counters["received"], counters["dropped_overflow"]) == (frames, 0)
        assert told["attempts"] == frames - flows
        assert told["expired"] + offload.holding == told["attempts"], "some were evicted"
        assert offload.holding <= pace.timeout
        assert told["recorded"] + told["unreported"] == told["expired"]
        flow, records, closed = take(device, ring)
        assert flow == flows, "the flow lost packets"
        late = (closed - records["first"].astype(np.int64) - timeout) / step
        record_property("latest, frames", float(late.max()))
        assert late.min() >= 0, "over before its time"
        assert late.max() <= pace.late
        assert told["unreported"] == 0

        # Nothing comes any more: what is left is over when the wire's own time says so.
        device.transport.wait(QUIET_SECONDS)
        counters = settled(device, offload)
        check_conservation(counters)
        after = attempts_of(counters, device.profile)
        assert (offload.holding, counters["held"]) == (0, 0)
        assert after["expired"] == told["attempts"]
        assert after["unreported"] == told["unreported"]
        _, more, closed = take(device, ring)
        cycles = QUIET_CYCLES + device.profile.attempts + SOME_CYCLES
        late = closed - more["first"].astype(np.int64) - timeout
        assert late.max() <= GRACE_NS + cycles * 1e9 / device.profile.clock_hz

        # Each attempt is in one record at most, and those in none are counted.
        records = np.concatenate([records, more])
        assert (records["reason"] == Reason.EXPIRED).all()
        assert (records["first"] == records["last"]).all()
        numbers = (records["first"].astype(np.int64) - BEGIN) // step
        assert (records["sequence"] == numbers).all()
        assert len(np.unique(numbers)) == len(records) == after["recorded"]
        assert len(records) + after["unreported"] == told["attempts"]


def flooded(device: Device, *floods: FrameBatch, timeout: int) -> dict[str, int]:
    """What became of attempts when ``floods`` have come, a frame a cycle each, of which no ring takes but records."""
    ring = device.open_ring(0, descriptors=1 << 20, data_bytes=1 << 28)
    ring.registers.write("filter_ports", 0)
    ring.enable()
    offload = SynOffload(device, secret=random.Random(1).getrandbits(KEY_BITS))
    offload.to_ring(ring)
    offload.enable(timeout, Mode.COMPACT)
    device.set_pause(False)
    device.enable()
    for flood in floods:
        device.transport.send(flood)
        counters = settled(device, offload)
    check_conservation(counters)
    assert counters["received"] == sum(len(flood.offset) for flood in floods)
    assert counters["dropped_overflow"] == 0, "frames were lost for want of cycles"
    return attempts_of(counters, device.profile)


def test_expiry_takes_no_frame_from_a_flood_of_a_frame_a_cycle() -> None:
    """Attempts are over while more come than the table holds: they leave as over, and none before its time."""
    frames = FRAMES["wide"]
    with Device.open("native", "wide") as device:
        told = flooded(device, tcp_frames(0, frames, SHARE, begin=BEGIN, step=4), timeout=6000)
    assert told["attempts"] == frames - frames // SHARE
    assert told["evicted"] == 0
    assert told["expired"] >= told["attempts"] - WIDE.attempts


def test_the_expiry_of_an_old_flood_takes_no_frame_from_traffic_of_a_frame_a_cycle() -> None:
    """Not one cycle is free for it while the packets of the flow come, so it comes behind them."""
    old = tcp_frames(0, 20_000, SHARE, begin=BEGIN, step=4)
    flow = tcp_frames(20_000, FRAMES["wide"], 1, begin=BEGIN + 6 * 10**9, step=4, port=0)
    with Device.open("native", "wide") as device:
        told = flooded(device, old, flow, timeout=5 * 10**9)
    assert told["attempts"] == told["recorded"] == 17_500
    # Some sets are full long before the table is.
    assert told["expired"] == 17_500 - told["evicted"] > 17_000

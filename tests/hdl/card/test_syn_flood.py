"""SYN offload on the whole card under floods: a SYN a cycle, an established flow in between, and expiry behind."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.abi.syn_offload import Reason
from sentinic.abi.verdicts import Kind, Protocol
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.records import status_bits
from sentinic.driver.ring import Ring
from sentinic.driver.syn_offload import (
    Mode,
    SynOffload,
    are_records,
    are_regenerated,
    attempts_of,
    read_attempts,
    read_records,
)
from sentinic_sim.bench.traffic import padded

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if profile.attempts]
FRAMES = 2_285_720
#: Where raw SYNs are taken, too.
RAW_FRAMES = 400_000
#: One frame in so many is of the flow.
SHARE = 8
LENGTH = 60
FLOW_PORT = 7
#: Most attempts were not listed, so all places are looked at; some frames for each.
SWEEP_FRAMES = 3
#: ``board`` takes a SYN in some 28 cycles when each makes another leave; a port of 1 GbE brings one of 64 bytes in 42.
#: Here a frame, every other one a SYN, comes in 27.5.
BOARD_FRAMES = 20_000
FILLER_LENGTH = 376
#: When all hashes are the same, all held SYNs of the set are read each time.
LONG_FILLER_LENGTH = 1000
BEGIN = 10**15  # ns
OTHER_ETHERTYPE = 0x88B5  # for local experiments


@pytest.fixture(params=BUILDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        yield found


def _checksum(words: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """RFC 1071 over rows of 16-bit words."""
    total = words.sum(axis=1, dtype=np.uint32)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    folded: npt.NDArray[np.uint16] = (~total).astype(np.uint16)
    return folded


def tcp_frames(
    first: int,
    count: int,
    share: int,
    *,
    begin: int,
    step: int,
    long: bool = False,
    port: int | None = None,
    short_every: int = 0,
) -> FrameBatch:
    """SYNs, each of a 5-tuple of its own, ``step`` ns apart; every ``share``-th frame is an ACK of one flow.

    They have 60 bytes and come in at port 0, or, ``long``, two beats of ``wide`` and port 1, unless ``port`` says else.
    Of long ones, each ``short_every``-th has 60 bytes.
    """
    number = np.arange(first, first + count, dtype=np.uint32)
    flow = number % share == 0
    length = 2 * LENGTH if long else LENGTH
    words = np.zeros((count, length // 2), np.uint16)
    words[:, 0:7] = (0x0200, 0, 1, 0x0200, 0, 2, 0x0800)
    words[:, 7:12] = (0x4500, 40, 0, 0, 0x4006)
    source = np.where(flow, 1, number + 16)
    words[:, 13], words[:, 14] = 0x0A00 | source >> 16, source & 0xFFFF
    words[:, 15:17] = (0xC000, 0x0201)
    words[:, 12] = _checksum(words[:, 7:17])
    words[:, 17], words[:, 18] = np.where(flow, FLOW_PORT, 1000 + (number & 0x3FFF)), 80
    words[:, 19:21] = number.astype(">u4").view(">u2").reshape(-1, 2)
    words[:, 23] = np.where(flow, 0x5010, 0x5002)
    words[:, 24] = 8192
    pseudo = np.concatenate([words[:, 13:17], np.tile(np.array([6, 20], np.uint16), (count, 1)), words[:, 17:27]], 1)
    words[:, 25] = _checksum(pseudo)
    data = words.astype(">u2").view(np.uint8).reshape(-1)
    is_short = number % short_every == 0 if short_every else np.zeros(count, bool)
    lengths = np.where(is_short, LENGTH, length).astype(np.uint32)
    columns = {
        "offset": np.arange(count, dtype=np.int64) * length,
        "length": lengths,
        "wire_length": lengths,
        "timestamp": begin + np.arange(count, dtype=np.uint64) * np.uint64(step),
        "port": np.full(count, int(long) if port is None else port, np.uint8),
        "error": np.zeros(count, np.uint8),
    }
    return FrameBatch(data=np.ascontiguousarray(data), **columns)


def spaced(batch: FrameBatch, filler_length: int) -> FrameBatch:
    """The same frames, each with one of another protocol behind it."""
    count, length = len(batch.offset), LENGTH + filler_length
    data = np.zeros((count, length), np.uint8)
    data[:, :LENGTH] = batch.data.reshape(count, LENGTH)
    data[:, LENGTH + 12 : LENGTH + 14] = divmod(OTHER_ETHERTYPE, 256)
    lengths = np.tile(np.array([LENGTH, filler_length], np.uint32), count)
    return FrameBatch(
        data=data.reshape(-1),
        offset=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
        length=lengths,
        wire_length=lengths,
        timestamp=np.repeat(batch.timestamp, 2),
        port=np.repeat(batch.port, 2),
        error=np.repeat(batch.error, 2),
    )


def flood_of(
    device: Device, frames: int, *, step: int, filler_length: int = FILLER_LENGTH, **options: Any
) -> tuple[FrameBatch, int]:
    """A flood with a flow in it at the pace of the card, and how many frames of another protocol there are in it."""
    if device.profile.data_width == 512:
        return tcp_frames(0, frames, SHARE, begin=BEGIN, step=step, **options), 0
    return spaced(tcp_frames(0, frames, SHARE, begin=BEGIN, step=step), filler_length), frames


def settled(device: Device, offload: SynOffload) -> dict[str, int]:
    """The counters when nothing but held SYNs is in the card any more."""
    device.transport.step()
    # Packets that no ring wants move nothing that the transport sees.
    while (counters := device.snapshot())["held"] > offload.holding:
        device.transport.step()
    return counters


def take_bare(device: Device, ring: Ring) -> tuple[int, npt.NDArray[np.void]]:
    """All that is in a ring of descriptors: packets of the flow, and the descriptors of SYNs."""
    flow, syns = 0, []
    while True:
        descriptors, _ = ring.poll(1 << 16)
        if not len(descriptors):
            break
        assert (status_bits(descriptors["status"], "kind") == Kind.PACKET).all()
        is_flow = descriptors["source_port"] == FLOW_PORT
        flow += int(is_flow.sum())
        syns.append(descriptors[~is_flow].copy())
        ring.release(len(descriptors))
        device.forward()
    return flow, np.concatenate(syns)


def take_records(device: Device, ring: Ring) -> tuple[int, npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """All that is in the ring: packets of the flow, records, and the numbers of their reports."""
    flow, records, sequence = 0, [], []
    while True:
        descriptors, data = ring.poll(1 << 16)
        if not len(descriptors):
            break
        reports = are_records(descriptors, data)
        assert (descriptors["source_port"][~reports] == FLOW_PORT).all()
        assert (status_bits(descriptors["status"][~reports], "kind") == Kind.PACKET).all()
        flow += int((~reports).sum())
        found = read_records(descriptors[reports], data)
        records.append(found.items)
        sequence.append(found.heads["sequence"].astype(np.int64))
        ring.release(len(descriptors))
        device.forward()
    return flow, np.concatenate(records), np.concatenate(sequence)


def take(device: Device, ring: Ring) -> tuple[int, npt.NDArray[np.void], npt.NDArray[np.void]]:
    """All that is in the ring: packets of the flow, SYNs, and what their tags say."""
    flow, syns, attempts = 0, [], []
    while True:
        descriptors, data = ring.poll(1 << 16)
        if not len(descriptors):
            break
        held = are_regenerated(descriptors)
        assert (descriptors["source_port"][~held] == FLOW_PORT).all()
        flow += int((~held).sum())
        syns.append(descriptors[held].copy())
        attempts.append(read_attempts(descriptors[held], data))
        ring.release(len(descriptors))
        device.forward()
    return flow, np.concatenate(syns), np.concatenate(attempts)


@pytest.mark.parametrize("secret", [None, 0], ids=["all different", "all in one set"])
def test_a_flood_of_syns_costs_an_established_flow_nothing_and_every_attempt_is_counted(
    device: Device, secret: int | None
) -> None:
    ring = device.open_ring(0, descriptors=1 << 20, data_bytes=1 << 27)
    ring.registers.write("filter_ports", 1)
    ring.registers.write("filter_protocols", 1 << Protocol.TCP)
    ring.enable()
    offload = SynOffload(device, secret=secret)
    offload.enable()
    device.set_pause(False)
    device.enable()
    frames = FRAMES if device.profile.data_width == 512 else BOARD_FRAMES
    before = device.snapshot()
    flood, fillers = flood_of(
        device, frames, step=4, filler_length=FILLER_LENGTH if secret is None else LONG_FILLER_LENGTH
    )
    device.transport.send(flood)
    counters = settled(device, offload)
    check_conservation(counters)
    flows = -(-frames // SHARE)
    told = attempts_of(counters, device.profile)
    assert counters["received"] == frames + fillers
    assert counters["dropped_overflow"] == 0
    cycles = sum(counters[f"ingress.{kind}_cycles"] - before[f"ingress.{kind}_cycles"] for kind in ("busy", "stall"))
    if device.profile.data_width == 512:
        assert cycles <= frames, "not a frame a cycle"
    # Each SYN was held; as many as there is room for still are; the others went, or are counted.
    assert told["attempts"] == frames - flows
    assert told["evicted"] + offload.holding == told["attempts"]
    assert counters["held"] == offload.holding <= offload.shape.attempts
    if secret is None:
        assert offload.holding > 0.95 * offload.shape.attempts
    assert told["unreported"] == counters["dropped_congested"]
    flow, syns, attempts = take(device, ring)
    assert flow == flows, "the flow lost packets"
    assert len(syns) == told["evicted"] - told["unreported"]
    assert (attempts["reason"] == Reason.EVICTED).all()
    assert (attempts["last"].astype(np.uint64) == syns["timestamp"]).all()
    assert len(np.unique(syns["timestamp"])) == len(syns)

    # All that are left are over five seconds later, while packets come that no ring wants, one in two cycles.
    left = offload.holding
    others = SWEEP_FRAMES * (left + 64)
    later = tcp_frames(frames, others, 1, begin=BEGIN + 6 * 10**9, step=10, long=True)
    device.transport.send(later if device.profile.data_width == 512 else padded(later, FILLER_LENGTH))
    counters = settled(device, offload)
    assert offload.holding == 0
    check_conservation(counters)
    assert counters["held"] == 0
    after = attempts_of(counters, device.profile)
    assert after["expired"] == left
    flow, syns, attempts = take(device, ring)
    assert flow == 0
    assert counters["filtered"] == others + fillers
    assert len(syns) == left - (after["unreported"] - told["unreported"])
    assert (attempts["reason"] == Reason.EXPIRED).all()


#: Cycles a frame, and of how many frames one is short: a frame of 64 bytes takes 1.68 cycles of 100 GbE.
PACES = {"a frame a cycle": (1.0, 1), "100 GbE": (5 / 3, 3)}


@pytest.mark.parametrize("pace", PACES)
def test_in_compact_mode_every_attempt_of_a_flood_is_recorded_as_far_as_the_bus_goes_and_counted_beyond(
    device: Device, pace: str, record_property: Callable[[str, object], None]
) -> None:
    cycles_a_frame, short_every = PACES[pace]
    ring = device.open_ring(0, descriptors=1 << 20, data_bytes=1 << 29)
    ring.registers.write("filter_ports", 1)
    ring.registers.write("filter_protocols", 1 << Protocol.TCP)
    ring.enable()
    offload = SynOffload(device)
    offload.to_ring(ring)
    offload.enable(mode=Mode.COMPACT)
    device.set_pause(False)
    device.enable()
    frames = FRAMES if device.profile.data_width == 512 else BOARD_FRAMES
    before = device.snapshot()
    flood, fillers = flood_of(device, frames, step=8, long=True, port=0, short_every=short_every)
    device.transport.send(flood)
    counters = settled(device, offload)
    check_conservation(counters)
    flows = -(-frames // SHARE)
    told = attempts_of(counters, device.profile)
    assert counters["received"] == frames + fillers
    assert counters["dropped_overflow"] == 0
    cycles = sum(counters[f"ingress.{kind}_cycles"] - before[f"ingress.{kind}_cycles"] for kind in ("busy", "stall"))
    if device.profile.data_width == 512:
        assert cycles <= cycles_a_frame * frames + 1, "not a beat a cycle"
    assert told["attempts"] == frames - flows
    assert told["evicted"] + offload.holding == told["attempts"]
    assert told["recorded"] + told["unreported"] == told["evicted"] == counters["offloaded"]
    share = told["recorded"] / told["evicted"]
    record_property("recorded", share)
    print(f"{share:.1%} of {told['evicted']} attempts recorded, {told['unreported']} counted")
    if short_every > 1:
        assert told["unreported"] == 0
    flow, records, sequence = take_records(device, ring)
    assert flow == flows, "the flow lost packets"
    assert len(records) <= told["recorded"] < len(records) + 100, "records wait for a report no longer than they must"
    assert (records["reason"] == Reason.EVICTED).all()
    assert (records["first"] == records["last"]).all()
    assert len(np.unique(records["first"])) == len(records)
    numbers = ((records["first"].astype(np.int64) - BEGIN) // 8).astype(np.uint32)
    assert (records["sequence"] == numbers).all()
    assert (records["source_port"] == 1000 + (numbers & 0x3FFF)).all()
    assert (sequence == np.arange(len(sequence))).all()

    offload.finish()
    counters = device.snapshot()
    check_conservation(counters)
    after = attempts_of(counters, device.profile)
    assert counters["held"] == 0
    assert after["expired"] == told["attempts"] - told["evicted"]
    assert after["recorded"] + after["unreported"] == told["attempts"]
    _, more, _ = take_records(device, ring)
    assert len(records) + len(more) == after["recorded"]


@pytest.mark.parametrize("pace", PACES)
def test_raw_syns_of_a_flood_cost_nobody_anything_and_those_there_was_no_time_for_are_counted(
    device: Device, pace: str, record_property: Callable[[str, object], None]
) -> None:
    cycles_a_frame, short_every = PACES[pace]
    ring = device.open_ring(0, descriptors=1 << 20, data_bytes=1 << 28)
    raw = device.open_ring(1, descriptors=1 << 20, data_bytes=1 << 21)
    raw.registers.write("snap_length", 0)
    raw.registers.write("filter_protocols", 1 << Protocol.TCP)
    raw.registers.write("extras", 1, "raw_syns")
    ring.registers.write("filter_ports", 0)  # records only: a copy takes a cycle of dispatch, and the flow has one
    ring.enable()
    raw.enable()
    offload = SynOffload(device)
    offload.to_ring(ring)
    offload.enable(mode=Mode.COMPACT)
    device.set_pause(False)
    device.enable()
    frames = RAW_FRAMES if device.profile.data_width == 512 else BOARD_FRAMES
    before = device.snapshot()
    flood, _ = flood_of(device, frames, step=8, long=True, port=0, short_every=short_every)
    device.transport.send(flood)
    counters = settled(device, offload)
    check_conservation(counters)
    flows = -(-frames // SHARE)
    told = attempts_of(counters, device.profile)
    cycles = sum(counters[f"ingress.{kind}_cycles"] - before[f"ingress.{kind}_cycles"] for kind in ("busy", "stall"))
    if device.profile.data_width == 512:
        assert cycles <= cycles_a_frame * frames + 1, "not a beat a cycle"
    assert told["attempts"] == frames - flows
    assert told["recorded"] + told["unreported"] == told["evicted"]
    assert counters["delivered"] + counters["offloaded"] == flows + told["evicted"]
    flow, records, _ = take_records(device, ring)
    assert flow == 0
    assert len(np.unique(records["first"])) == len(records)
    flow, syns = take_bare(device, raw)
    assert flow == flows, "the flow lost packets"
    assert len(np.unique(syns["timestamp"])) == len(syns)
    assert len(syns) + counters["ring1.lost"] == told["attempts"] - told["uncopied"]
    share = len(syns) / told["attempts"]
    record_property("raw", share)
    print(f"{share:.1%} of {told['attempts']} SYNs raw, {told['uncopied']} and {counters['ring1.lost']} counted")
    assert share > 0.05

    offload.finish()
    counters = device.snapshot()
    check_conservation(counters)
    assert counters["held"] == 0
    # A SYN that the ring got is delivered, whatever a record tells of it.
    assert counters["delivered"] == flows + len(syns)
    assert counters["offloaded"] == told["attempts"] - len(syns)
    # Each cell was given back, and once: all of the store is free.
    assert device.registers["card"].read("cells_used") == 0

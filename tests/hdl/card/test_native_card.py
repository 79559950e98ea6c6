"""The card over the native harness: what the fuzz found, each as a claim of its own."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from sentinic.abi.registers import RING_MARGIN_DESCRIPTORS
from sentinic.driver.frames import FrameBatch
from sentinic_sim.build import build_model
from sentinic_sim.native import MemoryOptions, NativeTransport
from tests.hdl.card.native_card import NativeCard
from tests.reference.card import Frame, Ring

#: Memory so slow that everything a few frames cause is still under way when the host does the next thing.
SLOW = MemoryOptions(latency=2000)


@pytest.fixture(params=["wide", pytest.param("board", marks=pytest.mark.slow)])
def card(request: pytest.FixtureRequest) -> Iterator[NativeCard]:
    with NativeCard(NativeTransport(build_model(request.param), memory=SLOW)) as opened:
        opened.device.set_pause(True)
        opened.device.enable()
        yield opened


def frames(first: int, count: int) -> list[Frame]:
    return [Frame(bytes([number]) * 100, timestamp=number) for number in range(first, first + count)]


def stamps(card: NativeCard) -> list[int]:
    """Time stamps in the descriptor ring, by place."""
    return card.device.rings[0].descriptors["timestamp"].tolist()


def test_a_ring_switched_on_anew_begins_when_the_packets_of_the_time_before_are_written(card: NativeCard) -> None:
    ring = card.open_ring(0, Ring(descriptors=64, data_bytes=1 << 17)).ring
    card.send(frames(1, 8))
    card.transport.step(1000)
    assert stamps(card)[:8] == [0] * 8, "memory has not answered yet"
    ring.registers.write("control", 0, "enable")
    ring.registers.write("control", 1, "enable")
    # Nothing is decided for the ring until the eight are written, so the next frames must wait for that.
    while ring.registers.read("status", "busy"):
        card.transport.step(100)
    card.send(frames(101, 3))
    card.settle()
    assert stamps(card)[:9] == [101, 102, 103, 4, 5, 6, 7, 8, 0]
    assert ring.descriptors["offset"][:3].tolist() == [0, 192, 384]
    assert ring.registers.read("descriptor_head") == 3
    assert card.check_rest()["delivered"] == 11


def test_a_ring_that_is_off_keeps_its_place_until_all_is_written(card: NativeCard) -> None:
    ring = card.open_ring(0, Ring(descriptors=64, data_bytes=1 << 17)).ring
    card.send(frames(1, 5))
    card.settle()
    card.send(frames(6, 5))
    card.transport.step(1000)
    ring.disable()
    assert stamps(card)[:11] == [*range(1, 11), 0]
    assert ring.registers.read("descriptor_head") == 10
    assert ring.head() == 10


def test_memory_of_a_ring_that_is_off_is_not_touched(card: NativeCard) -> None:
    ring = card.open_ring(0, Ring(descriptors=64, data_bytes=1 << 17)).ring
    card.send(frames(1, 12))
    card.transport.step(1000)
    ring.disable()
    written = card.transport.stats().w_beats
    card.send(frames(20, 12))
    card.settle()
    assert card.transport.stats().w_beats == written
    assert card.check_rest()["filtered"] == 12


def test_a_packet_that_waits_for_the_bus_is_not_for_a_ring_that_was_switched_off_meanwhile(card: NativeCard) -> None:
    card.transport.configure(MemoryOptions(latency=2000, outstanding=1))
    ring = card.open_ring(0, Ring(descriptors=512, data_bytes=1 << 18)).ring
    card.send(frames(1, 200))
    card.transport.step(3000)
    ring.disable()
    delivered = card.counters()["delivered"]
    ring.enable()
    card.settle()
    assert not ring.pending(), "what waited was for the ring as it was before"
    counters = card.check_rest()
    assert (counters["delivered"], counters["filtered"]) == (delivered, 200 - delivered)


def test_a_descriptor_alone_goes_out_in_every_cycle_that_its_beats_leave(card: NativeCard) -> None:
    count = 2000
    card.transport.configure(MemoryOptions())
    # The folded parser takes longer for a frame than the narrow bus for a descriptor, but not for two.
    rings = 2 if card.profile.folded_parser else 1
    opened = [card.open_ring(n, Ring(descriptors=4096, data_bytes=1 << 17, snap_length=0)) for n in range(rings)]
    before = card.transport.stats()
    card.send([Frame(bytes([number & 0xFF]) * 60, timestamp=number) for number in range(count)])
    card.settle()
    after = card.transport.stats()
    beats = rings * count * 64 // card.profile.beat_bytes
    assert after.w_beats - before.w_beats == beats, "nothing but descriptors is written"
    assert beats / (after.w_last - after.w_first + 1) >= 0.95
    counters = card.check_rest()
    for n, watched in enumerate(opened):
        watched.read_all()
        assert [seen.timestamp for seen in watched.seen] == list(range(count))
        assert not watched.ring.data.any()
        assert (counters[f"ring{n}.delivered"], counters[f"ring{n}.delivered_bytes"]) == (count, 0)
    assert (counters["delivered"], counters["dma_data_beats"]) == (count, 0)


def test_a_ring_of_descriptors_only_is_full_when_its_descriptors_are(card: NativeCard) -> None:
    card.transport.configure(MemoryOptions())
    card.device.set_pause(False)
    watched = card.open_ring(0, Ring(descriptors=64, data_bytes=1 << 17, snap_length=0))
    for _ in range(3):  # its data ring would be full after the first
        card.send([Frame(b"\1" * 9000, timestamp=number) for number in range(100)])
        card.settle()
        watched.read_all()
        card.device.forward()
    assert 3 * (64 - RING_MARGIN_DESCRIPTORS) <= len(watched.seen) < 3 * 64
    counters = card.check_rest()
    lost = counters["ring0.lost"]
    assert lost == counters["dropped_ring_full"] == 300 - len(watched.seen)
    # What was lost after the last one delivered is told by the next.
    card.send([Frame(b"\1" * 60, timestamp=1)])
    card.settle()
    watched.read_all()
    assert sum(seen.lost for seen in watched.seen) == lost


def test_whether_a_ring_is_of_descriptors_only_is_settled_when_it_is_switched_on(card: NativeCard) -> None:
    watched = card.open_ring(0, Ring(descriptors=64, data_bytes=1 << 17, snap_length=0))
    other = card.open_ring(1, Ring(descriptors=64, data_bytes=1 << 17))
    for each, length in ((watched, 128), (other, 0)):
        each.ring.registers.write("snap_length", length)
    card.send(frames(1, 5))
    card.settle()
    assert watched.ring.descriptors["captured_length"][:5].tolist() == [0] * 5
    assert other.ring.descriptors["captured_length"][:5].tolist() == [64] * 5
    for each in (watched, other):
        each.ring.disable()
        each.ring.enable()
    card.send(frames(1, 5))
    card.settle()
    assert watched.ring.descriptors["captured_length"][:5].tolist() == [100] * 5
    assert other.ring.descriptors["captured_length"][:5].tolist() == [0] * 5
    card.check_rest()


def test_an_error_on_a_descriptor_alone_faults_its_ring_and_costs_that_packet(card: NativeCard) -> None:
    ring = card.open_ring(0, Ring(descriptors=64, data_bytes=1 << 17, snap_length=0)).ring
    other = card.open_ring(1, Ring(descriptors=64, data_bytes=1 << 17)).ring
    begin = ring._regions[0].bus_address + 64 * 3
    card.transport.configure(MemoryOptions(error_begin=begin, error_end=begin + 64))
    card.send(frames(1, 4))
    card.settle()
    assert (ring.faulted, other.faulted) == (True, False)
    card.send(frames(5, 4))
    card.settle()
    counters = card.check_rest()
    assert (counters["ring0.delivered"], counters["ring0.errors"], counters["ring0.lost"]) == (3, 1, 4)
    assert (counters["delivered"], counters["dropped_dma_error"], counters["ring1.delivered"]) == (8, 0, 8)
    assert stamps(card)[:8] == [1, 2, 3, 0, 0, 0, 0, 0]


def test_the_harness_looks_at_no_row_of_a_batch_again_once_all_its_frames_are_taken(card: NativeCard) -> None:
    card.transport.configure(parallel=True)
    watched = card.open_ring(0, Ring(descriptors=64, data_bytes=1 << 17))
    made = [b"\1" * 2000, b"\2" * 60, b"\3" * 60]  # port 1 is done long before port 0
    ports = np.array([0, 1, 1], np.uint8)
    lent = ports.view()
    lent.flags.writeable = False  # so it is not copied
    card.transport.send(replace(FrameBatch.from_frames(made), port=lent))
    card.settle()
    ports[:] = 0  # it is the host's again
    card.transport.send(FrameBatch.from_frames([b"\4" * 60]))
    card.settle()
    watched.read_all()
    assert sorted(each.slot[-1] for each in watched.seen) == [1, 2, 3, 4]

"""The card over the native harness: what the fuzz found, each as a claim of its own."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

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

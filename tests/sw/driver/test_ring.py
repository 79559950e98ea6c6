"""Rings: polled by phase, released, never overfilled by who asks for room first."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from sentinic.abi.registers import RING_MARGIN_DESCRIPTORS
from sentinic.driver.attach import attach
from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.driver.memory import SHARED_FOLDER
from sentinic.driver.ring import MIN_DATA_BYTES, RingStatistics, frame_slots
from sentinic.driver.tags import losses
from sentinic.errors import RingError
from tests.sw.driver.fake import FakeTransport


def opened(descriptors: int = 64, data_bytes: int = MIN_DATA_BYTES) -> tuple[Device, FakeTransport]:
    transport = FakeTransport()
    device = Device(transport)
    device.open_ring(0, descriptors=descriptors, data_bytes=data_bytes).enable()
    device.enable()
    return device, transport


def frames(count: int, seed: int, longest: int = 1500) -> list[bytes]:
    source = random.Random(seed)
    return [bytes(12) + b"\x12\x34" + source.randbytes(source.randint(0, longest - 14)) for _ in range(count)]


def original(descriptor: np.void, data: np.ndarray) -> bytes:
    """The original frame, put together from literal positions (these frames have no VLAN tag)."""
    slot, length = int(descriptor["offset"]), int(descriptor["captured_length"])
    tag = 4 * (int(descriptor["status"]) >> 24)
    body = data[slot + 64 - tag : slot + 64 + length].tobytes()
    return body[:12] + body[12 + tag :]


def test_what_is_sent_is_polled_in_order_over_many_passes() -> None:
    device, transport = opened()
    ring = device.rings[0]
    pending, seen = frames(1000, seed=1), []
    sent = list(pending)
    source = random.Random(2)
    while pending or ring.pending():
        device.forward()
        descriptors, slots = ring.room()
        lengths = np.array([len(frame) for frame in pending[:descriptors]], np.uint32)
        count = int(np.searchsorted(np.cumsum(frame_slots(lengths)), slots, side="right"))
        transport.send(FrameBatch.from_frames(pending[:count]))
        transport.step()
        del pending[:count]
        got, data = ring.poll(source.randint(1, 40))
        seen += [original(row, data) for row in got]
        ring.release(source.randint(0, len(got)) if pending else len(got))
        del seen[ring.position :]
    assert seen == sent
    assert device.snapshot()["ring0.lost"] == 0
    assert ring.position == ring.head() == 1000
    device.close()


def test_as_many_frames_as_there_is_room_for_are_never_lost() -> None:
    for seed in range(20):
        device, transport = opened(descriptors=256)
        ring = device.rings[0]
        for _ in range(6):
            device.forward()
            descriptors, slots = ring.room()
            batch = frames(descriptors, seed, longest=9600)
            ends = np.cumsum(frame_slots(np.array([len(frame) for frame in batch], np.uint32)))
            transport.send(FrameBatch.from_frames(batch[: int(np.searchsorted(ends, slots, side="right"))]))
            transport.step()
            ring.release(len(ring.poll(random.Random(seed).randint(1, 60))[0]))
        assert device.snapshot()["ring0.lost"] == 0
        device.close()


def test_polling_again_without_releasing_gives_the_same_and_more() -> None:
    device, transport = opened()
    ring = device.rings[0]
    assert len(ring.poll()[0]) == 0
    for expected in (3, 6):
        transport.send(FrameBatch.from_frames(frames(3, seed=3)))
        transport.step()
        assert len(ring.poll()[0]) == expected
    assert len(ring.poll(2)[0]) == 2
    device.close()


def test_no_more_is_released_than_was_polled_and_is_still_held() -> None:
    device, transport = opened()
    ring = device.rings[0]
    transport.send(FrameBatch.from_frames(frames(9, seed=3)))
    transport.step()
    with pytest.raises(RingError, match=r"release must be in 0\.\.0 polled descriptors, not 1"):
        ring.release(1)
    ring.poll(5)
    ring.poll(3)
    for count in (-1, 6):
        with pytest.raises(RingError, match=rf"release must be in 0\.\.5 polled descriptors, not {count}"):
            ring.release(count)
    ring.release(2)
    with pytest.raises(RingError, match=r"must be in 0\.\.3 polled descriptors, not 4"):
        ring.release(4)
    ring.release(3)
    assert (ring.position, ring.page["descriptor_tail"], len(ring.poll()[0])) == (5, 5, 4)
    ring.disable()
    ring.enable()
    with pytest.raises(RingError, match=r"must be in 0\.\.0"):
        ring.release(1)
    device.close()


def test_a_closed_ring_is_not_read_any_more() -> None:
    device, transport = opened()
    ring = device.rings[0]
    transport.send(FrameBatch.from_frames(frames(2, seed=3)))
    transport.step()
    rows, _ = ring.poll()
    device.close()
    for use in (ring.poll, ring.pending, lambda: ring.release(1), lambda: ring.wait(0.01), ring.enable):
        with pytest.raises(RingError, match=rf"ring {ring.name!r} is closed"):
            use()
    assert rows["timestamp"].tolist() == [0, 1000]  # what was polled before stays valid


def test_statistics_of_owner_and_observer_are_those_of_the_last_snapshot() -> None:
    device, transport = opened()
    ring = device.rings[0]
    sent = frames(3, seed=3)
    transport.send(FrameBatch.from_frames(sent))
    transport.step()
    assert ring.statistics.delivered == 0
    counters = device.snapshot()
    assert ring.statistics == RingStatistics(3, counters["ring0.delivered_bytes"], 0, 0, 0)
    assert ring.statistics.delivered_bytes == sum(map(len, sent))
    assert attach(ring.name).statistics == ring.statistics
    device.close()
    assert ring.statistics.delivered == 3


def test_polled_arrays_are_views_of_the_shared_memory() -> None:
    device, transport = opened()
    transport.send(FrameBatch.from_frames(frames(3, seed=3)))
    transport.step()
    descriptors, data = device.rings[0].poll()
    assert np.shares_memory(descriptors, transport.regions[0].array)
    assert np.shares_memory(data, transport.regions[1].array)
    device.close()


def test_a_ring_that_nobody_reads_loses_its_own_and_the_tags_say_how_many() -> None:
    device, transport = opened(descriptors=64)
    ring = device.rings[0]
    transport.send(FrameBatch.from_frames(frames(100, seed=4, longest=60)))
    transport.step()
    lost = device.snapshot()["ring0.lost"]
    assert lost == 100 - (64 - RING_MARGIN_DESCRIPTORS) - 1
    ring.release(len(ring.poll()[0]))
    device.forward()
    transport.send(FrameBatch.from_frames(frames(2, seed=5, longest=60)))
    transport.step()
    rest = 0
    while ring.pending():
        descriptors, data = ring.poll()
        rest += losses(descriptors, data)
        ring.release(len(descriptors))
    assert rest == lost
    device.snapshot()
    assert ring.statistics.lost == lost
    device.close()


def test_a_ring_of_descriptors_only_is_bounded_by_its_descriptors_and_tells_its_losses() -> None:
    device, transport = opened(descriptors=64)
    ring = device.rings[0]
    ring.disable()
    ring.registers.write("snap_length", 0)
    ring.enable()
    told, sent, stamps = 0, 0, []
    for turn in range(60):
        device.forward()
        count = 20 if turn % 3 else 100  # more than there is room for, now and then
        if turn % 3:
            assert ring.room()[0] >= 20
        batch = frames(count, seed=turn)
        transport.send(FrameBatch.from_frames(batch, timestamp=range(sent, sent + count)))
        sent += count
        transport.step()
        while ring.pending():
            rows, data = ring.poll(17)
            assert not rows["captured_length"].any()
            told += losses(rows, data)
            stamps += rows["timestamp"].tolist()
            ring.release(len(rows))
    assert ring.data_position == 0
    assert not ring.data.any()
    assert stamps == sorted(set(stamps))
    lost = device.snapshot()["ring0.lost"]
    assert lost == told == sent - len(stamps) > 0
    device.close()


def test_slots_among_plain_segments_are_given_back_however_they_are_polled_and_attached_readers_see_all() -> None:
    """Released in bites that mostly end with a segment without a slot: the slots before it must not stay taken."""
    device, transport = opened(descriptors=256)
    ring = device.rings[0]
    ring.disable()
    ring.registers.write("extras", 1, "bare_plain")
    ring.enable()
    observer = attach(ring.name)
    segment = bytes(Ether(src="02::1", dst="02::2") / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2))
    bulk = bytes(12) + b"\x12\x34" + b"\1" * 1386
    r = random.Random(5)
    sent = 0
    for _ in range(80):
        device.forward()
        descriptors, slots = ring.room()
        assert slots > 0
        batch = [segment if r.random() < 0.9 else bulk for _ in range(min(descriptors, slots // 24, 60))]
        assert batch, "released slots were not given back"
        transport.send(FrameBatch.from_frames(batch, timestamp=range(sent, sent + len(batch))))
        transport.step()
        for reader in (ring, observer):
            seen = []
            while reader.pending():
                rows, data = reader.poll(r.choice((1, 5, 40)))
                seen += zip(rows["timestamp"].tolist(), (rows["status"] >> 23 & 1).tolist(), strict=True)
                for row in rows[rows["captured_length"] != 0]:
                    assert original(row, data) == bulk
                reader.release(len(rows))
            assert seen == [(sent + n, octets is segment) for n, octets in enumerate(batch)]
        sent += len(batch)
    assert device.snapshot()["ring0.lost"] == 0
    assert ring.data_position > 2 * len(ring.data) // 64, "the data ring went round"
    device.close()


def test_enabling_again_begins_at_slot_0() -> None:
    device, transport = opened()
    ring = device.rings[0]
    transport.send(FrameBatch.from_frames(frames(50, seed=6)))
    transport.step()
    ring.disable()
    ring.enable()
    assert not ring.pending()
    transport.send(FrameBatch.from_frames(frames(1, seed=7)))
    transport.step()
    assert ring.poll()[0]["offset"].tolist() == [0]
    device.close()


@pytest.mark.parametrize(
    ("descriptors", "data_bytes"), [(63, MIN_DATA_BYTES), (96, MIN_DATA_BYTES), (64, 4096), (1 << 25, MIN_DATA_BYTES)]
)
def test_sizes_out_of_range_are_refused(descriptors: int, data_bytes: int) -> None:
    with pytest.raises(RingError, match="power of two in"):
        Device(FakeTransport()).open_ring(0, descriptors=descriptors, data_bytes=data_bytes)


def test_a_name_in_use_is_refused_and_leaves_nothing_behind() -> None:
    first, second = Device(FakeTransport()), Device(FakeTransport())
    name = first.open_ring(0).name
    with pytest.raises(RingError, match="in use"):
        second.open_ring(0, name=name)
    first.close()
    second.open_ring(0, name=name)
    second.close()


def test_waiting_ends_with_the_first_packet_or_the_time_out() -> None:
    device, transport = opened()
    ring = device.rings[0]
    assert not ring.wait(0.01, transport.wait)
    transport.send(FrameBatch.from_frames([bytes(60)]))
    transport.step()
    assert ring.wait(0.01)
    device.close()


def test_a_process_that_forgets_to_close_leaves_no_shared_memory() -> None:
    program = (
        "from sentinic.driver.device import Device; from tests.sw.driver.fake import FakeTransport; "
        "ring = Device(FakeTransport()).open_ring(0); print(ring.name)"
    )
    root = str(Path(__file__).parents[3])
    out = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60)
    name = out.stdout.strip()
    assert name.startswith("sentinic-ring0-")
    assert not list(SHARED_FOLDER.glob(f"{name}*"))

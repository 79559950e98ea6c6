"""Rings read from another process, as its consumer or as an observer."""

import subprocess
import sys

import pytest

from sentinic.driver.attach import attach
from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import MIN_DATA_BYTES, Ring
from sentinic.errors import AbiMismatchError, OverrunError, RingError
from tests.sw.driver.fake import FakeTransport


@pytest.fixture
def device() -> Device:
    device = Device(FakeTransport())
    device.open_ring(0, descriptors=64, data_bytes=MIN_DATA_BYTES).enable()
    device.enable()
    yield device
    device.close()


def feed(device: Device, count: int, size: int = 60, first: int = 0) -> None:
    """Frames with the times first, first + 1, ..."""
    device.forward()
    times = list(range(first, first + count))
    device.transport.send(FrameBatch.from_frames([bytes(size)] * count, timestamp=times))
    device.transport.step()
    device.forward()


def drain(ring: Ring) -> None:
    while ring.pending():
        ring.release(len(ring.poll()[0]))


def test_a_consumer_in_another_process_reads_and_frees(device: Device) -> None:
    feed(device, 30)
    program = """
import sys
from sentinic.driver.attach import attach
with attach(sys.argv[1], consume=True) as ring:
    rows, data = ring.poll()
    print(rows["timestamp"].tolist() == list(range(30)), len(data), ring.running)
    ring.release(30)
"""
    name = device.rings[0].name
    out = subprocess.run([sys.executable, "-c", program, name], check=True, capture_output=True, text=True, timeout=60)
    assert out.stdout.split() == ["True", str(MIN_DATA_BYTES), "True"]
    before = device.rings[0].room()
    device.forward()
    after = device.rings[0].room()
    assert after[0] == before[0] + 30
    assert after[1] == before[1] + 60


def test_only_one_process_consumes(device: Device) -> None:
    with attach(device.rings[0].name, consume=True):
        program = "import sys; from sentinic.driver.attach import attach; attach(sys.argv[1], consume=True)"
        name = device.rings[0].name
        out = subprocess.run([sys.executable, "-c", program, name], capture_output=True, text=True, timeout=60)
    assert "already has a consumer" in out.stderr


def test_an_observer_sees_what_the_consumer_sees(device: Device) -> None:
    observer = attach(device.rings[0].name)
    for first in range(0, 300, 30):
        feed(device, 30, first=first)
        seen: list[int] = []
        while observer.pending():
            rows, _ = observer.poll()
            seen += rows["timestamp"].tolist()
            observer.release(len(rows))
        assert seen == list(range(first, first + 30))
        drain(device.rings[0])


def test_an_observer_cannot_write(device: Device) -> None:
    observer = attach(device.rings[0].name)
    with pytest.raises(ValueError, match="read-only"):
        observer.data[0] = 1


@pytest.mark.parametrize("rounds", range(1, 9))
def test_a_slow_observer_is_told_and_goes_on_with_whole_packets(device: Device, rounds: int) -> None:
    observer = attach(device.rings[0].name)
    feed(device, 10)
    rows, _ = observer.poll()
    kept = rows["timestamp"].copy()
    for turn in range(rounds):
        drain(device.rings[0])
        feed(device, 30, first=100 + 30 * turn)
    if 10 + 30 * rounds <= 64:
        observer.release(len(rows))
        assert (rows["timestamp"] == kept).all()
        return
    with pytest.raises(OverrunError, match=r"packets 0\.\."):
        observer.release(len(rows))
    seen: list[int] = []
    while observer.pending():
        rows, _ = observer.poll()
        seen += rows["timestamp"].tolist()
        observer.release(len(rows))
    assert seen == list(range(100 + 30 * (rounds - 1), 100 + 30 * rounds))


def test_slots_written_over_count_as_overrun_though_the_descriptors_stand(device: Device) -> None:
    observer = attach(device.rings[0].name)
    feed(device, 3, size=9000)
    rows, _ = observer.poll()
    for _ in range(2):
        drain(device.rings[0])
        feed(device, 6, size=9000)
    with pytest.raises(OverrunError):
        observer.release(len(rows))


def test_a_ring_of_descriptors_only_is_consumed_and_observed_as_any(device: Device) -> None:
    ring = device.rings[0]
    ring.disable()
    ring.registers.write("snap_length", 0)
    ring.enable()
    with attach(ring.name, consume=True) as consumer:
        feed(device, 40)
        observer = attach(ring.name)
        assert observer.poll()[0]["timestamp"].tolist() == list(range(40))
        observer.release(40)
        consumer.release(len(consumer.poll(30)[0]))
        feed(device, 30, first=40)
        late = attach(ring.name)
        assert (late.position, late.data_position) == (30, 0)
        assert observer.poll()[0]["timestamp"].tolist() == list(range(40, 64))  # to the ring's end
        for first in (70, 100):
            consumer.release(len(consumer.poll()[0]))
            consumer.release(len(consumer.poll()[0]))
            feed(device, 40, first=first)
        with pytest.raises(OverrunError):
            late.poll()
        assert device.snapshot()["ring0.lost"] == 0


def test_readers_elsewhere_release_no_more_than_they_polled(device: Device) -> None:
    feed(device, 10)
    with attach(device.rings[0].name, consume=True) as consumer:
        for reader in (consumer, attach(device.rings[0].name)):
            reader.poll(4)
            for count in (5, -1):
                with pytest.raises(RingError, match=rf"must be in 0\.\.4 polled descriptors, not {count}"):
                    reader.release(count)
            reader.release(4)
            assert len(reader.poll()[0]) == 6


def test_a_ring_that_is_not_there_or_none_of_ours_is_refused(device: Device) -> None:
    with pytest.raises(RingError, match="no ring named"):
        attach("sentinic-nothing-of-this-name")
    with pytest.raises(RingError, match="not the control page"):
        attach(device.rings[0].page.region_name("data_region"))
    device.rings[0].page["abi_version"] = 0x0005_0001
    with pytest.raises(AbiMismatchError, match=r"5\.1.*1\.0"):
        attach(device.rings[0].name)


def test_after_the_owner_has_gone_what_was_delivered_stays_readable(device: Device) -> None:
    feed(device, 5)
    device.snapshot()
    observer = attach(device.rings[0].name)
    device.close()
    assert not observer.running
    assert len(observer.poll()[0]) == 5
    assert observer.statistics.delivered == 5

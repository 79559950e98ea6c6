"""Shared memory: made as a whole or not at all, and gone with the process that made it, however that ended."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sentinic.driver.device import Device
from sentinic.driver.memory import SHARED_FOLDER, DmaRegion, sweep, unique_name
from sentinic.errors import DeviceError, RingError
from tests.sw.driver.fake import FakeTransport


@pytest.fixture
def killed() -> list[Path]:
    """The files of two regions whose process was killed."""
    program = (
        "import time; from sentinic.driver.memory import DmaRegion, unique_name; "
        "made = [DmaRegion.create(name, 1) for name in "
        "(unique_name('sentinic-ring3'), unique_name('sentinic') + '-some-data')]; "
        "print(*(region.name for region in made), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    paths = [SHARED_FOLDER / name for name in process.stdout.readline().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(path.exists() for path in paths)
    return paths


def test_a_sweep_removes_what_a_killed_process_left_and_nothing_else(killed: list[Path]) -> None:
    mine = DmaRegion.create(unique_name("sentinic-ring0"), 1)
    other = SHARED_FOLDER / f"sentinic-{killed[0].name}x"
    other.touch()
    try:
        assert {path.name for path in killed} <= set(sweep())
        assert not any(path.exists() for path in killed)
        assert (SHARED_FOLDER / mine.name).exists()
        assert other.exists()
    finally:
        other.unlink()
        mine.close()


def test_opening_a_card_sweeps(killed: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinic.driver.device.open_transport", lambda *_, **__: FakeTransport())
    Device.open("fake", "wide").close()
    assert not any(path.exists() for path in killed)


def test_memory_that_is_not_there_is_refused_when_the_region_is_made() -> None:
    name = unique_name("sentinic")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            DmaRegion.create(name, 8193)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (SHARED_FOLDER / name).exists()


def test_a_ring_takes_over_the_name_of_one_whose_memory_is_gone() -> None:
    name = unique_name("test")
    first = Device(FakeTransport())
    ring = first.open_ring(0, name=name)
    with Device(FakeTransport()) as second:
        with pytest.raises(RingError, match="in use by another ring"):
            second.open_ring(0, name=name)
        for region in ring._regions:
            region.close()  # as a sweep does
        assert (SHARED_FOLDER / name).exists()
        second.open_ring(0, name=name).enable()
    assert not (SHARED_FOLDER / name).exists()


def test_a_name_that_is_something_elses_is_never_taken_over() -> None:
    path = SHARED_FOLDER / unique_name("test")
    path.write_bytes(bytes(4096))
    try:
        with Device(FakeTransport()) as device, pytest.raises(RingError, match="in use by another ring"):
            device.open_ring(0, name=path.name)
        assert path.exists()
    finally:
        path.unlink()


def test_a_ring_whose_packets_never_arrive_says_so_and_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sentinic.driver.ring._DRAIN_STEPS", 20)
    transport = FakeTransport()
    device = Device(transport)
    ring = device.open_ring(0)
    ring.enable()
    device.enable()
    transport.busy = True
    with pytest.raises(DeviceError, match="still under way to its memory after 20000 cycles"):
        ring.disable()
    with pytest.raises(DeviceError):
        device.close()
    assert transport.closed
    assert not [path for path in SHARED_FOLDER.glob(f"sentinic-ring0-{os.getpid()}-*") if path.name == ring.name]

"""The cocotb transport gives what the native one gives; and it goes away without a trace, however it ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentinic.abi.descriptor import HEADROOM
from sentinic.abi.registers import CARD, COUNTERS_BASE
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.memory import SHARED_FOLDER
from sentinic.errors import TransportError
from sentinic_sim.cocotb_backend import CocotbTransport, open_cocotb
from tests.hdl.card.frames import mixed

COUNT = 200
#: Counters of time, not of packets: they depend on how fast memory and MACs are.
TIMING = ("cycles", "busy", "stall")


@dataclass
class Seen:
    """What a host finds after a run: descriptors and slots by ring, counters, time."""

    descriptors: list[bytes]
    slots: list[list[bytes]]
    counters: dict[str, int]
    time: int


def batch(seed: int, count: int) -> FrameBatch:
    frames = mixed(seed, count)
    return FrameBatch.from_frames(
        [frame.data for frame in frames],
        timestamp=[frame.timestamp for frame in frames],
        # Some cut upstream, some bad: the columns have to arrive, too.
        wire_length=[len(frame.data) + (100 if n % 17 == 0 else 0) for n, frame in enumerate(frames)],
        port=[frame.port for frame in frames],
        error=[int(n % 23 == 0) for n in range(count)],
    )


def run(backend: str, profile: str, frames: FrameBatch, **options: Any) -> Seen:
    with Device.open(backend, profile, **options) as device:
        device.set_hash_key()
        device.set_pause(True)
        rings = [device.open_ring(n, descriptors=1024, data_bytes=4 << 20) for n in range(2)]
        rings[1].registers.write("snap_length", 96)
        rings[1].registers.write("sample", 3)
        for ring in rings:
            ring.enable()
        device.enable()
        half = len(frames) // 2
        for part in (frames[:half], frames[half:]):
            device.transport.send(part)
            for _ in range(16):
                device.transport.step(1_000_000)
                if not device.transport.pending and not device.registers["card"].read("cells_used"):
                    break
        counters = device.snapshot()
        polled = [ring.poll() for ring in rings]
        return Seen(
            [descriptors.tobytes() for descriptors, _ in polled],
            [tagged(descriptors, data) for descriptors, data in polled],
            counters,
            device.time(),
        )


def tagged(descriptors: Any, data: Any) -> list[bytes]:
    """The frames of a ring with their tags; what a tag leaves before itself in the headroom is nobody's."""
    rows = zip(
        descriptors["offset"].astype(np.int64).tolist(),
        descriptors["captured_length"].tolist(),
        (descriptors["status"] >> 24).tolist(),
        strict=True,
    )
    return [data[at + HEADROOM - 4 * tag : at + HEADROOM + length].tobytes() for at, length, tag in rows]


def leftovers(process: int) -> list[str]:
    return [path.name for path in SHARED_FOLDER.glob("sentinic-*") if f"-{process}-" in path.name]


def test_frames_come_out_of_a_ring_as_they_went_in() -> None:
    """In seconds: the model is that of the card's benches."""
    frames = [bytes(range(60)), bytes(range(250)) * 2]
    with Device.open("cocotb", "board") as device:
        ring = device.open_ring(0, descriptors=64, data_bytes=1 << 20)
        ring.enable()
        device.enable()
        device.transport.send(FrameBatch.from_frames(frames, timestamp=[5000, 9000], port=[0, 1]))
        device.transport.step()
        descriptors, data = ring.poll()
        # The tag stands behind the addresses.
        pairs = zip(tagged(descriptors, data), frames, strict=True)
        assert [octets[:12] + octets[12 - len(frame) :] for octets, frame in pairs] == frames
        assert descriptors["timestamp"].tolist() == [5000, 9000]
        counters = device.snapshot()
    check_conservation(counters)
    assert (counters["received"], counters["delivered"]) == (2, 2)


@pytest.fixture
def card() -> Iterator[CocotbTransport]:
    transport = open_cocotb("wide", timeout=60)
    yield transport
    transport.close()


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["wide", "board"])
def test_both_backends_deliver_the_same(profile: str) -> None:
    frames = batch(11, COUNT)
    native, cocotb = run("native", profile, frames), run("cocotb", profile, frames)
    check_conservation(cocotb.counters)
    assert cocotb.counters["received"] == COUNT
    assert len(cocotb.slots[0]) > COUNT // 2
    assert 0 < len(cocotb.slots[1]) < len(cocotb.slots[0])
    assert cocotb.descriptors == native.descriptors
    assert cocotb.slots == native.slots
    assert cocotb.time == native.time
    for name, value in native.counters.items():
        if not any(word in name for word in TIMING):
            assert cocotb.counters[name] == value, name


@pytest.mark.slow
def test_writes_outside_of_every_region_are_answered_with_an_error(card: CocotbTransport) -> None:
    with Device(card) as device:
        ring = device.open_ring(0, descriptors=64, data_bytes=1 << 20)
        ring.registers.write("data_base_high", 0x77)
        ring.enable()
        device.enable()
        card.send(batch(3, 4))
        card.step()
        assert card.decode_errors > 0
        assert device.snapshot()["ring0.errors"] > 0


@pytest.mark.slow
def test_a_card_that_is_off_takes_nothing_and_step_says_so(card: CocotbTransport) -> None:
    card.send(FrameBatch.from_frames([bytes(60)]))
    card.step()
    assert (card.stop_reason, card.pending) == ("stuck", 1)
    card.reset()
    assert card.pending == 0
    assert card.step(100) == 100
    assert card.stop_reason == "cycles"


@pytest.mark.slow
def test_wire_time_follows_frames_and_passes_in_wait(card: CocotbTransport) -> None:
    card.write(CARD.address("control"), 1)
    card.send(FrameBatch.from_frames([bytes(60)] * 3, timestamp=[5000, 90_000, 7000]))
    card.step()
    assert card.now() == 90_000
    before = card.cycles
    assert not card.wait(2e-6)
    passed = (card.cycles - before) * 1e9 / card.profile.clock_hz
    assert card.now() - 90_000 == pytest.approx(passed, abs=200)


@pytest.mark.slow
@pytest.mark.parametrize("address", [2, -4])
def test_addresses_that_are_none_are_refused(card: CocotbTransport, address: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        card.read(address)
    assert card.read(COUNTERS_BASE) == 0


@pytest.mark.slow
def test_frames_for_a_port_that_is_not_there_are_refused(card: CocotbTransport) -> None:
    with pytest.raises(ValueError, match="below 2"):
        card.send(FrameBatch.from_frames([bytes(60)], port=2))


@pytest.mark.slow
def test_a_simulator_that_dies_is_told_of_and_leaves_no_memory(card: CocotbTransport) -> None:
    before = leftovers(os.getpid())
    card.alloc("ring", 4096)
    assert len(leftovers(os.getpid())) == len(before) + 1
    os.kill(card.process_id, signal.SIGKILL)
    with pytest.raises(TransportError, match=r"ended .*SIGKILL"):
        card.read(0)
    assert leftovers(os.getpid()) == before
    with pytest.raises(TransportError, match="closed"):
        card.read(0)
    card.close()


@pytest.mark.slow
def test_a_simulator_that_hangs_is_ended_after_the_timeout() -> None:
    card = open_cocotb("wide", timeout=2)
    os.kill(card.process_id, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(TransportError, match="did not answer 'read' within 2 s"):
        card.read(0)
    assert time.monotonic() - begin < 10


@pytest.mark.slow
def test_interrupting_a_step_leaves_the_transport_usable(card: CocotbTransport, interruptible: None) -> None:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        card.wait(60)
    assert card.read(0) == card.read(0) != 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_neither_process_nor_memory_outlives_the_host(number: signal.Signals, interruptible: None) -> None:
    script = (
        "from sentinic.driver.device import Device\n"
        "card = Device.open('cocotb', 'wide')\n"
        "card.open_ring(0)\n"
        "print(card.transport.process_id, flush=True)\n"
        "while True: card.transport.step(10_000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as host:
        try:
            assert host.stdout is not None
            simulator = int(host.stdout.readline())
            assert leftovers(host.pid)
            host.send_signal(number)
            host.wait(60)
        finally:
            host.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (Path(f"/proc/{simulator}").exists() or leftovers(host.pid)):
        time.sleep(0.1)
    assert not Path(f"/proc/{simulator}").exists()
    assert not leftovers(host.pid)

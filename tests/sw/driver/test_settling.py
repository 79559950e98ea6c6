"""Frames out of a ring as they went in, once the card is through with them; and a ring that nobody reads."""

from pathlib import Path

import dpkt
import numpy as np
import pytest

import sentinic
from sentinic.capture import CaptureReader
from sentinic.driver import settling
from sentinic.driver.records import status_bits
from sentinic.driver.ring import MIN_DATA_BYTES
from sentinic_sim.native import MemoryOptions, NativeTransport

DEMO = Path(__file__).parents[3] / "sim" / "demo" / "demo.pcapng"
#: What its unread ring has no room for.
MANY, DESCRIPTORS = 200, 64


@pytest.mark.parametrize("profile", ["wide", "board"])
@pytest.mark.parametrize("snap_length", [9600, 64, 0])
def test_frames_come_out_as_they_went_in(profile: str, snap_length: int) -> None:
    with DEMO.open("rb") as file:
        sent = [octets for _, octets in dpkt.pcapng.Reader(file)]
    seen: list[bytes] = []
    vlans: set[int] = set()
    with sentinic.Device.open("native", profile) as device, CaptureReader(DEMO) as capture:
        ring = device.open_ring(0)
        ring.registers.write("snap_length", snap_length)
        ring.enable()
        device.set_pause(True)
        device.enable()

        def read() -> None:
            rows, data = ring.poll()
            seen.extend(sentinic.frame_bytes(row, data) for row in rows)
            vlans.update(np.unique(status_bits(rows["status"], "vlan_count")).tolist())
            ring.release(len(rows))

        for batch in capture:
            device.transport.send(batch)
        sentinic.settle(device, read)
        sentinic.check_conservation(device.snapshot())
    assert seen == [octets[:snap_length] for octets in sent]
    assert vlans == {0, 1, 2}


def test_a_ring_that_nobody_reads_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "STEPS", 20)
    with sentinic.Device.open("native", "wide") as device:
        device.open_ring(0, descriptors=DESCRIPTORS).enable()
        device.set_pause(True)
        device.enable()
        device.transport.send(sentinic.FrameBatch.from_frames([bytes(60)] * MANY))
        with pytest.raises(sentinic.SentinicError, match="still wait for room in a ring"):
            sentinic.settle(device)
        assert device.snapshot()["delivered"] <= DESCRIPTORS


@pytest.mark.parametrize("profile", ["wide", "board"])
def test_nobody_waits_for_room_in_a_ring_that_faulted(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The consumer stands before the descriptor that was not written; 300 frames of 9,000 bytes lie behind it, or would.
    monkeypatch.setattr(settling, "STEPS", 500)
    with sentinic.Device.open("native", profile) as device:
        assert isinstance(device.transport, NativeTransport)
        faulty = device.open_ring(0, descriptors=DESCRIPTORS, data_bytes=MIN_DATA_BYTES)
        whole = device.open_ring(1)
        for ring in (faulty, whole):
            ring.enable()
        device.set_pause(True)
        device.enable()
        at = faulty.registers.read("descriptor_base_low") | faulty.registers.read("descriptor_base_high") << 32
        device.transport.configure(MemoryOptions(error_begin=at, error_end=at + 1, latency=300))
        device.transport.send(sentinic.FrameBatch.from_frames([bytes(9000)] * 300))
        seen = 0

        def read() -> None:
            nonlocal seen
            for ring in (faulty, whole):
                rows, _ = ring.poll()
                ring.release(len(rows))
                seen += len(rows)

        sentinic.settle(device, read)
        assert faulty.faulted
        assert seen == 300
        assert faulty.room() == (DESCRIPTORS, MIN_DATA_BYTES // 64)
        sentinic.check_conservation(device.snapshot())

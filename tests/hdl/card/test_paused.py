"""A card that pauses loses nothing to a ring that nobody reads for a while, whatever comes out of it at once."""

from collections.abc import Callable, Iterator

import dpkt
import numpy as np
import pytest

from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import MIN_DATA_BYTES, MIN_DESCRIPTORS, Ring
from sentinic.driver.syn_offload import Mode, SynOffload, are_records, are_regenerated, attempts_of, read_records
from sentinic.errors import DeviceError

BEGIN, TIMEOUT = 1_700_000_000 * 10**9, 5 * 10**9
#: More than a small ring takes, and so few that hardly any is evicted.
SYNS = 200


@pytest.fixture(params=["wide", "board"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        found.set_pause(True)
        found.enable()
        yield found


def syn(number: int) -> bytes:
    return _segment(b"\x0a\0\0\1", 1000 + number, b"\xc0\0\2\1", 80, dpkt.tcp.TH_SYN, number)


def answer(number: int) -> bytes:
    return _segment(b"\xc0\0\2\1", 80, b"\x0a\0\0\1", 1000 + number, dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK, 7)


def _segment(source: bytes, sport: int, destination: bytes, dport: int, flags: int, sequence: int) -> bytes:
    tcp = dpkt.tcp.TCP(sport=sport, dport=dport, flags=flags, seq=sequence)
    ip = dpkt.ip.IP(src=source, dst=destination, p=dpkt.ip.IP_PROTO_TCP, data=tcp)
    ip.len = len(ip)
    return bytes(dpkt.ethernet.Ethernet(src=b"\2\0\0\0\0\1", dst=b"\2\0\0\0\0\2", data=ip))


def small_ring(device: Device, number: int = 0) -> Ring:
    ring = device.open_ring(number, descriptors=MIN_DESCRIPTORS, data_bytes=MIN_DATA_BYTES)
    ring.enable()
    return ring


def send(device: Device, frames: list[bytes], at: int = BEGIN) -> None:
    stamps = at + np.arange(len(frames), dtype=np.uint64)
    device.transport.send(FrameBatch.from_frames(frames, timestamp=stamps))


def settle(device: Device) -> None:
    """Until nothing but held SYNs is inside."""
    for _ in range(1000):
        device.transport.step(1000)
        if not device.transport.pending and not device.registers["card"].read("cells_used"):
            return
    raise AssertionError("no rest")


def others(count: int) -> list[bytes]:
    return [bytes.fromhex("020000000001 020000000002 88b5") + number.to_bytes(46, "big") for number in range(count)]


def read_all(device: Device, rings: list[Ring], use: Callable[[int, np.ndarray, np.ndarray], None]) -> None:
    """Read some of each ring after every few cycles, until nothing more comes."""
    quiet = 0
    while quiet < 10:
        device.transport.step(300)
        quiet += 1
        for ring in rings:
            descriptors, data = ring.poll(10)
            if len(descriptors):
                quiet = 0
                use(ring.number, descriptors.copy(), data)
                ring.release(len(descriptors))
        device.forward()


def test_frames_wait_at_the_port_until_every_ring_that_wants_them_has_room(device: Device) -> None:
    count = 2000
    rings = [small_ring(device), device.open_ring(1)]
    rings[1].enable()
    send(device, others(count))
    device.transport.step(100_000)
    assert device.transport.pending > count // 4
    counters = device.snapshot()
    assert counters["delivered"] < 2 * MIN_DESCRIPTORS
    assert counters["delivered"] + counters["held"] == counters["received"]
    stamps: dict[int, list[int]] = {0: [], 1: []}
    read_all(device, rings, lambda ring, found, data: stamps[ring].extend(found["timestamp"].tolist()))
    assert stamps[0] == stamps[1] == [BEGIN + number for number in range(count)]
    counters = device.snapshot()
    check_conservation(counters)
    assert counters["delivered"] == count


def test_a_ring_that_is_switched_off_lets_the_others_go_on(device: Device) -> None:
    count = 500
    unread, read = small_ring(device), device.open_ring(1)
    read.enable()
    send(device, others(count))
    device.transport.step(100_000)
    assert device.transport.pending
    unread.disable()
    stamps: list[int] = []
    read_all(device, [read], lambda ring, found, data: stamps.extend(found["timestamp"].tolist()))
    assert stamps == [BEGIN + number for number in range(count)]
    check_conservation(device.snapshot())


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("end", ["time", "finish", "answers"])
def test_attempts_that_are_over_at_once_wait_for_room(device: Device, mode: Mode, end: str) -> None:
    ring, offload = small_ring(device), SynOffload(device)
    offload.to_ring(ring)
    offload.enable(timeout=TIMEOUT, mode=mode)
    send(device, [syn(number) for number in range(SYNS)])
    settle(device)
    held, evicted = offload.holding, device.snapshot()["delivered"]
    assert held > SYNS * 8 // 10
    stamps: list[int] = []
    told: list[int] = []

    def use(number: int, found: np.ndarray, data: np.ndarray) -> None:
        records = are_records(found, data)
        if records.any():
            told.extend(read_records(found[records], data).items["first"].tolist())
        given = are_regenerated(found)
        told.extend(found["timestamp"][given].tolist())
        stamps.extend(found["timestamp"][~given & ~records].tolist())

    if end == "time":
        send(device, others(1), BEGIN + 2 * TIMEOUT)
    elif end == "answers":
        send(device, [answer(number) for number in range(SYNS)], BEGIN + SYNS)
    else:

        def meanwhile() -> None:
            found, data = ring.poll(10)
            use(0, found.copy(), data)
            ring.release(len(found))

        offload.finish(meanwhile)
    if end != "finish":
        device.transport.step(100_000)
        assert device.snapshot()["delivered"] <= evicted + MIN_DESCRIPTORS
    read_all(device, [ring], use)
    assert sorted(told) == [BEGIN + number for number in range(SYNS)]
    assert (
        stamps
        == {
            "time": [BEGIN + 2 * TIMEOUT],
            "finish": [],
            "answers": [BEGIN + SYNS + number for number in range(SYNS)],
        }[end]
    )
    counters = device.snapshot()
    check_conservation(counters)
    assert not any(value for name, value in counters.items() if "dropped" in name or "unreported" in name)


def test_finishing_while_nobody_reads_is_an_error_and_loses_nothing(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinic.driver.syn_offload._WAIT_STEPS", 300)
    ring, offload = small_ring(device), SynOffload(device)
    offload.enable(timeout=TIMEOUT)
    send(device, [syn(number) for number in range(SYNS)])
    settle(device)
    with pytest.raises(DeviceError, match=r"SYN offload: .* are (the rings|packets) read\?"):
        offload.finish()
    stamps: list[int] = []
    for _ in range(50):  # the walk through the table goes on
        read_all(device, [ring], lambda number, found, data: stamps.extend(found["timestamp"].tolist()))
    assert sorted(stamps) == [BEGIN + number for number in range(SYNS)]
    check_conservation(device.snapshot())


def test_after_a_finish_that_nobody_read_for_new_attempts_wait_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinic.driver.syn_offload._WAIT_STEPS", 50)
    ring, offload = small_ring(device), SynOffload(device)
    offload.enable(timeout=TIMEOUT)
    send(device, [syn(number) for number in range(SYNS)])
    settle(device)
    with pytest.raises(DeviceError, match="still flushing"):
        offload.finish()
    stamps: list[int] = []

    def read() -> None:
        found, _ = ring.poll(10)
        stamps.extend(found["timestamp"].tolist())
        ring.release(len(found))

    offload.enable(timeout=TIMEOUT, meanwhile=read)
    assert not offload.holding
    send(device, [syn(SYNS + number) for number in range(SYNS // 2)], BEGIN + SYNS)
    read_all(device, [ring], lambda number, found, data: stamps.extend(found["timestamp"].tolist()))
    counters = device.snapshot()
    ended = attempts_of(counters, device.profile)
    assert ended["expired"] <= SYNS
    assert offload.holding == 3 * SYNS // 2 - ended["expired"] - ended["evicted"] > 0
    assert len(stamps) == ended["expired"] + ended["evicted"]
    check_conservation(counters)

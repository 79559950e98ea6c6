"""ICMP errors as answers on the whole card: the SYN that one quotes is delivered just before it, as it was."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from scapy.layers.inet import ICMP
from scapy.packet import Packet

from sentinic.abi.profiles import PROFILES
from sentinic.abi.syn_offload import Reason
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import Ring
from sentinic.driver.syn_offload import SynOffload, are_regenerated, attempts_of, read_attempts
from sentinic.run.untag import Untagger
from tests.hdl.parser.errors import LINKS, Case, cases
from tests.reference.card import Frame

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if profile.attempts]
BEGIN, STEP = 10**15, 1000


@pytest.fixture(params=BUILDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        yield found


def batch_of(frames: Sequence[Frame]) -> FrameBatch:
    lengths = np.array([len(frame.data) for frame in frames], np.uint32)
    return FrameBatch(
        data=np.frombuffer(b"".join(frame.data for frame in frames), np.uint8),
        offset=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
        length=lengths,
        wire_length=np.array([frame.wire_length or len(frame.data) for frame in frames], np.uint32),
        timestamp=np.array([frame.timestamp for frame in frames], np.uint64),
        port=np.array([frame.port for frame in frames], np.uint8),
        error=np.zeros(len(frames), np.uint8),
    )


def take(ring: Ring) -> list[tuple[bytes, int, Reason]]:
    """Bytes, wire time and reason of all packets in the ring; those that were not held have none."""
    descriptors, data = ring.poll(1 << 16)
    held = are_regenerated(descriptors)
    reasons = np.zeros(len(descriptors), int)
    reasons[held] = read_attempts(descriptors[held], data)["reason"]
    octets, start = Untagger().untag(descriptors, data)
    found = [
        (octets[at : at + length].tobytes(), int(time), Reason(reason))
        for at, length, time, reason in zip(
            start, descriptors["captured_length"], descriptors["timestamp"], reasons, strict=True
        )
    ]
    ring.release(len(descriptors))
    return found


def odd_cases(port: int) -> dict[str, Case]:
    """Errors of which only the stage knows that they end nothing."""
    case, other = cases(port)["whole quote"], cases(port, sequence=5)["whole quote"]
    wrong = case.error.copy()
    wrong[ICMP].chksum = 1
    return {
        "another sequence number": Case(other.error, case.syn, False),
        "another port": Case(cases(port + 20_000)["whole quote"].error, case.syn, False),
        "bad checksum": Case(wrong, case.syn, False),
    }


def framed(packet: Packet, time: int, port: int) -> Frame:
    return Frame(bytes(packet).ljust(60, b"\0"), timestamp=time, port=port)


def test_the_syn_that_an_error_quotes_comes_just_before_it(device: Device) -> None:
    ring = device.open_ring(0, descriptors=4096, data_bytes=1 << 22)
    ring.enable()
    offload = SynOffload(device)
    offload.enable()
    device.set_pause(True)
    device.enable()
    names = [*cases(), *odd_cases(0)]
    frames, wanted, late = [], [], []
    for number, (link, name) in enumerate((link, name) for link in LINKS for name in names):
        port = 1000 + number
        case = (cases(port) | odd_cases(port))[name]
        # Behind MPLS a SYN is not held: only the error comes so.
        syn = framed(LINKS["Ethernet" if link == "MPLS" else link] / case.syn, BEGIN + 2 * STEP * number, 0)
        error = framed(LINKS[link] / case.error, BEGIN + STEP * (2 * number + 1), number % 2)
        frames += [syn, error]
        told = (syn.data, syn.timestamp)
        if case.is_read:
            wanted.append((*told, Reason.UNREACHABLE))
        else:
            late.append((*told, Reason.EXPIRED))
        wanted.append((error.data, error.timestamp, Reason.NONE))
    device.transport.send(batch_of(frames))
    device.transport.step()
    assert take(ring) == wanted
    assert offload.holding == len(late)
    counters = device.snapshot()
    check_conservation(counters)
    told_of = attempts_of(counters, device.profile)
    assert told_of["unreachable"] == len(frames) // 2 - len(late) == counters["port0.attempts_unreachable"]
    offload.finish()
    assert sorted(take(ring)) == sorted(late)
    check_conservation(device.snapshot())


def test_an_error_cut_by_the_snap_length_is_an_answer_as_far_as_its_quote_goes(device: Device) -> None:
    ring = device.open_ring(0, descriptors=256, data_bytes=1 << 18)
    ring.enable()
    offload = SynOffload(device)
    offload.enable()
    device.set_pause(True)
    device.enable()
    needed = 14 + 20 + 8 + 20 + 8
    frames = []
    for number, length in enumerate((needed - 1, needed)):
        case = cases(1000 + number)["whole quote"]
        error = framed(LINKS["Ethernet"] / case.error, BEGIN + 2 * number + 1, 0)
        frames.append(framed(LINKS["Ethernet"] / case.syn, BEGIN + 2 * number, 0))
        frames.append(error._replace(data=error.data[:length], wire_length=len(error.data)))
    device.transport.send(batch_of(frames))
    device.transport.step()
    assert [reason for *_, reason in take(ring)] == [Reason.NONE, Reason.UNREACHABLE, Reason.NONE]
    assert offload.holding == 1
    offload.finish()

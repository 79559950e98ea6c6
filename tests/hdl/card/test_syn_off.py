"""SYN offload off: on the whole card nothing tells that the stage is there, before it was on and after."""

from dataclasses import dataclass

import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.abi.registers import SYN_OFFLOAD
from sentinic.driver.registers import RegisterBlock
from sentinic.driver.syn_offload import Mode, SynOffload, attempts_of
from sentinic_sim.build import build_model
from sentinic_sim.native import NativeTransport
from tests.hdl.card.frames import mixed
from tests.hdl.card.native_card import NativeCard, Seen, check_port_order
from tests.hdl.card.test_syn_flood import SHARE, tcp_frames
from tests.reference.card import Frame, Ring, frames_of_batch

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if profile.attempts]
RING = Ring(descriptors=1024, data_bytes=1 << 21)
#: After those of :func:`syns`: time never runs backwards.
BEGIN = 10**16
LONGEST = 5000  # cycles of a frame through an empty card


def frames(count: int = 300) -> list[Frame]:
    """Of every kind, many SYNs among them: ordinary ones come in between."""
    found = [frame._replace(timestamp=BEGIN + frame.timestamp) for frame in mixed(12, count)]
    attempts = frames_of_batch(tcp_frames(0, count, SHARE, begin=BEGIN, step=1_000_000))
    both = [frame for pair in zip(found, attempts, strict=True) for frame in pair]
    return [frame._replace(timestamp=BEGIN + 1000 * n) for n, frame in enumerate(both)]


def syns(begin: int, count: int) -> list[Frame]:
    return frames_of_batch(tcp_frames(begin, count, SHARE, begin=BEGIN // 2 + 1000 * begin, step=1000))


@dataclass
class Told:
    """What a host can tell: descriptors and slots, cycles of each stage, and how long a frame takes from end to end."""

    seen: list[Seen]
    cycles: dict[str, int]
    latencies: list[int]


def told_of(card: NativeCard) -> Told:
    """The same frames on a card at rest, to a ring that begins anew: all at once, then some one by one."""
    ring = card.device.rings.get(0)
    watched = card.open_ring(0, RING) if ring is None else card.start_ring(ring, RING)
    sent = frames()
    before = card.counters()
    card.send(sent)
    card.settle()
    after = card.counters()
    watched.read_all()
    assert len(watched.seen) == len(sent)
    by_stamp = {frame.timestamp: frame for frame in sent}
    check_port_order(sent, [by_stamp[each.timestamp] for each in watched.seen])
    latencies = []
    for frame in sent[:40]:
        card.send([frame._replace(timestamp=frame.timestamp + BEGIN)])
        seen, spent = len(watched.seen), 0
        while len(watched.seen) == seen:
            assert spent < LONGEST
            spent += card.transport.step(1)
            watched.read()
        latencies.append(spent)
        card.settle()
    names = [name for name in after if name.endswith(("busy_cycles", "stall_cycles"))]
    watched.ring.disable()
    return Told(watched.seen, {name: after[name] - before[name] for name in names}, latencies)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("profile", BUILDS)
def test_off_again_the_card_is_as_one_on_which_it_never_was_on(profile: str, mode: Mode) -> None:
    with NativeCard(NativeTransport(build_model(profile))) as never:
        never.device.set_pause(True)
        never.device.enable()
        expected = told_of(never)
        assert attempts_of(never.counters(), never.profile)["attempts"] == 0
    with NativeCard(NativeTransport(build_model(profile))) as card:
        card.device.set_pause(True)
        card.device.enable()
        watched = card.open_ring(0, RING)
        offload = SynOffload(card.device)
        offload.to_ring(watched.ring)
        offload.enable(mode=mode)
        # Off in mid-traffic: what is held waits on, and what comes now is delivered as it comes.
        card.send(syns(0, 600))
        card.transport.step(200 if profile == "wide" else 3000)
        registers = RegisterBlock(SYN_OFFLOAD, 1, card.transport.read, card.transport.write)
        registers.write("control", 0, "enable")
        assert card.transport.pending, "the traffic is over already"
        card.send(syns(600, 100))
        card.transport.step()
        held = offload.holding
        assert 0 < held < 525
        watched.read_all()
        passed = {each.timestamp for each in watched.seen}
        assert passed >= {frame.timestamp for frame in syns(600, 100)}
        offload.finish()
        watched.read_all()
        assert offload.holding == 0
        attempts = attempts_of(card.counters(), card.profile)
        assert attempts["expired"] == held
        # Ports and addresses rise together here: under some secrets a few sets are full before others.
        assert attempts["attempts"] == held + attempts["evicted"]
        watched.ring.disable()
        card.check_rest()
        found = told_of(card)
        assert attempts_of(card.counters(), card.profile) == attempts
    assert found.cycles == expected.cycles
    assert found.latencies == expected.latencies
    assert [each.descriptor for each in found.seen] == [each.descriptor for each in expected.seen]
    assert [each.slot for each in found.seen] == [each.slot for each in expected.seen]

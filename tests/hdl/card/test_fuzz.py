"""The whole card, natively simulated, under frames and circumstances drawn at random.

Two kinds of scenario.  *Exact*: a card that may hold its ports, so that the reference model knows every descriptor,
byte and counter, whatever the frames, rings and memory.  *Chaos*: everything changes at any moment; conservation, rest
within a bound and each packet by itself are checked.  The long ones are made from one seed each, which a failure names:

    SENTINIC_FUZZ_SEED=17 pytest -m slow tests/hdl/card/test_fuzz.py     # from that seed on
    SENTINIC_FUZZ=20 pytest -m slow tests/hdl/card/test_fuzz.py          # twenty times as many
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinic.abi.profiles import PROFILES
from sentinic_sim.build import build_model
from sentinic_sim.native import MemoryOptions, NativeTransport
from tests.hdl.card.busy_chaos import BusyChaos
from tests.hdl.card.chaos import Chaos
from tests.hdl.card.native_card import (
    NativeCard,
    Watched,
    check_against_model,
    in_order,
    random_memory,
    random_ring,
)
from tests.hdl.card.wild import built, mutated, wild_frames
from tests.reference.card import Frame, Ring
from tests.reference.corpus import captures, frames_of

#: Scenarios of each kind and profile.
SCENARIOS = 60 * int(os.environ.get("SENTINIC_FUZZ", "1"))
FIRST_SEED = int(os.environ.get("SENTINIC_FUZZ_SEED", "1"))
#: What chaos with the stages at work comes to, over all its runs.
REACHED = (
    "record: expired",
    "record: evicted",
    "record: superseded",
    "unreported",
    "other mode while SYNs were held",
)
#: A ring that takes everything tells the order in which the card merged its ports.
EVERYTHING = Ring(descriptors=512, data_bytes=1 << 20)


#: Frames at once, at most, where a card that does not pause keeps all that its rings have room for.
_BESIDE_UNREAD = 8


@dataclass
class Exact:
    """A scenario that the model knows to the last byte.

    The rings ``unread`` fill up; ring 0 is never one of them.  With some the card does not pause, and gets so little at
    once that the bus keeps up.
    """

    frames: list[Frame]
    rings: list[Ring]
    unread: frozenset[int]
    memory: MemoryOptions
    parallel: bool
    key: int
    chunks: Callable[[], int]  # frames to send next

    def run(self, profile: str) -> None:
        transport = NativeTransport(build_model(profile), parallel=self.parallel, memory=self.memory)
        with NativeCard(transport) as card:
            card.key = self.key
            card.device.set_hash_key(self.key)
            rings = [card.open_ring(n, config) for n, config in enumerate(self.rings)]
            card.device.set_pause(not self.unread)
            card.device.enable()
            self._feed(card, [watched for n, watched in enumerate(rings) if n not in self.unread])
            counters = card.check_rest()
            for watched in rings:
                watched.read_all()
            order = in_order(self.frames, [each.seen for n, each in enumerate(rings) if n not in self.unread])
            if order is not None:
                check_against_model(order, rings, counters, self.unread, self.key)
            assert transport.stats().responses_error == 0

    def _feed(self, card: NativeCard, read: list[Watched]) -> None:
        """Give all frames to the card, never more than surely fit the rings that are read."""
        at = 0
        while at < len(self.frames):
            card.device.forward()
            count = min(self.chunks(), _BESIDE_UNREAD) if self.unread else self.chunks()
            for watched in read:
                descriptors, slots = watched.ring.room()
                count = min(count, descriptors)
                while sum(2 + len(frame.data) // 64 for frame in self.frames[at : at + count]) > slots:
                    count //= 2
            card.send(self.frames[at : at + count])
            at += count
            card.settle()
            for watched in read:
                watched.read(None if self.chunks() > 20 else 10)


def exact(r: random.Random, stock: list[bytes]) -> Exact:
    parallel = r.random() < 0.4
    memory = random_memory(r)
    rings = [random_ring(r) for _ in range(r.randrange(5))]
    if r.random() < 0.6:
        rings[:1] = [EVERYTHING]
    unread = frozenset(n for n in range(1, len(rings)) if r.random() < 0.3)
    frames = wild_frames(r, r.choice((30, 200, 600)), r.sample(stock, min(len(stock), 20)))
    if r.random() < 0.4:
        frames = [frame._replace(port=0) for frame in frames]
    if parallel:  # frames of each port in the order of their times, as on a wire
        frames.sort(key=lambda frame: frame.timestamp)
    return Exact(frames, rings, unread, memory, parallel, r.getrandbits(352), lambda: r.randrange(1, 80))


# --- Long ---


@pytest.fixture(params=["wide", "board"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def stock() -> list[bytes]:
    """Real frames to mutate, where the corpus is at hand."""
    r = random.Random(1)
    found = [frame.data for path in captures()[::7] for frame in frames_of(path)[:40] if len(frame.data) <= 9600]
    return r.sample(found, min(len(found), 400))


def each_seed(scenario: Callable[[random.Random], None], count: int = SCENARIOS) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        try:
            scenario(random.Random(seed))
        except Exception as error:
            raise AssertionError(f"SENTINIC_FUZZ_SEED={seed}: {error}") from error


@pytest.mark.slow
def test_the_card_does_what_the_model_does_with_whatever_comes(profile: str, stock: list[bytes]) -> None:
    each_seed(lambda r: exact(r, stock).run(profile))


@pytest.mark.slow
def test_nothing_makes_the_card_hang_or_lose_count(profile: str, stock: list[bytes]) -> None:
    def chaos(r: random.Random) -> None:
        transport = NativeTransport(build_model(profile), parallel=r.random() < 0.7, memory=random_memory(r))
        with NativeCard(transport) as card:
            Chaos(card, r, r.sample(stock, min(len(stock), 20))).run(r.choice((20, 60, 150)))

    each_seed(chaos)


@pytest.mark.slow
def test_stages_at_work_neither_hang_nor_lose_count(profile: str, stock: list[bytes]) -> None:
    reached: Counter[str] = Counter()

    def chaos(r: random.Random) -> None:
        transport = NativeTransport(build_model(profile), parallel=r.random() < 0.7, memory=random_memory(r))
        with NativeCard(transport) as card:
            BusyChaos(card, r, r.sample(stock, min(len(stock), 20)), reached=reached).run(r.choice((20, 60, 150)))

    each_seed(chaos, SCENARIOS * 2 // 3)  # sweeps take long
    print(profile, dict(reached))
    if PROFILES[profile].attempts:
        missing = [what for what in REACHED if not reached[what]]
        assert not missing, f"never came about: {', '.join(missing)}"


# --- Short ---

SEEDS = st.integers(0, 1 << 32)
OCTETS = st.one_of(
    st.binary(max_size=300),
    SEEDS.map(lambda seed: built(random.Random(seed))),
    st.builds(lambda seed: mutated(random.Random(seed), built(random.Random(seed ^ 1))), SEEDS),
    st.builds(lambda length, fill: bytes([fill]) * length, st.integers(0, 12_000), st.integers(0, 255)),
)
FRAMES = st.lists(
    st.tuples(OCTETS, st.integers(0, 1), st.one_of(st.none(), st.integers(0, 65_535)), st.integers(0, 20)), max_size=40
)

RINGS = st.builds(
    Ring,
    filter_ports=st.integers(0, 15),
    filter_protocols=st.one_of(st.just(0xFFFF), st.integers(0, 0xFFFF)),
    filter_verdicts=st.one_of(st.just(0xFFFF), st.integers(0, 0xFFFF)),
    sample=st.one_of(st.integers(0, 5), st.integers(0, 65_535)),
    snap_length=st.one_of(st.just(0), st.integers(0, 200), st.integers(0, 16_383)),
    bare_plain=st.booleans(),
    spread_count=st.one_of(st.integers(0, 4), st.integers(0, 127)),
    spread_index=st.integers(0, 3),
    descriptors=st.sampled_from((64, 256)),
    data_bytes=st.sampled_from((1 << 17, 1 << 18)),
)


@settings(max_examples=150)
@given(
    drawn=FRAMES,
    rings=st.lists(RINGS, max_size=3),
    unread=st.frozensets(st.integers(1, 3)),
    memory=SEEDS.map(lambda seed: random_memory(random.Random(seed))),
    parallel=st.booleans(),
    key=st.integers(0, (1 << 352) - 1),
    chunk=st.integers(1, 40),
)
def test_any_frames_through_any_rings_are_the_models(drawn, rings, unread, memory, parallel, key, chunk) -> None:
    frames = [
        Frame(data, timestamp=number, port=port, wire_length=wire, error=not error)
        for number, (data, port, wire, error) in enumerate(drawn)
    ]
    Exact(frames, [EVERYTHING, *rings], unread, memory, parallel, key, lambda: chunk).run("wide")

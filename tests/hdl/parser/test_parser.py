"""Both schedules of the parser against the reference, in Amaranth's simulator."""

import random

import pytest

from sentinic.abi.profiles import BOARD, WIDE, Profile
from sentinic_hdl.parser.checksum import ChecksumUnit
from sentinic_hdl.parser.collect import Collector
from sentinic_hdl.parser.flow_hash import FlowHash
from sentinic_hdl.parser.folded import Folded
from sentinic_hdl.parser.unrolled import Unrolled
from tests.hdl.parser.bench import KEY, decoded, differences, expected, simulate
from tests.hdl.parser.frames import Stimulus, random_frame, tcp_frame

# Components that refuse their parameters are never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

PROFILES = pytest.mark.parametrize("profile", [WIDE, BOARD], ids=lambda profile: profile.name)


def stimuli(seed: int, count: int) -> list[Stimulus]:
    r = random.Random(seed)
    return [random_frame(r, largest=400) for _ in range(count)]


@PROFILES
@pytest.mark.parametrize(("idle", "busy"), [(0, 0), (0.5, 0), (0, 0.7), (0.6, 0.6)])
def test_every_field_of_random_frames_is_the_references(profile: Profile, idle: float, busy: float) -> None:
    frames = stimuli(int(100 * idle + 10 * busy), 60)
    run = simulate(profile, frames, idle=idle, busy=busy)
    assert not differences(frames, run.values)


@PROFILES
def test_frames_of_every_length_around_a_beat_are_summed_to_their_last_byte(profile: Profile) -> None:
    frames = [tcp_frame(n, bytes([n + 1]) * n) for n in range(76)]
    assert not differences(frames, simulate(profile, frames).values)


def test_the_wide_parser_takes_a_frame_each_cycle_and_answers_within_24() -> None:
    frames = [tcp_frame(n) for n in range(120)]
    run = simulate(WIDE, frames)
    assert not differences(frames, run.values)
    assert run.refused == 0
    assert run.came[-1] - run.came[0] == len(frames) - 1
    assert max(came - ended for came, ended in zip(run.came, run.ended, strict=True)) <= 24


def test_the_wide_parser_takes_frames_of_many_headers_each_cycle_too() -> None:
    r = random.Random(3)
    frames = [Stimulus(frame.data[:64], 64) for frame in (random_frame(r) for _ in range(400)) if len(frame.data) >= 64]
    run = simulate(WIDE, frames)
    assert not differences(frames, run.values)
    assert run.refused == 0


def test_the_folded_parser_needs_at_most_16_cycles_for_a_64_byte_frame() -> None:
    frames = [tcp_frame(n) for n in range(40)]
    run = simulate(BOARD, frames)
    assert not differences(frames, run.values)
    assert (run.came[-1] - run.came[0]) / (len(frames) - 1) <= 16


@PROFILES
def test_frames_wait_unharmed_while_records_are_not_taken(profile: Profile) -> None:
    frames = [tcp_frame(n) for n in range(100)]
    run = simulate(profile, frames, hold=1500)
    assert not differences(frames, run.values)
    assert run.refused > 500
    assert sum(ended < 1400 for ended in run.ended) >= (64 if profile is WIDE else 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChecksumUnit(profile=WIDE, depth=12), "depth must be a power of two from 4 on, not 12"),
        (lambda: Collector(depth=3), "depth must be a power of two from 2 on, not 3"),
        (lambda: FlowHash(depth=4), "depth must be a power of two from 8 on, not 4"),
        (lambda: Unrolled(profile=BOARD), "data_width must be at least 512 and divide the window, not 64"),
    ],
)
def test_parameters_out_of_range_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_the_folded_schedule_refuses_other_widths_than_64_bits() -> None:
    with pytest.raises(ValueError, match="data_width must be 64, not 512"):
        Folded(profile=WIDE)


def test_after_a_change_of_key_no_frame_of_the_wide_parser_meets_a_mixture() -> None:
    frames = [tcp_frame(n) for n in range(120)]
    keys = {0: KEY, 50: KEY >> 1, 80: KEY >> 2}
    run = simulate(WIDE, frames, keys=keys)
    of_key = [[decoded(value)["headers.flow_hash"] for value in run.values]]
    of_key += [[expected(frame, key)["headers.flow_hash"] for frame in frames] for key in keys.values()]
    used = [choices.index(got) for got, *choices in zip(*of_key, strict=True)]
    assert used == sorted(used)
    assert (used[49], used[51], used[79], used[81]) == (0, 1, 1, 2)

"""Both schedules of the parser against the reference, on the corpus and on many random frames."""

import random

import pytest

from sentinic.abi.profiles import PROFILES
from tests.hdl.parser.bench import differences, quotes_of
from tests.hdl.parser.frames import Stimulus, random_frame
from tests.hdl.parser.native import NativeParser
from tests.reference.corpus import captures, frames_of, needs_corpus
from tests.reference.quote import quoted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["wide", "board"])
def parser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NativeParser:
    return NativeParser(PROFILES[request.param], tmp_path_factory.mktemp(request.param))


def check(parser: NativeParser, frames: list[Stimulus], values: list[int], quotes: list[int]) -> None:
    assert not differences(frames, values)
    wanted = [quoted(frame.data, frame.wire_length) for frame in frames]
    # With the folded schedule the stage itself reads them.
    reads_quotes = parser.profile.attempts and not parser.profile.folded_parser
    assert quotes_of(values, quotes) == (wanted if reads_quotes else [None] * len(frames))


@pytest.mark.parametrize(("idle", "busy"), [(0, 0), (0.4, 0), (0, 0.9), (0.7, 0.7)])
def test_every_field_of_many_random_frames_is_the_references(parser: NativeParser, idle: float, busy: float) -> None:
    r = random.Random(int(100 * idle + 10 * busy))
    for round_ in range(5):
        frames = [random_frame(r) for _ in range(2000)]
        check(parser, frames, *parser.run(frames, idle=idle, busy=busy, seed=round_ + 1))


@needs_corpus
def test_every_field_of_the_corpus_is_the_references(parser: NativeParser) -> None:
    for path in captures():
        found = frames_of(path)[:5000]
        frames = [Stimulus(frame.data[:9600], min(frame.wire_length or len(frame.data), 65535)) for frame in found]
        if frames:
            check(parser, frames, *parser.run(frames))

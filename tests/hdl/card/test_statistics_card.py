"""The card's own statistics, from registers to reports in a ring, against the plain model of what rules count."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sentinic.abi.profiles import PROFILES
from sentinic.driver.device import Device
from sentinic.driver.rules import encode
from sentinic.errors import ConfigError
from tests.reference.corpus import CORPUS, captures, frames_of, needs_corpus
from tests.reference.statistics import RuleSpec, count
from tests.reference.traffic import random_frames
from tests.sw.monitor.statistics_runs import SPECS, counted_on, of_model, rule_of

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if "statistics" in profile.stages]


@pytest.fixture(scope="module", params=BUILDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        found.set_pause(True)
        yield found


def counts(spec: RuleSpec) -> bool:
    try:
        encode(rule_of(spec))
    except ConfigError:
        return False
    return True


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(0, 1 << 32), st.sampled_from([4, 200]))
def test_rules_at_random_count_as_the_model_says(device: Device, data: st.DataObject, seed: int, hosts: int) -> None:
    most = device.profile.statistics_rules
    specs = data.draw(st.lists(SPECS.filter(counts), min_size=1, max_size=most))
    assume(specs)
    # Which of two frames of one wire time comes first, one at each port, is the card's to say; histories show it.
    frames = [f._replace(timestamp=f.timestamp + n) for n, f in enumerate(random_frames(seed, 300, hosts=hosts))]
    rules = [rule_of(spec, str(number)) for number, spec in enumerate(specs)]
    found, collector = counted_on(device, rules, frames, 100)
    for number, spec in enumerate(specs):
        assert found[number] == of_model(count(spec, frames)), spec
    assert collector.lost == 0
    assert all(totals.exact for totals in collector.totals.values())


CAPTURE_RULES = [
    RuleSpec({}, ["source", "destination", "ip_proto", "source_port", "destination_port"]),
    RuleSpec({}, ["source"]),
    RuleSpec({}, ["ip_proto", "destination_port"]),
    RuleSpec({}, ["source", "destination", "ip_proto", "source_port", "destination_port"], 10**9, True),
]


@needs_corpus
@pytest.mark.parametrize("secret", [None, 0], ids=["all sets", "one set"])
@pytest.mark.parametrize("path", captures(), ids=lambda path: str(path.relative_to(CORPUS)))
def test_every_capture_counts_as_the_model_says(device: Device, path: Path, secret: int | None) -> None:
    """The model's own counts are judged against tshark's in tests/reference/test_statistics_corpus.py.

    In one set there is room for so few groups that they have to leave again and again.
    """
    frames = [frame for frame in frames_of(path) if len(frame.data) <= 9600]
    ordered = all(one.timestamp <= two.timestamp for one, two in pairwise(frames))
    specs = CAPTURE_RULES if ordered else CAPTURE_RULES[:3]
    rules = [rule_of(spec, str(number)) for number, spec in enumerate(specs)]
    found, collector = counted_on(device, rules, frames, 2000, secret=secret)
    for number, spec in enumerate(specs):
        assert found[number] == of_model(count(spec, frames)), spec
    assert all(totals.packets == len(frames) and totals.exact for totals in collector.totals.values())

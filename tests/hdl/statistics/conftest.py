"""Both schedules of the statistics stage, as fixtures."""

import pytest

from sentinic.abi.profiles import Profile
from tests.hdl.statistics.bench import SCHEDULES


@pytest.fixture(params=list(SCHEDULES))
def profile(request: pytest.FixtureRequest) -> Profile:
    return SCHEDULES[request.param]

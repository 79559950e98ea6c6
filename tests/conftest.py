"""What all tests share."""

import os
import random
import secrets
import signal
from collections.abc import Iterator

import pytest
from hypothesis import core, settings

#: What is random in a test comes from this and the test's name, so that a failure comes again.  Another number looks
#: elsewhere; a card's secrets are of the operating system only outside of tests.
SEED = int(os.environ.get("SENTINIC_TEST_SEED") or 0)

# A time limit for each example says more about the machine's load than about the code.
settings.register_profile("sentinic", deadline=None, print_blob=True, derandomize=not SEED)
settings.load_profile("sentinic")


def pytest_configure(config: pytest.Config) -> None:
    if SEED and config.getoption("--hypothesis-seed", None) is None:
        core.global_force_seed = SEED


def pytest_report_header() -> str:
    return f"sentinic: SENTINIC_TEST_SEED={SEED}"


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card's secrets, and what draws from the global generator (scapy's volatile fields), as the seed has it."""
    source = f"{SEED} {request.node.nodeid}"
    random.seed(source)
    monkeypatch.setattr(secrets, "randbits", random.Random(source).getrandbits)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGHUP work here and in what is started, though a shell's background jobs and nohup ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGHUP, before[1])

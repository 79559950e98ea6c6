"""What all tests share."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A time limit for each example says more about the machine's load than about the code.
settings.register_profile("sentinic", deadline=None, print_blob=True)
settings.load_profile("sentinic")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGHUP work here and in what is started, though a shell's background jobs and nohup ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGHUP, before[1])

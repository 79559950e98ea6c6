"""Ctrl-C, and the signals by which a system ends a program: a run that is told to stop does so in order."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

#: SIGHUP comes when a terminal is closed; a program started with nohup ignores it, and goes on doing so.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stop(KeyboardInterrupt):
    """A signal other than Ctrl-C asks the program to end; ``number`` tells which."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def number_of(error: KeyboardInterrupt) -> int:
    """The signal behind an exception."""
    return error.number if isinstance(error, Stop) else int(signal.SIGINT)


def name_of(number: int) -> str:
    """What people call a signal."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def exit_code(number: int) -> int:
    """By the shell's convention."""
    return 128 + number


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Meanwhile these signals raise :class:`Stop` where the program stands, as Ctrl-C does, rather than killing it.

    So files and shared memory are let go of.  Outside of the main thread nothing changes.
    """

    def handler(number: int, frame: FrameType | None) -> None:
        raise Stop(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class Flag:
    """A signal as a flag, so that it never tears a transaction with the card; at once where ``immediate``.

    A second one always interrupts at once.

    Members
    -------
    number: of the signal seen, or 0
    """

    def __init__(self) -> None:
        self.number = 0
        self.immediate = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        again, self.number = self.number, number
        if again or self.immediate:
            raise KeyboardInterrupt if number == signal.SIGINT else Stop(number)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Meanwhile signals that would raise an exception only set the flag.  Nothing outside of the main thread."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if callable(signal.getsignal(number)):
                    before[number] = signal.signal(number, self)
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)

"""The seam between driver and card: registers, DMA memory, frames in, time.

A transport registers a factory under the entry point group ``sentinic.transports``; the driver finds it by name
and knows no more of it than the protocol here, whether it stands for a simulation or a board.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Protocol, cast, runtime_checkable

from sentinic.driver.frames import FrameBatch
from sentinic.driver.memory import DmaRegion
from sentinic.errors import TransportNotFoundError

__all__ = ["ENTRY_POINT_GROUP", "DmaRegion", "Transport", "TransportFactory", "available", "open_transport"]

ENTRY_POINT_GROUP = "sentinic.transports"


@runtime_checkable
class Transport(Protocol):
    """What the driver asks of a card's surroundings.

    ``read``, ``write``, ``send``, ``step`` and ``alloc`` are called from one thread at a time.  ``step`` should let
    go of Python's global lock, so that consumers of the rings run beside it.
    """

    @property
    def cycles(self) -> int:
        """Clock cycles run so far; 0 where they are not known (a board)."""
        ...

    @property
    def pending(self) -> int:
        """Frames sent that the card has not yet taken in whole."""
        ...

    def read(self, address: int) -> int:
        """The 32-bit register at byte ``address``."""
        ...

    def write(self, address: int, value: int) -> None:
        """Write 32 bits to the register at byte ``address``; it has taken effect on return."""
        ...

    def alloc(self, name: str, size: int) -> DmaRegion:
        """A zeroed region of at least ``size`` bytes that the card can write, mappable by ``name``.

        ``bus_address`` is a multiple of 4096, and the region does not cross what the card can address.
        The transport closes its regions when it is closed.
        """
        ...

    def send(self, batch: FrameBatch) -> None:
        """Queue the frames of ``batch``, each for its port, in order.  The arrays are copied or used up on return."""
        ...

    def step(self, max_cycles: int | None = None) -> int:
        """Run until every queued frame is taken in and the card is idle, or for ``max_cycles``; returns cycles run.

        May return early when nothing moves, with frames :attr:`pending` or still inside the card.
        """
        ...

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the interrupt line; whether it is up.

        A simulation steps the clock meanwhile.  The line stays up until the driver clears ``interrupt.pending``.
        """
        ...

    def now(self) -> int:
        """The card's time, in ns."""
        ...

    def close(self) -> None:
        """Let go of the card and its regions.  Safe to call twice."""
        ...


#: ``factory(profile_name, **options)``; raises :class:`sentinic.errors.SentinicError` when it cannot serve the profile.
TransportFactory = Callable[..., Transport]


def available() -> list[str]:
    """Names of the installed transports, sorted."""
    return sorted({entry.name for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)})


def open_transport(name: str, profile_name: str, **options: object) -> Transport:
    """Open the transport called ``name`` for a build of ``profile_name``.

    Raises :class:`TransportNotFoundError` when no such transport is installed, or when what it needs is missing.
    """
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            try:
                factory = cast(TransportFactory, entry.load())
            except ImportError as error:
                raise TransportNotFoundError(
                    f"backend {name!r} needs {error.name or error}, which is not installed: pip install 'sentinic[sim]'"
                ) from error
            return factory(profile_name, **options)
    known = ", ".join(available()) or "none"
    raise TransportNotFoundError(f"backend must be one of the installed transports ({known}), not {name!r}")

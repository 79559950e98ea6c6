"""Which ingress port frames come in by: ``--port-map``."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from sentinic.capture import CaptureReader
from sentinic.driver.frames import FrameBatch
from sentinic.errors import CaptureError, ConfigError


def parse(text: str | None, captures: int) -> tuple[tuple[int, ...], dict[int, int] | None]:
    """Ports by the order of the captures, of which there are so many, or by interface.

    Raises :class:`ConfigError` for anything else.
    """
    if text is None:
        return (0,), None
    ports: list[int] = []
    interfaces: dict[int, int] = {}
    for item in text.split(","):
        interface, equals, port = item.strip().rpartition("=")
        number = interface.removeprefix("if")
        if not port.isdecimal() or (equals and not (interface.startswith("if") and number.isdecimal())):
            raise ConfigError(
                f"--port-map: each part must be a port, as 0, or an interface's, as if0=1, not {item.strip()!r}"
            )
        if not equals:
            ports.append(int(port))
        elif int(number) in interfaces:
            raise ConfigError(f"--port-map: interface {int(number)} may be named once, not twice")
        else:
            interfaces[int(number)] = int(port)
    if ports and interfaces:
        raise ConfigError("--port-map: name ports by capture or by interface, not both")
    if len(ports) > captures:
        counted = "1 capture" if captures == 1 else f"{captures} captures"
        raise ConfigError(f"--port-map: ports must be at most as many as captures: {len(ports)} for {counted}")
    return tuple(ports) or (0,), interfaces or None


def check_files(captures: Sequence[str], interfaces: Collection[int]) -> None:
    """See that the captures have these interfaces; what is no file is judged by :func:`checked`, as it is read.

    A file is read until all are found, in most cases its first batch.  Raises :class:`ConfigError` when one is not
    there, or when a capture is of a format without interfaces.
    """
    known, certain = 0, True
    for capture in captures:
        if capture == "-" or not Path(capture).is_file():
            certain = False
            continue
        with CaptureReader(capture) as reader:
            try:
                for _ in reader:
                    if reader.format == "pcap" or reader.interfaces > max(interfaces):
                        break
            except CaptureError:
                certain = False  # the run tells, after all frames before
            _check_format(reader)
            known = max(known, reader.interfaces)
    if certain:
        _check_numbers(known, interfaces)


def checked(
    batches: Iterable[FrameBatch], readers: Sequence[CaptureReader], interfaces: Collection[int]
) -> Iterator[FrameBatch]:
    """The batches, merged of these readers; raises as :func:`check_files` does, as soon as that is known."""
    for batch in batches:
        for reader in readers:
            _check_format(reader)
        yield batch
    _check_numbers(max(reader.interfaces for reader in readers), interfaces)


def _check_format(reader: CaptureReader) -> None:
    if reader.format == "pcap":
        raise ConfigError(f"--port-map: {reader.name} is pcap, which has no interfaces: name ports by capture, as 0")


def _check_numbers(known: int, interfaces: Collection[int]) -> None:
    missing = [number for number in interfaces if number >= known]
    if missing:
        described = {0: "none", 1: "interface 0 only"}.get(known, f"interfaces 0..{known - 1}")
        raise ConfigError(f"--port-map: there is no interface {missing[0]}: the captures describe {described}")

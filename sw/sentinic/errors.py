"""What can go wrong, as a tree; a message is one sentence that says what, where and the limit.

::

    SentinicError
    ├── ConfigError             an unknown key, or a value out of range, in a config file or an option
    ├── CaptureError            a capture that cannot be read (further); knows its name, byte offset and packet
    │   ├── CaptureAccessError       the file cannot be opened or read
    │   ├── CaptureFormatError       not a capture, or its bytes contradict themselves
    │   ├── CaptureTruncatedError    it ends in the middle of something
    │   └── CaptureLinkError         frames of a link type that cannot be shown to the card
    ├── OutputError             an output that cannot be written
    │   └── CaptureWriteError        a capture; what was written before is valid
    ├── TransportError          the way to the card is broken
    │   └── TransportNotFoundError   no such backend, or what it needs is not installed
    ├── BuildError              a model or bitstream could not be built
    ├── DeviceError             the card is not what the driver expects, or answered oddly
    │   ├── AbiMismatchError    another id, or another major ABI version
    │   ├── RegisterError       no such register, a value out of range, a write to a read-only register
    │   └── StageMissingError   this build of the card lacks the stage that was asked for
    ├── RingError               a ring's memory is not what it should be
    │   └── OverrunError        an observer was too slow, and what it had yet to read is overwritten
    └── ConservationError       the counters do not add up: received is not the sum of the fates
"""


class SentinicError(Exception):
    """Base of all errors that a caller can do something about."""


class ConfigError(SentinicError):
    """An unknown key, or a value out of range, in a config file or an option."""


class CaptureError(SentinicError):
    """A capture that cannot be read, or not any further; every frame before was delivered.

    Attributes: ``name`` of the capture, ``what`` is wrong, ``offset`` in bytes from its (uncompressed) start and
    ``packet``, counted from 1; the last two are None where they mean nothing.
    """

    def __init__(self, name: str, what: str, *, offset: int | None = None, packet: int | None = None) -> None:
        self.name = name
        self.what = what
        self.offset = offset
        self.packet = packet
        where = [f"packet {packet}"] if packet is not None else []
        where += [f"byte {offset}"] if offset is not None else []
        super().__init__(": ".join(part for part in (name, ", ".join(where), what) if part))


class CaptureAccessError(CaptureError):
    """The file cannot be opened or read."""


class CaptureFormatError(CaptureError):
    """Not a capture, or its bytes contradict themselves."""


class CaptureTruncatedError(CaptureError):
    """The capture ends in the middle of something."""


class CaptureLinkError(CaptureError):
    """Frames of a link type that cannot be shown to the card."""


class OutputError(SentinicError):
    """An output that cannot be written."""


class CaptureWriteError(OutputError):
    """A capture that cannot be created or written; what was written before is valid."""


class TransportError(SentinicError):
    """The way to the card is broken."""


class TransportNotFoundError(TransportError):
    """No such backend, or what it needs is not installed."""


class BuildError(SentinicError):
    """A model or bitstream could not be built."""


class DeviceError(SentinicError):
    """The card is not what the driver expects, or answered oddly."""


class AbiMismatchError(DeviceError):
    """The card has another id, or another major ABI version, than this driver."""


class RegisterError(DeviceError):
    """No such register, a value out of range, or a write to a read-only register."""


class StageMissingError(DeviceError):
    """This build of the card lacks the stage that was asked for."""


class RingError(SentinicError):
    """A ring's memory is not what it should be."""


class OverrunError(RingError):
    """An observer was too slow: what it had yet to read is overwritten."""


class ConservationError(SentinicError):
    """The counters do not add up: ``received`` is not the sum of the fates."""

"""What can go wrong, as a tree; a message is one sentence that says what, where and the limit.

::

    SentinicError
    ├── ConfigError             an unknown key, or a value out of range, in a config file or an option
    ├── CaptureError            a capture that cannot be read (further)
    ├── OutputError             an output that cannot be written
    ├── TransportError          the way to the card is broken
    │   └── TransportNotFoundError   no such backend, or what it needs is not installed
    ├── BuildError              a model or bitstream could not be built
    ├── DeviceError             the card is not what the driver expects, or answered oddly
    │   ├── AbiMismatchError    another id, or another major ABI version
    │   └── RegisterError       no such register, a value out of range, a write to a read-only register
    ├── RingError               a ring's memory is not what it should be
    │   └── OverrunError        an observer was too slow, and what it had yet to read is overwritten
    └── ConservationError       the counters do not add up: received is not the sum of the fates
"""


class SentinicError(Exception):
    """Base of all errors that a caller can do something about."""


class ConfigError(SentinicError):
    """An unknown key, or a value out of range, in a config file or an option."""


class CaptureError(SentinicError):
    """A capture that cannot be read, or not any further."""


class OutputError(SentinicError):
    """An output that cannot be written."""


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


class RingError(SentinicError):
    """A ring's memory is not what it should be."""


class OverrunError(RingError):
    """An observer was too slow: what it had yet to read is overwritten."""


class ConservationError(SentinicError):
    """The counters do not add up: ``received`` is not the sum of the fates."""

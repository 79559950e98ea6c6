"""What the drivers of stages have in common: whether this build has the stage, and what it holds."""

from sentinic.abi.layout import Block
from sentinic.driver.device import Device
from sentinic.errors import StageMissingError, TransportError

__all__ = ["read_shape"]

#: What nothing reads as where a bus answers for it.
_ABSENT = (0, 0xFFFF_FFFF)


def read_shape(device: Device, block: Block, what: str) -> dict[str, int]:
    """The fields of the register ``shape`` of a stage's registers.

    Raises :class:`StageMissingError`, which calls the stage ``what``, when the build has none.
    """
    register = block.register("shape")
    try:
        word = device.transport.read(block.address("shape"))
    except TransportError as error:
        raise _missing(device, what) from error
    if word in _ABSENT:
        raise _missing(device, what)
    return {item.name: (word & item.mask) >> item.lsb for item in register.fields}


def _missing(device: Device, what: str) -> StageMissingError:
    return StageMissingError(
        f"this build of the {device.profile.name} card has no {what} stage; its stages are "
        f"{', '.join(device.profile.stages)}"
    )

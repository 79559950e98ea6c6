"""Sentinic: an open FPGA network card for security monitoring, host side.

::

    import sentinic

    with sentinic.Device.open("native", "wide") as device:
        ring = device.open_ring(0)
        ring.enable()
        device.enable()
        ...
        descriptors, data = ring.poll()

Whole programs: docs/reading-rings.md.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentinic.driver.attach import AttachedRing, attach
    from sentinic.driver.config import Config
    from sentinic.driver.device import Device, check_conservation
    from sentinic.driver.frames import FrameBatch
    from sentinic.driver.records import DESCRIPTOR_DTYPE
    from sentinic.driver.ring import Ring
    from sentinic.driver.settling import settle
    from sentinic.driver.tags import frame_bytes
    from sentinic.errors import SentinicError

_HOMES = {
    "AttachedRing": "sentinic.driver.attach",
    "attach": "sentinic.driver.attach",
    "Config": "sentinic.driver.config",
    "Device": "sentinic.driver.device",
    "check_conservation": "sentinic.driver.device",
    "FrameBatch": "sentinic.driver.frames",
    "DESCRIPTOR_DTYPE": "sentinic.driver.records",
    "Ring": "sentinic.driver.ring",
    "SentinicError": "sentinic.errors",
    "frame_bytes": "sentinic.driver.tags",
    "settle": "sentinic.driver.settling",
}

__all__ = [
    "AttachedRing",
    "attach",
    "Config",
    "Device",
    "check_conservation",
    "FrameBatch",
    "DESCRIPTOR_DTYPE",
    "Ring",
    "SentinicError",
    "frame_bytes",
    "settle",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sentinic' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""The control page of a ring: what its owner, its consumer and its observers tell one another.

A page of shared memory beside the descriptor and the data ring.  Its first half never changes once the ring is up;
each line of 64 bytes after it has one writer.  All positions count on for ever; only registers are modulo something.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.registers import ABI_VERSION
from sentinic.driver.memory import PAGE_BYTES, SHARED_FOLDER, DmaRegion
from sentinic.errors import AbiMismatchError, RingError, SentinicError

#: "SNICRING", read as a little-endian word.
CONTROL_MAGIC = int.from_bytes(b"SNICRING", "little")
_NAME_BYTES = 128

CONTROL_DTYPE: np.dtype[Any] = np.dtype(
    {
        "names": [
            "magic",
            "abi_version",
            "ring",
            "descriptors",
            "data_bytes",
            "descriptor_region",
            "data_region",
            # written by the consumer
            "descriptor_tail",
            "data_tail",
            "consumer_process",
            # written by the owner of the device
            "running",
            "descriptor_head",
            "delivered",
            "sampled_out",
            "lost",
            "errors",
            "delivered_bytes",
        ],
        "formats": [
            *("<u8", "<u4", "<u4", "<u8", "<u8", f"S{_NAME_BYTES}", f"S{_NAME_BYTES}"),
            *("<u8", "<u8", "<u8"),
            *("<u8",) * 7,
        ],
        "offsets": [0, 8, 12, 16, 24, 64, 192, 512, 520, 528, 576, 584, 592, 600, 608, 616, 624],
        "itemsize": PAGE_BYTES,
    }
)


class ControlPage:
    """Typed access to a control page; see ``CONTROL_DTYPE`` for its fields."""

    def __init__(self, region: DmaRegion) -> None:
        self.region = region
        record: npt.NDArray[Any] = region.array[:PAGE_BYTES].view(CONTROL_DTYPE)
        self._record = record

    @classmethod
    def create(
        cls, name: str, *, ring: int, descriptors: DmaRegion, data: DmaRegion, sizes: tuple[int, int]
    ) -> "ControlPage":
        """Make the page; ``sizes`` are descriptors in the descriptor ring, and bytes of the data ring.

        Raises :class:`FileExistsError` when the name is taken by anything but a ring whose process was killed.
        """
        try:
            page = cls(DmaRegion.create(name, PAGE_BYTES))
        except FileExistsError:
            if not _orphaned(name):
                raise
            (SHARED_FOLDER / name).unlink(missing_ok=True)
            page = cls(DmaRegion.create(name, PAGE_BYTES))
        for field, region in (("descriptor_region", descriptors), ("data_region", data)):
            if len(region.name.encode()) > _NAME_BYTES:
                raise RingError(f"name of a shared region must be at most {_NAME_BYTES} bytes, not {region.name!r}")
            page._record[field][0] = region.name.encode()
        page["abi_version"], page["ring"] = ABI_VERSION, ring
        page["descriptors"], page["data_bytes"] = sizes
        page["running"] = 1
        page["magic"] = CONTROL_MAGIC  # last: a page with the magic is complete
        return page

    @classmethod
    def attach(cls, name: str, *, write: bool = False) -> "ControlPage":
        """Map the page called ``name``.

        Raises :class:`RingError` when there is none or it is none of ours, :class:`AbiMismatchError` when its maker
        follows another major ABI version.
        """
        try:
            region = DmaRegion.attach(name, write=write)
        except FileNotFoundError:
            raise RingError(f"there is no ring named {name!r}: is the process that owns the card running?") from None
        if len(region.array) < PAGE_BYTES or int(region.array[:8].view("<u8")[0]) != CONTROL_MAGIC:
            raise RingError(f"shared memory {name!r} is not the control page of a ring")
        page = cls(region)
        if page["abi_version"] >> 16 != ABI_VERSION >> 16:
            raise AbiMismatchError(
                f"ring {name!r} follows ABI version {version_text(page['abi_version'])}, "
                f"this reader {version_text(ABI_VERSION)}: the major numbers must be the same"
            )
        return page

    def __getitem__(self, field: str) -> int:
        return int(self._record[field][0])

    def __setitem__(self, field: str, value: int) -> None:
        self._record[field][0] = value

    def region_name(self, field: str) -> str:
        """``descriptor_region`` or ``data_region``."""
        return bytes(self._record[field][0]).decode()


def _orphaned(name: str) -> bool:
    """Whether ``name`` is the control page of a ring whose memory is gone."""
    try:
        page = ControlPage.attach(name)
        return not (SHARED_FOLDER / page.region_name("descriptor_region")).exists()
    except (SentinicError, OSError, ValueError):
        return False


def version_text(version: int) -> str:
    """``major.minor`` of an ABI version word."""
    return f"{version >> 16}.{version & 0xFFFF}"

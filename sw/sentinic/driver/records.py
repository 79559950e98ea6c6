"""numpy views of what the card writes, derived from the ABI."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.descriptor import DESCRIPTOR
from sentinic.abi.layout import ByteOrder, Record


def record_dtype(record: Record) -> np.dtype[Any]:
    """The structured dtype of a packed record; byte strings become ``uint8`` sub-arrays."""
    order = "<" if record.order is ByteOrder.LITTLE else ">"
    formats: list[Any] = []
    for member in record:
        base = np.dtype(f"{order}u{member.size}")
        formats.append(base if member.count == 1 else (base, (member.count,)))
    return np.dtype(
        {
            "names": [member.name for member in record],
            "formats": formats,
            "offsets": [member.offset for member in record],
            "itemsize": record.size,
        }
    )


#: dtype of a receive descriptor: 64 bytes.
DESCRIPTOR_DTYPE = record_dtype(DESCRIPTOR)


def status_bits(status: npt.NDArray[np.uint32], name: str) -> npt.NDArray[np.uint32]:
    """The bits ``name`` of an array of descriptor status words."""
    bits = DESCRIPTOR.bit("status", name)
    return (status >> np.uint32(bits.lsb)) & np.uint32((1 << bits.width) - 1)

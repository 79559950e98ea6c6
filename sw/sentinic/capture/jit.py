"""Arrays by their elements, for compiled code."""

import numpy as np
import numpy.typing as npt

from sentinic.jit import frozen, jit

__all__ = ["I32", "I64", "U8", "U32", "U64", "frozen", "jit"]

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

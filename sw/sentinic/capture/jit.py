"""numba with types, so that the strict type checker sees through the decorator."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., Any])

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


def jit(function: Function) -> Function:
    """Compile at first call without the GIL, and keep the result on disk.

    The cache notices changes of the function's own file only: helpers called from compiled code stand in that file, and
    after changing a constant the files that import it must be touched.
    """
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def frozen(data: U8) -> U8:
    """A read-only view: numba compiles once for it, and not again for writable buffers."""
    view = data.view()
    view.flags.writeable = False
    return view

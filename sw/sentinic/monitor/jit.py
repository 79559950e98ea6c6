"""numba for code that spreads over several files."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

Function = TypeVar("Function", bound=Callable[..., Any])

# What compiled code is given, for the reader: its elements are plain integers there, which numpy's own types deny.
U8 = Any  #: ``uint8[...]``
I64 = Any  #: ``int64[...]``
#: A row of a structured array, or such an array: numba reads and writes their members as attributes.
Record = Any
Records = Any
#: To a 64-bit integer, in compiled code.
int64 = cast(Callable[[Any], int], np.int64)


@cache
def _stamp() -> str:
    """One digest of all sources that compiled code of this package is made from."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("*.py"), *(package.parent / "abi").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def jit(function: Function) -> Function:
    """Compile at first call without the GIL, and keep the result on disk.

    numba itself would miss a change in another file than the function's own: a function's cached code holds that of all
    it calls.  So the cache is bound to the sources of the whole package and the ABI instead.
    """
    compiled = numba.njit(cache=True, nogil=True)(function)
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:  # absent under NUMBA_DISABLE_JIT
        file._source_stamp = _stamp()
    return cast(Function, compiled)


@intrinsic  # type: ignore[untyped-decorator]
def lend(_context: Any, array: Any) -> Any:
    """The same array without a count of references, writable to the compiler whatever it was.

    Compiled code counts, atomically, each time an array is handed to a function: with a dozen arrays that takes longer
    than all else.  The array lent from must live on, as one does that Python handed over.
    """
    result = types.Array(array.dtype, array.ndim, array.layout)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = make_array(signature.args[0])(context, builder, args[0])
        lent = make_array(signature.return_type)(context, builder)
        populate_array(lent, given.data, given.shape, given.strides, given.itemsize, None, None)
        return lent._getvalue()

    return result(array), codegen


def frozen(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view: numba compiles once for it, and not again for writable buffers."""
    view = data.view()
    view.flags.writeable = False
    return view

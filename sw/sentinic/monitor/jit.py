"""What compiled code of the monitor is given, and how it is handed on."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from sentinic.jit import frozen, jit

__all__ = ["I64", "U8", "Record", "Records", "frozen", "int64", "jit", "lend"]

# What compiled code is given, for the reader: its elements are plain integers there, which numpy's own types deny.
U8 = Any  #: ``uint8[...]``
I64 = Any  #: ``int64[...]``
#: A row of a structured array, or such an array: numba reads and writes their members as attributes.
Record = Any
Records = Any
#: To a 64-bit integer, in compiled code.
int64 = cast(Callable[[Any], int], np.int64)


@intrinsic
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

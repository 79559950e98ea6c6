"""numba with types, with a cache on disk that holds up to several processes, and with a sign of life.

numba's own cache looks at a function's own file only, though its code holds that of all it calls; and it numbers the
files of a function's versions, so that processes which fill it at the same time take each other's code for their own.
Here a file's name is made from all that its content depends on.
"""

import contextlib
import hashlib
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy.typing as npt
from numba.core import event, serialize
from numba.core.runtime import rtsys

__all__ = ["CompileTimes", "compile_times", "compiling", "frozen", "jit"]

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE = Path(__file__).parent


def jit(function: Function) -> Function:
    """Compile at first call without the GIL, and keep the result on disk.

    What is kept counts as long as no source changes in the function's folder, in ``sentinic.abi``, or here: compiled
    code may call, and take constants from, these only.
    """
    compiled = numba.njit(cache=True, nogil=True)(function)
    kept: Any = getattr(compiled, "_cache", None)
    if hasattr(kept, "_cache_file"):  # absent under NUMBA_DISABLE_JIT, and where nothing can be written
        code = function.__code__
        source = Path(code.co_filename)
        base = f"{source.stem}.{function.__name__}-{code.co_firstlineno}"
        kept._cache_file = _Files(Path(kept.cache_path), base, _stamp(source.parent))
        kept.load_overload = partial(_load, kept)
    return cast(Function, compiled)


def _load(kept: Any, signature: object, target: Any) -> object:
    """As numba's own, which first reads all that the compiler knows: 0.4 s, and code that is kept needs none of it.

    It needs the run-time functions, for arrays that it makes itself.
    """
    rtsys.initialize(target)
    return kept._load_overload(signature, target)


class _Files:
    """The part of numba's ``IndexDataCacheFile`` that its cache calls: a file for each signature of one function."""

    def __init__(self, folder: Path, base: str, stamp: str) -> None:
        self._folder, self._base, self._stamp = folder, base, stamp

    def _path(self, key: object) -> Path:
        """``key``: signature, target and bytecode, all of which say in their ``repr`` all that they are."""
        digest = hashlib.sha256(f"{numba.__version__} {self._stamp} {key!r}".encode()).hexdigest()
        return self._folder / f"{self._base}.{self._stamp[:12]}.{digest[:24]}.nbc"

    def load(self, key: object) -> object:
        try:
            # As trusted as the bytecode beside which it lies.
            return pickle.loads(self._path(key).read_bytes())  # noqa: S301
        except OSError:
            return None

    def save(self, key: object, data: object) -> None:
        """Whole or not at all, as when the disk is full; what older sources left goes away."""
        path = self._path(key)
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        try:
            part.write_bytes(serialize.dumps(data))
            part.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            return
        _sweep(self._folder, self._stamp[:12])

    def flush(self) -> None:
        for path in self._folder.glob(f"{self._base}.*.nbc"):
            path.unlink(missing_ok=True)


@cache
def _sweep(folder: Path, stamp: str) -> None:
    """All that compiled code of a folder's sources lies in a folder of its own, and has the stamp of these."""
    for path in folder.glob("*.nb[ci]"):
        if f".{stamp}." not in path.name:
            path.unlink(missing_ok=True)


@cache
def _stamp(folder: Path) -> str:
    """One digest of all sources that compiled code of a folder can come from."""
    digest = hashlib.sha256()
    for path in sorted({Path(__file__), *folder.glob("*.py"), *(_PACKAGE / "abi").glob("*.py")}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def compiling(tell: Callable[[str | None], None]) -> Iterator[None]:
    """Call ``tell`` with the name of each of our functions that begins to be compiled, and with None when all are.

    In whatever thread that happens; not for what is found on disk.
    """
    with event.install_listener("numba:compile", _Listener(tell)):
        yield


class _Listener(event.Listener):  # type: ignore[misc]  # numba has no types
    def __init__(self, tell: Callable[[str | None], None]) -> None:
        self._tell = tell
        self._depth = 0  # numba compiles in one thread at a time

    def on_start(self, started: Any) -> None:
        self._depth += 1
        function = started.data["dispatcher"].py_func
        if not function.__module__.startswith("numba."):
            self._tell(function.__name__.strip("_"))

    def on_end(self, ended: Any) -> None:
        self._depth -= 1
        if not self._depth:
            self._tell(None)


class CompileTimes(event.Listener):  # type: ignore[misc]  # numba has no types
    """When something was compiled, in whatever thread, on the clock of ``time.monotonic``."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self._begin = 0.0
        self._depth = 0  # numba compiles in one thread at a time

    def on_start(self, started: Any) -> None:
        if not self._depth:
            self._begin = time.monotonic()
        self._depth += 1

    def on_end(self, ended: Any) -> None:
        self._depth -= 1
        if not self._depth:
            self._spans.append((self._begin, time.monotonic()))

    def within(self, begin: float, end: float) -> float:
        """Seconds of the span from ``begin`` to ``end``, which is over, in which something was compiled."""
        spans = [*self._spans, (self._begin, end)] if self._depth else self._spans
        return sum(max(0.0, min(end, last) - max(begin, first)) for first, last in spans)


@contextlib.contextmanager
def compile_times() -> Iterator[CompileTimes]:
    """Take down when something is compiled, in whatever thread; what is found on disk does not count."""
    times = CompileTimes()
    with event.install_listener("numba:compile", times):
        yield times


def frozen(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view: numba compiles once for it, and not again for writable buffers."""
    view = data.view()
    view.flags.writeable = False
    return view

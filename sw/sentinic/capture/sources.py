"""Where a capture's bytes come from: a window that slides along a file or a stream."""

import gzip
import io
import os
import select
import stat
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from sentinic.capture.jit import frozen
from sentinic.errors import CaptureAccessError, CaptureTruncatedError

#: Bytes read at a time.
CHUNK_BYTES = 16 << 20
#: How long a stream that has delivered something may stay silent before that is passed on, in seconds.
LINGER_SECONDS = 0.05

_GZIP_MAGIC = b"\x1f\x8b"


class Source(Protocol):
    """Bytes of a capture as a window that moves forward; ``data[0]`` is byte ``base`` of the capture.

    ``more(position)`` gives up what lies before ``position`` (an index into ``data``), fetches at least one more byte
    and returns True, or returns False at the end, when nothing has moved. Arrays handed out before stay as they are.
    """

    name: str
    data: npt.NDArray[np.uint8]
    base: int

    def more(self, position: int) -> bool: ...

    def fraction(self, position: int) -> float | None:
        """How much of the capture lies before ``position``, 0 to 1; None if its size is unknown."""

    def close(self) -> None: ...


class Blocks:
    """A regular file, read in blocks of ``CHUNK_BYTES``, as far as it went when it was opened.

    It is not mapped: a mapped file that somebody cuts short ends the process.
    """

    def __init__(self, name: str, file: io.FileIO, size: int) -> None:
        """``file`` is unbuffered, and stands at its start."""
        self.name = name
        self.data = frozen(np.zeros(0, np.uint8))
        self.base = 0
        self._file = file
        self._size = size

    def more(self, position: int) -> bool:
        end = self.base + len(self.data)
        kept = self.data[position:]
        wanted = min(CHUNK_BYTES, self._size - end)
        if not wanted:
            return False
        window = np.empty(len(kept) + wanted, np.uint8)
        window[: len(kept)] = kept
        got = 0
        while got < wanted:
            try:
                count = self._file.readinto(window[len(kept) + got :].data)
            except OSError as error:
                if got:
                    break  # it will come again
                raise CaptureAccessError(self.name, f"cannot be read: {_reason(error)}", offset=end) from error
            if not count:
                break
            got += count
        if not got:
            raise CaptureTruncatedError(
                self.name, f"was cut short while it was read: of {self._size} bytes, {end} were left", offset=end
            )
        self.base += position
        self.data = frozen(window[: len(kept) + got])
        return True

    def fraction(self, position: int) -> float | None:
        return (self.base + position) / self._size if self._size else 1.0

    def close(self) -> None:
        """Batches that were handed out keep their bytes."""
        self._file.close()
        self.data = frozen(np.zeros(0, np.uint8))


class Stream:
    """A window of about ``CHUNK_BYTES`` over a stream.

    ``read(n)`` returns up to n bytes, none at the end; ``ready()`` tells whether it would return at once.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[int], bytes],
        *,
        ready: Callable[[], bool] = lambda: True,
        progress: Callable[[], float] | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.data = frozen(np.zeros(0, np.uint8))
        self.base = 0
        self._read = read
        self._ready = ready
        self._progress = progress
        self._close = close
        self._failure: CaptureAccessError | CaptureTruncatedError | None = None
        self._ended = False

    def more(self, position: int) -> bool:
        if self._failure is not None:
            raise self._failure
        if self._ended:
            return False
        parts = [self.data[position:].tobytes()]
        missing = CHUNK_BYTES
        while missing > 0 and (missing == CHUNK_BYTES or self._ready()):
            try:
                part = self._read(missing)
            except (OSError, EOFError, zlib.error) as error:
                self._failure = self._explain(error, position + len(self.data))
                part = b""
            if not part:
                self._ended = True
                break
            parts.append(part)
            missing -= len(part)
        if missing == CHUNK_BYTES:
            if self._failure is not None:
                raise self._failure
            return False
        self.base += position
        self.data = np.frombuffer(b"".join(parts), np.uint8)
        return True

    def _explain(self, error: Exception, at: int) -> CaptureAccessError | CaptureTruncatedError:
        if isinstance(error, EOFError):
            return CaptureTruncatedError(self.name, "the compressed capture ends before its end mark")
        if isinstance(error, (gzip.BadGzipFile, zlib.error)):
            return CaptureAccessError(self.name, f"the compression is damaged: {error}")
        return CaptureAccessError(self.name, f"cannot be read: {_reason(error)}")

    def fraction(self, position: int) -> float | None:
        return None if self._progress is None else self._progress()

    def close(self) -> None:
        self._close()
        self.data = frozen(np.zeros(0, np.uint8))


class _Again(io.RawIOBase):
    """A reader whose first bytes were already taken to look at."""

    def __init__(self, head: bytes, read: Callable[[int], bytes]) -> None:
        self._head = head
        self._read = read

    def readable(self) -> bool:
        return True

    def take(self, count: int) -> bytes:
        if self._head:
            part, self._head = self._head[:count], self._head[count:]
            return part
        return self._read(count)

    def read(self, size: int | None = -1, /) -> bytes:
        return b"".join(iter(lambda: self.take(1 << 20), b"")) if size is None or size < 0 else self.take(size)


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _stream(name: str, file: BinaryIO, *, descriptor: int | None, size: int | None) -> Stream:
    """A stream over ``file``, uncompressed on the way if its first bytes say so."""

    def read(count: int) -> bytes:
        # the descriptor itself, as a buffered file would hide from select what it has already fetched
        return os.read(descriptor, min(count, 1 << 20)) if descriptor is not None else file.read(count)

    def ready() -> bool:
        return descriptor is None or bool(select.select([descriptor], [], [], LINGER_SECONDS)[0])

    def progress() -> float:
        return file.tell() / size if size else 1.0

    head = b""
    try:
        while len(head) < 2 and (part := read(2 - len(head))):
            head += part
    except OSError as error:
        raise CaptureAccessError(name, f"cannot be read: {_reason(error)}") from error
    again = _Again(head, read)
    measure = None if size is None else progress
    if head != _GZIP_MAGIC:
        return Stream(name, again.take, ready=ready, progress=measure, close=file.close)
    unpacked = gzip.GzipFile(fileobj=again)
    # read1, as it hands out what was unpacked before a fault; read would lose it
    return Stream(name, lambda count: unpacked.read1(min(count, 1 << 20)), progress=measure, close=file.close)


def open_source(capture: str | os.PathLike[str] | BinaryIO) -> Source:
    """Open a path, ``-`` for standard input, or a binary file object.

    Regular files are read as far as they go now; anything else, and anything that begins as gzip, is read as a stream
    to its end. Raises :exc:`CaptureAccessError` when it cannot be opened.
    """
    if not isinstance(capture, (str, os.PathLike)):
        return _stream(str(getattr(capture, "name", "capture")), capture, descriptor=None, size=None)
    if capture == "-":
        if sys.stdin is None or sys.stdin.closed:
            raise CaptureAccessError("standard input", "is closed")
        # a duplicate, so that closing the capture leaves standard input alone
        piped = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
        return _stream("standard input", piped, descriptor=piped.fileno(), size=None)
    name = os.fspath(capture)
    try:
        file = Path(name).open("rb", buffering=0)  # noqa: SIM115  # a stream stays open until close()
    except (OSError, ValueError) as error:
        raise CaptureAccessError(name, f"cannot be opened: {_reason(error)}") from error
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return _stream(name, file, descriptor=file.fileno(), size=None)
    try:
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
    except OSError as error:
        file.close()
        raise CaptureAccessError(name, f"cannot be read: {_reason(error)}") from error
    if packed:
        return _stream(name, file, descriptor=None, size=status.st_size)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return Blocks(name, file, status.st_size)

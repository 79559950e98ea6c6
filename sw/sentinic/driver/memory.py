"""Memory that the card writes and any process may map by name."""

import contextlib
import mmap
import os
import re
import secrets
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: Where named regions live: POSIX shared memory on Linux, the temporary folder elsewhere.
SHARED_FOLDER = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
#: Alignment that the card asks of ring bases, and the granularity of a region, in bytes.
PAGE_BYTES = 4096
#: What :func:`unique_name` makes of a stem of ours, with the number of the process that made it.
_OURS = re.compile(r"sentinic(?:-ring\d+)?-(\d+)-[0-9a-f]{8}(?:-.*)?")


@dataclass
class DmaRegion:
    """A run of bytes that the card reaches at ``bus_address`` and processes map as ``name``.

    Members
    -------
    name: the name of the POSIX shared memory object, without a slash
    bus_address: first byte as the card addresses it, a multiple of 4096
    array: the bytes, ``uint8``; page-aligned; ``array.ctypes.data`` is the host address.  It stays valid after
        :meth:`close`, for as long as somebody holds it or a view of it.
    owner: this process made the region, and removes its name on :meth:`close`, or at its end if that was forgotten
    """

    name: str
    bus_address: int
    array: npt.NDArray[np.uint8]
    owner: bool = True
    _unlink: "weakref.finalize[[Path, int], DmaRegion] | None" = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.owner:
            self._unlink = weakref.finalize(self, _remove, _path(self.name), os.getpid())

    @classmethod
    def create(cls, name: str, size: int, bus_address: int = 0) -> "DmaRegion":
        """Make a zeroed region of ``size`` bytes (rounded up to whole pages) under an unused name.

        Raises :class:`FileExistsError` when the name is taken and :class:`OSError` when memory runs out: all of it is
        taken at once, because a card that writes what is not there would end the process without a word.
        """
        if size <= 0:
            raise ValueError(f"size of region {name!r} must be above 0 bytes, not {size}")
        if bus_address % PAGE_BYTES:
            raise ValueError(f"bus address of region {name!r} must be a multiple of {PAGE_BYTES}, not {bus_address:#x}")
        path = _path(name)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            length = -(-size // PAGE_BYTES) * PAGE_BYTES
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, length)
            else:
                os.ftruncate(handle, length)
            array = _map(handle, length)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return cls(name, bus_address, array)

    @classmethod
    def attach(cls, name: str, *, write: bool = False) -> "DmaRegion":
        """Map a region that another process made; read-only unless ``write``.

        Raises :class:`FileNotFoundError` when nobody has made it.  The bus address is not known here, and reads 0.
        """
        handle = os.open(_path(name), os.O_RDWR if write else os.O_RDONLY)
        try:
            array = _map(handle, os.fstat(handle).st_size, write=write)
        finally:
            os.close(handle)
        return cls(name, 0, array, owner=False)

    def close(self) -> None:
        """Forget the region; the owner also removes its name.  Safe to call twice."""
        if self._unlink is not None:
            self._unlink()


def unique_name(stem: str) -> str:
    """A name for a region that no other process has: ``stem``, the process id and some random digits."""
    return f"{stem}-{os.getpid()}-{secrets.token_hex(4)}"


def sweep() -> list[str]:
    """Remove what processes that were killed left behind; the names.  A process that is alive keeps its own.

    Processes are told apart by their numbers, so those of another container must not share the folder.
    """
    gone = []
    for path in SHARED_FOLDER.glob("sentinic-*"):
        found = _OURS.fullmatch(path.name)
        if found and not alive(int(found[1])):
            with contextlib.suppress(OSError):  # somebody else's, or somebody else was quicker
                path.unlink()
                gone.append(path.name)
    return gone


def alive(process: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _path(name: str) -> Path:
    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"name of a shared region must be a plain file name, not {name!r}")
    return SHARED_FOLDER / name


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:  # not in a child that inherited the region
        path.unlink(missing_ok=True)


def _map(handle: int, length: int, *, write: bool = True) -> npt.NDArray[np.uint8]:
    access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
    return np.frombuffer(mmap.mmap(handle, length, access=access), np.uint8)

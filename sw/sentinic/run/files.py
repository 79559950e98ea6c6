"""Files that stay valid when the disk fills up or the run is stopped."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sentinic.errors import OutputError


def prepare_folder(folder: Path) -> None:
    """Make the output folder, and see that files can be made in it.

    Raises :class:`OutputError` when they cannot.
    """
    probe = folder / f".sentinic-{os.getpid()}"
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output folder {folder}: is a file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(f"output folder {folder}: cannot be written: {error.strerror}") from error


def refuse_overwriting(captures: Iterable[str], outputs: Sequence[Path]) -> None:
    """See that no output is one of the captures, by whatever name; ``-`` is standard input.

    Raises :class:`OutputError` when one is.
    """
    for capture in captures:
        try:
            given = os.fstat(sys.stdin.fileno()) if capture == "-" else Path(capture).stat()
        except (OSError, ValueError, AttributeError):
            continue  # whoever opens it says what is wrong
        for output in outputs:
            with contextlib.suppress(OSError):
                if stat.S_ISREG(given.st_mode) and os.path.samestat(given, output.stat()):
                    raise OutputError(
                        f"{output}: must be another file than the capture "
                        f"{'standard input' if capture == '-' else capture}, which it would overwrite; "
                        "choose another --out"
                    )


def remove(path: Path) -> None:
    """Remove a file if it is there.  Raises :class:`OutputError` when that cannot be done."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be replaced: {error.strerror}") from error


class LineFile:
    """Appends whole lines: after every call, even one that fails, the file ends with a whole line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self._bytes = 0
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise OutputError(f"{path}: cannot be created: {error.strerror}") from error

    def append(self, block: bytes) -> None:
        """Append whole lines.  Raises :class:`OutputError` when not all can be written; those that fit stay."""
        rest = memoryview(block)
        try:
            while len(rest):
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._keep(block[: block.rfind(b"\n", 0, len(block) - len(rest)) + 1])
            with contextlib.suppress(OSError):
                self._file.truncate(self._bytes)
            raise OutputError(
                f"{self.path}: cannot be written beyond byte {self._bytes}: {error.strerror}; "
                f"the {self.lines} lines before are valid"
            ) from error
        self._keep(block)

    def _keep(self, block: bytes) -> None:
        self._bytes += len(block)
        self.lines += block.count(b"\n")

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error


def write_whole(path: Path, text: str) -> None:
    """Write a file in one go: it is there as a whole or as it was before.  Raises :class:`OutputError`."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except BaseException as error:  # Ctrl-C too
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        raise

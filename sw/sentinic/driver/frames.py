"""Frames on their way into a card: what a capture reader yields and a transport sends."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_COLUMNS = (
    ("offset", np.int64),
    ("length", np.uint32),
    ("wire_length", np.uint32),
    ("timestamp", np.uint64),
    ("port", np.uint8),
    ("error", np.uint8),
)


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Columns of n Ethernet frames over one buffer of bytes.

    The buffer may be a whole mapped file, so it is usually larger than the frames and may be read-only; frames may
    stand anywhere in it, in any order, and share bytes. Raises :exc:`ValueError` when a column has the wrong type or
    length; that frames lie within the buffer is checked by :meth:`validate`, which reads the columns.
    """

    #: all bytes, uint8[...], C-contiguous
    data: npt.NDArray[np.uint8]
    #: where a frame's first byte lies in ``data``, in bytes
    offset: npt.NDArray[np.int64]
    #: captured bytes, without FCS
    length: npt.NDArray[np.uint32]
    #: bytes on the wire, without FCS; at least ``length``
    wire_length: npt.NDArray[np.uint32]
    #: wire time of the first byte, in nanoseconds
    timestamp: npt.NDArray[np.uint64]
    #: ingress port
    port: npt.NDArray[np.uint8]
    #: 1 where the MAC flags the frame as errored (bad FCS), else 0
    error: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.data.dtype != np.uint8 or self.data.ndim != 1 or not self.data.flags.c_contiguous:
            raise ValueError(f"data must be a contiguous one-dimensional uint8 array, not {self.data.dtype}")
        count = len(self.offset)
        for name, kind in _COLUMNS:
            column = getattr(self, name)
            if column.dtype != kind or column.ndim != 1 or not column.flags.c_contiguous:
                raise ValueError(
                    f"{name} must be a contiguous one-dimensional {np.dtype(kind)} array, not {column.dtype}"
                )
            if len(column) != count:
                raise ValueError(f"{name} must have {count} entries as offset has, not {len(column)}")

    def __len__(self) -> int:
        return len(self.offset)

    def __getitem__(self, rows: slice | npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "FrameBatch":
        """The chosen rows, over the same buffer; a slice copies nothing unless it has a step."""
        columns = {name: np.ascontiguousarray(getattr(self, name)[rows]) for name, _ in _COLUMNS}
        return FrameBatch(self.data, **columns)

    def frame(self, index: int) -> npt.NDArray[np.uint8]:
        """The captured bytes of one frame, a view."""
        start = int(self.offset[index])
        return self.data[start : start + int(self.length[index])]

    def validate(self) -> None:
        """Raise :exc:`ValueError` unless every frame lies within the buffer."""
        if not len(self):
            return
        end = self.offset + self.length
        bad = np.flatnonzero((self.offset < 0) | (end > len(self.data)))
        if len(bad):
            row = int(bad[0])
            raise ValueError(
                f"frame {row} must lie within the buffer of {len(self.data)} bytes, "
                f"not at {int(self.offset[row])}..{int(end[row])}"
            )

    @classmethod
    def empty(cls) -> "FrameBatch":
        """A batch of no frames."""
        return cls.from_frames([])

    @classmethod
    def from_frames(
        cls,
        frames: Iterable[bytes],
        *,
        timestamp: Sequence[int] | npt.NDArray[np.uint64] | None = None,
        wire_length: Sequence[int] | npt.NDArray[np.uint32] | None = None,
        port: Sequence[int] | npt.NDArray[np.uint8] | int = 0,
        error: Sequence[int] | npt.NDArray[np.uint8] | int = 0,
    ) -> "FrameBatch":
        """A batch from byte strings; for tests and small tools, as it copies and loops.

        Times default to 0, 1, 2, ... microseconds, wire lengths to the frames' own.
        """
        parts = list(frames)
        count = len(parts)
        length = np.array([len(part) for part in parts], np.uint32)
        offset = np.zeros(count, np.int64)
        np.cumsum(length[:-1], out=offset[1:])
        times = np.arange(count, dtype=np.uint64) * np.uint64(1000) if timestamp is None else timestamp
        return cls(
            np.frombuffer(b"".join(parts), np.uint8),
            offset,
            length,
            length.copy() if wire_length is None else np.array(wire_length, np.uint32),
            np.array(times, np.uint64),
            np.full(count, port, np.uint8) if isinstance(port, int) else np.array(port, np.uint8),
            np.full(count, error, np.uint8) if isinstance(error, int) else np.array(error, np.uint8),
        )

    @classmethod
    def concatenate(cls, batches: Sequence["FrameBatch"]) -> "FrameBatch":
        """The batches' frames one after the other; copies each frame's buffer, or none if it is shared."""
        if not batches:
            return cls.empty()
        if all(batch.data is batches[0].data for batch in batches):
            data, bases = batches[0].data, [0] * len(batches)
        else:
            data = np.concatenate([batch.data for batch in batches])
            bases = np.cumsum([0, *(len(batch.data) for batch in batches[:-1])]).tolist()
        columns = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name, _ in _COLUMNS}
        columns["offset"] = np.concatenate([batch.offset + base for batch, base in zip(batches, bases, strict=True)])
        return cls(data, **columns)

"""Several captures as one stream of frames."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sentinic.capture.jit import I64, U8, U32, U64, frozen, jit
from sentinic.driver.frames import FrameBatch


@jit
def _gather(data: U8, offset: I64, length: U32, target: I64, out: U8) -> None:
    for index in range(len(offset)):
        count = length[index]
        out[target[index] : target[index] + count] = data[offset[index] : offset[index] + count]


def gather(parts: Sequence[FrameBatch], order: I64 | None = None) -> FrameBatch:
    """One batch of the parts' frames, the bytes copied together, in ``order`` (row numbers over all parts).

    Costs a copy of the frames, where :meth:`FrameBatch.concatenate` copies whole buffers.
    """
    names = ("length", "wire_length", "timestamp", "port", "error")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    if order is not None:
        columns = {name: column[order] for name, column in columns.items()}
    offset = np.zeros(len(columns["length"]), np.int64)
    np.cumsum(columns["length"][:-1], out=offset[1:])
    target = offset
    if order is not None:
        target = np.empty_like(offset)
        target[order] = offset
    out = np.empty(int(columns["length"].sum(dtype=np.int64)), np.uint8)
    row = 0
    for part in parts:
        _gather(frozen(part.data), part.offset, part.length, target[row : row + len(part)], out)
        row += len(part)
    return FrameBatch(frozen(out), offset, **columns)


class _Head:
    """A stream of batches with its first frames at hand, and the times by which they are merged."""

    def __init__(self, batches: Iterable[FrameBatch]) -> None:
        self._batches = iter(batches)
        self._latest = np.uint64(0)
        self.batch = FrameBatch.empty()
        self.keys: U64 = np.zeros(0, np.uint64)
        self.failure: Exception | None = None
        self.ended = False
        self.advance()

    def advance(self) -> None:
        """Fetch the next batch that is not empty, once the present one is used up."""
        while not self.ended and not len(self.batch):
            try:
                self.batch = next(self._batches)
            except StopIteration:
                self.ended = True
            except Exception as error:
                self.failure = error
                self.ended = True
            else:
                # a running maximum, so that the frames of a stream stay in their order though its times do not
                self.keys = np.maximum.accumulate(np.append(self._latest, self.batch.timestamp))[1:]
                self._latest = self.keys[-1] if len(self.keys) else self._latest

    @property
    def latest(self) -> np.uint64:
        """The last time fetched."""
        return self._latest

    def take(self, until: np.uint64, inclusive: bool = True) -> tuple[FrameBatch, U64]:
        """Frames up to ``until``, and their times."""
        count = int(np.searchsorted(self.keys, until, side="right" if inclusive else "left"))
        batch, keys = self.batch[:count], self.keys[:count]
        self.batch, self.keys = self.batch[count:], self.keys[count:]
        self.advance()
        return batch, keys


def merge(streams: Iterable[Iterable[FrameBatch]]) -> Iterator[FrameBatch]:
    """The frames of all streams in the order of wire time; at equal times the earlier stream first.

    Each stream keeps its own order: a frame earlier than the one before it counts as simultaneous with it. While only
    one stream is left its batches pass uncopied. When a stream fails, all frames up to the time of its last one are
    delivered, then its exception is raised.
    """
    heads = [_Head(stream) for stream in streams]
    while True:
        failed = [head for head in heads if head.failure is not None and not len(head.batch)]
        active = [head for head in heads if len(head.batch)]
        if failed:
            limit = min(head.latest for head in failed)
            active = [head for head in active if head.keys[0] <= limit]
            if not active:
                failure = failed[0].failure
                assert failure is not None
                raise failure
        elif not active:
            return
        else:
            limit = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
        if len(active) == 1:
            yield active[0].take(limit)[0]
            continue
        # up to where some stream has to fetch more; of the streams after that one not what is simultaneous with its
        # end, as its next batch may go on at the same time
        ends = [head.keys[-1] for head in active]
        until = min(ends)
        first = ends.index(until)
        if limit < until:
            until, first = limit, len(active)
        pieces = [head.take(until, index <= first) for index, head in enumerate(active)]
        pieces = [piece for piece in pieces if len(piece[0])]
        if len(pieces) == 1:
            yield pieces[0][0]
            continue
        order = np.argsort(np.concatenate([keys for _, keys in pieces]), kind="stable")
        yield gather([batch for batch, _ in pieces], order)


def chain(streams: Iterable[Iterable[FrameBatch]]) -> Iterator[FrameBatch]:
    """The frames of one stream after the other."""
    for stream in streams:
        yield from stream


def interleave(captures: Iterable[tuple[int, Iterable[FrameBatch]]]) -> Iterator[FrameBatch]:
    """Captures given as (port, frames): those of one port follow each other, ports are merged by wire time.

    ``port`` only says what belongs together; the frames' own port column is left as the reader set it.
    """
    by_port: dict[int, list[Iterable[FrameBatch]]] = {}
    for port, frames in captures:
        by_port.setdefault(port, []).append(frames)
    if len(by_port) == 1:
        return chain(next(iter(by_port.values())))
    return merge(chain(group) for group in by_port.values())

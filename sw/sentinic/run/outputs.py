"""What becomes of polled packets: each output takes them as they come, and is valid on disk after every call."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sentinic.capture import CaptureWriter, LinkTable
from sentinic.driver import tags
from sentinic.run.files import LineFile
from sentinic.run.jsonlines import JsonLines
from sentinic.run.traffic import TrafficSummary
from sentinic.run.untag import Untagger, tagged

Descriptors = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


class Output(Protocol):
    """Takes polled packets; called from one thread.

    Members
    -------
    takes_records: it wants reports of attempts, too, among the packets
    """

    takes_records: bool

    def take(self, ring: int, descriptors: Descriptors, data: Bytes) -> None:
        """Use packets of ring ``ring``; ``data`` is its data ring.  Nothing of either may be kept."""
        ...

    def finish(self) -> None:
        """No more packets will come: write what is left, and close.  Called once, also after an error elsewhere."""
        ...


class Packets:
    """``packets.pcapng``: what ring 0 delivered, in order."""

    takes_records = False

    def __init__(self, path: Path, *, links: LinkTable, keep_tags: bool) -> None:
        """``keep_tags``: the frames as the card wrote them, all as Ethernet, instead of as they came in."""
        self._writer = CaptureWriter(path, links=None if keep_tags else links)
        self._keep = keep_tags
        self._untagger = Untagger()

    def take(self, ring: int, descriptors: Descriptors, data: Bytes) -> None:
        if ring:
            return
        length = descriptors["captured_length"].astype(np.uint32)
        wire = descriptors["wire_length"].astype(np.uint32)
        if self._keep:
            start, tag = tagged(descriptors)
            length, wire = length + tag, wire + tag
        else:
            data, start = self._untagger.untag(descriptors, data)
        self._writer.write(data, start, length, wire, descriptors["timestamp"])

    def finish(self) -> None:
        self._writer.close()


class Lines:
    """``packets.jsonl``: a line a delivered frame, of every ring."""

    takes_records = False

    #: Packets formatted at a time: so much memory, and so long until Ctrl-C is seen.
    _PART = 4096

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)
        self._lines = JsonLines()

    def take(self, ring: int, descriptors: Descriptors, data: Bytes) -> None:
        for first in range(0, len(descriptors), self._PART):
            part = descriptors[first : first + self._PART]
            self._file.append(self._lines.format(ring, part, data).encode())

    def finish(self) -> None:
        self._file.close()


class Traffic:
    """Counts of ring 0 for summary and report."""

    takes_records = False

    def __init__(self) -> None:
        self.summary = TrafficSummary()

    def take(self, ring: int, descriptors: Descriptors, data: Bytes) -> None:
        if not ring:
            self.summary.update(descriptors, data)

    def finish(self) -> None:
        pass


class TagLosses:
    """Losses as the tags tell them, by ring."""

    takes_records = False

    def __init__(self, rings: int) -> None:
        self.lost = [0] * rings

    def take(self, ring: int, descriptors: Descriptors, data: Bytes) -> None:
        self.lost[ring] += tags.losses(descriptors, data)

    def finish(self) -> None:
        pass

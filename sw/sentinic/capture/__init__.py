"""Captures in and out, a batch of frames at a time.

::

    links = LinkTable()                                   # shared by all readers and writers of a run
    with CaptureReader("in.pcap.gz", port=0, links=links) as reader, \\
            CaptureWriter("out.pcapng", links=links) as writer:
        for batch in reader:                              # FrameBatch: columns over one buffer, Ethernet only
            writer.write_batch(batch)                     # original link headers come back

- :class:`CaptureReader` reads pcap (micro- and nanosecond, both byte orders, Kuznetzov's records) and pcapng (all
  packet blocks, any time resolution and offset, several interfaces and sections), plain or in gzip, from a path, ``-``
  or a file object. Times are nanoseconds, rounded down, in 0..2**63-1; others become the nearer end, and are
  counted.
- :class:`LinkTable` keeps the link headers of frames that are not Ethernet (:data:`SUPPORTED`).
- :class:`CaptureWriter` writes pcapng with nanosecond times.
- :func:`interleave`, :func:`merge` and :func:`gather` make one stream of several.

Not supported: other link types; options of packets (comments, flags, hashes) and other blocks, which are skipped; an
FCS, where a capture has one, stays with its frame as trailing bytes. A file that somebody writes to
meanwhile is read as far as it went when it was opened; one that is cut short delivers what was still there.

Errors are :class:`~sentinic.errors.CaptureError` (reading) and :class:`~sentinic.errors.CaptureWriteError`.
"""

from sentinic.capture.links import SUPPORTED, LinkTable
from sentinic.capture.merge import gather, interleave, merge
from sentinic.capture.reader import BATCH_BYTES, BATCH_FRAMES, CaptureReader
from sentinic.capture.writer import CaptureWriter

__all__ = [
    "CaptureReader",
    "CaptureWriter",
    "LinkTable",
    "SUPPORTED",
    "BATCH_BYTES",
    "BATCH_FRAMES",
    "gather",
    "interleave",
    "merge",
]

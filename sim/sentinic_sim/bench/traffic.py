"""The frames that benchmarks send: 64 bytes on the wire, which is the hardest case."""

from dataclasses import replace

import numpy as np

from sentinic.driver.frames import FrameBatch

#: 64 bytes on the wire are 60 without the frame check sequence, and 20 of preamble and gap follow.
FRAME_BYTES = 60
WIRE_BITS = 8 * 84
#: Ethernet, IPv4 and TCP, checksums to be put in, and six bytes of payload.
_TCP_FRAME = bytes.fromhex(
    """
    020000000001 020000000002 0800
    4500002e 00004000 40060000 0a000001 c0000201
    1f900050 00000001 00000000 50100200 00000000
    000000000000
    """
)


def minimum_frames(count: int, flows: int, *, ports: int = 1) -> FrameBatch:
    """``count`` TCP frames of 64 bytes in ``flows`` flows, checksums right, back to back at 100 Gbit/s."""
    rows = np.tile(np.frombuffer(_TCP_FRAME, np.uint8), (count, 1))
    flow = np.arange(count) % flows
    rows[:, 27] = flow >> 16 & 0xFF
    rows[:, 28] = flow >> 8 & 0xFF
    rows[:, 29] = flow & 0xFF
    rows[:, 24:26] = _checksum(rows[:, 14:34])
    segment = np.zeros((count, 12 + 26), np.uint8)
    segment[:, 0:8] = rows[:, 26:34]
    segment[:, 9], segment[:, 11] = 6, 26
    segment[:, 12:] = rows[:, 34:60]
    rows[:, 50:52] = _checksum(segment)
    return FrameBatch(
        data=rows.reshape(-1),
        offset=np.arange(count, dtype=np.int64) * FRAME_BYTES,
        length=np.full(count, FRAME_BYTES, np.uint32),
        wire_length=np.full(count, FRAME_BYTES, np.uint32),
        timestamp=1_700_000_000_000_000_000 + np.arange(count, dtype=np.uint64) * 7,
        port=(np.arange(count) % ports).astype(np.uint8),
        error=np.zeros(count, np.uint8),
    )


def padded(batch: FrameBatch, length: int) -> FrameBatch:
    """The same frames of one length, each with zeros behind it, ``length`` bytes in all."""
    count = len(batch.offset)
    rows = np.zeros((count, length), np.uint8)
    rows[:, : int(batch.length[0])] = batch.data.reshape(count, -1)
    lengths = np.full(count, length, np.uint32)
    starts = np.arange(count, dtype=np.int64) * length
    return replace(batch, data=rows.reshape(-1), offset=starts, length=lengths, wire_length=lengths)


def _checksum(rows: np.ndarray) -> np.ndarray:
    """The Internet checksum (RFC 1071) of each row, as two bytes."""
    words = rows.reshape(len(rows), -1, 2).astype(np.uint32)
    total = (words[:, :, 0] << 8 | words[:, :, 1]).sum(axis=1)
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    inverse = ~total & 0xFFFF
    return np.stack([inverse >> 8, inverse & 0xFF], axis=1).astype(np.uint8)

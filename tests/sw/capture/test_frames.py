"""FrameBatch, the seam between captures and transports."""

import dataclasses

import numpy as np
import pytest

from sentinic.driver.frames import FrameBatch

BATCH = FrameBatch.from_frames([b"abc", b"", b"defg"], port=[0, 1, 0], wire_length=[3, 60, 1500])


def test_frames_are_views_of_the_buffer() -> None:
    assert [BATCH.frame(index).tobytes() for index in range(3)] == [b"abc", b"", b"defg"]
    assert np.shares_memory(BATCH.frame(0), BATCH.data)
    assert len(BATCH) == 3
    assert BATCH.timestamp.tolist() == [0, 1000, 2000]


def test_rows_are_chosen_over_the_same_buffer() -> None:
    chosen = BATCH[1:]
    assert chosen.data is BATCH.data
    assert np.shares_memory(chosen.offset, BATCH.offset)
    assert chosen.wire_length.tolist() == [60, 1500]
    assert BATCH[BATCH.port == 1].wire_length.tolist() == [60]


def test_batches_are_joined() -> None:
    joined = FrameBatch.concatenate([BATCH, FrameBatch.empty(), BATCH[2:], FrameBatch.from_frames([b"x"])])
    joined.validate()
    assert [joined.frame(index).tobytes() for index in range(5)] == [b"abc", b"", b"defg", b"defg", b"x"]
    assert FrameBatch.concatenate([BATCH[:1], BATCH[2:]]).data is BATCH.data
    assert len(FrameBatch.concatenate([])) == 0


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("offset", np.zeros(3, np.int32), "int64 array, not int32"),
        ("port", np.zeros(2, np.uint8), "must have 3 entries as offset has, not 2"),
        ("data", np.zeros(3, np.int8), "uint8"),
        ("timestamp", np.zeros(6, np.uint64)[::2], "contiguous"),
    ],
)
def test_columns_of_another_type_or_length_are_refused(column: str, value: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(BATCH, **{column: value})


@pytest.mark.parametrize("offset", [-1, 4])
def test_validate_refuses_frames_outside_the_buffer(offset: int) -> None:
    bad = dataclasses.replace(BATCH, offset=np.array([0, 0, offset]))
    with pytest.raises(ValueError, match="frame 2 must lie within the buffer of 7 bytes"):
        bad.validate()

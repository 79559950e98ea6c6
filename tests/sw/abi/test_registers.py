"""The driver's register access against addresses and words written out by hand."""

import pytest

from sentinic.driver.registers import Registers
from sentinic.errors import RegisterError


@pytest.fixture
def words() -> dict[int, int]:
    """The card's registers by byte address, as a reset card with two rings' worth of settings has them."""
    return {
        0x0000: 0x534E4943,  # id: "SNIC"
        0x0004: 0x00010000,  # ABI 1.0
        0x0008: 1,  # profile wide
        0x000C: 0x3B014240,  # 59 counters, 1 stage, 4 rings, 2 ports, 64 bytes a beat
        0x0010: 0x01000800,  # 2048 cells of 256 bytes
        0x0014: 0b10,  # pause, not enabled
        0x4034: 0xFFFF,  # ring 0 takes all verdicts
        0x4140: 0x0000_0304,  # ring 2: part 3 of 4
    }


@pytest.fixture
def card(words: dict[int, int]) -> Registers:
    return Registers(lambda address: words.get(address, 0), words.__setitem__, rings=4)


@pytest.mark.parametrize(
    ("block", "register", "field", "index", "value"),
    [
        ("card", "id", "value", 0, 0x534E4943),
        ("card", "capabilities", "beat_bytes", 0, 64),
        ("card", "capabilities", "ports", 0, 2),
        ("card", "capabilities", "rings", 0, 4),
        ("card", "capabilities", "stages", 0, 1),
        ("card", "capabilities", "counters", 0, 59),
        ("card", "store", "cells", 0, 2048),
        ("card", "store", "cell_bytes", 0, 256),
        ("card", "control", "enable", 0, 0),
        ("card", "control", "pause", 0, 1),
        ("ring", "filter_verdicts", "value", 0, 0xFFFF),
        ("ring", "spread", "count", 2, 4),
        ("ring", "spread", "index", 2, 3),
    ],
)
def test_a_field_is_read_from_its_bits(
    card: Registers, block: str, register: str, field: str, index: int, value: int
) -> None:
    assert card.read(block, register, field, index) == value


@pytest.mark.parametrize(
    ("block", "register", "field", "index", "value", "address", "word"),
    [
        ("card", "control", "enable", 0, 1, 0x0014, 0b11),
        ("card", "scratch", "value", 0, 0xFFFFFFFF, 0x0018, 0xFFFFFFFF),
        ("card", "hash_key10", "value", 0, 0x6D5A56DA, 0x0068, 0x6D5A56DA),
        ("interrupt", "pending", "value", 0, 0b101, 0x0204, 0b101),
        ("interrupt", "holdoff", "value", 0, 1000, 0x0208, 1000),
        ("snapshot", "take", "value", 0, 1, 0x0300, 1),
        ("passthrough", "mark", "value", 0, 7, 0x3004, 7),
        ("ring", "control", "enable", 0, 1, 0x4000, 1),
        ("ring", "descriptor_base_high", "value", 1, 2, 0x408C, 2),
        ("ring", "spread", "count", 2, 8, 0x4140, 0x0308),
        ("ring", "data_tail", "value", 3, 0x3FFFFFF, 0x41A4, 0x3FFFFFF),
    ],
)
def test_a_field_is_written_to_its_bits_and_its_neighbours_stay(
    card: Registers,
    words: dict[int, int],
    block: str,
    register: str,
    field: str,
    index: int,
    value: int,
    address: int,
    word: int,
) -> None:
    card.write(block, register, value, field, index)
    assert words[address] == word


@pytest.mark.parametrize("value", [-1, 1 << 14])
def test_a_value_out_of_range_is_refused_and_nothing_written(
    card: Registers, words: dict[int, int], value: int
) -> None:
    before = dict(words)
    with pytest.raises(RegisterError, match=rf"register ring1\.snap_length must be 0\.\.16383 bytes, not {value}"):
        card.write("ring", "snap_length", value, index=1)
    assert words == before


def test_a_read_only_register_is_refused(card: Registers) -> None:
    with pytest.raises(RegisterError, match=r"register card\.id is read-only"):
        card.write("card", "id", 1)

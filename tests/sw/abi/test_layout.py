"""The vocabulary of the ABI refuses definitions that contradict themselves, and the real ones hold together."""

from itertools import pairwise

import pytest

from sentinic.abi import counters, descriptor, profiles, registers, tag, verdicts
from sentinic.abi.layout import Access, Block, ByteOrder, Field, Member, Record, Register

RW = Access.RW


def word(name: str, offset: int) -> Register:
    return Register(name, offset, (Field("value", 0, 32, RW, ""),))


def record(size: int, *members: Member) -> Record:
    return Record("sample", size, ByteOrder.LITTLE, members)


def test_a_register_off_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="register 'odd': offset must be a multiple of 4 bytes, not 0x2"):
        word("odd", 2)


def test_a_field_past_the_word_is_refused() -> None:
    with pytest.raises(ValueError, match="register 'wide': field 'high' must end within 32 bits"):
        Register("wide", 0, (Field("high", 30, 3, RW, ""),))


def test_overlapping_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="register 'both': field 'second' overlaps another"):
        Register("both", 0, (Field("first", 0, 4, RW, ""), Field("second", 3, 4, RW, "")))


def test_a_reset_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="register 'small': reset of 'bit' must fit 1 bits"):
        Register("small", 0, (Field("bit", 0, 1, RW, "", reset=2),))


def test_two_registers_at_one_offset_are_refused() -> None:
    with pytest.raises(ValueError, match="block 'pair': 'second' and 'first' share offset 0x4"):
        Block("pair", 0, (word("first", 4), word("second", 4)))


def test_a_register_past_the_stride_of_a_repeated_block_is_refused() -> None:
    with pytest.raises(ValueError, match="block 'many': 'far' must lie within the stride of 0x10"):
        Block("many", 0, (word("far", 0x10),), count=2, stride=0x10)


def test_an_instance_that_is_not_there_is_refused() -> None:
    block = Block("many", 0x100, (word("only", 4),), count=2, stride=0x10)
    assert [block.address("only", index) for index in (0, 1)] == [0x104, 0x114]
    for index in (-1, 2):
        with pytest.raises(IndexError, match=rf"block 'many': index must be 0\.\.1, not {index}"):
            block.address("only", index)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError, match="block 'card' has no register 'colour'"):
        registers.CARD.register("colour")
    with pytest.raises(KeyError, match="record 'descriptor' has no member 'colour'"):
        descriptor.DESCRIPTOR.member("colour")
    with pytest.raises(KeyError, match="record 'descriptor': member 'status' has no bits 'colour'"):
        descriptor.DESCRIPTOR.bit("status", "colour")


def test_a_member_past_the_record_is_refused() -> None:
    with pytest.raises(ValueError, match="record 'sample': 'long' must end within 8 bytes"):
        record(8, Member("long", 4, 1, "", count=5))


def test_a_member_off_its_alignment_is_refused() -> None:
    with pytest.raises(ValueError, match="record 'sample': 'word' must be aligned to 4 bytes"):
        record(8, Member("word", 2, 4, ""))


def test_overlapping_members_are_refused() -> None:
    with pytest.raises(ValueError, match="record 'sample': 'half' overlaps 'word'"):
        record(8, Member("word", 0, 4, ""), Member("half", 2, 2, ""))


def test_the_blocks_do_not_overlap_and_end_within_the_register_window() -> None:
    table = [len(counters.counter_names(profile)) for profile in profiles.PROFILES.values()]
    spans = [(registers.COUNTERS_BASE, registers.COUNTERS_BASE + 8 * max(table), "counters")]
    for block in registers.BLOCKS:
        last = max(register.offset for register in block.registers) + 4
        spans.append((block.base, block.address(block.registers[0].name, block.count - 1) + last, block.name))
    spans.sort()
    for (_, end, name), (begin, _, after) in pairwise(spans):
        assert end <= begin, f"{name} runs into {after}"
    assert spans[-1][1] <= 1 << registers.ADDRESS_WIDTH


def test_the_descriptor_has_no_byte_and_no_status_bit_with_two_meanings_or_a_gap() -> None:
    assert sum(member.size * member.count for member in descriptor.DESCRIPTOR) == 64
    masks = [bits.mask for bits in descriptor.DESCRIPTOR.bits["status"]]
    assert sum(masks) == 0xFFFFFFFF
    assert sum(bits.mask for bits in descriptor.PLAIN_TAG_WORDS) == 0x1F


def test_every_tlv_is_whole_words_and_its_type_its_own() -> None:
    assert all(tlv.record.size == 4 * tlv.words for tlv in tag.TLVS)
    assert len({tlv.type for tlv in tag.TLVS}) == len(tag.TLVS)


def test_the_enumerations_fit_the_bits_that_carry_them() -> None:
    for name, enumeration in (
        ("fragment", verdicts.Fragment),
        ("transport_checksum", verdicts.Checksum),
        ("parse_error", verdicts.ParseError),
        ("kind", verdicts.Kind),
    ):
        bits = descriptor.DESCRIPTOR.bit("status", name)
        assert max(enumeration) < 1 << bits.width, name
    for register, filtered in (("filter_protocols", verdicts.Protocol), ("filter_verdicts", verdicts.Verdict)):
        assert max(filtered) < registers.RING.register(register).fields[0].width, register


@pytest.mark.parametrize("profile", profiles.PROFILES.values(), ids=lambda profile: profile.name)
def test_a_profile_fits_the_registers_that_tell_it(profile: profiles.Profile) -> None:
    capabilities = {item.name: item.width for item in registers.CARD.register("capabilities").fields}
    values = {
        "beat_bytes": profile.beat_bytes,
        "ports": profile.ports,
        "rings": profile.rings,
        "stages": len(profile.stages),
        "counters": len(counters.counter_names(profile)),
    }
    assert {name for name, value in values.items() if value >> capabilities[name]} == set()
    assert set(profile.stages) <= set(registers.STAGE_BLOCKS)
    assert profile.rings <= registers.RING.count


def test_every_name_in_a_snapshot_is_unique_and_the_fates_are_among_them() -> None:
    names = counters.counter_names(profiles.WIDE)
    assert len(set(names)) == len(names)
    assert set(counters.FATES) <= set(names)
    assert names[:3] == ["cycles", "received", "held"]
    assert {"port1.received_bytes", "statistics.stall_cycles", "dma.stall_cycles", "ring3.lost"} <= set(names)

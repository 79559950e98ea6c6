"""Bytes to values and back, one record or one frame at a time: for tools, dissectors and tests.

Where packets flow in numbers use the numpy views of :mod:`sentinic.driver.records`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from sentinic.abi import verdicts
from sentinic.abi.layout import Bits, Member, Record
from sentinic.abi.profiles import MAX_VLAN_TAGS
from sentinic.abi.reports import REPORT
from sentinic.abi.tag import TAG_ETHERTYPE, TAG_HEADER_BYTES, TAG_MAX_BYTES, TAG_VERSION, TLVS, Tlv

#: EtherTypes of VLAN tags: 802.1Q, 802.1ad, and what stacked tags used before it.
VLAN_ETHERTYPES = frozenset({0x8100, 0x88A8, 0x9100})
_ADDRESSES = 12

Value = int | bytes


def enumeration_of(item: Member | Bits) -> type[IntEnum] | None:
    """The enumeration whose values a member or a run of bits holds (its text is then the enumeration's name)."""
    found = getattr(verdicts, item.doc, None) if item.doc.isidentifier() else None
    return found if isinstance(found, type) and issubclass(found, IntEnum) else None


def encode_record(record: Record, values: Mapping[str, Value]) -> bytes:
    """The record's bytes; members left out are zero.

    Raises ValueError for an unknown member or a value that does not fit.
    """
    unknown = sorted(set(values) - {member.name for member in record})
    if unknown:
        raise ValueError(f"record {record.name!r} has no member {unknown[0]!r}")
    out = bytearray(record.size)
    for member in record:
        length = member.size * member.count
        out[member.offset : member.offset + length] = _encode(record, member, values.get(member.name, 0))
    return bytes(out)


def _encode(record: Record, member: Member, value: Value) -> bytes:
    length = member.size * member.count
    path = f"{record.name}.{member.name}"
    if isinstance(value, bytes):
        if member.count == 1:
            raise ValueError(f"{path} must be an integer, not bytes")
        if len(value) != length:
            raise ValueError(f"{path} must be {length} bytes, not {len(value)}")
        return value
    if member.count > 1:
        if value:
            raise ValueError(f"{path} must be {length} bytes, not an integer")
        return bytes(length)
    if not 0 <= value < 1 << (8 * length):
        unit = f" {member.unit}" if member.unit else ""
        raise ValueError(f"{path} must be 0..{(1 << (8 * length)) - 1}{unit}, not {value}")
    return value.to_bytes(length, record.order.value)


def decode_record(record: Record, data: bytes) -> dict[str, Value]:
    """The record's members by name: integers, and bytes where a member is a byte string.

    Raises ValueError when ``data`` is not exactly of the record's size.
    """
    if len(data) != record.size:
        raise ValueError(f"record {record.name!r} must be {record.size} bytes, not {len(data)}")
    values: dict[str, Value] = {}
    for member in record:
        raw = data[member.offset : member.offset + member.size * member.count]
        values[member.name] = raw if member.count > 1 else int.from_bytes(raw, record.order.value)
    return values


def encode_bits(bits: tuple[Bits, ...], values: Mapping[str, int]) -> int:
    """A word from its named bits; those left out are zero.  Raises ValueError as :func:`encode_record` does."""
    known = {item.name: item for item in bits}
    word = 0
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"no bits {name!r}; there are {', '.join(known)}")
        item = known[name]
        if not 0 <= value < 1 << item.width:
            raise ValueError(f"{name} must be 0..{(1 << item.width) - 1}, not {value}")
        word |= value << item.lsb
    return word


def decode_bits(bits: tuple[Bits, ...], word: int) -> dict[str, int]:
    """The named bits of a word."""
    return {item.name: (word & item.mask) >> item.lsb for item in bits}


@dataclass(frozen=True)
class TagSpan:
    """Where the tag lies in a frame: ``length`` bytes from byte ``start``, its EtherType included."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


def find_tag(frame: bytes) -> TagSpan | None:
    """The tag of a frame, behind at most two VLAN tags; None when it has none of this version.  All of a report is tag.

    Raises ValueError when the tag is there and its length is impossible.
    """
    start = _ADDRESSES
    for _ in range(MAX_VLAN_TAGS):
        if int.from_bytes(frame[start : start + 2], "big") in VLAN_ETHERTYPES:
            start += 4
    if len(frame) < start + TAG_HEADER_BYTES or int.from_bytes(frame[start : start + 2], "big") != TAG_ETHERTYPE:
        return None
    if frame[start + 2] != TAG_VERSION:
        return None
    length = 4 * frame[start + 3]
    report = frame[start + TAG_HEADER_BYTES : start + TAG_HEADER_BYTES + 1] == bytes((REPORT.type,))
    most = len(frame) - start if report else min(TAG_MAX_BYTES, len(frame) - start)
    if not TAG_HEADER_BYTES <= length <= most:
        raise ValueError(f"the tag's length must be {TAG_HEADER_BYTES}..{most} bytes here, not {length}")
    return TagSpan(start, length)


def strip_tag(frame: bytes) -> bytes:
    """The original frame, byte for byte; a frame without a tag is given back as it is."""
    span = find_tag(frame)
    return frame if span is None else frame[: span.start] + frame[span.end :]


def split_tag(tag: bytes) -> Iterator[bytes]:
    """The TLVs of a tag (which begins with its EtherType), each whole.

    Raises ValueError when a TLV is empty or runs past the tag's end.
    """
    at = TAG_HEADER_BYTES
    while at < len(tag):
        length = 4 * tag[at + 1] if at + 1 < len(tag) else 0
        if not 4 <= length <= len(tag) - at:
            raise ValueError(
                f"TLV {tag[at]:#04x} at byte {at} of the tag must be 4..{len(tag) - at} bytes, not {length}"
            )
        yield tag[at : at + length]
        at += length


_BY_TYPE: dict[int, Tlv] = {tlv.type: tlv for tlv in TLVS}


def decode_tag(tag: bytes) -> dict[str, dict[str, Value]]:
    """The tag's known TLVs by name, type and length left out; unknown ones, and known ones of another length, are
    skipped.  Raises ValueError as :func:`split_tag` does.
    """
    result: dict[str, dict[str, Value]] = {}
    for data in split_tag(tag):
        tlv = _BY_TYPE.get(data[0])
        if tlv is not None and len(data) == tlv.record.size:
            values = decode_record(tlv.record, data)
            result[tlv.name] = {name: value for name, value in values.items() if name not in ("type", "length")}
    return result


def encode_tag(tlvs: Mapping[str, Mapping[str, Value]]) -> bytes:
    """A tag, its EtherType included, from TLVs by name; they stand in the order that the ABI fixes.

    Raises ValueError for an unknown TLV or member, for a value that does not fit, and for TLVs that together do not.
    """
    unknown = sorted(set(tlvs) - {tlv.name for tlv in TLVS})
    if unknown:
        raise ValueError(f"no TLV {unknown[0]!r}; there are {', '.join(tlv.name for tlv in TLVS)}")
    body = b"".join(
        encode_record(tlv.record, {**tlvs[tlv.name], "type": tlv.type, "length": tlv.words})
        for tlv in TLVS
        if tlv.name in tlvs
    )
    length = TAG_HEADER_BYTES + len(body)
    if length > TAG_MAX_BYTES:
        raise ValueError(f"the tag must be at most {TAG_MAX_BYTES} bytes, not {length}")
    return TAG_ETHERTYPE.to_bytes(2, "big") + bytes((TAG_VERSION, length // 4)) + body

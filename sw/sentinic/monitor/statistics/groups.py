"""What a statistics rule counted, a row a group and interval; and how groups and histories read."""

import ipaddress
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sentinic.abi.statistics import EVENT_LETTERS, HISTORY_EVENTS, REVERSE
from sentinic.abi.statistics import field as abi_field
from sentinic.driver.rules import Encoded, GroupField
from sentinic.monitor.shown_fields import WORDS

#: ``interval`` counts from wire time 0 on, in units of the rule's report interval, and is 0 without one; ``first`` and
#: ``last`` are ns.  ``history`` has four bits an event, the first lowest, ``seen`` a bit an event: see
#: :class:`sentinic.abi.statistics.Event`.  ``reversed``: the first packet went from ``destination`` to ``source``.
#: ``final``: of the last interval in which the rule counted.  ``key`` holds the grouped fields.
ROW = np.dtype(
    [
        ("generation", "<i8"),
        ("interval", "<i8"),
        ("packets", "<i8"),
        ("bytes", "<i8"),
        ("first", "<i8"),
        ("last", "<i8"),
        ("history", "<i8"),
        ("seen", "<i8"),
        ("reversed", "?"),
        ("final", "?"),
        ("key", "<i8", (WORDS,)),
    ]
)
Rows = npt.NDArray[np.void]
Keys = npt.NDArray[np.int64]
#: A grouped value, as JSON takes it.
GroupValue = int | str | bool

_LETTERS = {
    int(event) + bit: letter.lower() if bit else letter
    for event, letter in EVENT_LETTERS.items()
    for bit in (0, REVERSE)
}
_IPV4, _IPV6 = 1, 2


def history_text(history: int) -> str:
    """A history in Zeek's letters; small ones are of packets against the direction of the group's first."""
    codes = (history >> 4 * place & 15 for place in range(HISTORY_EVENTS))
    return "".join(_LETTERS[code] for code in codes if code)


def field_numbers(keys: Keys, name: str) -> list[int]:
    """The field ``name`` of keys (``int64[n, 7]``), as numbers."""
    item = abi_field(name)
    word, shift = divmod(item.lsb, 64)
    columns = np.ascontiguousarray(keys).view(np.uint64)
    if item.width == 128:
        low, high = columns[:, word].tolist(), columns[:, word + 1].tolist()
        return [more << 64 | less for less, more in zip(low, high, strict=True)]
    value = columns[:, word] >> np.uint64(shift)
    if shift + item.width > 64:
        value |= columns[:, word + 1] << np.uint64(64 - shift)
    return [int(number) for number in (value & np.uint64((1 << item.width) - 1)).tolist()]


def group_columns(encoded: Encoded, keys: Keys) -> dict[str, list[GroupValue]]:
    """The grouped fields of a rule's keys, by the names that the rule uses; addresses as text, with their prefix."""
    versions = field_numbers(keys, "ip_version")
    return {_label(part): _values(part, field_numbers(keys, part.name.field), versions) for part in encoded.fields}


def group_texts(encoded: Encoded, keys: Keys) -> list[dict[str, GroupValue]]:
    """As :func:`group_columns`, a dictionary a key."""
    columns = group_columns(encoded, keys)
    if not columns:
        return [{} for _ in range(len(keys))]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _label(part: GroupField) -> str:
    return part.name.name


def _values(part: GroupField, numbers: Sequence[int], versions: Sequence[int]) -> list[GroupValue]:
    name = part.name.name
    numbers = [number & part.mask for number in numbers]  # another field may group by more of it
    if name == "is_fragment":
        return [bool(number) for number in numbers]
    if name == "ip_version":
        return [{_IPV4: 4, _IPV6: 6}.get(number, 0) for number in numbers]
    if name in ("eth_src", "eth_dst"):
        return [number.to_bytes(6, "big").hex(":") for number in numbers]
    if name in ("source", "destination"):
        return [_address(number, version) for number, version in zip(numbers, versions, strict=True)]
    if part.name.address:
        make = ipaddress.IPv4Address if part.name.width == 32 else ipaddress.IPv6Address
        ending = "" if part.prefix is None or part.prefix == part.name.width else f"/{part.prefix}"
        return [f"{make(number)}{ending}" for number in numbers]
    return list(numbers)


def _address(number: int, version: int) -> str:
    """Empty for packets that are not IP."""
    if version == _IPV4:
        return str(ipaddress.IPv4Address(number & 0xFFFF_FFFF))
    return str(ipaddress.IPv6Address(number)) if version == _IPV6 else ""

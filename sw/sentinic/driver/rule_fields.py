"""The names that statistics rules use: where each lies among the card's fields, and how its values are written.

OXM's names (OpenFlow Switch Specification 1.5.1, 7.2.3.8) imply what OXM asks for beside them, as ``tcp_src`` does
``ip_proto`` 6.  Ours are ``ip_version`` (4 or 6) and, for packets of either version and of any transport, ``source``,
``destination``, ``source_port`` and ``destination_port``.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as member
from types import MappingProxyType

from sentinic.abi.statistics import field as abi_field
from sentinic.errors import ConfigError

#: As a rule gives it.
Value = str | int | bool
#: Values and masks by the card's field.
Bits = Mapping[str, tuple[int, int]]
#: (number, mask or ``None`` for all bits, what else the packet must be) of a value.
_Parsed = tuple[int, int | None, Bits]
_Parse = Callable[["Name", Value, str], _Parsed]

_NOTHING: Bits = MappingProxyType({})
_VERSIONS = {4: 1, 6: 2}
_VERSION_BITS = (1 << abi_field("ip_version").width) - 1
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|-?[0-9]+")
_HARDWARE = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


@dataclass(frozen=True)
class Name:
    """A field as rules name it.

    The ``width`` lowest bits of the card's ``field``; ``implies`` is what a packet that has it shows elsewhere;
    ``groups`` what must tell groups apart beside it; ``address``: it takes prefix lengths; ``one_way``: it lies where
    ports do, and is none.
    """

    name: str
    field: str
    width: int
    read: _Parse
    implies: Bits = member(default_factory=dict)
    groups: Mapping[str, int] = member(default_factory=dict)
    address: bool = False
    one_way: bool = False

    @property
    def ones(self) -> int:
        return (1 << self.width) - 1

    def parse(self, value: Value, where: str) -> tuple[int, int, Bits]:
        """Number, mask and what else must hold.  Raises :class:`ConfigError` with the limit."""
        number, mask, implied = self.read(self, value, where)
        bits = self.ones if mask is None else mask
        if not 0 <= number <= self.ones:
            raise ConfigError(f"{where}: value must be 0..{self.ones:#x} ({self.width} bits), not {value!r}")
        if not 0 <= bits <= self.ones:
            raise ConfigError(f"{where}: mask must be 0..{self.ones:#x} ({self.width} bits), not {value!r}")
        if number & ~bits:
            raise ConfigError(f"{where}: the value must have no bits outside of its mask, as {value!r} has")
        return number, bits, implied


def prefix_mask(length: int, width: int) -> int:
    """The ``length`` highest of ``width`` bits."""
    return (1 << width) - (1 << (width - length))


def _integer(text: str) -> int:
    """A decimal number, or a hexadecimal one after 0x.  Raises ValueError for anything else."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text, 16 if text[:2].lower() == "0x" else 10)


def _number(name: Name, value: Value, where: str) -> _Parsed:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ConfigError(f"{where}: must be a number, or text as '0x02/0x12', not {value!r}")
    if isinstance(value, int):
        return value, None, _NOTHING
    text, slash, mask = value.partition("/")
    try:
        return _integer(text), _integer(mask) if slash else None, _NOTHING
    except ValueError:
        raise ConfigError(f"{where}: must be a number with an optional mask, as '0x02/0x12', not {value!r}") from None


def _flag(name: Name, value: Value, where: str) -> _Parsed:
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: must be true or false, not {value!r}")
    return int(value), None, _NOTHING


def _version(name: Name, value: Value, where: str) -> _Parsed:
    if isinstance(value, bool) or not isinstance(value, int) or value not in _VERSIONS:
        raise ConfigError(f"{where}: must be 4 or 6, not {value!r}")
    return _VERSIONS[value], None, _NOTHING


def _hardware(name: Name, value: Value, where: str) -> _Parsed:
    text, slash, mask = str(value).partition("/")
    try:
        return _hardware_bits(text), _hardware_bits(mask) if slash else None, _NOTHING
    except ValueError:
        raise ConfigError(
            f"{where}: must be an address as '02:00:00:00:00:01', with an optional mask of the same form, not {value!r}"
        ) from None


def _hardware_bits(text: str) -> int:
    text = text.strip()
    if not _HARDWARE.fullmatch(text):
        raise ValueError(text)
    return int(re.sub("[:-]", "", text), 16)


def _internet(*versions: int) -> _Parse:
    """An address of one of these versions, with a prefix length or a mask of the same form."""

    def parse(name: Name, value: Value, where: str) -> _Parsed:
        text, slash, rest = str(value).partition("/")
        try:
            address = ipaddress.ip_address(text.strip())
            if address.version not in versions or "%" in str(value):
                raise ValueError(text)
            width = address.max_prefixlen
            mask = prefix_mask(width, width)
            if rest.isascii() and rest.strip().isdecimal():
                if int(rest) > width:
                    raise ConfigError(f"{where}: prefix length must be 0..{width} bits, not {rest.strip()}")
                mask = prefix_mask(int(rest), width)
            elif slash:
                mask = int(type(address)(rest.strip()))
        except ValueError:
            kind = " or ".join(f"IPv{version}" for version in versions)
            raise ConfigError(
                f"{where}: must be an {kind} address with an optional prefix length or mask, not {value!r}"
            ) from None
        if len(versions) == 1:
            return int(address), mask, _NOTHING
        return int(address), mask, {"ip_version": (_VERSIONS[address.version], _VERSION_BITS)}

    return parse


def _is(**values: int) -> Bits:
    return MappingProxyType({name: (value, (1 << abi_field(name).width) - 1) for name, value in values.items()})


def _plain(name: str, parse: _Parse = _number, implies: Bits = _NOTHING, field_name: str = "") -> Name:
    place = field_name or name
    return Name(name, place, abi_field(place).width, parse, implies)


def _ports(protocol: str, number: int) -> tuple[Name, Name]:
    implied = _is(ip_proto=number)
    return (
        _plain(f"{protocol}_src", implies=implied, field_name="source_port"),
        _plain(f"{protocol}_dst", implies=implied, field_name="destination_port"),
    )


def _addresses(version: int) -> tuple[Name, Name]:
    width, implied = (32 if version == 4 else 128), _is(ip_version=_VERSIONS[version])
    return (
        Name(f"ipv{version}_src", "source", width, _internet(version), implied, address=True),
        Name(f"ipv{version}_dst", "destination", width, _internet(version), implied, address=True),
    )


def _messages(version: int, number: int) -> tuple[Name, Name]:
    """Type and code, which lie where the ports do, and take one byte."""
    implied = _is(ip_proto=number, ip_version=_VERSIONS[version])
    return (
        Name(f"icmpv{version}_type", "source_port", 8, _number, implied, one_way=True),
        Name(f"icmpv{version}_code", "destination_port", 8, _number, implied, one_way=True),
    )


def _either(name: str) -> Name:
    """An address of whatever version; groups of both versions stay apart."""
    return Name(name, name, abi_field(name).width, _internet(4, 6), groups={"ip_version": _VERSION_BITS})


_ALL = (
    _plain("in_port"),
    _plain("eth_src", _hardware),
    _plain("eth_dst", _hardware),
    _plain("eth_type"),
    _plain("vlan_vid", implies=_is(vlan_present=1)),
    _plain("ip_proto"),
    _plain("ip_dscp"),
    *_addresses(4),
    *_addresses(6),
    *_ports("tcp", 6),
    _plain("tcp_flags", implies=_is(ip_proto=6)),
    *_ports("udp", 17),
    *_ports("sctp", 132),
    *_messages(4, 1),
    *_messages(6, 58),
    _plain("is_fragment", _flag),
    _plain("ip_version", _version),
    _either("source"),
    _either("destination"),
    _plain("source_port"),
    _plain("destination_port"),
)
#: Every name that a rule may use.
NAMES: Mapping[str, Name] = MappingProxyType({name.name: name for name in _ALL})

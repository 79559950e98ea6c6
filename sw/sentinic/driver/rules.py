"""Statistics rules as people write them, and the words that the card and the software work with.

::

    Rule("web", match={"ipv4_dst": "10.0.0.0/8", "tcp_dst": 80}, group=["ipv4_src/24"], report_every=10**10)

Names are OXM's, and some of our own for what several of them share; :mod:`sentinic.driver.rule_fields` lists them.
A rule counts the packets that have all fields it names, so ``tcp_dst`` alone selects TCP.  What a packet has but does
not show (ports of a later fragment) reads 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sentinic.abi.registers import STATISTICS
from sentinic.abi.statistics import FIELD_WORDS, PAIRS
from sentinic.abi.statistics import field as abi_field
from sentinic.driver.rule_fields import NAMES, Bits, Name, Value, prefix_mask
from sentinic.errors import ConfigError

#: Fields of the card by name: (value, mask).
_Bits = dict[str, tuple[int, int]]


def _limit(low: str, high: str) -> int:
    widths = [STATISTICS.register(name).fields[0].width for name in (low, high)]
    return (1 << sum(widths)) - 1


MAX_INTERVAL = _limit("interval_low", "interval_high")
MAX_THRESHOLD_PACKETS = _limit("threshold_packets_low", "threshold_packets_high")
MAX_THRESHOLD_BYTES = _limit("threshold_bytes_low", "threshold_bytes_high")
#: EtherTypes that say which IP version follows.
_ETHERTYPE_VERSIONS = {0x0800: 1, 0x86DD: 2}
#: Those behind which either may follow: MPLS.  What is below 1536 is a length (IEEE 802.3).
_ETHERTYPES_OF_ANY = (0x8847, 0x8848)
_LEAST_ETHERTYPE = 0x600
#: What IP packets alone show: all others have 0 there.
_OF_IP = ("ip_proto", "ip_dscp", "is_fragment", "tcp_flags", "source_port", "destination_port")


@dataclass(frozen=True)
class Rule:
    """What to count.

    Parameters
    ----------
    name: what reports call it
    match: value by field name, a mask or prefix length behind a slash: ``"10.0.0.0/8"``, ``"0x02/0x12"``
    group: fields that tell groups apart, addresses with an optional prefix length: ``"ipv4_src/24"``
    report_every: report interval in ns of wire time; 0 reports at the end only
    threshold_packets, threshold_bytes: a group's packet that reaches one is told at once; 0 for none
    bidirectional: both directions of a connection are one group, and match when either does
    cumulative: counts and thresholds go on past the end of an interval
    """

    name: str
    match: Mapping[str, Value] = field(default_factory=dict)
    group: Sequence[str] = ()
    report_every: int = 0
    threshold_packets: int = 0
    threshold_bytes: int = 0
    bidirectional: bool = False
    cumulative: bool = False


@dataclass(frozen=True)
class GroupField:
    """A field of a rule's group: its name, and the bits of the card's field that count."""

    name: Name
    prefix: int | None

    @property
    def mask(self) -> int:
        return self.name.ones if self.prefix is None else prefix_mask(self.prefix, self.name.width)


@dataclass(frozen=True)
class Encoded:
    """A rule's value, mask and group, each a number of ``32 * FIELD_WORDS`` bits; and what its group is made of."""

    rule: Rule
    value: int
    mask: int
    group: int
    fields: tuple[GroupField, ...]

    def words(self, name: str) -> list[int]:
        """``value``, ``mask`` or ``group`` as 32-bit words, the lowest first."""
        number = int(getattr(self, name))
        return [number >> 32 * n & 0xFFFF_FFFF for n in range(FIELD_WORDS)]


def encode(rule: Rule, where: str = "") -> Encoded:
    """The words of a rule.  Raises :class:`ConfigError`: ``where``, the rule's name, what is wrong and the limit."""
    place = f"{where}: rule {rule.name!r}" if where else f"rule {rule.name!r}"
    _check_numbers(rule, place)
    wanted: _Bits = {}
    origins: dict[str, str] = {}
    for key, value in rule.match.items():
        name = _known(key, f"{place}: match")
        _check_direction(rule, name, f"{place}: match")
        found, mask, implied = name.parse(value, f"{place}: match: {key}")
        _want(wanted, origins, name, {**name.implies, **implied, name.field: (found, mask)}, place)
    fields: list[GroupField] = []
    group: dict[str, int] = {}
    for item in rule.group:
        part = _group_field(item, f"{place}: group")
        if any(part.name is other.name for other in fields):
            raise ConfigError(f"{place}: group: {part.name.name} must stand once, not twice")
        fields.append(part)
        _check_direction(rule, part.name, f"{place}: group")
        _want(wanted, origins, part.name, part.name.implies, place)
        group[part.name.field] = group.get(part.name.field, 0) | part.mask
        for other, ones in part.name.groups.items():
            group[other] = group.get(other, 0) | ones
    _check_ethertype(wanted, origins, place)
    if rule.bidirectional:
        for one, two in PAIRS:
            if group.get(one, 0) != group.get(two, 0):
                raise ConfigError(
                    f"{place}: group: a bidirectional rule must group both ends alike, "
                    f"not {one} and {two} by different bits"
                )
    return Encoded(
        rule,
        sum(value << abi_field(name).lsb for name, (value, _) in wanted.items()),
        sum(mask << abi_field(name).lsb for name, (_, mask) in wanted.items()),
        sum(mask << abi_field(name).lsb for name, mask in group.items()),
        tuple(fields),
    )


def encode_all(rules: Iterable[Rule], where: str = "", most: int | None = None) -> list[Encoded]:
    """The words of several rules.  Raises :class:`ConfigError` also for two of one name, and for more than ``most``."""
    encoded = [encode(rule, where) for rule in rules]
    start = f"{where}: " if where else ""
    names = [item.rule.name for item in encoded]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{start}rule {name!r} must have a name of its own, not that of another rule")
    if most is not None and len(encoded) > most:
        raise ConfigError(f"{start}at most {most} statistics rules fit this card, not {len(encoded)}")
    return encoded


def _known(key: str, where: str) -> Name:
    name = NAMES.get(key)
    if name is None:
        raise ConfigError(f"{where}: unknown field {key!r}; known are {', '.join(NAMES)}")
    return name


def _want(wanted: _Bits, origins: dict[str, str], name: Name, bits: Bits, place: str) -> None:
    """Add what must hold for a packet to have ``name``; one that can never hold is refused."""
    for place_name, (value, mask) in bits.items():
        old_value, old_mask = wanted.get(place_name, (0, 0))
        if (value ^ old_value) & mask & old_mask:
            raise ConfigError(
                f"{place}: {name.name} contradicts {origins[place_name]}: no packet has both "
                f"({place_name} would have to be {value:#x} and {old_value:#x})"
            )
        wanted[place_name] = (old_value | value, old_mask | mask)
        origins.setdefault(place_name, name.name)


def _check_direction(rule: Rule, name: Name, where: str) -> None:
    if rule.bidirectional and name.one_way:
        raise ConfigError(
            f"{where}: a bidirectional rule must not name {name.name}: it is no port, and has no other end to be "
            "turned round with"
        )


def _check_ethertype(wanted: _Bits, origins: dict[str, str], place: str) -> None:
    kind, kind_mask = wanted.get("eth_type", (0, 0))
    version, version_mask = wanted.get("ip_version", (0, 0))
    if kind_mask != 0xFFFF or kind < _LEAST_ETHERTYPE or kind in _ETHERTYPES_OF_ANY:
        return
    follows = _ETHERTYPE_VERSIONS.get(kind, 0)
    if version_mask and version != follows:
        raise ConfigError(
            f"{place}: eth_type contradicts {origins['ip_version']}: behind {kind:#06x} comes no IPv{2 + 2 * version}"
        )
    for name in _OF_IP if not follows else ():
        if wanted.get(name, (0, 0))[0]:
            raise ConfigError(f"{place}: eth_type contradicts {origins[name]}: behind {kind:#06x} comes no IP")


def _group_field(item: object, where: str) -> GroupField:
    if not isinstance(item, str):
        raise ConfigError(f"{where}: each must be the name of a field, not {item!r}")
    key, slash, length = item.partition("/")
    name = _known(key.strip(), where)
    if not slash:
        return GroupField(name, None)
    if not name.address:
        raise ConfigError(f"{where}: {name.name} takes no prefix length, only addresses do, not {item!r}")
    if not (length.isascii() and length.strip().isdecimal()) or not 0 < int(length) <= name.width:
        raise ConfigError(f"{where}: prefix length of {name.name} must be 1..{name.width} bits, not {length.strip()!r}")
    return GroupField(name, int(length))


def _check_numbers(rule: Rule, place: str) -> None:
    for what, most, unit in (
        ("report_every", MAX_INTERVAL, "ns"),
        ("threshold_packets", MAX_THRESHOLD_PACKETS, "packets"),
        ("threshold_bytes", MAX_THRESHOLD_BYTES, "bytes"),
    ):
        value = getattr(rule, what)
        if not isinstance(value, int) or not 0 <= value <= most:
            raise ConfigError(f"{place}: {what} must be 0..{most} {unit}, not {value}")

"""How a card is to be set up, from TOML.

::

    [card]
    hash_key = "6d5a..."        # 88 hexadecimal digits
    pause = true

    [interrupt]
    holdoff = 50000             # ns
    frames = 32

    [[ring]]                    # ring 0; the next [[ring]] is ring 1
    name = "web"                # what other processes attach by
    ports = [0, 1]
    protocols = ["TCP", "UDP"]
    verdicts = ["CLEAN"]
    sample = 1                  # one packet in this many
    snap_length = 9600          # bytes; 0: descriptors only, no bytes of packets
    bare_plain = true           # plain TCP segments as descriptors only; left out, the command decides
    spread_count = 4
    spread_index = 0
    descriptors = 65536
    data_bytes = 33554432
    attempts = true             # records of SYN offload in compact mode; by default ring 0 gets them, unless it is raw
    raw_syns = false            # SYNs that SYN offload holds or ends come as they are sent, and none of them later
    crossings = false           # packets that cross a threshold of statistics come, whatever is filtered and sampled

    [[statistics]]              # see sentinic.driver.rule_config
    name = "web"
    match = { tcp_dst = 80 }
    group = ["ipv4_src"]
    report_every = "10s"

    [syn_offload]
    enabled = true              # attempts wait on the card for their answer
    timeout = "5s"              # of wire time
    mode = "syn"                # "compact": attempts that nobody answered come as records, many to a frame

Everything may be left out.  Without any ``[[ring]]``, ring 0 takes every packet.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from sentinic.abi.layout import Field
from sentinic.abi.registers import INTERRUPT, RING
from sentinic.abi.verdicts import Protocol, Verdict
from sentinic.driver.device import DEFAULT_HASH_KEY, HASH_KEY_BITS, Device
from sentinic.driver.ring import DEFAULT_DATA_BYTES, DEFAULT_DESCRIPTORS, MIN_DATA_BYTES, Ring, check_sizes
from sentinic.driver.rule_config import parse_duration, parse_rules
from sentinic.driver.rules import Rule
from sentinic.driver.syn_offload import DEFAULT_TIMEOUT, Mode
from sentinic.errors import ConfigError, RingError

#: Characters of a text in a config.
_MOST_TEXT = 1000


def _field(register: str, name: str = "value") -> Field:
    return next(item for item in RING.register(register).fields if item.name == name)


def _reset(register: str, name: str = "value") -> int:
    return _field(register, name).reset


@dataclass(frozen=True)
class RingConfig:
    """One ring.  ``ports``, ``protocols`` and ``verdicts`` are sets of numbers; ``None`` takes all."""

    name: str | None = None
    ports: frozenset[int] | None = None
    protocols: frozenset[Protocol] | None = None
    verdicts: frozenset[Verdict] | None = None
    sample: int = _reset("sample")
    snap_length: int = _reset("snap_length")
    #: Plain TCP segments come as descriptors only; ``None`` leaves it to the command.
    bare_plain: bool | None = None
    spread_count: int = 0
    spread_index: int = 0
    descriptors: int = DEFAULT_DESCRIPTORS
    data_bytes: int = DEFAULT_DATA_BYTES
    #: Records of attempts (SYN offload in compact mode) are for this ring; ``None``: if it is ring 0, and not raw.
    attempts: bool | None = None
    #: SYNs that SYN offload holds or ends come as they are sent, as without it, and none of them later.
    raw_syns: bool = False
    #: Packets that cross a threshold of statistics are for this ring, whatever it filters and samples.
    crossings: bool = False


@dataclass(frozen=True)
class CardConfig:
    hash_key: int = DEFAULT_HASH_KEY
    #: Whether a full card, or ring, holds the ports.  ``None`` leaves it to the command: a replay pauses, a live card
    #: drops.
    pause: bool | None = None


@dataclass(frozen=True)
class InterruptConfig:
    """``holdoff`` in ns, ``frames`` in packets; see the register block ``interrupt``."""

    holdoff: int = INTERRUPT.register("holdoff").reset
    frames: int = INTERRUPT.register("frames").reset


@dataclass(frozen=True)
class SynOffloadConfig:
    """``timeout`` in ns of wire time."""

    enabled: bool = False
    timeout: int = DEFAULT_TIMEOUT
    mode: Mode = Mode.SYN


@dataclass(frozen=True)
class Config:
    card: CardConfig = CardConfig()
    interrupt: InterruptConfig = InterruptConfig()
    rings: tuple[RingConfig, ...] = field(default=(RingConfig(),))
    #: for whoever runs the card: what it lacks is counted in software
    statistics: tuple[Rule, ...] = ()
    #: for whoever runs the card, as above
    syn_offload: SynOffloadConfig = SynOffloadConfig()
    #: begins the sentences about what the card at hand lacks
    where: str = field(default="config", compare=False)

    def apply(self, device: Device, *, pause: bool) -> list[Ring]:
        """Set the card up, open and enable its rings; ``pause`` counts where the config says nothing.

        Raises :class:`ConfigError` when the card has fewer rings or ports than asked for.
        """
        have = device.capabilities
        if len(self.rings) > have.rings:
            raise ConfigError(
                f"{self.where}: [[ring]] may stand {have.rings} times on this card, not {len(self.rings)}"
            )
        for number, ring in enumerate(self.rings):
            if ring.ports and max(ring.ports) >= have.ports:
                raise ConfigError(
                    f"{self.where}: [[ring]] {number}: ports must be 0..{have.ports - 1} on this card, "
                    f"not {max(ring.ports)}"
                )
        device.set_hash_key(self.card.hash_key)
        device.set_pause(pause if self.card.pause is None else self.card.pause)
        device.registers["interrupt"].write("holdoff", self.interrupt.holdoff)
        device.registers["interrupt"].write("frames", self.interrupt.frames)
        for number in range(len(self.rings), have.rings):
            # A ring that is off wants nothing: what only it would have wanted is filtered, not lost.
            device.registers["ring"][number].write("filter_ports", 0)
        return [_open_ring(device, number, ring) for number, ring in enumerate(self.rings)]


def _open_ring(device: Device, number: int, config: RingConfig) -> Ring:
    ring = device.open_ring(number, name=config.name, descriptors=config.descriptors, data_bytes=config.data_bytes)
    sets = (
        ("filter_ports", config.ports),
        ("filter_protocols", config.protocols),
        ("filter_verdicts", config.verdicts),
    )
    for register, numbers in sets:
        value = _reset(register) if numbers is None else sum(1 << item for item in numbers)
        ring.registers.write(register, value)
    ring.registers.write("sample", config.sample)
    ring.registers.write("snap_length", config.snap_length)
    ring.registers.write("spread", config.spread_count, "count")
    ring.registers.write("spread", config.spread_index, "index")
    ring.registers.write("extras", int(bool(config.bare_plain)), "bare_plain")
    ring.registers.write("extras", int(config.raw_syns), "raw_syns")
    ring.registers.write("extras", int(config.crossings), "crossings")
    ring.enable()
    return ring


def load(path: Path) -> Config:
    """Read a config file.

    Raises :class:`ConfigError`, a sentence with file, key and limit, when it cannot be read, holds an unknown key,
    a value of the wrong type or one out of range.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # some editors begin with a byte-order mark
    except OSError as error:
        raise ConfigError(f"config {path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path}: not valid TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else "an integer has too many digits"
        raise ConfigError(f"config {path}: {what} to be read") from error
    return parse(document, f"config {path}")


def parse(document: Mapping[str, Any], where: str = "config") -> Config:
    """A config from a parsed TOML document; ``where`` begins the error messages."""
    _bounded(document, where)
    _known(document, ("card", "interrupt", "ring", "statistics", "syn_offload"), where)
    tables = document.get("ring", [{}])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{where}: ring must be written as [[ring]] tables")
    rings = tuple(_ring(table, f"{where}: [[ring]] {number}") for number, table in enumerate(tables))
    names = [ring.name for ring in rings if ring.name is not None]
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: each [[ring]] must have a name of its own, not {', '.join(names)}")
    return Config(
        CardConfig(**_table(document, "card", where, {"hash_key": _hash_key, "pause": _boolean})),
        InterruptConfig(
            **_table(
                document,
                "interrupt",
                where,
                {"holdoff": _integer(0, 0xFFFF_FFFF, "ns"), "frames": _integer(0, 0xFFFF, "packets")},
            )
        ),
        rings,
        parse_rules(document.get("statistics", []), where),
        SynOffloadConfig(
            **_table(document, "syn_offload", where, {"enabled": _boolean, "timeout": parse_duration, "mode": _mode}),
        ),
        where,
    )


def _bounded(value: object, where: str) -> None:
    """Nothing in a document is longer than a message can say."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ConfigError(f"{where}: integers must be in {-(1 << 63)}..{(1 << 63) - 1}, as TOML's are")
    if isinstance(value, str) and len(value) > _MOST_TEXT:
        raise ConfigError(f"{where}: texts must have {_MOST_TEXT} characters at most, not {len(value)}")
    if isinstance(value, dict):
        for key, item in value.items():
            _bounded(key, where)
            _bounded(item, f"{where}: {key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _bounded(item, f"{where} {number}")


#: Checks a value and gives what is kept: (value, where) -> kept.
_Check = Callable[[Any, str], Any]


def _ring(table: Mapping[str, Any], where: str) -> RingConfig:
    ring = RingConfig(**_checked(table, _RING_CHECKS, where))
    if not ring.snap_length and "data_bytes" not in table:
        ring = replace(ring, data_bytes=MIN_DATA_BYTES)  # nothing will lie there
    try:
        check_sizes(ring.descriptors, ring.data_bytes)
    except RingError as error:
        raise ConfigError(f"{where}: {error}") from error
    if ring.spread_index >= max(ring.spread_count, 1):
        raise ConfigError(
            f"{where}: spread_index must be below spread_count ({ring.spread_count}), not {ring.spread_index}"
        )
    return ring


def _table(document: Mapping[str, Any], name: str, where: str, checks: Mapping[str, _Check]) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {name} must be a table, written [{name}]")
    return _checked(table, checks, f"{where}: [{name}]")


def _checked(table: Mapping[str, Any], checks: Mapping[str, _Check], where: str) -> dict[str, Any]:
    _known(table, tuple(checks), where)
    return {key: checks[key](value, f"{where}: {key}") for key, value in table.items()}


def _known(table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in keys:
            raise ConfigError(f"{where}: unknown key {key!r}; known are {', '.join(keys)}")


def _integer(low: int, high: int, unit: str = "") -> _Check:
    def check(value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigError(f"{where} must be an integer in {low}..{high}{' ' + unit if unit else ''}, not {value!r}")
        return value

    return check


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{where} must be true or false, not {value!r}")
    return value


def _mode(value: Any, where: str) -> Mode:
    names = [mode.value for mode in Mode]
    if value not in names:
        raise ConfigError(f"{where} must be one of {', '.join(names)}, not {value!r}")
    return Mode(value)


def _hash_key(value: Any, where: str) -> int:
    digits = HASH_KEY_BITS // 4
    if not isinstance(value, str) or len(value) != digits or not set(value.lower()) <= set("0123456789abcdef"):
        raise ConfigError(f"{where} must be a string of {digits} hexadecimal digits, not {value!r}")
    return int(value, 16)


def _ring_name(value: Any, where: str) -> str:
    if (
        not isinstance(value, str)
        or not 0 < len(value.encode(errors="replace")) <= 64
        or not value.isprintable()
        or "/" in value
        or value.startswith(".")
    ):
        raise ConfigError(
            f"{where} must be a string of 1..64 printable bytes without '/', not beginning with '.', not {value!r}"
        )
    return value


def _ports(value: Any, where: str) -> frozenset[int]:
    top = _field("filter_ports").width - 1
    if not isinstance(value, list):
        raise ConfigError(f"{where} must be a list of port numbers, not {value!r}")
    return frozenset(_integer(0, top)(item, f"{where}: each") for item in value)


def _members(kind: type[IntEnum]) -> _Check:
    def check(value: Any, where: str) -> frozenset[IntEnum]:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list of names, not {value!r}")
        found = []
        for item in value:
            name = item.upper() if isinstance(item, str) else ""
            if name not in kind.__members__:
                raise ConfigError(f"{where}: each must be one of {', '.join(kind.__members__)}, not {item!r}")
            found.append(kind[name])
        return frozenset(found)

    return check


_RING_CHECKS: dict[str, _Check] = {
    "name": _ring_name,
    "ports": _ports,
    "protocols": _members(Protocol),
    "verdicts": _members(Verdict),
    "sample": _integer(1, (1 << _field("sample").width) - 1, "packets"),
    "snap_length": _integer(0, _reset("snap_length"), "bytes"),
    "spread_count": _integer(0, (1 << _field("spread", "count").width) - 1),
    "spread_index": _integer(0, (1 << _field("spread", "index").width) - 1),
    "descriptors": _integer(0, 1 << 32, "descriptors"),
    "data_bytes": _integer(0, 1 << 32, "bytes"),
    "attempts": _boolean,
    "bare_plain": _boolean,
    "crossings": _boolean,
    "raw_syns": _boolean,
}

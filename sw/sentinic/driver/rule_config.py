"""``[[statistics]]`` tables of a config file.

::

    [[statistics]]
    name = "web clients"
    match = { tcp_dst = 80, ipv4_dst = "10.0.0.0/8" }
    group = ["ipv4_src/24"]
    report_every = "10s"                            # ns, us, ms, s, min, h; left out: a report at the end
    threshold = { packets = 1000, bytes = 1000000 } # either or both
    bidirectional = false
    cumulative = false
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from sentinic.driver.rules import MAX_INTERVAL, Rule, encode_all
from sentinic.errors import ConfigError

_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)\s*([a-z]+)")
_KEYS = ("name", "match", "group", "report_every", "threshold", "bidirectional", "cumulative")


def parse_duration(value: object, where: str) -> int:
    """``"10s"`` in ns.  Raises :class:`ConfigError` for anything but a number and a unit, or for less than 1 ns."""
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2] not in _UNITS:
        raise ConfigError(f"{where} must be a number with a unit of {', '.join(_UNITS)}, as '10s', not {value!r}")
    length = Fraction(found[1]) * _UNITS[found[2]]
    if length.denominator != 1 or not 0 < length <= MAX_INTERVAL:
        raise ConfigError(f"{where} must be whole nanoseconds in 1..{MAX_INTERVAL}, not {value!r}")
    return int(length)


def parse_rules(tables: object, where: str = "config") -> tuple[Rule, ...]:
    """The rules of parsed ``[[statistics]]`` tables.

    Raises :class:`ConfigError`, a sentence with place, key and limit, for a rule that no card could count by.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{where}: statistics must be written as [[statistics]] tables")
    rules = tuple(_rule(table, f"{where}: [[statistics]] {number}") for number, table in enumerate(tables))
    encode_all(rules, where)
    return rules


def _rule(table: Mapping[str, Any], where: str) -> Rule:
    _known(table, _KEYS, where)
    name = table.get("name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ConfigError(f"{where}: name must be printable text, not {name!r}")
    match, group = table.get("match", {}), table.get("group", [])
    if not isinstance(match, dict):
        raise ConfigError(f"{where}: match must be a table of fields, as {{ tcp_dst = 80 }}, not {match!r}")
    if not isinstance(group, list):
        raise ConfigError(f"{where}: group must be a list of fields, not {group!r}")
    threshold = table.get("threshold", {})
    if not isinstance(threshold, dict):
        raise ConfigError(f"{where}: threshold must be a table, as {{ packets = 100 }}, not {threshold!r}")
    _known(threshold, ("packets", "bytes"), f"{where}: threshold")
    for key, value in threshold.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{where}: threshold: {key} must be an integer of at least 1 {key}, not {value!r}")
    flags = {}
    for key in ("bidirectional", "cumulative"):
        flags[key] = table.get(key, False)
        if not isinstance(flags[key], bool):
            raise ConfigError(f"{where}: {key} must be true or false, not {flags[key]!r}")
    return Rule(
        name=name,
        match=match,
        group=tuple(group),
        report_every=parse_duration(table["report_every"], f"{where}: report_every") if "report_every" in table else 0,
        threshold_packets=threshold.get("packets", 0),
        threshold_bytes=threshold.get("bytes", 0),
        **flags,
    )


def _known(table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in keys:
            raise ConfigError(f"{where}: unknown key {key!r}; known are {', '.join(keys)}")

"""``[[statistics]]`` in a config file: what it becomes, and what is refused, with what, where and the limit."""

import tomllib

import pytest

from sentinic.driver.config import Config, parse
from sentinic.driver.rules import Rule
from sentinic.errors import ConfigError

FULL = """
[[statistics]]
name = "web clients"
match = { tcp_dst = 80, ipv4_dst = "10.0.0.0/8", tcp_flags = "0x02/0x12", is_fragment = false }
group = ["ipv4_src/24", "in_port"]
report_every = "1.5s"
threshold = { packets = 1000, bytes = 1000000 }
bidirectional = false
cumulative = true

[[statistics]]
name = "all"
"""


def test_every_key_reaches_the_rule() -> None:
    first, second = parse(tomllib.loads(FULL)).statistics
    assert first == Rule(
        "web clients",
        {"tcp_dst": 80, "ipv4_dst": "10.0.0.0/8", "tcp_flags": "0x02/0x12", "is_fragment": False},
        ("ipv4_src/24", "in_port"),
        1_500_000_000,
        1000,
        1_000_000,
        False,
        True,
    )
    assert second == Rule("all", {}, (), 0, 0, 0, False, False)
    assert Config().statistics == parse({}).statistics == ()


@pytest.mark.parametrize(
    ("text", "length"),
    [("7ns", 7), ("3 us", 3000), ("0.25ms", 250_000), ("10s", 10**10), ("2min", 12 * 10**10), ("1h", 36 * 10**11)],
)
def test_intervals_have_units(text: str, length: int) -> None:
    [rule] = parse({"statistics": [{"name": "r", "report_every": text}]}).statistics
    assert rule.report_every == length


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({}, ["[[statistics]] 0", "name", "None"]),
        ({"name": "a\n"}, ["name", "printable"]),
        ({"name": "a", "every": "1s"}, ["unknown key 'every'", "report_every"]),
        ({"name": "a", "report_every": 10}, ["report_every", "ns, us, ms, s, min, h", "10"]),
        ({"name": "a", "report_every": "10 days"}, ["report_every", "10 days"]),
        ({"name": "a", "report_every": "0s"}, ["report_every", "whole nanoseconds"]),
        ({"name": "a", "report_every": "0.5ns"}, ["report_every", "whole nanoseconds"]),
        ({"name": "a", "report_every": "99999999999h"}, ["report_every", "18446744073709551615"]),
        ({"name": "a", "match": ["tcp_dst"]}, ["match", "table"]),
        ({"name": "a", "group": "ipv4_src"}, ["group", "list"]),
        ({"name": "a", "group": [1]}, ["group", "name of a field", "1"]),
        ({"name": "a", "match": {"tcp_dest": 1}}, ["rule 'a'", "match", "unknown field 'tcp_dest'", "tcp_dst"]),
        ({"name": "a", "match": {"tcp_dst": 1.5}}, ["rule 'a'", "tcp_dst", "1.5"]),
        ({"name": "a", "match": {"ipv4_src": 5}}, ["ipv4_src", "IPv4 address", "5"]),
        ({"name": "a", "match": {"tcp_src": 1, "udp_src": 1}}, ["rule 'a'", "udp_src contradicts tcp_src"]),
        ({"name": "a", "threshold": 5}, ["threshold", "table"]),
        ({"name": "a", "threshold": {"packet": 5}}, ["threshold", "unknown key 'packet'"]),
        ({"name": "a", "threshold": {"packets": 0}}, ["threshold", "packets", "at least 1"]),
        ({"name": "a", "threshold": {"bytes": 1 << 56}}, ["threshold_bytes", str((1 << 56) - 1)]),
        ({"name": "a", "bidirectional": 1}, ["bidirectional", "true or false"]),
    ],
)
def test_what_is_not_understood_is_refused_with_place_and_limit(table: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        parse({"statistics": [table]}, "config x.toml")
    for part in ["config x.toml: ", *parts]:
        assert part in str(error.value)


def test_statistics_must_be_tables_of_different_names() -> None:
    with pytest.raises(ConfigError, match=r"written as \[\[statistics\]\] tables"):
        parse({"statistics": {"name": "a"}})
    with pytest.raises(ConfigError, match="rule 'a' must have a name of its own"):
        parse({"statistics": [{"name": "a"}, {"name": "a"}]})

"""Every capture of the corpus, counted by rules in software and on the card's model, against tshark's own count.

With tables so small that almost every packet evicts, and with large ones.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinic.abi.verdicts import ParseError
from sentinic.driver.rules import encode
from tests.sw.monitor.statistics_runs import by_card, by_software, rule_of

from .card import Frame, wire_length
from .corpus import CORPUS, captures, frames_of, needs_corpus, write_pcap
from .parser import Headers, parse
from .statistics import RuleSpec
from .tshark import Dissection, dissect

NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
#: What tshark stops at, or reads on behind, as tests/reference/test_against_tshark.py explains frame by frame.
EXPLAINED = {
    ParseError.IPV4_HEADER_LENGTH, ParseError.IPV4_TOTAL_LENGTH, ParseError.IP_TRUNCATED,
    ParseError.TRANSPORT_TRUNCATED, ParseError.WINDOW, ParseError.EXTENSION_DEPTH, ParseError.EXTENSION_TRUNCATED,
}  # fmt: skip
Tuple = tuple[int, int, int, int, int, int]
#: Each rule: its group, and which of the tuple it tells apart.
RULES: dict[str, tuple[list[str], Callable[[Tuple], tuple[int, ...]]]] = {
    "5-tuple": (
        ["source", "destination", "ip_proto", "source_port", "destination_port"],
        lambda item: (*item[1:6], item[0]),
    ),
    "source": (["source"], lambda item: (item[1], item[0])),
    "port": (["ip_proto", "destination_port"], lambda item: (item[3], item[5])),
}


def by_tshark(h: Headers, d: Dissection) -> Tuple:
    """Version, addresses, protocol and ports, as tshark sees them."""
    plain = (({0: 0, 1: 4, 2: 6})[h.ip_version], h.source, h.destination, h.protocol, h.source_port, h.destination_port)
    if h.parse_error in EXPLAINED or any(name == "pwethcw" for name, _ in d.layers):
        return plain
    kind = next((name for name, _ in d.layers if name in ("ip", "ipv6")), "")
    if not kind:
        return (0, 0, 0, 0, 0, 0)
    mapped = 0xFFFF << 32 if kind == "ip" else 0
    source, destination = (mapped | d.values[f"{kind}.{side}"] for side in ("src", "dst"))
    # The first field of that name is of the fixed header: extension headers hide the protocol.
    protocol = int(d.fields["ip.proto"]) if kind == "ip" else NUMBERS.get(d.transport, h.protocol)
    if kind == "ip" and d.position("ah") is not None:
        protocol = NUMBERS.get(d.transport, h.protocol)
    ports = (0, 0)
    if d.transport:
        names = ("type", "code") if d.transport.startswith("icmp") else ("srcport", "dstport")
        ports = (int(d.fields[f"{d.transport}.{names[0]}"]), int(d.fields[f"{d.transport}.{names[1]}"]))
    return (4 if kind == "ip" else 6, source, destination, protocol, *ports)


def taken(path: Path) -> list[Frame]:
    """The frames that the card takes."""
    return [frame for frame in frames_of(path) if len(frame.data) <= 9600]


@needs_corpus
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
@pytest.mark.parametrize("path", captures(), ids=lambda path: str(path.relative_to(CORPUS)))
def test_groups_of_a_capture_add_up_to_tsharks_own_count(path: Path, tmp_path: Path) -> None:
    frames = taken(path)
    write_pcap(tmp_path / "all.pcap", frames)
    wanted: dict[str, dict[tuple[int, ...], list[int]]] = {name: {} for name in RULES}
    for frame, dissection in zip(frames, dissect(tmp_path / "all.pcap"), strict=True):
        item = by_tshark(parse(frame.data, frame.wire_length), dissection)
        for name, (_, key_of) in RULES.items():
            counts = wanted[name].setdefault(key_of(item), [0, 0])
            counts[0] += 1
            counts[1] += wire_length(frame)
    for name, (group, _) in RULES.items():
        rule = rule_of(RuleSpec({}, group))
        results = {"software": by_software(encode(rule), frames, 5000)[0]}
        results["small"], collector = by_card(rule, frames, 1000, capacity=2)
        results["large"] = by_card(rule, frames, 1000, capacity=1 << 20)[0]
        for way, found in results.items():
            told = {key: [counts[0], counts[1]] for (_, key), counts in found.items()}
            assert told == wanted[name], (name, way)
        assert collector.totals["r"].packets == len(frames)
        assert collector.totals["r"].exact

"""``sentinic run`` on the real card: a rule that the card counts, and the same one left to software, write the same."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import dpkt
import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.cli import main
from tests.reference.corpus import CORPUS, needs_corpus

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if "statistics" in profile.stages]
#: How many rules a card holds.
ROOM = {"wide": 16, "board": 4}
#: A multiple of all intervals.
NOW = 1_700_000_000_000_000_000
MS = 1_000_000
TCP, UDP = 6, 17
RULES = {
    "all of TCP": 'match = { ip_proto = 6 }\nreport_every = "2s"\ncumulative = true',
    "TCP": 'match = { ip_proto = 6 }\ngroup = ["tcp_dst"]\nreport_every = "500ms"',
    "ends": 'group = ["source", "destination"]\nbidirectional = true\nreport_every = "1s"',
    "UDP": "match = { ip_proto = 17 }",
}
#: Time in ms, protocol and number of the sender.
Packets = list[tuple[int, int, int]]


def every(first: int, end: int, step: int, protocol: int, senders: int = 3) -> Packets:
    return [(at, protocol, at // step % senders) for at in range(first, end, step)]


CAPTURES: dict[str, Packets] = {
    "TCP ends early": every(0, 3200, 90, TCP) + every(50, 9000, 210, UDP),
    "TCP ends early, in the first interval": every(0, 400, 90, TCP) + every(50, 9000, 210, UDP),
    "TCP begins late": every(0, 6000, 210, UDP) + every(5000, 9000, 90, TCP),
    "TCP has gaps, with other packets and without": [
        *every(0, 1400, 90, TCP), *every(4600, 4700, 90, TCP), *every(17_000, 19_000, 90, TCP),
        *every(0, 8000, 210, UDP), *every(18_000, 24_000, 210, UDP),
    ],
    "no TCP": every(0, 5000, 210, UDP),
    "only TCP": every(300, 5000, 90, TCP),
    # On ``board``, whose rules share a table, they take all the room: TCP's groups have left it before the end.
    "TCP ends early, then many others": every(0, 3200, 90, TCP) + [(3250, UDP, 10 + n) for n in range(4000)],
}  # fmt: skip


def frame(protocol: int, sender: int) -> bytes:
    upper = dpkt.tcp.TCP(sport=2000, dport=80 + sender % 2, flags=dpkt.tcp.TH_ACK, data=b"x" * (sender % 5))
    if protocol == UDP:
        upper = dpkt.udp.UDP(sport=53, dport=53)
    ip = dpkt.ip.IP(src=(0x0A000001 + sender).to_bytes(4), dst=b"\x0a\1\0\1", p=protocol, data=upper)
    ip.len = len(ip)
    return bytes(dpkt.ethernet.Ethernet(src=b"\2\0\0\0\0\1", dst=b"\2\0\0\0\0\2", data=ip))


def write(path: Path, packets: Packets) -> None:
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, nano=True)
        for at, protocol, sender in sorted(packets):
            writer.writepkt(frame(protocol, sender), Decimal(NOW + at * MS) / 10**9)


def config_of(profile: str) -> str:
    """The rules, others until the card has no room, and the rules again."""
    texts = [f'name = "{name}"\n{text}' for name, text in RULES.items()]
    texts += [f'name = "filler {number}"\nmatch = {{ in_port = 3 }}' for number in range(ROOM[profile] - len(RULES))]
    texts += [f'name = "{name}, in software"\n{text}' for name, text in RULES.items()]
    return "".join(f"[[statistics]]\n{text}\n" for text in texts)


def lines_of(folder: Path) -> Iterator[dict[str, Any]]:
    for line in (folder / "stats.jsonl").read_text().splitlines():
        yield json.loads(line, parse_float=Decimal)


def told_by(folder: Path, ending: str, before: int) -> dict[str, list[dict[str, Any]]]:
    """The lines of :data:`RULES`, with ``ending`` behind their names, in some order that is always the same.

    ``before`` counts the rules that were set before them.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in RULES}
    for line in lines_of(folder):
        name = line.pop("rule")
        if name.removesuffix(ending) in RULES and name.endswith(ending):
            line["generation"] -= before
            found[name.removesuffix(ending)].append(line)
    for lines in found.values():
        lines.sort(key=lambda line: (line["interval"] or 0, str(line["group"])))
    return found


def check(capture: Path, profile: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run a capture; the lines that the card's rules wrote, which are those of the software too."""
    (folder / "rules.toml").write_text(config_of(profile))
    options = ["--profile", profile, "--config", str(folder / "rules.toml"), "--out", str(folder)]
    assert main(["run", str(capture), *options, "--write", "stats,summary", "-q"]) == 0
    rules = json.loads((folder / "summary.json").read_text())["statistics"]["rules"]
    assert [rule["counted"] for rule in rules] == ["card"] * ROOM[profile] + ["software"] * len(RULES)
    assert not any(rule["overflow_packets"] for rule in rules)
    card, software = told_by(folder, "", 0), told_by(folder, ", in software", ROOM[profile])
    assert card == software
    for lines in card.values():
        last = max((line["interval"] or 0 for line in lines), default=None)
        assert [line["final"] for line in lines] == [(line["interval"] or 0) == last for line in lines]
    return card


@pytest.mark.parametrize("profile", BUILDS)
@pytest.mark.parametrize("name", CAPTURES)
def test_a_rule_writes_the_same_lines_on_the_card_and_in_software(name: str, profile: str, tmp_path: Path) -> None:
    packets = CAPTURES[name]
    write(tmp_path / "in.pcap", packets)
    told = check(tmp_path / "in.pcap", profile, tmp_path)
    # Counted by hand.
    times = [at for at, protocol, _ in packets if protocol == TCP]
    ends = sorted({at // 2000 for at in times})
    assert [(int(line["interval"]) * 1000 - NOW // MS) // 2000 for line in told["all of TCP"]] == ends
    assert [line["packets"] for line in told["all of TCP"]] == [sum(at // 2000 <= end for at in times) for end in ends]
    assert sum(line["packets"] for line in told["TCP"]) == len(times)
    assert sum(line["packets"] for line in told["ends"]) == len(packets)
    assert sum(line["packets"] for line in told["UDP"]) == len(packets) - len(times)


@needs_corpus
@pytest.mark.parametrize("profile", BUILDS)
@pytest.mark.parametrize("name", ["arkime/mpls-basic.pcap", "tcpreplay/test.pcap", "tcpflow/test1.pcap"])
def test_it_does_so_for_recorded_traffic(name: str, profile: str, tmp_path: Path) -> None:
    if not (CORPUS / name).exists():
        pytest.skip(f"the corpus has no {name}")
    told = check(CORPUS / name, profile, tmp_path)
    assert told["all of TCP"]
    assert told["all of TCP"][-1]["final"]

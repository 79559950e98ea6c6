"""``sentinic run`` with ``[[statistics]]``: the same lines whether the card counts or the software does."""

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import dpkt
import pytest

from sentinic.cli import main
from sentinic.monitor.report import render_report
from tests.sw.cli.captures import NOW, frames, pcap, run, written

CONFIG = """
[[statistics]]
name = "ports"
group = ["ip_proto", "source_port"]
report_every = "50ms"
threshold = { packets = 3 }

[[statistics]]
name = "connections"
match = { ip_proto = 6 }
group = ["source", "destination", "source_port", "destination_port"]
bidirectional = true

[[statistics]]
name = "all"
cumulative = true
report_every = "100ms"
"""
COUNT = 300
DEMO, DEMO_FRAMES = Path(__file__).parents[3] / "sim" / "demo" / "demo.pcapng", 1008


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap(frames(COUNT)))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "card.toml"
    path.write_text(CONFIG)
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "stats.jsonl").read_text()
    return [json.loads(line, parse_float=Decimal) for line in text.splitlines()]


def ordered(found: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(line, default=str, sort_keys=True) for line in found)


def ports_by_dpkt() -> dict[tuple[int, int, int], list[int]]:
    """Packets and bytes by interval, protocol and source port."""
    counts: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])
    for number, octets in enumerate(frames(COUNT)):
        ip = dpkt.ethernet.Ethernet(octets).data
        key = (ip.p, ip.data.sport) if isinstance(ip, dpkt.ip.IP) else (0, 0)
        count = counts[(NOW + 1_000_000 * number) // 50_000_000, *key]
        count[0] += 1
        count[1] += len(octets)
    return counts


@pytest.mark.parametrize("backend", ["counting", "evicting", "fake"])
def test_lines_tell_what_dpkt_counts(capture: Path, config: Path, tmp_path: Path, backend: str) -> None:
    out = tmp_path / "out"
    assert run(capture, "--out", out, "--config", config, backend=backend, write="packets,stats,summary") == 0
    found = lines(out)
    ports = [line for line in found if line["rule"] == "ports"]
    told = {
        (int(line["interval"] * 10**9) // 50_000_000, line["group"]["ip_proto"], line["group"]["source_port"]): [
            line["packets"],
            line["bytes"],
        ]
        for line in ports
    }
    assert told == ports_by_dpkt()
    assert all(line["first"] // Decimal("0.05") * Decimal("0.05") == line["interval"] for line in ports)
    assert min(line["first"] for line in ports) == Decimal(NOW) / 10**9
    everything = [line for line in found if line["rule"] == "all"]
    assert [line["packets"] for line in everything] == [100, 200, 300]
    assert [line["final"] for line in everything] == [False, False, True]
    assert {line["first"] for line in everything} == {Decimal(NOW) / 10**9}
    connections = [line for line in found if line["rule"] == "connections"]
    assert sum(line["packets"] for line in connections) == 75
    assert {line["history"] for line in connections} == {"SD"}
    # 10.0.0.1 is below 10.0.0.2, and sends.
    assert {line["originator"] for line in connections} == {"source"}
    assert {line["group"]["source"] for line in connections} == {"10.0.0.1"}
    assert [octets for _, octets in written(out / "packets.pcapng")] == frames(COUNT), "reports are no packets"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["conservation"]["holds"]
    assert summary["delivered"] == COUNT
    assert len(summary["rings"]) == 1
    first, _, last = summary["statistics"]["rules"]
    assert first["counted"] == ("software" if backend == "fake" else "card")
    assert (first["packets"], first["bytes"]) == (COUNT, sum(map(len, frames(COUNT))))
    assert (first["overflow_packets"], summary["statistics"]["reports_lost"]) == (0, 0)
    assert last["largest"][0]["packets"] == 300
    if backend != "evicting":  # a group that leaves its table begins anew towards its threshold
        assert first["thresholds_crossed"] == sum(packets >= 3 for packets, _ in ports_by_dpkt().values())


def test_card_and_software_write_the_same_lines(capture: Path, config: Path, tmp_path: Path) -> None:
    for backend in ("counting", "evicting", "fake"):
        assert run(capture, "--out", tmp_path / backend, "--config", config, backend=backend, write="stats") == 0
    assert ordered(lines(tmp_path / "counting")) == ordered(lines(tmp_path / "fake"))
    assert ordered(lines(tmp_path / "evicting")) == ordered(lines(tmp_path / "fake"))


def test_the_command_says_who_counts(
    capture: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for backend, sentence in (
        ("fake", "3 rules counted in software, on what ring 0 delivers: this build of the wide card has no statistics"),
        ("counting", "3 rules counted on the card"),
    ):
        arguments = ["run", str(capture), "--out", str(tmp_path / backend), "--config", str(config)]
        assert main([*arguments, "--backend", backend, "--write", "stats"]) == 0
        assert sentence in capsys.readouterr().err


def test_what_the_card_has_no_rules_for_is_counted_in_software(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = "".join(f'[[statistics]]\nname = "{number}"\ngroup = ["in_port"]\n' for number in range(20))
    (tmp_path / "many.toml").write_text(rules)
    arguments = ["run", str(capture), "--out", str(tmp_path / "out"), "--config", str(tmp_path / "many.toml")]
    assert main([*arguments, "--backend", "counting", "--write", "stats,summary"]) == 0
    error = capsys.readouterr().err
    assert "16 rules counted on the card" in error
    assert "4 rules counted in software, on what ring 0 delivers: the card holds 16 rules" in error
    found = lines(tmp_path / "out")
    assert [line["packets"] for line in found] == [COUNT] * 20
    # As on a card that has room for all.
    assert {line["rule"]: line["generation"] for line in found} == {str(number): number + 1 for number in range(20)}
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert [rule["counted"] for rule in summary["statistics"]["rules"]] == ["card"] * 16 + ["software"] * 4


@pytest.mark.parametrize(
    ("ring", "told"),
    [
        ("", None),
        ("ports = [0, 1]\nsample = 1", None),
        ('protocols = ["UDP"]\nsample = 2', "as ring 0 has protocols, sample"),
        ("ports = [1]\nspread_count = 2\nspread_index = 0", "as ring 0 has ports, spread_count"),
    ],
)
def test_it_is_said_when_software_counts_less_than_the_card_would(
    capture: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ring: str, told: str | None
) -> None:
    config.write_text(f"[[ring]]\n{ring}\n{CONFIG}")
    for backend in ("fake", "counting"):
        arguments = ["run", str(capture), "--out", str(tmp_path / backend), "--config", str(config)]
        assert main([*arguments, "--backend", backend, "--write", "stats"]) == 0
        error = capsys.readouterr().err
        if told and backend == "fake":
            assert f"software counts less than the card would, {told}" in error
        else:
            assert "counts less" not in error


def test_reports_come_by_ring_0_when_all_rings_are_taken(capture: Path, tmp_path: Path) -> None:
    (tmp_path / "rings.toml").write_text(
        CONFIG + "".join(f"[[ring]]\nports = [{port}]\ndata_bytes = 4194304\n" for port in (0, 1, 1, 1))
    )
    out = tmp_path / "out"
    arguments = (capture, "--out", out, "--config", tmp_path / "rings.toml")
    assert run(*arguments, backend="counting", write="packets,stats,summary,jsonl") == 0
    assert sum(line["packets"] for line in lines(out) if line["rule"] == "ports") == COUNT
    assert len((out / "packets.jsonl").read_text().splitlines()) == COUNT
    assert len(json.loads((out / "summary.json").read_text())["rings"]) == 4


@pytest.mark.slow  # builds the model
@pytest.mark.parametrize("profile", ["wide", "board"])
def test_reports_come_by_a_ring_with_bytes(profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = '[[statistics]]\nname = "all"\nthreshold = { packets = 3 }\n'
    config, out = tmp_path / "rings.toml", tmp_path / "out"
    arguments = ("run", DEMO, "--out", out, "--config", config, "--profile", profile, "--write", "stats,summary")
    config.write_text("[[ring]]\nsnap_length = 0\n" * 2 + '[[ring]]\nprotocols = ["UDP"]\n[[ring]]\n' + rule)
    assert main([*map(str, arguments)]) == 0
    assert [line["packets"] for line in lines(out)] == [DEMO_FRAMES]
    told = "of packets that cross thresholds only those are counted that ring 2 takes, which has protocols"
    assert told in capsys.readouterr().err
    before = (out / "stats.jsonl").read_bytes()
    config.write_text("[[ring]]\nsnap_length = 0\n" * 4 + rule)
    assert main([*map(str, arguments)]) == 2
    assert "all 4 [[ring]] tables have snap_length 0" in capsys.readouterr().err
    assert (out / "stats.jsonl").read_bytes() == before
    config.write_text('[[ring]]\nprotocols = ["UDP"]\n' * 3 + "[[ring]]\nports = [1]\ncrossings = true\n" + rule)
    assert main([*map(str, arguments)]) == 0
    assert "only those are counted" not in capsys.readouterr().err
    [found] = json.loads((out / "summary.json").read_text())["statistics"]["rules"]
    assert (found["packets"], found["thresholds_crossed"]) == (DEMO_FRAMES, 1)


def test_without_rules_there_is_no_file_and_nothing_about_them(capture: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/stats.jsonl").write_text("another run's")
    assert run(capture, "--out", tmp_path / "out", backend="counting", write="stats,summary") == 0
    assert not (tmp_path / "out/stats.jsonl").exists()
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["statistics"] is None
    assert summary["outputs"] == ["summary.json"]


def test_a_bad_rule_ends_the_run_before_it_begins(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text('[[statistics]]\nname = "x"\nmatch = { tcp_src = 1, udp_dst = 2 }\n')
    assert run(capture, "--out", tmp_path / "out", "--config", tmp_path / "bad.toml") == 2
    assert "rule 'x': udp_dst contradicts tcp_src" in capsys.readouterr().err


def test_software_rules_need_the_bytes_of_packets(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bare.toml").write_text('[[ring]]\nsnap_length = 0\n[[statistics]]\nname = "x"\n')
    arguments = (capture, "--out", tmp_path / "out", "--config", tmp_path / "bare.toml")
    assert run(*arguments, write="stats") == 2
    assert "snap_length must be at least 1 for statistics counted in software" in capsys.readouterr().err
    assert run(*arguments, backend="counting", write="stats") == 0
    assert [line["packets"] for line in lines(tmp_path / "out")] == [COUNT]


def test_the_report_page_shows_the_rules(capture: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(capture, "--out", out, "--config", config, backend="counting", write="stats,summary,report") == 0
    page = (out / "report.html").read_text()
    for text in ("Statistics", "connections", "ip_proto 0, source_port 0", "on the card", "originator source"):
        assert text in page
    summary = json.loads((out / "summary.json").read_text())
    summary["statistics"]["rules"][0]["name"] = "<script>"
    assert "<script>" not in render_report(summary, None)


def test_lines_that_cannot_be_written_cost_the_other_outputs_nothing(
    capture: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = [tmp_path / "whole", tmp_path / "full"]
    for out in outs:
        out.mkdir()
    (outs[1] / "stats.jsonl").symlink_to("/dev/full")
    ends = [
        run(capture, "--config", config, "--out", out, backend="counting", write="packets,jsonl,conn,stats,summary")
        for out in outs
    ]
    assert ends == [0, 3]
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "stats.jsonl: cannot be written" in error
    assert "index" not in error
    delivered = json.loads((outs[1] / "summary.json").read_text())["conservation"]["fates"]["delivered"]
    told = (outs[1] / "packets.jsonl").read_bytes()
    assert told.count(b"\n") == delivered > COUNT // 2  # no more is sent once one has failed
    assert (outs[0] / "packets.pcapng").read_bytes().startswith((outs[1] / "packets.pcapng").read_bytes())
    rows = [json.loads(line) for line in (outs[1] / "conn.log").read_text().splitlines()]
    assert {row["uid"] for row in rows}

"""``sentinic run`` from captures to files, over the fake card."""

import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path

import dpkt
import pytest

from sentinic.cli import main
from tests.sw.cli.captures import NOW, frames, pcap, run, written

DEMO = Path(__file__).parents[3] / "sim/demo/demo.pcapng"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap(frames(300)))
    return path


def test_stripped_frames_come_out_as_they_went_in(capture: Path, tmp_path: Path) -> None:
    assert run(capture, "--out", tmp_path / "out") == 0
    out = written(tmp_path / "out/packets.pcapng")
    assert [octets for _, octets in out] == frames(300)
    assert [stamp for stamp, _ in out] == [(NOW + 1_000_000 * n) // 1000 for n in range(300)]


def test_kept_tags_stand_between_addresses_and_ethertype(capture: Path, tmp_path: Path) -> None:
    assert run(capture, "--out", tmp_path / "out", "--tags", "keep") == 0
    for number, ((_, tagged), original) in enumerate(
        zip(written(tmp_path / "out/packets.pcapng"), frames(300), strict=True)
    ):
        before = 20 if number % 4 == 2 else 12
        words = 12 if number % 4 == 1 else 9
        assert tagged[before : before + 4] == bytes([0x88, 0xB5, 1, words])
        assert tagged[:before] + tagged[before + 4 * words :] == original


def test_the_summary_counts_by_abi_names_and_conserves(capture: Path, tmp_path: Path) -> None:
    assert run(capture, "--out", tmp_path / "out") == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["frames"] == summary["delivered"] == summary["counters"]["received"] == 300
    assert summary["counters"]["ring0.delivered"] == 300
    assert summary["conservation"]["holds"] is True
    assert summary["ended"] == "complete"
    assert summary["captures"][0]["format"] == "pcap"
    traffic = summary["traffic"]
    assert traffic["packets"] == sum(traffic["series"]["packets"]) == 300
    assert traffic["bytes"] == sum(traffic["series"]["bytes"]) == sum(map(len, frames(300)))
    assert traffic["protocols"]["TCP"]["packets"] == 75
    assert traffic["ip_protocols"] == {"0": 75, "6": 75, "17": 150}
    assert sum(size["packets"] for size in traffic["sizes"]) == 300
    assert (traffic["first_ns"], traffic["last_ns"]) == (NOW, NOW + 299_000_000)


def test_a_json_line_tells_frame_and_tag(capture: Path, tmp_path: Path) -> None:
    assert run(capture, "--out", tmp_path / "out") == 0
    lines = [json.loads(line) for line in (tmp_path / "out/packets.jsonl").read_text().splitlines()]
    assert len(lines) == 300
    line = lines[1]
    assert line["ring"] == 0
    assert line["timestamp"] == line["tag"]["packet"]["timestamp"] == NOW + 1_000_000
    assert (line["source"], line["source_port"]) == ("10.0.0.1", 1025)
    assert (line["destination"], line["destination_port"]) == ("10.0.0.2", 80)
    assert line["protocol"] == 6
    assert line["tag"]["headers"]["protocol_class"] == "TCP"
    assert set(line["tag"]) == {"version", "words", "tcp", "headers", "packet"}
    assert lines[3]["source"] == ""


BARE = "[[ring]]\nsnap_length = 0\n"


@pytest.mark.parametrize("tags", ["strip", "keep"])
def test_a_ring_of_descriptors_only_gives_frames_of_no_bytes_with_their_lengths_and_times(
    capture: Path, tmp_path: Path, tags: str
) -> None:
    (tmp_path / "card.toml").write_text(BARE + "[[ring]]\n")
    out = tmp_path / "out"
    assert run(capture, "--out", out, "--config", tmp_path / "card.toml", "--tags", tags) == 0
    assert written(out / "packets.pcapng") == [((NOW + 1_000_000 * n) // 1000, b"") for n in range(300)]
    # Enhanced packet blocks, by hand: type, length, interface, time, captured and original length.
    octets, at, lengths = (out / "packets.pcapng").read_bytes(), 0, []
    while at < len(octets):
        kind, size = struct.unpack_from("<II", octets, at)
        if kind == 6:
            lengths.append(struct.unpack_from("<II", octets, at + 20))
        at += size
    assert lengths == [(0, len(frame)) for frame in frames(300)]
    lines = [json.loads(line) for line in (out / "packets.jsonl").read_text().splitlines()]
    bare, full = ([line for line in lines if line["ring"] == n] for n in range(2))
    assert len(bare) == len(full) == 300
    for one, other in zip(bare, full, strict=True):
        assert (one["verdict"], one["tag"], one["captured_length"]) == (None, None, 0)
        assert other["tag"]["words"] in (9, 12)
        differ = {name for name in one if one[name] != other[name]}
        assert differ == {"ring", "captured_length", "truncated", "verdict", "tag"}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["traffic"] is None
    assert (summary["counters"]["ring0.delivered"], summary["counters"]["ring0.delivered_bytes"]) == (300, 0)
    assert summary["conservation"]["holds"] is True


@pytest.mark.parametrize("write", ["packets,conn,summary,report", "conn", "packets,report"])
def test_what_needs_bytes_refuses_a_ring_of_descriptors_only(
    capture: Path, tmp_path: Path, write: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card.toml").write_text(BARE)
    assert run(capture, "--out", tmp_path / "out", "--config", tmp_path / "card.toml", write=write) == 2
    told = capsys.readouterr().err
    assert "card.toml: [[ring]] 0: snap_length must be at least 1 for" in told
    assert "--write" in told
    assert not (tmp_path / "out").exists()


def test_without_the_packets_themselves_plain_segments_come_as_descriptors_and_tell_the_same(tmp_path: Path) -> None:
    files = {}
    for write in ("packets,conn,summary", "conn,summary"):
        out = tmp_path / write
        assert run(DEMO, "--out", out, write=write) == 0
        rows = [json.loads(line) for line in (out / "conn.log").read_text().splitlines()]
        files[write] = [{**row, "uid": None} for row in rows], json.loads((out / "summary.json").read_text())
    (whole, summary), (bare, other) = files.values()
    assert bare == whole
    assert other["traffic"] == summary["traffic"]
    assert other["counters"]["ring0.delivered"] == summary["counters"]["ring0.delivered"]
    assert other["counters"]["ring0.delivered_bytes"] < summary["counters"]["ring0.delivered_bytes"] // 2


@pytest.mark.parametrize("ring", ['name = "watched"', "bare_plain = false"])
def test_a_ring_that_others_may_read_or_whose_config_says_so_gets_whole_segments(tmp_path: Path, ring: str) -> None:
    (tmp_path / "card.toml").write_text(f"[[ring]]\n{ring}\n")
    for number, extra in enumerate(([], ["--config", tmp_path / "card.toml"])):
        assert run(DEMO, "--out", tmp_path / str(number), *extra, write="conn,summary") == 0
    one, other = (json.loads((tmp_path / n / "summary.json").read_text())["counters"] for n in "01")
    assert one["ring0.delivered_bytes"] < other["ring0.delivered_bytes"]


def test_a_plain_segments_line_tells_what_its_descriptor_does(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text("[[ring]]\nbare_plain = true\n[[ring]]\n")
    assert run(DEMO, "--out", tmp_path / "out", "--config", tmp_path / "card.toml", write="jsonl") == 0
    lines = [json.loads(line) for line in (tmp_path / "out/packets.jsonl").read_text().splitlines()]
    rings = [[line for line in lines if line["ring"] == number] for number in range(2)]
    told = 0
    for one, other in zip(*rings, strict=True):
        assert other["plain"] is None
        if one["plain"] is None:
            assert {**one, "ring": 1, "tag": None} == {**other, "tag": None}
            continue
        told += 1
        assert (one["tag"], one["flow_hash"], one["captured_length"], one["truncated"]) == (None, None, 0, False)
        tcp, headers = other["tag"]["tcp"], other["tag"]["headers"]
        assert one["plain"] == {
            "sequence": tcp["sequence"],
            "acknowledgment": tcp["acknowledgment"],
            "data_offset": (headers["payload_offset"] - headers["transport_offset"]) // 4,
            "window_zero": tcp["window"] == 0,
        }
        same = ("timestamp", "source", "destination", "source_port", "tcp_flags", "ip_length", "wire_length")
        assert all(one[name] == other[name] for name in same)
    assert told > 100


def test_gzip_on_standard_input(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "sentinic", "run", "-", "--out", tmp_path / "out", "--backend", "fake"]
    packed = gzip.compress(pcap(frames(10)))
    subprocess.run([*command, "--write", "packets"], env=environment, input=packed, check=True, timeout=60)
    assert [octets for _, octets in written(tmp_path / "out/packets.pcapng")] == frames(10)


def test_two_captures_come_in_by_two_ports_in_the_order_of_time(tmp_path: Path) -> None:
    first, second = frames(20, seed=2), frames(20, seed=3)
    (tmp_path / "a.pcap").write_bytes(pcap(first))
    (tmp_path / "b.pcap").write_bytes(pcap(second, NOW + 500_000))
    out = tmp_path / "out"
    assert run(tmp_path / "a.pcap", tmp_path / "b.pcap", "--out", out, "--port-map", "0,1") == 0
    mixed = [frame for pair in zip(first, second, strict=True) for frame in pair]
    assert [octets for _, octets in written(out / "packets.pcapng")] == mixed
    summary = json.loads((out / "summary.json").read_text())
    assert summary["counters"]["port0.received"] == summary["counters"]["port1.received"] == 20


def test_a_limit_ends_the_run_in_the_middle_of_a_batch(capture: Path, tmp_path: Path) -> None:
    assert run(capture, "--out", tmp_path / "out", "--limit", 7) == 0
    assert [octets for _, octets in written(tmp_path / "out/packets.pcapng")] == frames(300)[:7]


def test_a_small_ring_holds_the_replay_up_and_loses_nothing(capture: Path, tmp_path: Path) -> None:
    config = tmp_path / "small.toml"
    config.write_text("[[ring]]\ndescriptors = 64\ndata_bytes = 131072\n[[ring]]\nprotocols = ['UDP']\nsample = 2\n")
    assert run(capture, "--out", tmp_path / "out", "--config", config) == 0
    assert [octets for _, octets in written(tmp_path / "out/packets.pcapng")] == frames(300)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert [ring["lost"] for ring in summary["rings"]] == [0, 0]
    assert [ring["delivered"] for ring in summary["rings"]] == [300, 75]
    assert summary["rings"][1]["sampled_out"] == 75


@pytest.mark.parametrize("write", ["packets,conn,summary", "jsonl"])
def test_that_outputs_are_of_ring_0_alone_is_said_when_others_got_frames(
    capture: Path, tmp_path: Path, write: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "spread.toml"
    config.write_text("".join(f"[[ring]]\nspread_count = 3\nspread_index = {index}\n" for index in range(3)))
    arguments = ["run", str(capture), "--out", str(tmp_path / "out"), "--backend", "fake", "--write"]
    assert main([*arguments, f"{write},summary", "--config", str(config)]) == 0
    own, *others = (ring["delivered"] for ring in json.loads((tmp_path / "out/summary.json").read_text())["rings"])
    assert own + sum(others) == 300
    assert all(others)
    what = "ring 0 got" if write == "jsonl" else "packets.pcapng, conn.log: of ring 0 alone, which got"
    told = f"note: {what} {own} frames; ring 1 {others[0]} frames, ring 2 {others[1]} frames\n"
    assert told in capsys.readouterr().err
    assert main([*arguments, "packets"]) == 0
    assert "note: " not in capsys.readouterr().err


def test_one_frame_is_not_called_frames(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(capture), "--out", str(tmp_path), "--backend", "fake", "--limit", "1"]) == 0
    assert any(line.startswith("1 frame in ") for line in capsys.readouterr().err.splitlines())


def test_counters_that_do_not_add_up_exit_with_1(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capture, "--out", tmp_path / "out", backend="miscounting") == 1
    assert "do not add up: received 301" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/summary.json").read_text())["conservation"]["holds"] is False


def test_the_default_outputs_are_all_but_the_json_lines(capture: Path, tmp_path: Path) -> None:
    assert main(["run", str(capture), "--out", str(tmp_path / "out"), "--backend", "fake", "-q"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"packets.pcapng", "conn.log", "summary.json", "report.html"}
    rows = [json.loads(line) for line in (tmp_path / "out/conn.log").read_text().splitlines()]
    assert {row["proto"] for row in rows} <= {"tcp", "udp"}


@pytest.mark.parametrize(
    ("option", "packets", "sizes", "history"),
    # Zeek logs no sizes of a connection that began and ended at the same time: of one packet that counts.
    [([], 1, [], "DC"), (["--ignore-checksums"], 2, [300], "D"), (["-C"], 2, [300], "D")],
)
def test_checksums_are_respected_unless_told_otherwise(
    tmp_path: Path, option: list[str], packets: int, sizes: list[int], history: str
) -> None:
    made = []
    for size in (100, 200):
        datagram = dpkt.udp.UDP(sport=4000, dport=9, data=bytes(size), ulen=8 + size)
        packet = dpkt.ip.IP(src=b"\x0a\0\0\x01", dst=b"\x0a\0\0\x02", p=17, data=datagram, len=28 + size)
        made.append(bytes(dpkt.ethernet.Ethernet(src=bytes(6), dst=bytes(6), data=packet)))
    made[1] = made[1][:-1] + b"\xff"
    (tmp_path / "bad.pcap").write_bytes(pcap(made))
    assert run(tmp_path / "bad.pcap", "--out", tmp_path / "out", *option, write="conn") == 0
    (row,) = [json.loads(line) for line in (tmp_path / "out/conn.log").read_text().splitlines()]
    assert (row["orig_pkts"], row["history"]) == (packets, history)
    assert [row[name] for name in ("orig_bytes",) if name in row] == sizes


@pytest.mark.parametrize(
    ("backend", "message"),
    [("hanging", "did not come to rest within"), ("deaf", "takes no frames in: 256 wait")],
)
def test_a_card_that_hangs_is_given_up(
    capture: Path, tmp_path: Path, backend: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capture, "--out", tmp_path / "out", backend=backend) == 3
    assert message in capsys.readouterr().err
    assert written(tmp_path / "out/packets.pcapng") == []
    assert message in json.loads((tmp_path / "out/summary.json").read_text())["error"]

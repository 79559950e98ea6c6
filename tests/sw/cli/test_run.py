"""``sentinic run`` from captures to files, over the fake card."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import dpkt
import pytest

from sentinic.cli import main

NOW = 1_700_000_000_000_000_000


def frames(count: int, seed: int = 1) -> list[bytes]:
    """Frames with and without VLAN tags, UDP and TCP over IPv4, and random bytes, made by dpkt."""
    source = random.Random(seed)
    made = []
    for number in range(count):
        payload = source.randbytes(source.randint(0, 1000))
        kind = number % 4
        if kind == 3:
            made.append(source.randbytes(12) + bytes([0x88, 0xB6]) + payload)
            continue
        upper = dpkt.tcp.TCP if kind == 1 else dpkt.udp.UDP
        transport = upper(sport=1024 + number % 50, dport=80, data=payload)
        if kind != 1:
            transport.ulen = len(transport)
        packet = dpkt.ip.IP(src=b"\x0a\0\0\x01", dst=b"\x0a\0\0\x02", p=6 if kind == 1 else 17, data=transport)
        packet.len = len(packet)
        ethernet = dpkt.ethernet.Ethernet(src=b"\2\0\0\0\0\1", dst=b"\2\0\0\0\0\2", data=packet)
        octets = bytes(ethernet)
        if kind == 2:
            octets = octets[:12] + b"\x88\xa8\0\5\x81\0\0\7" + octets[12:]
        made.append(octets)
    return made


def pcap(made: list[bytes], first: int = NOW, step: int = 1_000_000) -> bytes:
    out = bytearray(bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000"))
    for number, frame in enumerate(made):
        seconds, rest = divmod(first + step * number, 1_000_000_000)
        for word in (seconds, rest, len(frame), len(frame)):
            out += word.to_bytes(4, "little")
        out += frame
    return bytes(out)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap(frames(300)))
    return path


def run(*arguments: object, backend: str = "fake", write: str = "packets,jsonl,summary") -> int:
    return main(["run", *map(str, arguments), "--backend", backend, "--write", write, "-q"])


def written(path: Path) -> list[tuple[int, bytes]]:
    with path.open("rb") as file:
        return [(round(float(stamp) * 1e6), octets) for stamp, octets in dpkt.pcapng.Reader(file)]


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


def test_a_cut_capture_ends_the_run_with_all_frames_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap(frames(50))[:-3])
    assert run(path, "--out", tmp_path / "out") == 3
    assert [octets for _, octets in written(tmp_path / "out/packets.pcapng")] == frames(50)[:-1]
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cut.pcap" in error
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["ended"] == "error"
    assert summary["frames"] == 49


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["packets.pcapng", "packets.jsonl"])
def test_a_full_disk_ends_the_run_and_leaves_the_other_outputs_valid(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap(frames(3000)))
    out = tmp_path / "out"
    out.mkdir()
    if name == "packets.jsonl":
        (out / name).symlink_to("/dev/full")
        assert run(path, "--out", out) == 3
        whole = [octets for _, octets in written(out / "packets.pcapng")]
        assert whole == frames(3000)[: len(whole)]
    else:
        (out / name).symlink_to("/dev/full")
        assert run(path, "--out", out) in (2, 3)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name in error
    assert "space" in error


def test_a_disk_that_fills_up_in_mid_run_leaves_whole_packets(tmp_path: Path, environment: dict[str, str]) -> None:
    config, path, out = tmp_path / "small.toml", tmp_path / "in.pcap", tmp_path / "out"
    config.write_text("[[ring]]\ndescriptors = 64\ndata_bytes = 131072\n")
    path.write_bytes(pcap(frames(3000)))
    most = 400_000  # bytes of any file, as if the disk ended there; the rings are files too, and smaller
    program = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most})); "
        "from sentinic.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "run", path, "--out", out, "--backend", "fake", "--config", config]
    done = subprocess.run(
        [*command, "--write", "packets,summary", "-q"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "packets.pcapng: cannot be written beyond byte" in done.stderr
    whole = [octets for _, octets in written(out / "packets.pcapng")]
    assert 0 < len(whole) < 3000
    assert whole == frames(3000)[: len(whole)]
    assert json.loads((out / "summary.json").read_text())["ended"] == "error"


def interrupted(process: "subprocess.Popen[str]", out: Path) -> tuple[int, str]:
    """Wait until packets are on disk, send Ctrl-C, and give exit code and standard error."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (out / "packets.pcapng").exists() and (out / "packets.pcapng").stat().st_size > 5000:
            break
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    return process.returncode, error


def test_ctrl_c_leaves_what_was_delivered_valid(tmp_path: Path, environment: dict[str, str]) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    path.write_bytes(pcap(frames(4) * 20_000))
    command = [sys.executable, "-m", "sentinic", "run", path, "--out", out, "--backend", "slow"]
    process = subprocess.Popen(
        [*command, "--write", "packets,summary,jsonl", "-q"], env=environment, stderr=subprocess.PIPE, text=True
    )
    code, error = interrupted(process, out)
    assert code == 130
    assert error.startswith("sentinic: stopped by Ctrl-C after")
    assert error.count("\n") == 1
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ended"] == "interrupted"
    assert summary["conservation"]["holds"]
    count = len(written(out / "packets.pcapng"))
    assert 0 < count == summary["frames"] < 80_000
    lines = (out / "packets.jsonl").read_text()
    assert lines.endswith("}\n")
    assert lines.count("\n") == count


def test_ctrl_c_is_heard_while_standard_input_is_silent(tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sentinic", "run", "-", "--out", out, "--backend", "fake"]
    process = subprocess.Popen(
        [*command, "--write", "packets,summary", "-q"],
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(pcap(frames(40)))
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (out / "packets.pcapng").exists() and (out / "packets.pcapng").stat().st_size > 5000:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130
    process.stdin.close()
    assert len(written(out / "packets.pcapng")) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.pcap"], "nothing.pcap: cannot be opened"),
        (["IN", "--config", "nothing.toml"], "nothing.toml: cannot be read"),
        (["IN", "--port-map", "2"], "ports must be 0..1 on this card, not 2"),
        (["IN", "--port-map", "eth0=1"], "not 'eth0=1'"),
        (["IN", "--port-map", "0,if1=1"], "not both"),
        (["IN", "--write", "pcap"], "must be one of packets, jsonl, conn, summary, report, not 'pcap'"),
        (["IN", "--backend", "nope"], "must be one of the installed transports"),
        (["IN", "--backend", "broken"], "needs sentinic_not_there, which is not installed"),
        (["-", "-"], "can be read once only"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    words = [str(capture) if item == "IN" else item for item in arguments]
    backend = [] if "--backend" in words else ["--backend", "fake"]
    assert main(["run", *words, "--out", str(tmp_path / "out"), *backend, "-q"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_output_folder_that_cannot_be_made_is_refused(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(capture, "--out", tmp_path / "file/out") == 2
    assert "file/out: cannot be written" in capsys.readouterr().err


def test_a_profile_that_is_not_there_is_refused(capture: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as error:
        run(capture, "--out", tmp_path, "--profile", "tiny")
    assert error.value.code == 2


def test_no_shared_memory_is_left_behind(capture: Path, tmp_path: Path) -> None:
    before = set(Path("/dev/shm").glob("sentinic-ring*")) if Path("/dev/shm").is_dir() else set()
    assert run(capture, "--out", tmp_path / "out") == 0
    after = set(Path("/dev/shm").glob("sentinic-ring*")) if Path("/dev/shm").is_dir() else set()
    assert {path for path in after - before if f"-{os.getpid()}-" in path.name} == set()

"""How runs end that do not come to their end: disk, signals, arguments; what they leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sentinic.cli import main
from sentinic.driver.memory import SHARED_FOLDER
from tests.sw.capture.builders import FRAME, enhanced, interface, section
from tests.sw.cli.captures import begun, frames, interrupted, pcap, run, written

#: A capture whose second interface is described after frames of the first.
LATE = section() + interface() + enhanced(FRAME, 1) * 5 + interface() + enhanced(FRAME, 2, number=1)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap(frames(300)))
    return path


def left_by(process: int) -> list[str]:
    """Shared memory that carries a process's number."""
    return [path.name for path in SHARED_FOLDER.glob("sentinic*") if f"-{process}-" in path.name]


# --- Disk ---


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
        assert run(path, "--out", out, write="packets,jsonl,conn,summary") == 3
        # The others get all that was delivered, and say so.
        whole = [octets for _, octets in written(out / "packets.pcapng")]
        assert whole == frames(3000)[: len(whole)]
        summary = json.loads((out / "summary.json").read_text())
        assert len(whole) == summary["delivered"] == summary["conservation"]["fates"]["delivered"] > 0
        rows = [json.loads(line) for line in (out / "conn.log").read_text().splitlines()]
        assert sum(row.get("orig_pkts", 0) + row.get("resp_pkts", 0) for row in rows) > 0
    else:
        (out / name).symlink_to("/dev/full")
        assert run(path, "--out", out) in (2, 3)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name in error
    assert "space" in error


def test_a_disk_that_fills_up_in_mid_run_leaves_whole_packets(tmp_path: Path, environment: dict[str, str]) -> None:
    config, path, out = tmp_path / "small.toml", tmp_path / "in.pcap", tmp_path / "out"
    config.write_text("[[ring]]\ndescriptors = 4096\ndata_bytes = 131072\n")
    path.write_bytes(pcap(frames(3000)))
    most = 300_000  # bytes of any file, as if the disk ended there; the rings are files too, and smaller
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
    longest = 32 + max(map(len, frames(3000))) + 3
    assert most - longest < (out / "packets.pcapng").stat().st_size <= most
    assert f"the {len(whole)} frames before are valid" in done.stderr
    assert json.loads((out / "summary.json").read_text())["ended"] == "error"


@pytest.mark.parametrize(("name", "write"), [("packets.jsonl", "jsonl,summary"), ("conn.log", "conn,summary")])
def test_lines_that_still_fit_a_full_disk_are_there_and_whole(
    tmp_path: Path, environment: dict[str, str], name: str, write: str
) -> None:
    path, config, out = tmp_path / "in.pcap", tmp_path / "small.toml", tmp_path / "out"
    config.write_text("[[ring]]\ndescriptors = 4096\ndata_bytes = 131072\n")
    datagram = bytearray(frames(1)[0])
    made = []
    for number in range(3000):
        datagram[26:30] = number.to_bytes(4, "big")  # the source address: a connection each
        made.append(bytes(datagram))
    path.write_bytes(pcap(made))
    most = 300_000
    program = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most})); "
        "from sentinic.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "run", path, "--out", out, "--backend", "fake", "--config", config, "-C"]
    done = subprocess.run(
        [*command, "--write", write, "-q"], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 3, done.stderr
    lines = (out / name).read_text().splitlines(keepends=True)
    assert all(line.endswith("}\n") and json.loads(line) for line in lines)
    assert most - 1000 < (out / name).stat().st_size <= most
    assert f"{name}: cannot be written beyond byte" in done.stderr
    assert f"the {len(lines)} lines before are valid" in done.stderr


def test_what_is_missing_besides_is_said_and_no_other_runs_is_left_in_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / ".summary.json.part").mkdir(parents=True)
    (out / "summary.json").write_text("another run's")
    (tmp_path / "cut.pcap").write_bytes(pcap(frames(50))[:-3])
    assert run(tmp_path / "cut.pcap", "--out", out) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the capture ends in a packet" in error
    assert error.endswith("; summary.json could not be written\n")
    assert not (out / "summary.json").exists()
    assert len(written(out / "packets.pcapng")) == 49


def test_an_output_folder_that_cannot_be_written_is_refused(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    refused = {tmp_path / "file/out": "cannot be written: Not a directory", tmp_path / "file": "is a file"}
    if os.geteuid():  # nothing is read-only to root
        (tmp_path / "locked").mkdir(mode=0o555)
        refused[tmp_path / "locked"] = "cannot be written: Permission denied"
    for folder, message in refused.items():
        assert run(capture, "--out", folder) == 2
        assert capsys.readouterr().err == f"sentinic: output folder {folder}: {message}\n"


@pytest.mark.parametrize("way", ["by name", "by a link", "as standard input"])
def test_a_capture_that_an_output_would_overwrite_is_refused_and_stays(
    way: str, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = capture.read_bytes()
    for name in ("packets.pcapng", "summary.json"):
        output = out / name
        output.unlink(missing_ok=True)
        output.hardlink_to(capture)
        argument, said = {
            "by name": (output, output),
            "by a link": (capture, capture),
            "as standard input": ("-", "standard input"),
        }[way]
        with output.open() as standard_input:
            monkeypatch.setattr(sys, "stdin", standard_input)
            assert run(argument, "--out", out) == 2
        assert capsys.readouterr().err == (
            f"sentinic: {output}: must be another file than the capture {said}, which it would overwrite; "
            "choose another --out\n"
        )
        assert output.read_bytes() == before
        assert run(output, "--out", out, write="jsonl") == 0  # not in the way
        output.unlink()


# --- Signals ---


@pytest.mark.parametrize(("number", "name"), [(2, "Ctrl-C"), (15, "SIGTERM"), (1, "SIGHUP")])
def test_a_signal_leaves_what_was_delivered_valid_and_no_shared_memory(
    tmp_path: Path, environment: dict[str, str], number: int, name: str, interruptible: None
) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    path.write_bytes(pcap(frames(4) * 20_000))
    command = [sys.executable, "-m", "sentinic", "run", path, "--out", out, "--backend", "slow"]
    process = subprocess.Popen(
        [*command, "--write", "packets,summary,jsonl", "-q"], env=environment, stderr=subprocess.PIPE, text=True
    )
    code, error = interrupted(process, out, number)
    assert code == 128 + number
    assert error.startswith(f"sentinic: stopped by {name} after")
    assert error.count("\n") == 1
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ended"] == "interrupted"
    assert summary["conservation"]["holds"]
    count = len(written(out / "packets.pcapng"))
    assert 0 < count == summary["frames"] < 80_000
    lines = (out / "packets.jsonl").read_text()
    assert lines.endswith("}\n")
    assert lines.count("\n") == count
    assert left_by(process.pid) == []


def test_a_hangup_that_is_ignored_stays_ignored(tmp_path: Path, environment: dict[str, str]) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    path.write_bytes(pcap(frames(4) * 1000))
    program = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); from sentinic.cli import main; "
    command = [sys.executable, "-c", f"{program} sys.exit(main())", "run", path, "--out", out, "--backend", "slow"]
    process = subprocess.Popen(
        [*command, "--write", "packets,summary", "-q"], env=environment, stderr=subprocess.PIPE, text=True
    )
    code, error = interrupted(process, out, signal.SIGHUP)
    assert (code, error) == (0, "")
    assert len(written(out / "packets.pcapng")) == 4000


def test_what_a_killed_run_left_in_shared_memory_the_next_one_removes(
    tmp_path: Path, environment: dict[str, str], capture: Path
) -> None:
    path, config = tmp_path / "big.pcap", tmp_path / "named.toml"
    path.write_bytes(pcap(frames(4) * 20_000))
    config.write_text(f'[[ring]]\nname = "test-{os.getpid()}"\n')
    options = ["--config", config, "--write", "packets", "-q"]
    command = [sys.executable, "-m", "sentinic", "run", path, "--out", tmp_path / "out", "--backend", "slow"]
    process = subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE, text=True)
    code, _ = interrupted(process, tmp_path / "out", signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert len(left_by(process.pid)) == 2
    page = SHARED_FOLDER / f"test-{os.getpid()}"
    assert page.exists()
    assert main(["run", str(capture), "--out", str(tmp_path / "out"), "--backend", "fake", *map(str, options)]) == 0
    assert left_by(process.pid) == []
    assert not page.exists()


def test_standard_input_that_breaks_off_ends_the_run_with_all_frames_before(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Whoever fed the run was killed in the middle of a packet."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sentinic", "run", "-", "--out", out, "--backend", "fake"]
    done = subprocess.run(
        [*command, "--write", "packets,summary", "-q"],
        env=environment,
        input=pcap(frames(40))[:-5],
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 3
    assert b"packet 40, byte " in done.stderr
    assert len(written(out / "packets.pcapng")) == 39


def test_a_capture_that_is_cut_short_while_it_is_read_ends_the_run_with_a_sentence(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    path.write_bytes(pcap(frames(4) * 20_000))
    program = (
        "import sys; from sentinic.capture import sources; sources.CHUNK_BYTES = 1 << 16; "
        "from sentinic.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "run", path, "--out", out, "--backend", "slow"]
    process = subprocess.Popen(
        [*command, "--write", "packets,summary", "-q"], env=environment, stderr=subprocess.PIPE, text=True
    )
    begun(process, out)
    os.truncate(path, 1 << 20)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 3
    assert error.startswith(f"sentinic: {path}: byte ")
    assert ": was cut short while it was read: of " in error
    assert error.count("\n") == 1
    whole = [octets for _, octets in written(out / "packets.pcapng")]
    assert 0 < len(whole) < 80_000
    assert whole == (frames(4) * 20_000)[: len(whole)]
    assert json.loads((out / "summary.json").read_text())["frames"] == len(whole)
    assert left_by(process.pid) == []


def test_ctrl_c_is_heard_while_standard_input_is_silent(
    tmp_path: Path, environment: dict[str, str], interruptible: None
) -> None:
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


# --- Arguments ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.pcap"], "nothing.pcap: cannot be opened"),
        (["IN", "--config", "nothing.toml"], "nothing.toml: cannot be read"),
        (["IN", "--port-map", "2"], "ports must be 0..1 on this card, not 2"),
        (["IN", "--port-map", "eth0=1"], "not 'eth0=1'"),
        (["IN", "--port-map", "0,if1=1"], "not both"),
        (["IN", "--port-map", "0,1"], "ports must be at most as many as captures: 2 for 1 capture"),
        (["NG", "--port-map", "if0=0,if1=1,if0=1"], "interface 0 may be named once, not twice"),
        (["IN", "--port-map", "if0=1"], "in.pcap is pcap, which has no interfaces: name ports by capture, as 0"),
        (["NG", "IN", "--port-map", "if0=1"], "in.pcap is pcap, which has no interfaces"),
        (["NG", "--port-map", "if0=0,if2=1"], "there is no interface 2: the captures describe interfaces 0..1"),
        (["IN", "--write", "pcap"], "must be one of packets, jsonl, conn, stats, summary, report, not 'pcap'"),
        (["IN", "--backend", "nope"], "must be one of the installed transports"),
        (["IN", "--backend", "broken"], "needs sentinic_not_there, which is not installed"),
        (["-", "-"], "can be read once only"),
        (["IN", "--write", ""], "must be one of packets, jsonl, conn, stats, summary, report, not ''"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "in.pcapng").write_bytes(LATE)
    files = {"IN": str(capture), "NG": str(tmp_path / "in.pcapng")}
    words = [files.get(item, item) for item in arguments]
    backend = [] if "--backend" in words else ["--backend", "fake"]
    assert main(["run", *words, "--out", str(tmp_path / "out"), *backend, "-q"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "out").glob("*"))


def test_an_interface_described_late_is_found(tmp_path: Path) -> None:
    (tmp_path / "in.pcapng").write_bytes(LATE)
    assert run(tmp_path / "in.pcapng", "--out", tmp_path / "out", "--port-map", "if1=1") == 0
    counters = json.loads((tmp_path / "out/summary.json").read_text())["counters"]
    assert (counters["port0.received"], counters["port1.received"]) == (5, 1)


@pytest.mark.parametrize(
    ("content", "message", "delivered"),
    [(LATE, "there is no interface 2: the captures describe interfaces 0..1", 6), (pcap(frames(3)), "is pcap", 0)],
)
def test_interfaces_of_standard_input_are_judged_as_it_is_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    message: str,
    delivered: int,
) -> None:
    (tmp_path / "in").write_bytes(content)
    with (tmp_path / "in").open() as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        assert run("-", "--out", tmp_path / "out", "--port-map", "if0=0,if2=1") == 3
    assert message in capsys.readouterr().err
    assert len(written(tmp_path / "out/packets.pcapng")) == delivered


@pytest.mark.parametrize("arguments", [["run", "IN", "--out", ""], ["rtl", "--out", ""], ["synth", "--out", ""]])
def test_an_empty_path_is_not_taken_for_the_present_folder(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "argument --out: must be a path, not ''" in capsys.readouterr().err


def test_a_profile_that_is_not_there_is_refused(capture: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as error:
        run(capture, "--out", tmp_path, "--profile", "tiny")
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[ring]]\nsnap_len = 1", "[[ring]] 0: unknown key 'snap_len'; known are name, ports"),
        ("[[ring]]\nsample = 65536", "[[ring]] 0: sample must be an integer in 1..65535 packets, not 65536"),
        ('[[ring]]\nverdicts = [["CLEAN"]]', "[[ring]] 0: verdicts: each must be one of CLEAN, FRAGMENT"),
        ('[[ring]]\nname = "a\\u0000b"', "[[ring]] 0: name must be a string of 1..64 printable bytes"),
        ("[[ring]]\nports = [2]", "[[ring]] 0: ports must be 0..1 on this card, not 2"),
        ("[[ring]]\n" * 5, "[[ring]] may stand 4 times on this card, not 5"),
        ("ring = [", "not valid TOML"),
    ],
)
def test_a_config_that_is_wrong_is_refused_by_file_key_and_limit(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    config, out = tmp_path / "card.toml", tmp_path / "out"
    config.write_text(text)
    assert run(capture, "--out", out, "--config", config) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sentinic: config {config}: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(out.glob("*"))


def test_rings_that_do_not_fit_shared_memory_are_refused(
    capture: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
        "from sentinic.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "run", capture, "--out", tmp_path / "out", "--backend", "fake", "-q"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "65536 descriptors and 33554432 data bytes do not fit" in error
    assert error.count("\n") == 1
    assert left_by(process.pid) == []


def test_each_output_that_fails_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out"
    path.write_bytes(pcap(frames(300)))
    out.mkdir()
    for name in ("packets.jsonl", "conn.log"):
        (out / name).symlink_to("/dev/full")
    assert run(path, "--out", out, write="packets,jsonl,conn,summary") == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "packets.jsonl: cannot be written" in error
    assert "conn.log: cannot be written" in error
    assert len(written(out / "packets.pcapng")) == 300

"""``sentinic stats``: the newest interval of each rule, the largest groups first, while the file grows."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sentinic.cli import main
from sentinic.cli.stats import Follower
from tests.sw.cli.captures import frames, pcap, run


def line(rule: str, interval: float | None, port: int, packets: int, octets: int) -> dict[str, Any]:
    return {
        "rule": rule, "interval": interval, "group": {"tcp_dst": port}, "packets": packets, "bytes": octets,
        "first": 1.0, "last": 2.0, "history": "SAD", "generation": 1, "final": False,
    }  # fmt: skip


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(item) + "\n" for item in lines)


LINES = [
    line("web", 1000.0, 80, 5, 500),
    line("web", 1010.0, 443, 1, 9000),
    line("web", 1010.0, 8080, 7, 700),
    line("all", None, 1, 12, 34567),
]


def test_the_newest_interval_is_shown_the_largest_group_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "stats.jsonl", LINES)
    assert main(["stats", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "web, interval of 1970-01-01 00:16:50.000: 2 groups" in out
    assert "34,567" in out
    assert out.index("443") < out.index("8080")
    assert "500" not in out
    assert main(["stats", str(tmp_path / "stats.jsonl"), "--by", "packets", "--top", "1", "--rule", "web"]) == 0
    out = capsys.readouterr().out
    assert "8080" in out
    assert "443" not in out
    assert "34,567" not in out


def test_a_file_that_grows_is_read_on_and_one_that_begins_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    write(path, LINES)
    with path.open("a") as file:
        file.write('{"rule": "web", ')  # half a line, as it is being written
    follower = Follower(path)
    follower.read()
    assert {name: item.lines for name, item in follower.rules.items()} == {"web": 3, "all": 1}
    with path.open("a") as file:
        file.write(json.dumps(line("web", 1020.0, 22, 1, 1)).partition(", ")[2] + "\n")
    follower.read()
    assert follower.rules["web"].interval == 1020.0
    assert [item["group"] for item in follower.rules["web"].groups] == [{"tcp_dst": 22}]
    path.write_text("")
    write(path, LINES[:1])
    follower.read()
    assert {name: item.lines for name, item in follower.rules.items()} == {"web": 1}


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, [], "cannot be read: No such file"),
        ("{}\n", [], "line 1 is not one of statistics"),
        (json.dumps(LINES[0]) + "\nnonsense\n", [], "line 2 is not one of statistics"),
        (json.dumps(LINES[0]) + "\n", ["--rule", "mail"], "--rule must be one of the run's rules (web), not 'mail'"),
        ("", ["--top", "0"], "--top must be at least 1 group, not 0"),
        *(
            (json.dumps(LINES[0] | wrong) + "\n", [], "line 1 is not one of statistics")
            for wrong in (
                {"group": None},
                {"group": [1]},
                {"packets": None},
                {"bytes": "7"},
                {"history": 7},
                {"rule": {}},
                {"interval": "now"},
                {"originator": 1},
            )
        ),
        ("[" * 100_000 + "\n", [], "line 1 is not one of statistics"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, arguments: list[str], message: str
) -> None:
    path = tmp_path / "stats.jsonl"
    if content is not None:
        path.write_text(content)
    assert main(["stats", str(path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_file_of_another_run_is_read_anew_though_it_is_longer(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    write(path, LINES[:1])
    follower = Follower(path)
    follower.read()
    other = [line("other", None, port, 1, 1) for port in range(9)]
    path.write_text("")  # the same file
    write(path, other)
    follower.read()
    assert {name: item.lines for name, item in follower.rules.items()} == {"other": 9}
    path.rename(tmp_path / "old")
    follower.read(awaited=True)
    assert not follower.rules
    write(path, LINES)
    follower.read(awaited=True)
    assert {name: item.lines for name, item in follower.rules.items()} == {"web": 3, "all": 1}


def test_a_rule_that_counted_nothing_is_one_of_the_runs_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "stats.jsonl", LINES[:1])
    rules = [{"name": "web"}, {"name": "never"}]
    summary = tmp_path / "summary.json"
    summary.write_text(json.dumps({"statistics": {"rules": rules}}))
    written = (tmp_path / "stats.jsonl").stat().st_mtime_ns
    os.utime(summary, ns=(written - 1, written - 1))  # of another run
    assert main(["stats", str(tmp_path), "--rule", "never"]) == 2
    os.utime(summary, ns=(written + 1, written + 1))
    capsys.readouterr()
    assert main(["stats", str(tmp_path)]) == 0
    assert "never: counted nothing" in capsys.readouterr().out
    assert main(["stats", str(tmp_path), "--rule", "never"]) == 0
    assert capsys.readouterr().out == "never: counted nothing\n"
    assert main(["stats", str(tmp_path), "--rule", "nope"]) == 2
    assert "one of the run's rules (web, never), not 'nope'" in capsys.readouterr().err


LONG = {"source": "2001:db8:1234:5678:9abc:def0:1234:5678", "destination": "2001:db8::1", "source_port": 12345}


@pytest.mark.parametrize("columns", [50, 80, 120, 200])
def test_no_number_is_cut_on_a_narrow_terminal(columns: int, tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    write(path, [line("conns", None, 1, 12_345_678, 12_345_678_901) | {"group": LONG, "history": "ShADadFf"}])
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "sentinic", "stats", str(path), "--once"]
    process = subprocess.Popen(command, stdout=slave, env=environment)
    os.close(slave)
    seen = b""
    try:
        while part := os.read(master, 65536):
            seen += part
    except OSError:
        pass
    os.close(master)
    assert process.wait(60) == 0
    for wanted in (b"12,345,678", b"12,345,678,901", b"ShADadFf"):
        assert wanted in seen, seen


def test_a_run_that_has_not_begun_is_waited_for_on_a_terminal(tmp_path: Path, interruptible: None) -> None:
    out = tmp_path / "out"
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "sentinic", "stats", str(out)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "250"}
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    seen = b""
    try:
        for wanted in (b"stats.jsonl: nothing counted yet", b"8080"):
            deadline = time.monotonic() + 60
            while wanted not in seen and select.select([master], [], [], deadline - time.monotonic())[0]:
                seen += os.read(master, 65536)
            assert wanted in seen
            out.mkdir(exist_ok=True)
            write(out / "stats.jsonl", LINES)
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [(">/dev/full", 2, "standard output: cannot be written: No space left on device"), (">&-", 0, "")],
)
def test_an_output_that_takes_nothing_is_no_traceback(
    redirection: str, code: int, message: str, tmp_path: Path
) -> None:
    write(tmp_path / "stats.jsonl", LINES)
    command = f'"{sys.executable}" -m sentinic stats "{tmp_path}" {redirection}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert done.stderr == (f"sentinic: {message}\n" if message else "")


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}])
def test_in_a_pipe_a_table_is_as_wide_as_it_needs(environment: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "stats.jsonl", LINES)
    command = [sys.executable, "-m", "sentinic", "stats", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) < 200


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    write(tmp_path / "stats.jsonl", [line("web", None, port, 1, 1) for port in range(3000)])
    command = f'"{sys.executable}" -m sentinic stats "{tmp_path}" --top 3000; echo "code $?" >&2'
    done = subprocess.run(["sh", "-c", f"{{ {command}; }} | true"], capture_output=True, text=True, timeout=60)
    assert done.stderr == "code 0\n"


def test_a_name_in_letters_that_the_terminal_lacks_is_shown_all_the_same(tmp_path: Path) -> None:
    write(tmp_path / "stats.jsonl", [line("\u2603", None, 80, 5, 500)])
    command = [sys.executable, "-m", "sentinic", "stats", str(tmp_path)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2603: 1 group" in done.stdout


def test_what_a_run_wrote_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.pcap").write_bytes(pcap(frames(40)))
    (tmp_path / "rules.toml").write_text('[[statistics]]\nname = "[red]ports"\ngroup = ["udp_dst"]\n')
    arguments = (tmp_path / "in.pcap", "--out", tmp_path, "--config", tmp_path / "rules.toml")
    assert run(*arguments, backend="counting", write="stats") == 0
    assert main(["stats", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "[red]ports: 1 group" in out
    assert "udp_dst" in out
    assert "originator" not in out


def test_of_both_directions_it_is_told_which_end_began(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "stats.jsonl", [LINES[0] | {"originator": "destination"}])
    assert main(["stats", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "originator" in out
    assert "destination" in out


def test_on_a_terminal_the_table_follows_the_file_until_ctrl_c(tmp_path: Path, interruptible: None) -> None:
    path = tmp_path / "stats.jsonl"
    write(path, LINES)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "sentinic", "stats", str(path)]
    process = subprocess.Popen(command, stdout=slave, stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    seen = b""
    try:
        for wanted in (b"8080", b"31337"):
            deadline = time.monotonic() + 60
            while wanted not in seen and time.monotonic() < deadline:
                seen += os.read(master, 65536)
            assert wanted in seen
            write(path, [line("web", 1020.0, 31337, 1, 1)])
        process.send_signal(signal.SIGINT)
        while True:  # what it still writes must find somebody who reads
            try:
                if not os.read(master, 65536):
                    break
            except OSError:
                break
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(master)

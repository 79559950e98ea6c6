"""``sentinic run`` over the simulated card's two backends: the same outputs, and what happens when one ends early."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dpkt
import pytest

from sentinic.cli import main
from sentinic.driver.memory import SHARED_FOLDER
from tests.sim.fst import signals

DEMO = Path(__file__).parents[3] / "sim" / "demo" / "demo.pcapng"
FRAMES = 400
#: Of the summary: what tells of a run's time and place, and not of its packets.
OF_TIME = {"backend", "written", "wall_seconds", "compile_seconds", "step_seconds", "cycles", "speeds"}
#: Counters of cycles, likewise.
OF_CYCLES = ("cycles", "busy", "stall")

pytestmark = pytest.mark.slow  # builds both models of both profiles


def run(backend: str, out: Path, *arguments: object) -> int:
    options = ("--out", out, "--backend", backend, "-q")
    return main(["run", str(DEMO), *map(str, options), *map(str, arguments)])


def summary(out: Path) -> dict[str, Any]:
    """What both backends must agree on."""
    found = json.loads((out / "summary.json").read_text())
    counters = {name: value for name, value in found["counters"].items() if not any(word in name for word in OF_CYCLES)}
    return {name: value for name, value in found.items() if name not in OF_TIME} | {"counters": counters}


def leftovers(process: int) -> list[str]:
    return [path.name for path in SHARED_FOLDER.glob("sentinic-*") if f"-{process}-" in path.name]


@pytest.mark.parametrize("profile", ["wide", "board"])
def test_both_backends_write_the_same(profile: str, tmp_path: Path) -> None:
    config = tmp_path / "rings.toml"
    some = 'name = "some"\nprotocols = ["TCP"]\nsample = 3\nsnap_length = 96\n'
    config.write_text(f'[[ring]]\nname = "all"\n[[ring]]\n{some}')
    every = ("--profile", profile, "--limit", FRAMES, "--write", "packets,jsonl,conn,summary", "--config", config)
    for backend in ("native", "cocotb"):
        assert run(backend, tmp_path / backend, *every) == 0
    native, cocotb = tmp_path / "native", tmp_path / "cocotb"
    with DEMO.open("rb") as file:
        sent = [octets for _, octets in dpkt.pcapng.Reader(file)][:FRAMES]
    with (cocotb / "packets.pcapng").open("rb") as file:
        assert [octets for _, octets in dpkt.pcapng.Reader(file)] == sent
    for name in ("packets.pcapng", "conn.log"):
        assert (cocotb / name).read_bytes() == (native / name).read_bytes(), name
    # Rings are polled in turns: only the order within each is the card's.
    lines = [sorted((path / "packets.jsonl").read_text().splitlines()) for path in (native, cocotb)]
    assert lines[0] == lines[1]
    assert summary(cocotb) == summary(native)
    assert summary(cocotb)["frames"] == FRAMES
    assert summary(cocotb)["conservation"]["holds"]


@contextmanager
def started(out: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A run over cocotb, in a process group of its own, once it has delivered something."""
    command = [sys.executable, "-m", "sentinic", "run", DEMO, "--out", out, "--backend", "cocotb", "-q", *arguments]
    process = subprocess.Popen(
        [*map(str, command), "--profile", "board", "--write", "packets,conn,summary"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    packets, deadline = out / "packets.pcapng", time.monotonic() + 600
    try:
        while not (packets.exists() and packets.stat().st_size > 5000):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.kill()


def child(process: int) -> int:
    """The process that ``process`` has started."""
    (number,) = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(number)


def gone(process: int) -> bool:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{process}").exists()


def test_ctrl_c_leaves_valid_outputs_and_waveforms_and_no_process(tmp_path: Path, interruptible: None) -> None:
    wave = tmp_path / "card.fst"
    with started(tmp_path / "out", "--wave", wave) as process:
        simulator = child(process.pid)
        # As a terminal does: to all that is in the foreground; and to the simulator too, which must not mind.
        os.kill(simulator, signal.SIGINT)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert error.splitlines()[-1].startswith("sentinic: stopped by Ctrl-C after")  # a model may have been built first
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["ended"] == "interrupted"
    assert found["conservation"]["holds"]
    with (tmp_path / "out" / "packets.pcapng").open("rb") as file:
        count = sum(1 for _ in dpkt.pcapng.Reader(file))
    assert 0 < count == found["delivered"]
    assert all(json.loads(line) for line in (tmp_path / "out" / "conn.log").read_text().splitlines())
    # Written last, when the simulator ends by itself.
    assert "card.rx0__tdata[63:0]" in signals(wave)
    assert (tmp_path / "card.gtkw").exists()
    assert gone(simulator)
    assert not leftovers(process.pid)


def test_a_simulator_that_dies_ends_the_run_with_what_was_delivered(tmp_path: Path) -> None:
    with started(tmp_path / "out") as process:
        os.kill(child(process.pid), signal.SIGKILL)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 3, error
    assert error.startswith("sentinic: the simulator ended (killed by SIGKILL)")
    with (tmp_path / "out" / "packets.pcapng").open("rb") as file:
        assert sum(1 for _ in dpkt.pcapng.Reader(file)) > 0
    assert not leftovers(process.pid)


@pytest.mark.parametrize("backend", ["native", "cocotb"])
def test_waves_come_with_a_save_file(backend: str, tmp_path: Path) -> None:
    wave = tmp_path / "card.fst"
    assert run(backend, tmp_path / "out", "--profile", "board", "--limit", 3, "--wave", wave) == 0
    assert wave.stat().st_size > 50_000
    assert f'[dumpfile] "{wave}"' in (tmp_path / "card.gtkw").read_text()


def test_waves_that_cannot_be_written_are_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cocotb", tmp_path / "out", "--wave", tmp_path / "no" / "card.fst") == 2
    assert capsys.readouterr().err == (
        f"sentinic: {tmp_path}/no/card.fst: waveforms cannot be written: No such file or directory\n"
    )

"""``sentinic info``, ``regs``, ``counters``, ``rtl``, ``synth``, and the help."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sentinic.abi.counters import counter_names
from sentinic.abi.profiles import PROFILES
from sentinic.abi.registers import BLOCKS
from sentinic.cli import main
from sentinic.driver.config import CardConfig, InterruptConfig, RingConfig
from sentinic.driver.device import Device
from tests.sw.driver.fake import FakeTransport


def test_info_names_profiles_and_backends(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for part in (*PROFILES, "fake", "1.0"):
        assert part in out


@pytest.mark.parametrize("profile", PROFILES)
def test_info_of_a_profile_names_no_other(profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--profile", profile]) == 0
    out = capsys.readouterr().out
    assert [name for name in PROFILES if f"\n  {name} " in out] == [profile]


def test_without_a_profile_a_card_is_wide(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--backend", "fake"]) == 0
    assert "wide (number 1)" in capsys.readouterr().out


def test_nothing_printed_has_the_marks_of_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    assert any("``" in block.doc for block in BLOCKS)
    assert main(["regs"]) == main(["counters"]) == 0
    for block in BLOCKS:
        assert main(["regs", block.name]) == 0
    assert "`" not in capsys.readouterr().out


def test_the_help_of_run_has_every_table_of_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    out = capsys.readouterr().out
    for table, keys in (
        ("[card]", CardConfig),
        ("[interrupt]", InterruptConfig),
        ("[[ring]]", RingConfig),
        ("[[statistics]]", None),
    ):
        assert f"\n  {table} " in out or f"\n  {table}\n" in out
        for field in dataclasses.fields(keys) if keys else ():
            assert f" {field.name} = " in out


def test_info_asks_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--backend", "fake", "--profile", "board"]) == 0
    assert "board (number 2)" in capsys.readouterr().out


def test_regs_lists_blocks_then_every_register(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["regs"]) == 0
    out = capsys.readouterr().out
    for block in BLOCKS:
        assert block.name in out
        assert main(["regs", block.name]) == 0
        text = capsys.readouterr().out
        assert all(register.name in text for register in block.registers)


def test_regs_shows_a_cards_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["regs", "card.id", "--backend", "fake"]) == 0
    assert "0x534e4943" in capsys.readouterr().out


@pytest.mark.parametrize(("which", "message"), [("rnig", "must be one of card"), ("ring.x", "it has control")])
def test_an_unknown_register_is_refused(which: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["regs", which]) == 2
    assert message in capsys.readouterr().err


def test_counters_explains_every_counter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["counters", "--profile", "board"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in counter_names(PROFILES["board"]))


def test_counters_of_a_run_are_checked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"profile": "wide", "counters": dict.fromkeys(counter_names(PROFILES["wide"]), 0)}))
    assert main(["counters", str(tmp_path)]) == 0
    summary = json.loads(path.read_text())
    summary["counters"]["received"] = 1234567
    path.write_text(json.dumps(summary))
    assert main(["counters", str(path)]) == 1
    output = capsys.readouterr()
    assert "1,234,567" in output.out
    assert "do not add up" in output.err


@pytest.mark.parametrize("text", ["", "[]", '{"profile": "none", "counters": {}}'])
def test_what_is_no_summary_is_refused(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text(text)
    assert main(["counters", str(tmp_path / "x.json")]) == 2
    assert "is not the summary of a run" in capsys.readouterr().err


def test_counters_of_a_ring_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with Device(FakeTransport()) as device:
        ring = device.open_ring(1)
        ring.enable()
        assert main(["counters", "--ring", ring.name]) == 0
        out = capsys.readouterr().out
    assert "ring 1" in out
    assert "running" in out


@pytest.mark.parametrize("command", ["", "run", "info", "regs", "counters", "rtl", "synth"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    assert "usage: sentinic" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("sentinic 0.")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sentinic_hdl.emit", None)
    assert main(["rtl", "--out", "x.v"]) == 2
    assert "pip install 'sentinic[hdl]'" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from sentinic.cli import build_parser; build_parser(); "
        "print([name for name in ('numpy', 'numba', 'rich', 'amaranth', 'cocotb') if name in sys.modules])"
    )
    begin = time.monotonic()
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert out.stdout.strip() == "[]"
    assert time.monotonic() - begin < 10

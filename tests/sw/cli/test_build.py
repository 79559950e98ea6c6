"""``sentinic synth``: what it is asked for, and with what it ends; the tools themselves are not run."""

import json
from pathlib import Path

import pytest

from sentinic.cli import main
from sentinic_hdl import synth


@pytest.mark.parametrize(("achieved", "code"), [(62.5, 0), (62.49, 1)])
def test_a_clock_that_is_missed_ends_with_status_1_and_all_figures(
    achieved: float,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def build(profile, board, folder, seeds):
        asked.append((profile.name, board, folder, tuple(seeds)))
        total = {"luts": 8364}
        return synth.Figures(profile.name, "ecp5", total, {"parser": total}, fmax_mhz=achieved, wanted_mhz=62.5)

    monkeypatch.setattr(synth, "synthesise_ecp5", build)
    arguments = ["synth", "--without", "syn_offload", "--seeds", "3", "5", "--out", str(tmp_path)]
    assert main(arguments) == code
    folder = tmp_path / "board-without-syn_offload"
    assert asked == [("board-without-syn_offload", "ecpix5", folder, (3, 5))]
    shown = capsys.readouterr()
    assert f"Fmax {achieved} MHz, wanted 62.5 MHz" in shown.out
    assert ("misses 62.5 MHz" in shown.err) == bool(code)
    assert json.loads((folder / "figures.json").read_text())["fmax_mhz"] == achieved


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--board", "de10"], "--board de10: must be one of ecpix5"),
        (["--out", "FILE/below"], "FILE/below: cannot be written: Not a directory"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    assert main(["synth", *arguments]) == 2
    assert message in capsys.readouterr().err

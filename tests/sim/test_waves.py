"""Waveforms of both backends: readable, with the frames in them, and a save file whose signals exist."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.errors import OutputError
from sentinic_sim.gtkwave import prepare, save_file

from .fst import duration, signals

FRAMES = [bytes(range(64)), bytes(range(7, 208))]
#: Where each backend has the card's inputs as the card sees them, and its outputs.
NAMES = {"native": ("TOP.card.seen__", "TOP.card."), "cocotb": ("card.", "card.")}

CARD = """\
module \\card.merge (i0__ready, \\o__valid$2 , o__ready);
  output i0__ready;
  input i0__valid;
  output \\o__valid$2 ;
  input o__ready;
endmodule

module card(irq, rx0__tdata);
  wire [7:0] \\$1 ;
  input clk;
  output irq;
  reg irq = 1'h0;
  input [511:0] rx0__tdata;
  input rx0__tvalid;
  wire [63:0] \\rx0__tuser.timestamp ;
  \\card.merge  merge (
    .o__ready(1'h1)
  );
endmodule
"""


def names(save: Path) -> list[str]:
    """The signals that a save file shows."""
    return [line for line in save.read_text().splitlines() if line[0] not in "[*@-"]


def test_a_save_file_shows_the_ports_that_there_are_and_the_streams_of_the_blocks(tmp_path: Path) -> None:
    verilog = tmp_path / "card.v"
    verilog.write_text(f"\n{CARD}")
    save = save_file(tmp_path / "x.fst", verilog, scope="card")
    assert save == tmp_path / "x.gtkw"
    assert save.read_text().splitlines()[:2] == [f'[dumpfile] "{tmp_path}/x.fst"', f'[savefile] "{tmp_path}/x.gtkw"']
    assert names(save) == [
        *("card.clk", "card.irq", "card.rx0__tvalid", "card.rx0__tdata[511:0]", "card.rx0__tuser.timestamp[63:0]"),
        *("card.merge.i0__valid", "card.merge.i0__ready", "card.merge.o__valid$2", "card.merge.o__ready"),
    ]


def test_inputs_are_shown_as_the_card_sees_them_and_blocks_below_the_registers(tmp_path: Path) -> None:
    verilog = tmp_path / "card.v"
    inner = CARD.replace("card.merge", "card.card.merge").replace("module card(", "module \\card.card (")
    outer = (
        "module card(irq);\n  input rx0__tvalid;\n  wire seen__rx0__tvalid;\n  \\card.card  card (\n  );\nendmodule\n"
    )
    verilog.write_text(f"\n{inner}\n{outer}")
    shown = names(save_file(tmp_path / "x.fst", verilog, scope="TOP.card"))
    assert shown[:2] == ["TOP.card.seen__rx0__tvalid", "TOP.card.card.merge.i0__valid"]


def test_waves_that_cannot_be_written_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"not/there\.fst: waveforms cannot be written: No such file or directory"):
        Device.open("native", "wide", wave=tmp_path / "not" / "there.fst")
    with pytest.raises(OutputError, match=r"x\.vcd: waveforms must be written to a file \*\.fst"):
        Device.open("cocotb", "wide", wave=tmp_path / "x.vcd")
    assert prepare(tmp_path / "here.fst").exists()


@pytest.fixture(scope="module", params=["native", "cocotb"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A backend, and its waveforms of two frames through the card."""
    wave = tmp_path_factory.mktemp("waves") / "card.fst"
    with Device.open(request.param, "board", wave=wave) as device:
        device.open_ring(0, descriptors=64, data_bytes=1 << 20).enable()
        device.enable()
        device.transport.send(FrameBatch.from_frames(FRAMES, timestamp=[1000, 2000]))
        device.transport.step()
        assert device.snapshot()["delivered"] == 2
    return request.param, wave


@pytest.mark.slow
def test_every_signal_of_the_save_file_is_in_the_waveforms(recorded: tuple[str, Path]) -> None:
    backend, wave = recorded
    there = signals(wave)
    shown = names(wave.with_suffix(".gtkw"))
    assert len(shown) > 60
    assert not [name for name in shown if name not in there]
    inputs, outputs = NAMES[backend]
    assert there[f"{inputs}rx0__tdata[63:0]"] == 64
    for name in (f"{outputs}dma__wvalid", "parser.i__valid", "select.o__ready"):
        assert [shown_name for shown_name in shown if shown_name.endswith(name)]


@pytest.mark.slow
def test_time_in_waveforms_is_the_board_s(recorded: tuple[str, Path]) -> None:
    end, unit = duration(recorded[1])
    assert unit == -12
    cycle = 16_000
    assert 500 * cycle < end < 20_000 * cycle
    # The last change is within the last cycle: at an edge of the clock.
    assert end % (cycle // 2) == 0


@pytest.mark.slow
def test_the_frames_are_on_the_wire_in_the_waveforms(recorded: tuple[str, Path], tmp_path: Path) -> None:
    if not shutil.which("fst2vcd"):
        pytest.skip("reading values needs GTKWave's fst2vcd (Debian: apt install gtkwave)")
    backend, wave = recorded
    vcd = tmp_path / "card.vcd"
    subprocess.run(["fst2vcd", wave, "-o", vcd], check=True)
    inputs, outputs = NAMES[backend]
    got, frame = [], b""
    names = [f"{inputs}rx0__{name}" for name in ("tvalid", "tlast", "tkeep", "tdata")]
    for ready, valid, last, keep, data in edges(vcd, f"{outputs}clk", [f"{outputs}rx0__tready", *names]):
        if ready and valid:
            frame += data.to_bytes(8, "little")[: keep.bit_count()]
            if last:
                got.append(frame)
                frame = b""
    assert got == FRAMES


def edges(vcd: Path, clock: str, wanted: list[str]) -> Iterator[list[int]]:
    """Values of the signals just before each rising edge of ``clock``."""
    codes: dict[str, str] = {}
    scopes: list[str] = []
    now: dict[str, int] = {}
    before: dict[str, int] = {}
    with vcd.open() as lines:
        for line in lines:
            words: list[Any] = line.split()
            if not words:
                continue
            if words[0] == "$scope":
                scopes.append(words[2])
            elif words[0] == "$upscope":
                scopes.pop()
            elif words[0] == "$var":
                codes.setdefault(".".join((*scopes, words[4])), words[3])
            elif line[0] == "#":
                before = dict(now)
            elif line[0] in "01":
                code = line[1:].strip()
                now[code] = int(line[0])
                if code == codes[clock] and line[0] == "1" and not before.get(code, 1):
                    yield [before.get(codes[name], 0) for name in wanted]
            elif line[0] == "b":
                now[words[1]] = int(words[0][1:], 2)

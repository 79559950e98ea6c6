"""Resources counted from netlists: by name in a flat one, by hierarchy in one that has its blocks."""

import json
from pathlib import Path

import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.errors import BuildError
from sentinic_hdl import emit, synth
from sentinic_hdl.card import Card
from sentinic_hdl.synth import (
    YOSYS,
    Figures,
    count,
    count_blocks,
    outside_block_ram,
    place_memories,
    run,
    show,
    without,
)

CELLS = {"LUT4": ("luts", 1), "CCU2C": ("luts", 2), "FF": ("flip_flops", 1)}


def netlist(folder: Path, modules: dict[str, dict[str, object]]) -> Path:
    path = folder / "netlist.json"
    path.write_text(json.dumps({"modules": modules}))
    return path


def cells(**types: str) -> dict[str, dict[str, object]]:
    return {name: {"type": kind, "connections": {}, "port_directions": {}} for name, kind in types.items()}


def test_a_block_is_counted_as_often_as_it_is_instantiated(tmp_path: Path) -> None:
    modules = {
        "card": {"cells": {**cells(a="unit", b="unit", glue="LUT4"), **cells(**{"c$12": "other"})}},
        "unit": {"cells": cells(x="LUT4", y="CCU2C", inner="leaf")},
        "leaf": {"cells": cells(f="FF", buffer="BUFG")},
        "other": {"cells": cells(f="FF")},
        "LUT4": {"cells": {}},  # as the library declares it
    }
    total, blocks = count_blocks(netlist(tmp_path, modules), CELLS, "card")
    assert blocks == {
        "a": {"luts": 3, "flip_flops": 1},
        "b": {"luts": 3, "flip_flops": 1},
        "c": {"flip_flops": 1},
        "shared": {"luts": 1},
    }
    assert total == {"luts": 7, "flip_flops": 3}


def test_in_a_flat_netlist_a_cell_belongs_to_the_block_it_or_its_output_is_named_after(tmp_path: Path) -> None:
    driven = {"type": "LUT4", "connections": {"Z": [7]}, "port_directions": {"Z": "output"}}
    lost = {"type": "LUT4", "connections": {"Z": [8]}, "port_directions": {"Z": "output"}}
    flat = {
        "top": {
            "cells": {
                **cells(**{"harness.card.parser.q": "FF", "harness.card.store$7.memory.0.0": "FF"}),
                "$abc$1": driven,
                "$abc$2": lost,
            },
            "netnames": {"harness.card.select.match": {"bits": [7]}, "loose": {"bits": [8]}},
        }
    }
    total, blocks = count(netlist(tmp_path, flat), CELLS, "top")
    assert blocks == {
        "parser": {"flip_flops": 1},
        "store": {"flip_flops": 1},
        "select": {"luts": 1},
        "shared": {"luts": 1},
    }
    assert total == {"luts": 2, "flip_flops": 2}


def test_memories_are_bound_to_block_ram_or_ultra_ram_by_their_words() -> None:
    text = "".join(f"  memory width 9 size {words} \\m{words}\n" for words in (64, 65, 4096, 4097))
    block, huge = '  attribute \\ram_style "block"', '  attribute \\ram_style "huge"'
    lines = text.splitlines()
    assert place_memories(text).splitlines() == [lines[0], block, lines[1], block, lines[2], block, lines[3]]
    assert place_memories(text, ultra_rams=True).splitlines()[-4:] == [block, lines[2], huge, lines[3]]


def test_a_large_memory_outside_block_ram_is_named_with_its_size(tmp_path: Path) -> None:
    source = tmp_path / "top.il"
    source.write_text("""
module \\top.card.store$3
  memory width 9 size 65 \\links
  memory width 9 size 64 \\small
module \\unit.table
  memory width 20 size 1024 \\memory
""")
    flat = {"top": {"cells": cells(**{"card.store$3.links.0.1": "DP16KD", "x": "LUT4"})}}
    assert outside_block_ram(source, netlist(tmp_path, flat)) == ["unit.table.memory (1024 words of 20 bits)"]
    blocks = {
        "top.card.store$3": {"cells": cells(**{"links.0.0": "RAM64M"})},
        "unit.table": {"cells": cells(**{"memory.12.3": "URAM288"})},
    }
    assert outside_block_ram(source, netlist(tmp_path, blocks)) == ["top.card.store$3.links (65 words of 9 bits)"]


def test_a_tool_that_fails_is_quoted_with_its_last_lines_and_one_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"(?s)ended with exit code 3; see .*tool\.log\nsome reason"):
        run(["/bin/sh", "-c", "echo some reason; exit 3"], tmp_path / "tool.log")
    with pytest.raises(BuildError, match="synthesis needs no-such-tool"):
        run(["no-such-tool"], tmp_path / "tool.log")


def test_of_several_seeds_the_one_that_places_best_is_routed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clocks = {1: 44.5, 2: 61.25, 7: 53.0}

    def place(command: list[str], log: Path) -> None:
        assert (command[0], command[-1]) == ("nextpnr", "--no-route")
        seed = int(command[command.index("--seed") + 1])
        # One estimate while placing, and one at the end.
        told = [f"Info: Max frequency for clock '$glbnet$clk': {mhz} MHz (FAIL)" for mhz in (99.0, clocks[seed])]
        log.write_text("\n".join(told))

    monkeypatch.setattr(synth, "run", place)
    assert synth.best_seed(["nextpnr"], [1, 2, 7], tmp_path) == 2
    assert "seed 7: 53.0 MHz as placed" in capsys.readouterr().err
    monkeypatch.setattr(synth, "run", None)
    assert synth.best_seed(["nextpnr"], [5], tmp_path) == 5  # nothing to choose


def test_a_placement_without_a_clock_is_no_placement() -> None:
    with pytest.raises(BuildError, match="nextpnr told no clock of its placement"):
        synth.placed_mhz("Info: Max delay <async>")


def test_a_profile_without_a_stage_builds_without_it_and_says_so() -> None:
    left = without(PROFILES["board"], ["syn_offload"])
    assert (left.name, left.stages, left.attempts) == ("board-without-syn_offload", ("statistics",), 0)
    assert "stage_syn_offload" not in emit.to_rtlil(Card(left), "card")
    assert without(PROFILES["board"], []) == PROFILES["board"]
    with pytest.raises(BuildError, match="--without syn_offload: board-without-syn_offload has the stages statistics"):
        without(left, ["syn_offload"])


def test_the_table_has_a_line_a_block_the_largest_first_and_the_clock() -> None:
    figures = Figures("board", "ecp5", {"luts": 8364}, {"small": {"luts": 1}, "large": {"luts": 8363}}, 82.4, 62.5)
    lines = show(figures).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["large", "small", "whole"]
    assert "10%" in lines[5]
    assert lines[-1] == "Fmax 82.4 MHz, wanted 62.5 MHz"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profile", "passes"),
    [
        ("board", "synth_ecp5 -top card -run begin:map_ffram"),
        ("wide", "synth_xilinx -family xcup -top card -uram -noiopad -run begin:map_ffram"),
    ],
)
def test_every_memory_of_more_than_64_words_is_block_ram(profile: str, passes: str, tmp_path: Path) -> None:
    source, found = tmp_path / "card.il", tmp_path / "card.json"
    source.write_text(place_memories(emit.to_rtlil(Card(PROFILES[profile]), "card"), ultra_rams=profile == "wide"))
    script = f"read_rtlil card.il; {passes}; blackbox =A:whitebox; write_json card.json"
    run([YOSYS, "-p", script], tmp_path / "yosys.log")
    assert outside_block_ram(source, found) == []

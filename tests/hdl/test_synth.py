"""Resources counted from netlists: by name in a flat one, by hierarchy in one that has its blocks."""

import json
from pathlib import Path

import pytest

from sentinic.errors import BuildError
from sentinic_hdl.synth import Figures, count, count_blocks, run, show

CELLS = {"LUT4": ("luts", 1), "CCU2C": ("luts", 2), "FF": ("flip_flops", 1)}


def netlist(folder: Path, modules: dict[str, dict[str, object]]) -> Path:
    path = folder / "netlist.json"
    path.write_text(json.dumps({"modules": modules}))
    return path


def cells(**types: str) -> dict[str, dict[str, object]]:
    return {name: {"type": kind, "connections": {}, "port_directions": {}} for name, kind in types.items()}


def test_a_block_is_counted_as_often_as_it_is_instantiated(tmp_path: Path) -> None:
    modules = {
        "card": {"cells": cells(a="unit", b="unit", c="other", glue="LUT4")},
        "unit": {"cells": cells(x="LUT4", y="CCU2C", inner="leaf")},
        "leaf": {"cells": cells(f="FF", buffer="BUFG")},
        "other": {"cells": cells(f="FF")},
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
            "cells": {**cells(**{"harness.card.parser.q": "FF"}), "$abc$1": driven, "$abc$2": lost},
            "netnames": {"harness.card.select.match": {"bits": [7]}, "loose": {"bits": [8]}},
        }
    }
    total, blocks = count(netlist(tmp_path, flat), CELLS, "top")
    assert blocks == {"parser": {"flip_flops": 1}, "select": {"luts": 1}, "shared": {"luts": 1}}
    assert total == {"luts": 2, "flip_flops": 1}


def test_a_tool_that_fails_is_quoted_with_its_last_lines_and_one_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"(?s)ended with exit code 3; see .*tool\.log\nsome reason"):
        run(["/bin/sh", "-c", "echo some reason; exit 3"], tmp_path / "tool.log")
    with pytest.raises(BuildError, match="synthesis needs no-such-tool"):
        run(["no-such-tool"], tmp_path / "tool.log")


def test_the_table_has_a_line_a_block_the_largest_first_and_the_clock() -> None:
    figures = Figures("board", "ecp5", {"luts": 8364}, {"small": {"luts": 1}, "large": {"luts": 8363}}, 82.4, 62.5)
    lines = show(figures).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["large", "small", "whole"]
    assert "10%" in lines[5]
    assert lines[-1] == "Fmax 82.4 MHz, wanted 62.5 MHz"

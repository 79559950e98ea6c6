"""The Verilog that Verilator gets: parts that are alike share their code."""

import re
from collections import Counter
from pathlib import Path

import pytest

from sentinic.abi.profiles import PROFILES
from sentinic_sim import compile as steps
from sentinic_sim.build import card_design
from sentinic_sim.verilog import share_parts

#: Lines of a function that is worth sharing.
LARGE = 200

PART = """module alike(clk, own, common, out);
  input clk;
  wire clk;
  input own;
  wire own;
  input [7:0] common;
  wire [7:0] common;
  output out;
  wire out;
  assign out = own & common[0];
endmodule
"""


def instance(name: str, module: str, own: str) -> str:
    pins = {"clk": "clk", "common": "bus", "out": f"out_{name}", "own": own}
    lines = ",\n".join(f"    .{pin}({wire})" for pin, wire in pins.items())
    return f"  {module} {name} (\n{lines}\n  );\n"


def test_what_differs_between_instances_stays_a_port_of_each() -> None:
    top = "module top(clk);\n" + instance("a", "alike", "x") + instance("b", "alike", "y") + "endmodule\n"
    text = share_parts(top + PART)
    assert text.startswith(top)
    assert "out);\n  /*verilator no_inline_module*/\n" in text
    assert "  input own /*verilator public_flat_rd*/;\n  wire own;\n" in text
    assert "  output out /*verilator public_flat_rd*/;\n  wire out;\n" in text
    assert text.count("public_flat_rd") == 2
    plain = text.replace("  /*verilator no_inline_module*/\n", "").replace(" /*verilator public_flat_rd*/", "")
    assert plain == top + PART


def test_a_module_instantiated_once_is_left_as_it_is() -> None:
    text = "module top(clk);\n" + instance("a", "alike", "x") + "endmodule\n" + PART
    assert share_parts(text) == text


def test_a_module_that_is_not_there_is_named() -> None:
    top = "module top(clk);\n" + instance("a", "other", "x") + instance("b", "other", "y") + "endmodule\n"
    with pytest.raises(ValueError, match="module other must be in the same file"):
        share_parts(top + PART)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if not profile.folded_statistics])
def test_the_units_of_statistics_share_their_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Verilator names anew in each unit makes sixteen codes of one, of which each is as long as the rest."""
    large: Counter[str] = Counter()

    def look(recipe: steps.Recipe, generated: Path, *_: object, **__: object) -> None:
        for path in generated.glob("*statistics_unit__*.cpp"):
            if not path.stem.endswith("Slow"):
                for function, body in re.findall(r"^void (\w+)\(.*?\) \{\n(.*?)^\}", path.read_text(), re.M | re.S):
                    if body.count("\n") > LARGE:
                        large[re.sub(r"unit\d+", "unit", function)] += 1

    monkeypatch.setattr(steps, "assemble", look)
    steps.build(card_design(), PROFILES[name], tmp_path, trace=False, compiler="none", progress=lambda *_: None)
    assert large
    assert max(large.values()) <= 2, large  # the first unit's may be another's

"""The Verilog that Verilator gets: parts that are alike share their code."""

import pytest

from sentinic_sim.verilog import share_parts

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

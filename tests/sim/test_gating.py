"""Clocks that stand still: which registers get one, and when it ticks."""

import pytest

from sentinic_sim.gating import MAX_CLOCKS, MINIMUM_BITS, gate_clocks, tell_ticks

TOP = """module card(clk, d, awake, gate_clk__0);
  input clk;
  wire clk;
  input d;
  wire d;
  input gate_clk__0;
  wire gate_clk__0;
  output [0:0] awake;
  wire [0:0] awake;
  \\card.card  card (
    .clk(clk),
    .d(d)
  );
endmodule
"""
INNER = """module \\card.card (clk, d);
  input clk;
  wire clk;
  input d;
  wire d;
  wire \\$en$1 ;
  reg [199:0] wide = 200'h0;
  reg [199:0] storage [15:0];
BLOCKS  assign \\$en$1  = d;
endmodule
"""


def clocked(*lines: str) -> str:
    return "".join(("  always @(posedge clk) begin\n", *(f"    {line}\n" for line in lines), "  end\n"))


def gated(blocks: str) -> tuple[str, dict[str, str]]:
    text, ticking = gate_clocks(TOP + INNER.replace("BLOCKS", blocks), "card", "clk")
    assert {"clk": "1'b1", "gate_clk__0": "awake[0]"}.items() <= ticking.items()
    return text, {clock: when for clock, when in ticking.items() if clock.startswith("gate_clk__a")}


@pytest.mark.parametrize(
    "block",
    [
        "  always @(posedge clk) begin\n    if (\\$en$1 ) begin\n      wide[199:8] <= 4;\n    end\n  end\n",
        "  always @(posedge clk) begin\n    if (\\$en$1 ) wide <= 4;\n    else begin\n    end\n  end\n",
        "  always @(posedge clk)\n    if (\\$en$1 ) wide <= 4;\n",
    ],
)
def test_registers_that_change_under_one_condition_have_a_clock_that_ticks_with_it(block: str) -> None:
    text, ticking = gated(block)
    assert ticking == {"gate_clk__a00": "card.\\$en$1 "}
    assert block.replace("posedge clk", "posedge $root.card.gate_clk__a00") in text
    assert text.startswith("module card(clk, d, awake, gate_clk__0, gate_clk__a00);\n  input gate_clk__a00;\n")


@pytest.mark.parametrize(
    "block",
    [
        "  always @(posedge clk)\n    wide <= 4;\n",
        "  always @(posedge clk) begin\n    if (d) wide <= 4;\n    else begin\n    wide <= 5;\n    end\n  end\n",
        clocked("if (d) begin", "  wide <= 4;", "end else begin", "  wide <= 5;", "end"),
        "  always @(posedge clk) begin\n    wide <= 4;\n    if (d) begin\n      wide <= 5;\n    end\n  end\n",
        "  always @(posedge clk) begin\n    if (d) begin\n      wide <= 4;\n    end\n    wide <= 5;\n  end\n",
        "  always @(posedge clk) begin\n    if (d | wide[0]) begin\n      wide <= 4;\n    end\n  end\n",
        "  always @(posedge clk) begin\n    if (\\$en$1 )\n      storage[d] <= 4;\n  end\n",
        "  always @* begin\n    if (d) begin\n      wide = 4;\n    end\n  end\n",
    ],
)
def test_registers_that_change_otherwise_keep_their_clock(block: str) -> None:
    text, ticking = gated(block)
    assert not ticking
    assert block in text


def test_a_few_bits_are_not_worth_a_clock() -> None:
    block = clocked("if (d) small <= 4;", "else begin", "end") + f"  reg [{MINIMUM_BITS - 2}:0] small;\n"
    assert gated(block)[1] == {}
    assert len(gated(block.replace(f"[{MINIMUM_BITS - 2}:", f"[{MINIMUM_BITS - 1}:"))[1]) == 1


def test_a_module_with_two_instances_keeps_its_clock() -> None:
    block = "  always @(posedge clk)\n    if (d) wide <= 4;\n"
    inner = INNER.replace("BLOCKS", block)
    twice = TOP.replace("endmodule", "  \\card.card  again (\n    .clk(clk),\n    .d(d)\n  );\nendmodule")
    assert set(gate_clocks(twice + inner, "card", "clk")[1]) == {"clk", "gate_clk__0"}


def test_no_more_clocks_than_there_may_be_the_largest_groups_first() -> None:
    many = 140
    wires = "".join(f"  reg [{100 + n}:0] r{n};\n  wire e{n};\n" for n in range(many))
    blocks = "".join(f"  always @(posedge clk)\n    if (e{n}) r{n} <= 4;\n" for n in range(many))
    text, ticking = gated(wires + blocks)
    assert len(ticking) == MAX_CLOCKS - 2
    assert list(ticking.values()) == [f"card.e{n}" for n in range(many - len(ticking), many)], "in the text's order"
    assert "posedge clk)\n    if (e0) r0" in text


def test_ticks_has_a_bit_for_each_clock_the_lowest_first() -> None:
    text = tell_ticks(TOP + INNER, "card", {"clk": "1'b1", "gate_clk__0": "awake[0]", "gate_clk__a00": "card.d"})
    assert text.startswith("module card(clk, d, awake, gate_clk__0, ticks);\n  output [2:0] ticks;\n")
    assert "  assign ticks = {card.d, awake[0], 1'b1};\n" in text


def test_conditions_within_conditions_must_all_hold() -> None:
    nested = (
        "  always @(posedge clk) begin\n    if (d) begin\n      if (\\$en$1 ) begin\n        wide <= 4;\n"
        "      end\n    end\n  end\n"
    )
    assert gated(nested)[1] == {"gate_clk__a00": "card.d & card.\\$en$1 "}
    beside = nested.replace("      end\n", "      end\n      if (wide[3]) begin\n        wide <= 5;\n      end\n")
    assert gated(beside)[1] == {"gate_clk__a00": "card.d"}
    otherwise = nested.replace("      end\n", "      end else begin\n        wide <= 5;\n      end\n")
    assert gated(otherwise)[1] == {"gate_clk__a00": "card.d"}


def test_a_large_group_takes_in_what_needs_further_conditions() -> None:
    outer = "  always @(posedge clk)\n    if (d) wide[63:0] <= 4;\n"
    inner = clocked("if (d) begin", "  if (\\$en$1 ) begin", "    other <= 4;", "  end", "end")
    assert gated("  reg [99:0] other;\n" + outer + inner)[1] == {"gate_clk__a00": "card.d"}
    apart = "  reg [99:0] other;\n  reg small;\n" + outer.replace("wide[63:0]", "small") + inner
    assert gated(apart)[1] == {"gate_clk__a00": "card.d & card.\\$en$1 "}


@pytest.mark.parametrize("condition", ["several", "storage[3]", "unknown"])
def test_a_condition_of_other_than_one_bit_is_none(condition: str) -> None:
    block = clocked(f"if ({condition}) begin", "  wide <= 4;", "end")
    assert gated("  reg [1:0] several;\n" + block)[1] == {}
    assert gated("  reg [1:0] several;\n" + block.replace(condition, "several[1]"))[1] != {}


def test_a_block_of_another_clock_keeps_it() -> None:
    block = clocked("if (d) begin", "  wide <= 4;", "end").replace("posedge clk", "posedge own_clk")
    assert gated(block)[1] == {}


def test_an_empty_block_is_left_alone() -> None:
    assert gated(clocked("if (d) begin", "end"))[1] == {}

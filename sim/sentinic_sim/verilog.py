"""The Verilog that Amaranth writes, rewritten into what Verilator compiles quickly and runs fast; the meaning stays."""

import re
from collections import Counter

__all__ = ["fold_zero_memories", "for_simulation", "inline_next_states"]


def for_simulation(text: str) -> str:
    """All of this module's rewritings."""
    return inline_next_states(fold_zero_memories(text))


_INITIAL = re.compile(r"^(\s+)(\S+ ?)\[(\d+)\] = (\d+)'[bdh]0+;\n", re.MULTILINE)


def fold_zero_memories(text: str) -> str:
    """Replace runs of statements that set a memory's words to 0, one each, by loops.

    Amaranth writes a statement for each word, and their C++ would be what takes longest to compile.
    """
    out: list[str] = []
    end = 0
    run: tuple[str, str, int, int, str] | None = None  # indent, memory, first and next word, width

    def close() -> None:
        if run:
            indent, memory, first, after, width = run
            out.append(
                f"{indent}for (int word = {first}; word < {after}; word = word + 1) {memory}[word] = {width}'h0;\n"
            )

    for match in _INITIAL.finditer(text):
        indent, memory, word, width = match[1], match[2], int(match[3]), match[4]
        if run is not None and match.start() == end and memory == run[1] and word == run[3]:
            run = (*run[:3], word + 1, run[4])
        else:
            close()
            out.append(text[end : match.start()])
            run = (indent, memory, word, word + 1, width)
        end = match.end()
    close()
    out.append(text[end:])
    return "".join(out)


_MODULE = re.compile(r"^module .*?^endmodule\n", re.MULTILINE | re.DOTALL)
_REGISTER = re.compile(r"^  always @\(posedge (\S+)\)\n    (\S+) +<= (\\\$\d+ );\n", re.MULTILINE)
_NEXT = re.compile(
    r"^  always @\* begin\n    if \(\\\$auto\S+ \) begin end\n((?:    .*\n)*?)  end\n",
    re.MULTILINE,
)
_RESET = re.compile(r"    if \(([^()\n]*)\) begin\n      (\\\$\d+ ) = ([^;\n]*);\n    end\n\Z")
_TEMPORARY = re.compile(r"\\\$\d+ ")


def inline_next_states(text: str) -> str:
    """Move the logic of a register's next state from its combinational block into the clocked one.

    Amaranth writes ``always @* begin next = q; if (enable) next = d; if (reset) next = 0; end`` and
    ``always @(posedge clk) q <= next``. Of that Verilator makes expressions that it evaluates in every cycle. Of
    ``always @(posedge clk) if (reset) q <= 0; else if (enable) q <= d;`` it makes branches, and a stage without a
    packet costs little. Blocks of any other form are left as they are.
    """
    return _MODULE.sub(lambda match: _inline_module(match[0]), text)


def _inline_module(module: str) -> str:
    registers = {match[3]: (match[1], match[2]) for match in _REGISTER.finditer(module)}
    uses = Counter(_TEMPORARY.findall(module))
    moved: set[str] = set()

    def block(match: re.Match[str]) -> str:
        body = match[1]
        names = set(re.findall(r"^ +(\S+ ?)(?:\[[^\]]*\])? +=(?!=)", body, re.MULTILINE))
        if len(names) != 1:
            return match[0]
        name = names.pop()
        # Used elsewhere: in its declaration and in the register, and nowhere else.
        inside = body.count(name)
        if name not in registers or uses[name] != inside + 2:
            return match[0]
        if inside != len(re.findall(rf"^ +{re.escape(name)}(?:\[[^\]]*\])? *=(?!=)", body, re.MULTILINE)):
            return match[0]  # it reads itself
        clock, register = registers[name]
        moved.add(name)
        return _clocked(body, name, clock, register)

    module = _NEXT.sub(block, module)
    return _REGISTER.sub(lambda match: "" if match[3] in moved else match[0], module)


def _clocked(body: str, name: str, clock: str, register: str) -> str:
    spaced = register + " " if register.startswith("\\") else register
    hold = re.compile(rf"\A    {re.escape(name)} *= {re.escape(spaced.strip())} *;\n")
    body = hold.sub("", body, count=1)
    reset = _RESET.search(body)
    if reset and reset[2] == name:
        body = body[: reset.start()]
        body = f"    if ({reset[1]}) {name} = {reset[3]};\n    else begin\n{body}    end\n"
    assignment = re.compile(rf"^(.*?){re.escape(name)}((?:\[[^\]]*\])?) *=(?!=)", re.MULTILINE)
    body = assignment.sub(lambda match: f"{match[1]}{spaced}{match[2]} <=", body)
    return f"  always @(posedge {clock}) begin\n{body}  end\n"

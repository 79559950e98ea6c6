"""The Verilog that Amaranth writes, rewritten into what Verilator compiles quickly and runs fast; the meaning stays."""

import re
from collections import Counter

__all__ = ["INSTANCE", "MODULE", "inline_next_states", "share_parts"]

#: A module, and its name as an instance writes it.
MODULE = re.compile(r"^module (\S+) ?\(.*?^endmodule\n", re.MULTILINE | re.DOTALL)
#: An instance: its module, its name and its connections.
INSTANCE = re.compile(r"^  (\S+) +(\\\S+ |\w+) *\(\n((?:    \.\S+ *\(.*\),?\n)+)  \);\n", re.MULTILINE)
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
    return MODULE.sub(lambda match: _inline_module(match[0]), text)


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


_CONNECTION = re.compile(r"^    \.(\S+) ?\((.*)\),?$", re.MULTILINE)


def share_parts(text: str) -> str:
    """Have Verilator make one piece of code of a module that is instantiated more than once.

    It inlines every instance, and each is compiled by itself.  The code of those that it does not inline is the same if
    they read the same names: so what differs between instances stays a port of each, and is not looked up at its source
    nor computed by another name.
    """
    instances: dict[str, list[dict[str, str]]] = {}
    for match in INSTANCE.finditer(text):
        instances.setdefault(match[1], []).append(dict(_CONNECTION.findall(match[3])))
    for name, connected in instances.items():
        if len(connected) > 1:
            own = {pin for pin in connected[0] if len({pins.get(pin) for pins in connected}) > 1}
            text = _keep_ports(text, name, own)
    return text


def _keep_ports(text: str, name: str, ports: set[str]) -> str:
    start = re.search(rf"^module {re.escape(name)} ?\(.*?\);\n", text, re.MULTILINE | re.DOTALL)
    if start is None:
        raise ValueError(f"module {name} must be in the same file as its instances")
    end = text.index("endmodule\n", start.end())

    def kept(match: re.Match[str]) -> str:
        return f"{match[1]} /*verilator public_flat_rd*/;" if match[2] in ports else match[0]

    body = re.sub(r"^(  (?:input|output) (?:\[\S+\] )?(\S+?) ?);", kept, text[start.end() : end], flags=re.MULTILINE)
    return f"{text[: start.end()]}  /*verilator no_inline_module*/\n{body}{text[end:]}"

"""Clocks that stand still: registers with one enable get a clock of their own, which ticks when they may change."""

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace

from sentinic_sim.verilog import INSTANCE, MODULE

__all__ = ["gate_clocks", "tell_ticks"]

#: The output of the top that tells which clocks are to tick at the coming edge, one bit each, the common one first.
TICKS = "ticks"
#: How the ports of such clocks begin, the gateware's own included.
CLOCK = "gate_clk__"
#: What the bus of registers writes is seldom written: all of it has one clock.
BUS_ACCESS = "bus__access"
#: Registers of fewer bits are not worth a clock.
MINIMUM_BITS = 64
#: A group of so many bits takes in those of the same module with further conditions.
HOST_BITS = 32
#: Clocks at most, the common one and the gateware's own included.
MAX_CLOCKS = 80

_NAME = r"(?:\\\S+ |[A-Za-z_][\w$]*)"
_CLOCKED = re.compile(r"^  always @\(posedge (\S+)\)(?: begin\n((?:    .*\n)*)  end\n|\n((?:    .*\n)+))", re.MULTILINE)
_ENABLED = re.compile(rf" *if \((({_NAME})(\[\d+\])?)\)")
_NO_ELSE = "    else begin\n    end\n"
_WRITTEN = re.compile(rf"(?:^|(?<=[ )])) *({_NAME})\s*(?:\[[^\]]*\]\s*)*<=", re.MULTILINE)
_DECLARED = re.compile(rf"^  (?:input|output|wire|reg) (?:\[(\d+):(\d+)\] )?({_NAME})(?: *=.*)?;$", re.MULTILINE)
_REGISTER = re.compile(rf"^  (?:output )?reg (?:\[(\d+):(\d+)\] )?({_NAME})(?: *=.*)?;$", re.MULTILINE)


@dataclass
class _Group:
    """Clocked blocks of one module that do nothing unless all the conditions hold."""

    module: str
    path: str
    conditions: tuple[str, ...]
    bits: int = 0
    blocks: list[tuple[int, int]] = field(default_factory=list)

    @property
    def key(self) -> str:
        return BUS_ACCESS if self.conditions[0] == BUS_ACCESS else self.ticks

    @property
    def ticks(self) -> str:
        """When the clock is to tick, as the top may write it."""
        return " & ".join(f"{self.path}{condition}" for condition in self.conditions)


def gate_clocks(text: str, top: str, clock: str) -> tuple[str, dict[str, str]]:
    """Gate the clocks of the largest groups of registers that change under one condition only.

    ``always @(posedge clk) if (enable) q <= d;`` does nothing while ``enable`` is 0.  So it may be clocked by a port of
    the top that ticks together with ``clk`` when ``enable`` is 1, and Verilator, which evaluates by clock, spares the
    test, and the logic behind ``q`` too, as long as the port stands still.  (It is what synthesis calls clock gating.)

    ``clock``: the common clock as the modules below the top have it; blocks with another are left as they are.

    Returns the text, and for each clock when it is to tick, as the top may write it: for the common clock, which ticks
    always; for those made here; for those that the gateware gates itself by the ports ``gate_clk__n`` and ``awake``.
    """
    modules = {match[1]: match[0] for match in MODULE.finditer(text)}
    own = sorted(set(re.findall(rf"^  input ({CLOCK}\d+);", modules[top], re.MULTILINE)))
    groups = _groups(modules, _paths(modules, top), clock)
    largest = sorted(groups.values(), key=lambda group: -sum(part.bits for part in group))
    worth = [group for group in largest if sum(part.bits for part in group) >= MINIMUM_BITS]
    chosen = worth[: max(0, MAX_CLOCKS - 1 - len(own))]
    # As they come in the text, which is how Verilator numbers them.
    place = {name: n for n, name in enumerate(modules)}
    chosen.sort(key=lambda group: min((place[part.module], *part.blocks) for part in group))
    made = {f"{CLOCK}a{n:02}": group for n, group in enumerate(chosen)}
    edits: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for port, group in made.items():
        for part in group:
            edits[part.module] += [(*span, f"$root.{top}.{port}") for span in part.blocks]
    for name, changes in edits.items():
        module = modules[name]
        for start, end, port in sorted(changes, reverse=True):
            module = module[:start] + port + module[end:]
        modules[name] = module
    head, rest = modules[top].split(");\n", 1)
    declared = "".join(f"  input {port};\n  wire {port};\n" for port in made)
    modules[top] = f"{head}{''.join(f', {port}' for port in made)});\n{declared}{rest}"
    ticking = {"clk": "1'b1"}
    for port, group in made.items():
        ticking[port] = " | ".join(dict.fromkeys(part.ticks for part in group))
    ticking |= {port: f"awake[{port.removeprefix(CLOCK)}]" for port in own}
    return MODULE.sub(lambda match: modules[match[1]], text), ticking


def tell_ticks(text: str, top: str, ticking: dict[str, str]) -> str:
    """Give ``top`` the output ``ticks``: a bit for each clock in this order, the lowest first."""
    last = len(ticking) - 1
    bits = ", ".join(reversed(ticking.values()))
    told = f"  output [{last}:0] {TICKS};\n  wire [{last}:0] {TICKS};\n  assign {TICKS} = {{{bits}}};\n"
    head, rest = text[(start := text.index(f"module {top}(")) :].split(");\n", 1)
    return f"{text[:start]}{head}, {TICKS});\n{told}{rest}"


def _paths(modules: dict[str, str], top: str) -> dict[str, str]:
    """How the top reaches the only instance of a module, ``a.b.``; modules with more than one instance are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    waiting = [(top, "")]
    while waiting:
        name, path = waiting.pop()
        found[name].append(path)
        for match in INSTANCE.finditer(modules[name]):
            waiting.append((match[1], f"{path}{match[2]}."))
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1 and name != top}


def _groups(modules: dict[str, str], paths: dict[str, str], clock: str) -> dict[str, list[_Group]]:
    groups: dict[tuple[str, tuple[str, ...]], _Group] = {}
    for name, path in paths.items():
        module = modules[name]
        widths, bits = _widths(_REGISTER, module), _widths(_DECLARED, module)
        for block in _CLOCKED.finditer(module):
            body = block[2] or block[3]
            conditions = _conditions(body, bits) if block[1] == clock else ()
            written = set(_WRITTEN.findall(body))
            # A write of a memory is one test and one store, and no logic is behind it.
            if not conditions or not written <= set(widths):
                continue
            group = groups.setdefault((name, conditions), _Group(name, path, conditions))
            group.bits += sum(widths[register] for register in written)
            group.blocks.append(block.span(1))
    merged: dict[str, list[_Group]] = defaultdict(list)
    for (name, conditions), group in groups.items():
        # What needs more conditions than a large group goes with it.
        shorter = (groups.get((name, conditions[:n])) for n in range(1, len(conditions)))
        host = next((wider for wider in shorter if wider and wider.bits >= HOST_BITS), group)
        merged[host.key].append(replace(group, conditions=host.conditions))
    return merged


def _widths(declaration: re.Pattern[str], module: str) -> dict[str, int]:
    return {match[3]: int(match[1] or 0) - int(match[2] or 0) + 1 for match in declaration.finditer(module)}


def _conditions(body: str, bits: dict[str, int]) -> tuple[str, ...]:
    """The signals of one bit without which the block does nothing, from the outermost ``if`` on.

    ``bits``: widths of the module's signals; memories are not among them.
    """
    found: list[str] = []
    lines = body.replace(_NO_ELSE, "").splitlines()
    while lines and (match := _ENABLED.match(lines[0])):
        name, index = match[2], match[3]
        if name not in bits or (bits[name] > 1) != (index is not None):
            break
        # One statement only: whatever else there is is deeper, or the end of this one.
        deeper = " " * (4 + 2 * len(found) + 1)
        if any(line.strip() != "end" for line in lines[1:] if not line.startswith(deeper)):
            break
        found.append(match[1])
        if not lines[0].endswith("begin"):
            break
        lines = lines[1:-1]
    return tuple(found)

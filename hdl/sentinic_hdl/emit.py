"""The card as Verilog or RTLIL."""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from amaranth.back import rtlil, verilog
from amaranth.lib import wiring

from sentinic.abi.profiles import Profile
from sentinic_hdl.card import Card
from sentinic_hdl.parts import Parts


def write_verilog(profile: Profile, path: Path) -> None:
    """Write the card of ``profile`` as one Verilog file, top module ``card``."""
    path.write_text(to_verilog(Card(profile), "card"))


def write_rtlil(profile: Profile, path: Path) -> None:
    """Write the card of ``profile`` as RTLIL: quicker to synthesise than Verilog, and block RAM stays block RAM."""
    path.write_text(to_rtlil(Card(profile), "card"))


def to_rtlil(component: wiring.Component, name: str) -> str:
    """``component`` as RTLIL, top module ``name``.  Of a memory of zeros no more than the first word is initialised."""
    return _MODULE.sub(_no_collision, _convert(rtlil.convert, component, name))


def to_verilog(component: wiring.Component, name: str, *, attributes: bool = True) -> str:
    """``component`` as Verilog, top module ``name``, with Amaranth's ``attributes`` or without."""
    return _zero_memories(_convert(verilog.convert, component, name, strip_internal_attrs=not attributes))


def _convert(back: Any, component: wiring.Component, name: str, **options: Any) -> str:
    parts = Parts()
    with _short_memories(), _without_collector():
        texts = [back(component, name=name, platform=parts, emit_src=False, **options)]
        for part_name, part in parts.found.items():
            texts.append(back(part, name=part_name, emit_src=False, **options).replace("attribute \\top 1\n", ""))
    return _CONSTANT.sub(r"  initial\n\1", "".join(texts))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing of a design can be freed before it is written, and looking for it takes 7 of 18 seconds."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


#: A part of a signal that never changes.  Nothing ever wakes such a block, and Verilator leaves the part at 0.
_CONSTANT = re.compile(r"  always @\*\n(    \S+ (?:\[[0-9:]+\] )?= \d+'[hbd][0-9a-f]+;\n)")


@contextmanager
def _short_memories() -> Iterator[None]:
    """Have Amaranth write one word only of a memory's zeros.

    It writes all words of all memories, millions of digits for the wide card's tables, and takes minutes for it.
    """
    whole = rtlil.ModuleEmitter.emit_memory

    def emit_memory(self: Any, cell_idx: int, cell: Any) -> None:
        if not any(cell.init):
            cell = copy(cell)
            cell.init, cell.depth = cell.init[:1], 1
        whole(self, cell_idx, cell)

    rtlil.ModuleEmitter.emit_memory = emit_memory
    try:
        yield
    finally:
        rtlil.ModuleEmitter.emit_memory = whole


_MODULE = re.compile(r"^module .*?^end$", re.MULTILINE | re.DOTALL)


def _no_collision(module: re.Match[str]) -> str:
    """Tell synthesis that a FIFO never reads the word that it writes in the same cycle (``test_fifo`` proves it).

    It would keep each word written in flip-flops beside the block RAM, twice, and choose between these and the RAM.
    """
    if "wire width 1 \\inner_r_rdy\n" not in module[0]:
        return module[0]
    return re.sub(r"(\\COLLISION_X_MASK \d+)'0+$", r"\1'1", module[0], flags=re.MULTILINE)


_ZEROS = re.compile(
    r"^  reg \[\d+:0\] (\S+) \[(\d+):0\];\n  initial begin\n    \S+ ?\[0\] = (\d+'h0+);\n  end\n", re.MULTILINE
)


def _zero_memories(text: str) -> str:
    """Let the zero of a memory's first word be that of all its words."""

    def loop(match: re.Match[str]) -> str:
        memory, last, zero = match[1], int(match[2]), match[3]
        name = memory + " " if memory.startswith("\\") else memory
        declaration = match[0].split("\n", 1)[0]
        label = re.sub(r"\W", "_", memory)
        return (
            f"{declaration}\n"
            f"  initial begin : zero_{label}\n"
            f"    integer word;\n"
            f"    for (word = 0; word <= {last}; word = word + 1) {name}[word] = {zero};\n"
            f"  end\n"
        )

    return _ZEROS.sub(loop, text)

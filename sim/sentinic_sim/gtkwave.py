"""Waveforms: where they are written, and GTKWave save files that show the card's boundary and the streams inside."""

import re
from collections.abc import Iterator
from pathlib import Path

from sentinic.errors import OutputError

__all__ = ["prepare", "save_file"]

_STREAM = ("tvalid", "tready", "tlast", "tdata", "tkeep", "tuser.timestamp", "tuser.wire_length", "tuser.error")
_WRITE = ("awvalid", "awready", "awaddr", "wvalid", "wready", "wlast", "wdata", "wstrb", "bvalid", "bready", "bresp")
_READ = ("arvalid", "arready", "araddr", "rvalid", "rready", "rdata", "rresp")
#: The card's ports by group, each in the order of reading.
_PORTS = {
    "clock": ("clk", "rst", "time", "irq"),
    "rx0": _STREAM,
    "rx1": _STREAM,
    "dma": (*_WRITE[:3], "awlen", *_WRITE[3:]),
    "csr": (*_WRITE, *_READ),
}
#: What the names of the blocks begin with whose streams are shown, in the order of a packet's way.
_BLOCKS = ("port", "merge", "parser", "store", "stage_", "select", "writer")
#: What the native model calls the card's inputs, a cycle behind its pins: see registered.py.
_SEEN = "seen__"

#: 2^17 ps in 200 pixels, some ten to thirty cycles; markers: none.
_ZOOM = "*-17.000000 -1" + " -1" * 26
# Display flags, as GTKWave writes them.
_BIT, _HEX = "@28", "@22"
_OPEN, _CLOSED = ("@800200", "@1000200"), ("@c00200", "@1401200")

_INSTANCE = re.compile(r"^  \\(card\.\S+)  \\?(\S+) +\($", re.M)
_VALID = re.compile(r"(\w+__)valid(\$\d+)?")


def prepare(wave: Path | str) -> Path:
    """Where ``wave`` will lie, made empty, so that a place that cannot be written to is known before anything is run.

    Raises :class:`OutputError`.
    """
    path = Path(wave).absolute()
    if path.suffix != ".fst":
        raise OutputError(f"{wave}: waveforms must be written to a file *.fst, because that is their format")
    try:
        path.write_bytes(b"")
    except OSError as error:
        raise OutputError(f"{wave}: waveforms cannot be written: {error.strerror}") from error
    return path


def save_file(wave: Path, verilog: Path, *, scope: str) -> Path:
    """Write the save file of the waveforms ``wave`` beside them; returns its path.

    ``verilog`` is what the model was made from: it says which signals there are.  ``scope`` is the module ``card`` in
    the waveforms, which need not be there yet.  Raises :class:`OutputError`.
    """
    path = wave.with_suffix(".gtkw")
    text = verilog.read_text()
    lines = [f'[dumpfile] "{wave}"', f'[savefile] "{path}"', "[timestart] 0", "[size] 1600 1000", _ZOOM]
    parents = scope.split(".")
    lines += [f"[treeopen] {'.'.join(parents[:count])}." for count in range(1, len(parents) + 1)]
    lines += _ports(text, scope)
    lines += _streams(text, scope)
    try:
        path.write_text("\n".join(lines) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: the save file cannot be written: {error.strerror}") from error
    return path


def _ports(text: str, scope: str) -> Iterator[str]:
    declared = _declared(_module(text, "card"))
    for group, names in _PORTS.items():
        ports = names if group == "clock" else [f"{group}__{name}" for name in names]
        shown = [f"{_SEEN}{port}" if f"{_SEEN}{port}" in declared else port for port in ports]
        yield from _group(group, scope, {name: declared[name] for name in shown if name in declared})


def _streams(text: str, scope: str) -> Iterator[str]:
    """The handshakes of the blocks, in groups that are closed at first."""
    top = "card"
    instances = {name: module for module, name in _INSTANCE.findall(_module(text, top))}
    if list(instances) == ["card"]:  # the native model's: the card itself is within
        top, scope = instances["card"], f"{scope}.card"
        instances = {name: module for module, name in _INSTANCE.findall(_module(text, top))}
    for begin in _BLOCKS:
        for instance, module in instances.items():
            if not instance.startswith(begin):
                continue
            declared = _declared(_module(text, module), "input|output")
            streams = [match[1] for name in declared if (match := _VALID.fullmatch(name))]
            wanted = [f"{stream}{signal}" for stream in streams for signal in ("valid", "ready")]
            shown = [name for base in wanted for name in declared if name.partition("$")[0] == base]
            if shown:
                yield from _group(instance, f"{scope}.{instance}", dict.fromkeys(shown, 1), _CLOSED)


def _group(title: str, scope: str, signals: dict[str, int], flags: tuple[str, str] = _OPEN) -> Iterator[str]:
    yield from (flags[0], f"-{title}")
    for name, width in signals.items():
        yield from (_BIT, f"{scope}.{name}") if width == 1 else (_HEX, f"{scope}.{name}[{width - 1}:0]")
    yield from (flags[1], f"-{title}")


def _module(text: str, name: str) -> str:
    """The Verilog of a module; names with dots are escaped there."""
    head = f"\nmodule \\{name} (" if "." in name else f"\nmodule {name}("
    begin = text.index(head)
    return text[begin : text.index("\nendmodule", begin)]


def _declared(module: str, kinds: str = "input|output|wire|reg") -> dict[str, int]:
    """Widths of what a module declares, by name."""
    pattern = rf"^  (?:{kinds})(?: reg)? (?:\[(\d+):0\] )?\\?(\S+?) ?(?: = [^;]*)?;$"
    return {name: int(top or 0) + 1 for top, name in re.findall(pattern, module, re.M)}

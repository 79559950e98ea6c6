"""GTKWave save files: which signals to show, and how."""

from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["save_file"]

# Display flags, as GTKWave writes them.
_BIT, _HEX, _GROUP_BEGIN, _GROUP_END = "@28", "@22", "@800200", "@1000200"


def save_file(path: Path, wave: Path, groups: Mapping[str, Sequence[tuple[str, int]]], scope: str = "TOP") -> None:
    """Write the save file ``path`` for the waveforms ``wave``: groups of signals (name, width in bits) of ``scope``.

    ``wave`` need not be there yet.  Raises :class:`OSError` when the file cannot be written.
    """
    lines = [
        f'[dumpfile] "{wave.resolve()}"',
        f'[savefile] "{path.resolve()}"',
        "[timestart] 0",
        f"[treeopen] {scope}.",
    ]
    for group, signals in groups.items():
        lines += [_GROUP_BEGIN, f"-{group}"]
        for name, width in signals:
            lines += [_BIT, f"{scope}.{name}"] if width == 1 else [_HEX, f"{scope}.{name}[{width - 1}:0]"]
        lines += [_GROUP_END, f"-{group}"]
    path.write_text("\n".join(lines) + "\n")

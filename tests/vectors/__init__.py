"""Literal bytes, written by hand from the ABI's text, never by an encoder: a shared definition hides shared mistakes.

A ``.hex`` file holds named vectors: a line ``[name]``, then bytes in hexadecimal; ``#`` begins a comment.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, bytes]:
    """The vectors of ``name``.hex, by name."""
    vectors: dict[str, bytes] = {}
    current = None
    for number, line in enumerate((_FOLDER / f"{name}.hex").read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text.startswith("[") and text.endswith("]"):
            current = text[1:-1]
            if current in vectors:
                raise ValueError(f"{name}.hex line {number}: {current!r} is there twice")
            vectors[current] = b""
        elif text:
            if current is None:
                raise ValueError(f"{name}.hex line {number}: bytes before the first [name]")
            vectors[current] += bytes.fromhex(text)
    return vectors

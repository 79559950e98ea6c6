"""Reading waveforms without GTKWave: which signals an FST holds.

After https://blog.timhutt.co.uk/fst_spec/, an unofficial specification of the format.
"""

from collections.abc import Iterator
from pathlib import Path

HEADER, HIERARCHY_LZ4 = 0, 6
_SCOPE, _UPSCOPE, _ATTRIBUTE, _ATTRIBUTE_END = 254, 255, 252, 253


def blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Type and content of each block; they must fill the file."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 1 : at + 9])
        assert length >= 8
        assert at + 1 + length <= len(data), "the last block is cut"
        yield data[at], data[at + 9 : at + 1 + length]
        at += 1 + length


def duration(path: Path) -> tuple[int, int]:
    """Time of the last change, and its unit as a power of ten of seconds."""
    header = next(content for kind, content in blocks(path) if kind == HEADER)
    return int.from_bytes(header[8:16]), int.from_bytes(header[64:65], signed=True)


def signals(path: Path) -> dict[str, int]:
    """Widths by full name, scopes parted by dots; a width of more than one bit stands behind the name as [7:0]."""
    content = next(content for kind, content in blocks(path) if kind == HIERARCHY_LZ4)
    data = _unpacked(content[8:])
    assert len(data) == int.from_bytes(content[:8])
    found, scopes, at = {}, [], 0
    while at < len(data):
        kind = data[at]
        if kind == _SCOPE:
            name, at = _text(data, at + 2)
            _, at = _text(data, at)
            scopes.append(name)
        elif kind in (_UPSCOPE, _ATTRIBUTE_END):
            if kind == _UPSCOPE:
                scopes.pop()
            at += 1
        elif kind == _ATTRIBUTE:
            _, at = _text(data, at + 3)
            _, at = _number(data, at)
        else:
            name, at = _text(data, at + 2)
            width, at = _number(data, at)
            _, at = _number(data, at)
            found[".".join((*scopes, name.replace(" ", "")))] = width
    return found


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A LEB128 number."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def _unpacked(data: bytes) -> bytes:
    """An LZ4 block: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md."""
    out = bytearray()
    at = 0

    def length(nibble: int) -> int:
        nonlocal at
        total = nibble
        while nibble == 15:
            total, at = total + data[at], at + 1
            if data[at - 1] != 255:
                break
        return total

    while True:
        token, at = data[at], at + 1
        literals = length(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at >= len(data):
            return bytes(out)
        offset, at = int.from_bytes(data[at : at + 2], "little"), at + 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])

"""conn.log in Zeek's JSON form: a line a connection, fields in Zeek's order, those that are not set left out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.monitor.jit import I64, U8, Record, Records, int64, jit, lend
from sentinic.monitor.state import ROW_WORDS, STATES, TCP, UDP
from sentinic.monitor.words import mix

#: Rows formatted at a time.
_CHUNK = 16384
#: More than a line can take.
_LINE_BYTES = 1024
_BASE62 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Letters of a uid after the ``C``: 96 bits in base 62.
_UID_LETTERS = 17
_HEX = b"0123456789abcdef"

_KEYS = (
    '{"ts":',
    ',"uid":"C',
    '","id.orig_h":"',
    '","id.orig_p":',
    ',"id.resp_h":"',
    '","id.resp_p":',
    ',"id.ctx.vlan":',
    ',"id.ctx.inner_vlan":',
    ',"proto":"',
    '","duration":',
    ',"orig_bytes":',
    ',"resp_bytes":',
    ',"conn_state":"',
    '","missed_bytes":',
    ',"history":"',
    '","orig_pkts":',
    ',"orig_pkts":',
    ',"orig_ip_bytes":',
    ',"resp_pkts":',
    ',"resp_ip_bytes":',
    "}\n",
    '"',
    "tcp",
    "udp",
    "icmp",
)
(
    _TS, _UID, _ORIG_H, _ORIG_P, _RESP_H, _RESP_P, _VLAN, _INNER_VLAN, _PROTO, _DURATION, _ORIG_BYTES, _RESP_BYTES,
    _STATE, _MISSED, _HISTORY, _ORIG_PKTS, _ORIG_PKTS_BARE, _ORIG_IP, _RESP_PKTS, _RESP_IP, _END, _QUOTE, _TCP, _UDP,
    _ICMP,
) = range(len(_KEYS))  # fmt: skip
_FIRST_STATE = len(_KEYS)


def _texts() -> tuple[U8, I64]:
    """All fixed texts in one buffer, and where each begins."""
    parts = [text.encode() for text in (*_KEYS, *STATES)]
    starts = np.cumsum([0, *(len(part) for part in parts)]).astype(np.int64)
    return np.frombuffer(b"".join(parts) + _BASE62 + _HEX, np.uint8), starts


@jit
def _text(out: U8, at: int, texts: U8, starts: I64, number: int) -> int:
    for index in range(starts[number], starts[number + 1]):
        out[at] = texts[index]
        at += 1
    return at


@jit
def _decimal(out: U8, at: int, value: int, least: int) -> int:
    """A number, with zeros before it to ``least`` digits."""
    if value < 0:
        out[at] = ord("-")
        at += 1
        value = -value
    digits, rest = int64(1), value // 10
    while rest:
        digits += 1
        rest //= 10
    digits = max(digits, least)
    for index in range(at + digits - 1, at - 1, -1):
        out[index] = ord("0") + value % 10
        value //= 10
    return at + digits


@jit
def _seconds(out: U8, at: int, nanoseconds: int) -> int:
    """Seconds with six decimals, or nine where microseconds do not tell it all."""
    if nanoseconds < 0:
        out[at] = ord("-")
        at += 1
        nanoseconds = -nanoseconds
    at = _decimal(out, at, nanoseconds // 1_000_000_000, 1)
    out[at] = ord(".")
    fraction = nanoseconds % 1_000_000_000
    if fraction % 1000:
        return _decimal(out, at + 1, fraction, 9)
    return _decimal(out, at + 1, fraction // 1000, 6)


@jit
def _group(high: int, low: int, number: int) -> int:
    """A 16-bit group of an address read little-endian in two halves."""
    word = high if number < 4 else low
    part = word >> (16 * (number & 3)) & 0xFFFF
    return (part & 0xFF) << 8 | part >> 8


@jit
def _address(out: U8, at: int, texts: U8, hexadecimal: int, high: int, low: int) -> int:
    """Dotted IPv4 for IPv4-mapped addresses, otherwise IPv6 as RFC 5952 has it."""
    if high == 0 and low & 0xFFFFFFFF == 0xFFFF0000:
        for shift in (32, 40, 48, 56):
            if shift > 32:
                out[at] = ord(".")
                at += 1
            at = _decimal(out, at, low >> shift & 0xFF, 1)
        return at
    best, longest, run = -1, 1, 0  # the longest run of zero groups, the first of several, from two on
    for number in range(8):
        run = run + 1 if _group(high, low, number) == 0 else 0
        if run > longest:
            best, longest = number - run + 1, run
    number = 0
    while number < 8:
        if number == best:
            out[at] = ord(":")
            out[at + 1] = ord(":")
            at += 2
            number += longest
            continue
        if number and (best < 0 or number != best + longest):
            out[at] = ord(":")
            at += 1
        group = _group(high, low, number)
        begun = False
        for shift in (12, 8, 4, 0):
            digit = group >> shift & 15
            if digit or begun or shift == 0:
                out[at] = texts[hexadecimal + digit]
                at += 1
                begun = True
        number += 1
    return at


@jit
def _uid(out: U8, at: int, texts: U8, letters: int, row: Record, seed: int) -> int:
    """Seventeen letters from a hash of the connection's start, key and number."""
    value = mix(mix(mix(seed, row.ts), row.serial), row.protocol)
    for word in (row.orig_high, row.orig_low, row.resp_high, row.resp_low):
        value = mix(value, word)
    value = mix(value, int64(row.orig_p) << 16 | int64(row.resp_p))
    for _ in range(_UID_LETTERS):
        value = mix(value, 0x5851F42D4C957F2D)
        out[at] = texts[letters + (value >> 8 & 0x7FFFFFFF) % 62]
        at += 1
    return at


@jit
def _format(given: Records, lent_texts: U8, lent_starts: I64, lent_out: U8, seed: int) -> int:
    """Lines of ``given`` into ``lent_out``; their length."""
    rows, texts, starts, out = lend(given), lend(lent_texts), lend(lent_starts), lend(lent_out)
    letters = starts[starts.shape[0] - 1]
    hexadecimal = letters + 62
    at = int64(0)
    for index in range(rows.shape[0]):
        row = rows[index]
        at = _seconds(out, _text(out, at, texts, starts, _TS), row.ts)
        at = _uid(out, _text(out, at, texts, starts, _UID), texts, letters, row, seed)
        at = _text(out, at, texts, starts, _ORIG_H)
        at = _address(out, at, texts, hexadecimal, row.orig_high, row.orig_low)
        at = _decimal(out, _text(out, at, texts, starts, _ORIG_P), int64(row.orig_p), 1)
        at = _text(out, at, texts, starts, _RESP_H)
        at = _address(out, at, texts, hexadecimal, row.resp_high, row.resp_low)
        at = _decimal(out, _text(out, at, texts, starts, _RESP_P), int64(row.resp_p), 1)
        if row.vlan >= 0:
            at = _decimal(out, _text(out, at, texts, starts, _VLAN), int64(row.vlan), 1)
        if row.inner_vlan >= 0:
            at = _decimal(out, _text(out, at, texts, starts, _INNER_VLAN), int64(row.inner_vlan), 1)
        at = _text(out, at, texts, starts, _PROTO)
        at = _text(out, at, texts, starts, _TCP if row.protocol == TCP else _UDP if row.protocol == UDP else _ICMP)
        if row.duration > 0:
            at = _seconds(out, _text(out, at, texts, starts, _DURATION), row.duration)
            at = _decimal(out, _text(out, at, texts, starts, _ORIG_BYTES), row.orig_bytes, 1)
            at = _decimal(out, _text(out, at, texts, starts, _RESP_BYTES), row.resp_bytes, 1)
        else:
            at = _text(out, at, texts, starts, _QUOTE)
        at = _text(out, _text(out, at, texts, starts, _STATE), texts, starts, _FIRST_STATE + row.state)
        at = _decimal(out, _text(out, at, texts, starts, _MISSED), row.missed_bytes, 1)
        if row.history[0]:
            at = _text(out, at, texts, starts, _HISTORY)
            for letter in row.history:
                if letter:
                    out[at] = letter
                    at += 1
            at = _decimal(out, _text(out, at, texts, starts, _ORIG_PKTS), row.orig_pkts, 1)
        else:
            at = _decimal(out, _text(out, at, texts, starts, _ORIG_PKTS_BARE), row.orig_pkts, 1)
        at = _decimal(out, _text(out, at, texts, starts, _ORIG_IP), row.orig_ip_bytes, 1)
        at = _decimal(out, _text(out, at, texts, starts, _RESP_PKTS), row.resp_pkts, 1)
        at = _decimal(out, _text(out, at, texts, starts, _RESP_IP), row.resp_ip_bytes, 1)
        at = _text(out, at, texts, starts, _END)
    return at


def conn_log_lines(rows: npt.NDArray[Any], *, seed: int = 0) -> Iterator[bytes]:
    """The log of ``rows`` (``ROW``, in the order given) in pieces of many lines.

    The same rows and ``seed`` give the same uids: runs can be compared.
    """
    texts, starts = _texts()
    out = np.zeros(_CHUNK * _LINE_BYTES, np.uint8)
    for start in range(0, len(rows), _CHUNK):
        chunk = np.ascontiguousarray(rows[start : start + _CHUNK]).view(ROW_WORDS)
        yield out[: _format(chunk, texts, starts, out, seed)].tobytes()

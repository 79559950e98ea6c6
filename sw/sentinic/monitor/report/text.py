"""Words and numbers of the page: escaping, digits in groups, units.  Every function returns HTML ready to place."""

import html
from datetime import UTC, datetime

#: Between groups of digits, and between a number and its unit: narrow, and no line breaks there.
THIN = "\u202f"

_TIMES = (("d", 86400 * 10**9), ("h", 3600 * 10**9), ("min", 60 * 10**9), ("s", 10**9), ("ms", 10**6), ("µs", 10**3))
_PREFIXES = ("", "k", "M", "G", "T", "P")


def escape(text: object) -> str:
    """Text made safe for content and quoted attributes; what cannot stand in a page at all becomes U+FFFD."""
    clean = "".join(_shown(character) for character in str(text))
    return html.escape(clean, quote=True)


def _shown(character: str) -> str:
    code = ord(character)
    forbidden = (code < 0x20 and character not in "\t\n\r") or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000
    # Marks that turn the direction of text could make a file name read as another.
    turning = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return "\ufffd" if forbidden or turning or code in (0xFFFE, 0xFFFF) else character


def count(number: int) -> str:
    """``1234567`` as ``1 234 567`` with thin spaces."""
    return f"{number:,}".replace(",", THIN)


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 frame``, ``1 797 frames``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def with_unit(number: str, unit: str) -> str:
    return f'{number}{THIN}<span class="unit">{unit}</span>' if unit else number


def scaled(amount: float, unit: str) -> str:
    """Three digits and a prefix: ``12.3 Mbit/s``."""
    number, prefix = scale(amount)
    return with_unit(number, prefix + unit)


def scale(amount: float) -> tuple[str, str]:
    size = float(amount)
    for prefix in _PREFIXES:
        if abs(size) < 999.5 or prefix == _PREFIXES[-1]:
            return digits(size), prefix
        size /= 1000
    raise AssertionError("the last prefix always fits")


def digits(number: float) -> str:
    """Three digits that count, without noughts after them."""
    if number == round(number) and abs(number) < 10**4:
        return count(round(number))
    places = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2 if abs(number) >= 0.1 else 3
    text = f"{number:,.{places}f}".replace(",", THIN)
    return text.rstrip("0").rstrip(".") if "." in text else text


def octets(number: int) -> str:
    return scaled(number, "B")


def share(part: float, whole: float) -> str:
    """Per cent; something that is there never reads 0 %, something that is missing never 100 %."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return f"&lt;{THIN}{with_unit('0.1', '%')}"
    if 99.9 < percent < 100:
        return f"&gt;{THIN}{with_unit('99.9', '%')}"
    return with_unit(f"{percent:.1f}".removesuffix(".0"), "%")


def time_unit(nanoseconds: float) -> tuple[str, int]:
    """The unit in which a span reads well, and its length in ns."""
    return next(((name, size) for name, size in _TIMES if nanoseconds >= size), ("ns", 1))


def span(nanoseconds: float) -> str:
    """A duration: ``12.3 ms``."""
    name, size = time_unit(nanoseconds)
    return with_unit(digits(nanoseconds / size), name)


def moment(nanoseconds: int) -> str:
    """A point in time, to the second."""
    try:
        when = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{count(nanoseconds)}{THIN}ns"
    return f"{when:%Y-%m-%d %H:%M:%S}"


def plain(text: str) -> str:
    """HTML of this module as text for an attribute or a tooltip."""
    return text.replace('<span class="unit">', "").replace("</span>", "")

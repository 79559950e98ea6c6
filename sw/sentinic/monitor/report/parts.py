"""Parts of the page: sections, tables, bars and the chart over time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sentinic.monitor.report.text import digits, escape, plain, scale, time_unit, with_unit

#: Height of a chart's own coordinates; their width is the number of bins.
_HEIGHT = 1000


def section(name: str, title: str, *content: str, lead: str = "") -> str:
    """``lead`` is HTML: the one sentence that says what there is to see."""
    opening = f'<p class="lead">{lead}</p>\n' if lead else ""
    inner = "\n".join(part for part in content if part)
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{opening}{inner}\n</section>'


@dataclass(frozen=True)
class Column:
    """``kind``: ``""`` text, ``num`` a number, ``bar`` a bar; ``wide``: left out on a phone."""

    title: str
    kind: str = ""
    wide: bool = False

    @property
    def classes(self) -> str:
        names = " ".join(name for name in (self.kind, "wide" if self.wide else "") if name)
        return f' class="{names}"' if names else ""


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML; the first of each row is its heading.  ``caption`` is HTML too."""
    head = "".join(f'<th scope="col"{column.classes}>{column.title}</th>' for column in columns)
    lines = []
    for row in rows:
        first, *others = (f"{column.classes}>{cell}" for column, cell in zip(columns, row, strict=True))
        lines.append(f'<tr><th scope="row"{first}</th>' + "".join(f"<td{cell}</td>" for cell in others) + "</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="table"><table>\n<caption>{caption}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def bar(parts: Sequence[tuple[float, str]], whole: float) -> str:
    """A bar of ``(amount, class)`` parts of ``whole``; the numbers stand beside it, so it is hidden from readers."""
    begin, pieces = 0.0, []
    for amount, style in parts:
        width = 100 * amount / whole if whole else 0
        if width > 0:
            # A per cent can be seen; less would look like nothing.
            pieces.append(f'<rect class="{style}" x="{begin:.2f}" width="{max(width, 1):.2f}" height="10"/>')
        begin += width
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="10"/>{"".join(pieces)}</svg>'
    )


def legend(entries: Iterable[tuple[str, str]], *, wide: bool = False) -> str:
    """``(class, HTML)`` of each colour; ``wide``: left out on a phone, as the column that it explains."""
    items = "".join(f'<li><span class="key {style}"></span>{name}</li>' for style, name in entries)
    return f'<ul class="legend{" wide" if wide else ""}">{items}</ul>'


@dataclass(frozen=True)
class Layer:
    """One colour of a stacked chart: its class, its name, a value for each bin."""

    style: str
    name: str
    values: Sequence[float]


def time_chart(label: str, unit: str, layers: Sequence[Layer], bin_ns: int, *, low: bool = False) -> str:
    """Layers stacked over time, in ``unit``; bins are ``bin_ns`` long.

    The drawing is stretched to the page's width, so its words stand around it as HTML and keep their size.
    """
    bins = len(layers[0].values)
    totals = [sum(values) for values in zip(*(layer.values for layer in layers), strict=True)]
    step = nice(max(totals) / (2 if low else 4))
    top = step
    while top < max(totals):
        top += step
    below = [0.0] * bins
    paths = []
    for layer in layers:
        above = [base + value for base, value in zip(below, layer.values, strict=True)]
        paths.append(f'<path class="{layer.style}" d="{_steps(above, below, top)}"/>')
        below = above
    lines, marks = [], []
    for number in range(round(top / step) + 1):
        value = number * step
        height = 100 * value / top
        lines.append(f'<path class="grid" d="M0 {_HEIGHT - 10 * height:.0f}H{bins}"/>')
        amount, prefix = scale(value)
        mark = with_unit(amount, prefix + unit) if value else "0"
        marks.append(f'<span style="bottom:{height:.2f}%">{mark}</span>')
    box = f'viewBox="0 0 {bins} {_HEIGHT}" preserveAspectRatio="none"'
    return (
        f'<figure class="chart{" low" if low else ""}">\n<figcaption>{label}</figcaption>\n'
        f'<div class="plot"><div class="y" aria-hidden="true">{"".join(marks)}</div>'
        f'<svg {box} role="img" aria-label="{escape(plain(label))}">'
        f"{''.join(lines)}{''.join(paths)}{_tips(totals, unit, bin_ns)}</svg>"
        f'<div class="x" aria-hidden="true">{_time_marks(bins * bin_ns)}</div></div>\n</figure>'
    )


def _steps(above: Sequence[float], below: Sequence[float], top: float) -> str:
    """The outline of one layer: bins are flat, and each run of equal ones is one line."""

    def height(value: float) -> int:
        return _HEIGHT - round(_HEIGHT * value / top)

    path, begin = [], None
    for index in range(len(above) + 1):
        filled = index < len(above) and above[index] > below[index]
        if filled and begin is None:
            begin = index
        elif not filled and begin is not None:
            up = "".join(f"V{height(above[at])}H{at + 1}" for at in range(begin, index))
            down = "".join(f"V{height(below[at])}H{at}" for at in range(index - 1, begin - 1, -1))
            path.append(f"M{begin} {height(below[begin])}{up}{down}Z")
            begin = None
    return "".join(path) or "M0 0"


def _tips(totals: Sequence[float], unit: str, bin_ns: int) -> str:
    """What a pointer is told; each stands over the whole height of its bin."""
    name, size = time_unit(len(totals) * bin_ns)
    tips = []
    for index, total in enumerate(totals):
        if total:
            amount, prefix = scale(total)
            when = f"{digits(index * bin_ns / size)} {name}"
            tips.append(
                f'<rect class="tip" x="{index}" width="1" height="{_HEIGHT}">'
                f"<title>{when}: {amount} {prefix}{unit}</title></rect>"
            )
    return "".join(tips)


def _time_marks(length_ns: float) -> str:
    name, size = time_unit(length_ns)
    step = nice(length_ns / size / 5.5)
    marks, at = [], 0.0
    while at * size <= length_ns * 0.97:
        place = 100 * at * size / length_ns
        style = "first" if not place else "last" if place > 92 else ""
        marks.append(f'<span class="{style}" style="left:{place:.2f}%">{with_unit(digits(at), name)}</span>')
        at += step
    return "".join(marks)


def nice(least: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below ``least``."""
    power = 1.0
    while power > least:
        power /= 10
    while power * 10 <= least:
        power *= 10
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))

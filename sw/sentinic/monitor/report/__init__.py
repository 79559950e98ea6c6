"""``report.html``: one self-contained page about a run, readable on a phone, on paper and without scripts.

Everything on the page comes from the run's summary (see :mod:`sentinic.run.session`) and the finished connections
(:data:`sentinic.monitor.state.ROW`).  No script, no font, no picture is fetched; charts are inline SVG.
"""

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.monitor.report import accounting, attempts, card, network, overview, statistics
from sentinic.monitor.report.text import escape
from sentinic.run.files import write_whole

__all__ = ["render_report", "write_report"]

#: Nothing may be fetched or run, whatever a file name in the page tries.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(path: Path, summary: dict[str, Any], rows: npt.NDArray[np.void] | None) -> None:
    """Write the page for a run's ``summary`` and its connections (``None``: none were followed).

    Raises :class:`~sentinic.errors.OutputError` when the file cannot be written; ``path`` is then as it was before.
    """
    write_whole(path, render_report(summary, rows))


def render_report(summary: dict[str, Any], rows: npt.NDArray[np.void] | None) -> str:
    """The page as text: HTML that is well-formed XML as well, but for its first line."""
    style = resources.files(__name__).joinpath("style.css").read_text(encoding="utf-8")
    sections = (
        overview.traffic(summary),
        overview.protocols(summary),
        network.talkers(rows),
        network.states(rows),
        overview.sizes(summary),
        statistics.rules(summary),
        attempts.syn_offload(summary),
        accounting.fates(summary),
        accounting.findings(summary),
        card.blocks(summary),
        card.run(summary),
    )
    body = "\n".join(section for section in sections if section)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}"/>
<link rel="icon" href="data:,"/>
<title>{escape(overview.title(summary))} · sentinic</title>
<style>
{style}</style>
</head>
<body>
{overview.header(summary)}
<main>
{overview.headline(summary, rows)}
{body}
</main>
<footer><p>Written by <code>sentinic run</code>. Lengths are of frames without FCS; times are UTC; \
k, M and G are powers of 1000.</p></footer>
</body>
</html>
"""

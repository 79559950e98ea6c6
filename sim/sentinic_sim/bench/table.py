"""The figures, printed as they come and kept for ``bench.json``."""

import time
from collections.abc import Callable
from typing import Any


class Table:
    """The figures so far; each is printed when it is there."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, value: float, unit: str, how: str, *, want: str = "") -> None:
        """``want`` is the aim, in words; ``how`` what was measured, and against what."""
        self.rows.append({"name": name, "value": round(value, 4), "unit": unit, "goal": want, "measured": how})
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        print(f"{name:62} {shown:>12} {unit:14} {want:>20}   {how}", flush=True)

    def note(self, name: str, why: str) -> None:
        """A figure that could not be taken here."""
        self.rows.append({"name": name, "value": None, "unit": "", "goal": "", "measured": why})
        print(f"{name:62} {'-':>12} {'':14} {'':>20}   {why}", flush=True)


def best(work: Callable[[], object], times: int) -> float:
    """The shortest of several runs, in seconds."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)

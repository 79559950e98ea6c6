"""Every capture of the corpus, counted by rules in software and on the card's model, against tshark's own count.

With tables so small that almost every packet evicts, and with large ones.
"""

from pathlib import Path

import pytest

from sentinic.driver.rules import encode
from tests.sw.monitor.statistics_runs import by_card, by_software, rule_of

from .corpus import CORPUS, captures, needs_corpus
from .statistics import RuleSpec
from .statistics_tshark import RULES, dissected, grouped, taken
from .tshark import needs_tshark


@needs_corpus
@needs_tshark
@pytest.mark.slow
@pytest.mark.parametrize("path", captures(), ids=lambda path: str(path.relative_to(CORPUS)))
def test_groups_of_a_capture_add_up_to_tsharks_own_count(path: Path) -> None:
    frames = taken(path)
    wanted = grouped(dissected(path))
    for name, (group, _) in RULES.items():
        rule = rule_of(RuleSpec({}, group))
        results = {"software": by_software(encode(rule), frames, 5000)[0]}
        results["small"], collector = by_card(rule, frames, 1000, capacity=2)
        results["large"] = by_card(rule, frames, 1000, capacity=1 << 20)[0]
        for way, found in results.items():
            told = {key: [counts[0], counts[1]] for (_, key), counts in found.items()}
            assert told == wanted[name], (name, way)
        assert collector.totals["r"].packets == len(frames)
        assert collector.totals["r"].exact

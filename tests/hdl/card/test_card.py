"""Runs the benches of the whole card under cocotb and Verilator."""

from pathlib import Path

import pytest
from cocotb_tools.runner import get_results

from sentinic_sim.cocotb_build import run_cocotb


@pytest.mark.parametrize("profile", ["wide", "board"])
def test_the_card_behaves_as_its_benches_claim(profile: str, tmp_path: Path) -> None:
    log = tmp_path / "bench.log"
    results = run_cocotb(
        profile,
        "tests.hdl.card.bench_card",
        environment={"SENTINIC_PROFILE": profile, "COCOTB_RANDOM_SEED": "1"},
        results=tmp_path,
        log=log,
    )
    count, failed = get_results(results)
    assert count >= 15
    assert failed == 0, log.read_text()[-8000:]

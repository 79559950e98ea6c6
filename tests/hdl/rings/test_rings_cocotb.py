"""Runs the benches of ring selection and DMA writer under cocotb and Verilator."""

from pathlib import Path

import pytest

from tests.hdl.run_benches import run_benches


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["wide", "board"])
@pytest.mark.parametrize(("bench", "least"), [("bench_select", 17), ("bench_writer", 8)])
def test_the_block_behaves_as_its_benches_claim(bench: str, least: int, profile: str, tmp_path: Path) -> None:
    run_benches(f"tests.hdl.rings.{bench}", profile, tmp_path, least=least)

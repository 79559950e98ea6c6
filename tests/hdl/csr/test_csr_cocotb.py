"""Runs the bench of bridge, registers and counters under cocotb and Verilator."""

from pathlib import Path

import pytest

from tests.hdl.run_benches import run_benches


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["wide", "board"])
def test_the_registers_behave_as_their_bench_claims(profile: str, tmp_path: Path) -> None:
    run_benches("tests.hdl.csr.bench_registers", profile, tmp_path, least=18)

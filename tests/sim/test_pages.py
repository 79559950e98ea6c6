"""Large pages for the model (harness/pages.cpp): used where there are any, and left alone on request."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sentinic_sim.build import build_model

from .conftest import STUB

LARGE = 2 << 20
AVAILABLE = Path("/sys/kernel/mm/transparent_hugepage/enabled")

#: Loads the library given as argument, allocates what a model's state is allocated by, and prints what the kernel says.
LOOK = textwrap.dedent("""
    import ctypes, sys
    model = ctypes.CDLL(sys.argv[1])
    model.sn_create.restype = ctypes.c_void_p
    card = model.sn_create()
    area = ""
    for line in open("/proc/self/smaps"):
        if line[0].islower() or line[0].isdigit():
            area = line
        elif line.startswith("AnonHugePages:") and int(line.split()[1]):
            print(area.split()[1], line.split()[1])
    model.sn_destroy(ctypes.c_void_p(card))
    print("ended")
""")


def kinds_of_large_pages(library: Path, **environment: str) -> set[str]:
    """Access rights of the memory that lies on large pages, in a process that has the model open."""
    run = subprocess.run(
        [sys.executable, "-c", LOOK, str(library)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    lines = run.stdout.splitlines()
    assert lines.pop() == "ended"
    return {line.split()[0] for line in lines}


def test_code_lies_on_large_pages_and_only_there_when_wanted() -> None:
    if not AVAILABLE.exists() or "[never]" in AVAILABLE.read_text():
        pytest.skip("the kernel has no transparent large pages")
    library = build_model("wide", design=STUB).library
    assert "r-xp" in kinds_of_large_pages(library)
    assert "r-xp" not in kinds_of_large_pages(library, SENTINIC_SMALL_PAGES="1")

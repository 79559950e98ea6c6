"""The programs of docs/reading-rings.md print what the page says they do."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reading-rings.md"
PROGRAMS = re.findall(r"```python\n(.*?)```\s+prints\s+```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_program_of_the_page_is_run() -> None:
    assert len(PROGRAMS) == PAGE.read_text(encoding="utf-8").count("```python") == 3


@pytest.mark.parametrize(("program", "printed"), PROGRAMS, ids=["one process", "several", "found out"])
def test_a_program_prints_what_the_page_says(
    program: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "capture.pcapng").symlink_to(ROOT / "sim" / "demo" / "demo.pcapng")
    monkeypatch.chdir(tmp_path)
    program = program.replace('"ids"', f'"ids-{os.getpid()}"')  # others may be testing here, too
    exec(compile(program, PAGE, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == printed

"""The generated pages: up to date, complete, and --check notices when they are not."""

import re
from pathlib import Path

import pytest

from sentinic.abi import counters, profiles, registers, verdicts
from sentinic.abi.pages import PAGES, main, outdated

DOCS = Path(__file__).parents[3] / "docs"


def test_the_committed_pages_say_what_the_abi_says() -> None:
    assert outdated(DOCS) == []


def test_check_fails_on_a_changed_or_missing_page_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--docs", str(tmp_path)]) == 0
    assert main(["--check", "--docs", str(tmp_path)]) == 0
    (tmp_path / "tag.md").write_text("something else", encoding="utf-8")
    (tmp_path / "counters.md").unlink()
    capsys.readouterr()
    assert main(["--check", "--docs", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert re.findall(r"(\w+\.md) is not what sentinic\.abi says now: run `make docs`", message) == [
        "tag.md",
        "counters.md",
    ]
    assert (tmp_path / "tag.md").read_text(encoding="utf-8") == "something else"
    assert main(["--docs", str(tmp_path)]) == 0
    assert outdated(tmp_path) == []


def test_every_register_field_has_a_row_with_its_offset() -> None:
    page = PAGES["registers.md"]()
    for block in registers.BLOCKS:
        section = page.partition(f"\n## {block.name}\n")[2].partition("\n## ")[0]
        for register in block.registers:
            for field in register.fields:
                name = register.name if field.name == "value" else f"{register.name}.{field.name}"
                assert f"| `{register.offset:#04x}` | `{name}` |" in section, f"{block.name}.{name}"


def test_every_counter_has_a_row_with_its_address() -> None:
    page = PAGES["counters.md"]()
    for number, name in enumerate(counters.counter_names(profiles.WIDE)):
        assert f"| {number} | `{0x1000 + 8 * number:#06x}` | `{name}` |" in page


def test_every_parse_error_has_its_meaning() -> None:
    page = PAGES["tag.md"]()
    for error in verdicts.ParseError:
        if error:
            assert re.search(rf"\| {error.value} \| `{error.name}` \| \S", page), error.name


@pytest.mark.parametrize("name", [name for name in PAGES if name.endswith(".md")])
def test_every_row_of_a_table_has_as_many_cells_as_its_head(name: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGES[name](), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def anchors(page: str) -> set[str]:
    """The names that a page's headings can be linked by."""
    heads = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name)
def test_every_link_between_pages_leads_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link

"""The pages: both READMEs say the same, links lead somewhere, and the picture is as the imports are."""

import re
from itertools import pairwise
from pathlib import Path

import house_picture
import pytest

ROOT = Path(__file__).parent.parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
MOST_LINES = 150
HIDDEN = ("build", "dist", "runs")
PAGES = sorted(
    page
    for pattern in ("README*.md", "READING.md", "ECOSYSTEM.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
    for page in ROOT.rglob(pattern)
    if not page.relative_to(ROOT).parts[0].startswith((".", *HIDDEN))
)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^()\s]+)\)")
RUN_AND_TEST = ["pip install -e . && harness run --before-after", "pip install tox && tox"]


def lines_of(page: Path) -> list[tuple[bool, str]]:
    """Each line, and whether it is code: fenced, or indented by four behind an empty line or other such code."""
    found, fenced, is_code, line = [], False, False, ""
    for text in page.read_text(encoding="utf-8").splitlines():
        fence, indented = text.startswith("```"), text.startswith("    ") and (is_code or not line)
        is_code, line = fenced or fence or indented, text
        fenced ^= fence
        found.append((is_code, text))
    return found


def code_of(page: Path) -> list[str]:
    """The lines of code, without empty ones."""
    return [line for is_code, line in lines_of(page) if is_code and line]


def prose_of(page: Path) -> list[str]:
    return [line for is_code, line in lines_of(page) if not is_code]


def rows_of(page: Path) -> list[int]:
    """How many rows each table has, its head and rule included."""
    lines = ["", *prose_of(page), ""]
    edges = [n for n, (old, new) in enumerate(pairwise(lines)) if old.startswith("|") != new.startswith("|")]
    return [end - start for start, end in zip(edges[::2], edges[1::2], strict=True)]


def anchors_of(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    titles = [line.lstrip("#").strip() for line in prose_of(page) if re.match("#{1,6} ", line)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links_of(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", "\n".join(prose_of(page)))
    return LINK.findall(text)


def test_both_readmes_have_the_same_commands_and_tables():
    assert code_of(CHINESE) == code_of(ENGLISH)
    assert rows_of(CHINESE) == rows_of(ENGLISH)
    assert [line.strip() for line in code_of(ENGLISH)[:2]] == RUN_AND_TEST


def test_both_readmes_have_the_same_sections_and_lead_to_each_other():
    headings = {page: [line for line in prose_of(page) if line.startswith("#")] for page in (ENGLISH, CHINESE)}
    levels = [[line.partition(" ")[0] for line in found] for found in headings.values()]
    assert levels[0] == levels[1]
    assert "## Is it real?" in headings[ENGLISH]
    assert CHINESE.name in prose_of(ENGLISH)[0]
    assert ENGLISH.name in prose_of(CHINESE)[0]
    # The same pages, whichever anchors their headings have.
    there = [{link.partition("#")[0] for link in links_of(page)[1:]} for page in (ENGLISH, CHINESE)]
    assert there[0] == there[1]


def test_the_readme_can_be_read_in_a_sitting():
    assert len(lines_of(ENGLISH)) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in links_of(page):
        place, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{link}: no such file"
        assert ROOT in target.parents, f"{link}: outside the project"
        if anchor:
            assert anchor in anchors_of(target), f"{link}: no such heading"


def test_the_picture_is_as_the_imports_are():
    page = house_picture.PAGE.read_text(encoding="utf-8")
    made = house_picture.picture(), house_picture.table()
    assert all(each in page for each in made), "run python tests/house_picture.py"

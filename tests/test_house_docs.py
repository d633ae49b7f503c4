"""Documentation that stays true: links, names and commands are checked against what is there."""

import os
import re
from pathlib import Path

import pytest

import neogpt

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors that a Markdown page's headings get on the usual sites."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_and_tests_that_the_prose_names_exist(page: Path) -> None:
    for name in re.findall(r"`((?:neogpt|tests|benchmarks|docs|tools|launch)/[\w./-]+)`", page.read_text()):
        assert (ROOT / name).exists() or "NAME" in name, name


def test_every_decision_is_on_its_list() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(r"\]\((\d{4}-.+?\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


def test_every_benchmark_is_on_its_list() -> None:
    folder = ROOT / "benchmarks"
    listed = re.findall(r"benchmarks/(\w+\.py)", (folder / "README.md").read_text())
    assert sorted(set(listed)) == sorted(path.name for path in folder.glob("[!_]*.py"))


@pytest.mark.parametrize("name", ["Makefile", ".ci/run"])
def test_make_targets_that_are_spoken_of_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    prose = "\n".join(page.read_text() for page in PAGES) + (ROOT / name).read_text()
    assert set(re.findall(r"`make ([a-z-]+)", prose)) <= targets
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_changelog_knows_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert neogpt.__version__ in headings[1:] or len(headings) == 1

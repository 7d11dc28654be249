"""README and docs/ say what the program declares, and their links and make targets exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettop.model.filter import FILTER_KEYS, FILTER_WORDS
from nettop.view.keys import APP_KEYS, MAIN_KEYS, TABLE_KEYS, Key
from nettop.view.words import STATUS_BAR

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tests" / "README.md"])
_MOVING = {"↑ k", "↓ j", "pageup ^u", "pagedown ^d", "home g", "end G"}  # what nobody looks up


def section(page: str, heading: str) -> str:
    text = (ROOT / page).read_text()
    assert f"\n## {heading}\n" in text
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def first_cells(table: str) -> Iterator[str]:
    """The cells of the first column, without head and rule."""
    yield from re.findall(r"^\| (.+?) \|", table, re.MULTILINE)[2:]


def shown(key: Key) -> str:
    return key.shown_as or key.keys


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_has_the_keys_of_the_main_screen() -> None:
    documented = [key for cell in first_cells(section("README.md", "Keys")) for key in re.findall(r"`([^`]+)`", cell)]
    declared = {shown(key) for key in (*APP_KEYS, *MAIN_KEYS, *TABLE_KEYS)} - _MOVING
    assert sorted(documented) == sorted(declared)


def test_the_filter_page_has_every_key() -> None:
    table = "\n".join(f"| `{key}:` | {meaning} |" for key, meaning in FILTER_KEYS.items())
    words = "\n".join(f"| `{word}` | {meaning} |" for word, meaning in FILTER_WORDS.items())
    page = (ROOT / "docs" / "filters.md").read_text()
    assert f"| key | matches |\n| -- | -- |\n{table}\n\n" in page
    assert f"| word | matches |\n| -- | -- |\n{words}\n\n" in page


def test_the_status_bars_words_are_explained() -> None:
    table = "\n".join(f"| `{word}` | {meaning} |" for word, meaning in STATUS_BAR.items())
    assert f"| word | meaning |\n| -- | -- |\n{table}\n\n" in (ROOT / "docs" / "screen.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", without_code(page.read_text())):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT), target
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert named <= targets

"""Links between files of the repository, and what code and configuration name of docs/, lead to files and headings.

Addresses elsewhere are not asked. `mkdocs build --strict` looks at the links of the built site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "notebooks", "benchmarks", "conf", "twostream", "tests")
READ = {".md", ".py", ".yaml", ".ipynb", ".html"}
MADE = {
    ROOT / "docs" / name for name in ("options.md", "values.md", "values-of-options.md")
}  # by docs/build_options.py
FILES = [
    *(path for path in ROOT.iterdir() if path.suffix in READ),
    *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in READ),
]
MARKDOWN = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(#[^)\s]*)?\)")
NAMED = re.compile(r"(?<![\w/.-])(docs/[\w-]+\.md)(#[\w-]+)?")


@cache
def anchors(path: Path) -> set[str]:
    """Of the headings of a page: as the site writes them, and as the page is shown in a repository."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    headings = [re.sub(r"[`*]|\]\(.*?\)|\[", "", one).strip() for one in re.findall(r"^#+ (.*)", text, flags=re.M)]
    plain = [re.sub(r"[^\w\s-]", "", one.lower()) for one in headings]
    return {re.sub(r"[-\s]+", "-", one).strip("-") for one in plain} & {one.replace(" ", "-") for one in plain}


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """Yields (file, anchor) of what a file links to or names."""
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".md", ".ipynb"):
        yield from (((path.parent / to) if to else path, part) for to, part in MARKDOWN.findall(text))
    yield from ((ROOT / to, part) for to, part in NAMED.findall(text))


def dead(path: Path) -> list[str]:
    """The links of a file that lead nowhere."""
    found = [(file, part) for file, part in links(path) if file not in MADE]
    return [f"{file}{part}" for file, part in found if not file.exists() or (part and part[1:] not in anchors(file))]


def test_links_lead_to_files_and_headings() -> None:
    assert {path.relative_to(ROOT).as_posix(): found for path in FILES if (found := dead(path))} == {}


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# Other\n")
    page.write_text("# A page\n\n## One, two\n\n[a](#one-two) [b](#three) [c](other.md#a-page)\n")
    assert anchors(page) == {"a-page", "one-two"}
    assert dead(page) == [f"{page}#three", f"{tmp_path / 'other.md'}#a-page"]

"""docs/guards.md: every module and test that it names is there, and what a user is said to see stands in the module."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "guards.md").read_text()
ROWS = re.findall(r"^\| `(\S+\.py)` \| (.+) \| (.+) \| `(\S+)` \|$", PAGE, flags=re.M)
NO_GUARDS = ("__init__.py", "digest.py", "extras.py", "progress.py", "weights.py", "words.py")  # of files/


@pytest.mark.parametrize(("module", "harm", "seen", "test"), ROWS, ids=[row[0] for row in ROWS])
def test_a_guard_is_what_the_page_says(module: str, harm: str, seen: str, test: str) -> None:
    text = (ROOT / "twostream" / module).read_text()
    printed_by = re.search(r"\(`(\S+)` prints it\)", seen)
    if printed_by:
        text = (ROOT / "twostream" / printed_by[1]).read_text()
    for quote in re.findall("“(.+?)”", seen):
        assert quote in text
    path, _, name = test.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()


def test_every_row_is_read() -> None:
    modules = [module for module, *_ in ROWS]
    assert len(modules) == len({*modules}) == PAGE.count("\n| `")


def test_every_file_of_files_is_a_guard_or_none() -> None:
    there = {path.name for path in (ROOT / "twostream" / "files").glob("*.py")}
    assert there == {*NO_GUARDS, *(Path(module).name for module, *_ in ROWS if module.startswith("files/"))}

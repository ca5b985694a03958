"""Files that are whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twostream.files.aside import aside_of, remove_left_behind
from twostream.files.naming import naming


@contextmanager
def whole(path: Path, *, tidy: bool = True) -> Iterator[Path]:
    """A name in the same folder to write to: it becomes `path` when the block ends, and vanishes with an error.

    What earlier writers of `path` have left there that were killed, is deleted, for which the folder is looked through;
    `tidy=False` where it holds thousands. Errors of the disk name `path`.
    """
    with naming(path):
        if tidy:
            remove_left_behind(path.parent, of=path)
        aside = aside_of(path, "part")
        try:
            yield aside
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

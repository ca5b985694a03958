"""A column of a table, which every format writes in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """One column: what it shows, and what it is sorted by."""

    title: str
    texts: tuple[str, ...]
    keys: tuple[float | str | None, ...]  # None sorts last
    is_number: bool = True


def words(title: str, texts: Sequence[str]) -> Column:
    """Returns a column of words; an empty one sorts last."""
    return Column(title, tuple(texts), tuple(text or None for text in texts), is_number=False)

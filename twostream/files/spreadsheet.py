"""CSV files that a spreadsheet shows and does not run."""

from __future__ import annotations

from typing import Any


def inert(value: Any) -> Any:
    r"""A field of a CSV file: text that a spreadsheet would take for a formula gets a `'` before it, a number never.

    >>> [inert(value) for value in ("=1+1", "@run", "-walk", "-0.5", -0.5, "walk", None)]
    ["'=1+1", "'@run", "'-walk", '-0.5', -0.5, 'walk', None]
    """
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value

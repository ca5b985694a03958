"""CSV fields that a spreadsheet shows as text and does not run as formulas."""

from __future__ import annotations

from typing import Any


def inert(value: Any) -> Any:
    r"""Returns a field of a CSV file that no spreadsheet runs: a `'` goes before text that looks like a formula.

    Numbers, also those given as text, stay as they are.

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

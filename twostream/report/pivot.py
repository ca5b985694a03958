"""Puts groups into tables over two axes (pure functions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from twostream.options.rule import did_you_mean
from twostream.report.groups import compared_axes

Value = TypeVar("Value")
LARGEST = 100  # an axis of more values is in a pivot only if asked for


class Pivot(NamedTuple):
    """One table: positions of groups by their values on two axes."""

    fixed: Mapping[str, str]  # the values on all other axes; each combination has a table, none is averaged
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    positions: Mapping[tuple[str, str], int]  # no entry where no run was planned


def choose_pivot(
    axes: Mapping[str, tuple[str, ...]], over: Sequence[str], wanted: Sequence[str] | None
) -> tuple[str, str] | None:
    """Returns (rows, columns): the wanted axes, or the two with the most values; None if there are fewer than two.

    Raises ValueError for a wanted axis that was not swept, or has one value only.

    >>> choose_pivot({"layer": ("conv3", "conv5"), "fusion": ("a", "b", "c"), "seed": ("0", "1")}, ("seed",), None)
    ('fusion', 'layer')
    """
    if wanted is not None:
        for axis in wanted:
            if axis not in axes:
                meant = did_you_mean(axis, axes)
                raise ValueError(f"pivot={axis!r}: was not swept; {meant}choose from {', '.join(axes)}")
            if len(axes[axis]) < 2:
                raise ValueError(f"pivot={axis!r}: has one value only ({axes[axis][0]})")
        rows, columns = wanted
        if rows == columns:
            raise ValueError(f"pivot={rows!r} twice: name two axes out of {', '.join(axes)}")
        return rows, columns
    found = [axis for axis in compared_axes(axes, over) if len(axes[axis]) <= LARGEST]
    most = sorted(found, key=lambda axis: -len(axes[axis]))  # stable: axes of equal length stay as typed
    return (most[0], most[1]) if len(most) > 1 else None


def make_pivots(
    groups: Sequence[Mapping[str, str]], axes: Mapping[str, tuple[str, ...]], pivot: tuple[str, str]
) -> tuple[Pivot, ...]:
    """Returns a table for each combination of values on the axes that are not in the pivot.

    `groups`: {axis: value} of each group.
    """
    rows, columns = pivot
    others = [axis for axis in (groups[0] if groups else ()) if axis not in pivot]
    found: dict[tuple[str, ...], dict[tuple[str, str], int]] = {}
    for index, group in enumerate(groups):
        values = tuple(group[axis] for axis in others)
        found.setdefault(values, {})[group[rows], group[columns]] = index
    ranks = [{value: rank for rank, value in enumerate(axes[axis])} for axis in others]
    order = sorted(found, key=lambda values: [rank[value] for rank, value in zip(ranks, values, strict=True)])
    return tuple(
        Pivot(dict(zip(others, values, strict=True)), axes[rows], axes[columns], found[values]) for values in order
    )

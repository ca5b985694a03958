"""Puts cells into groups; the cells of a group differ only in what is averaged over (pure functions)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from twostream.report.metric import Metric
from twostream.report.statistics import mean, sample_std
from twostream.runs.sweep import Cell, Sweep

REPEATED = "repeated"  # the state of a run that is not counted: another one has its configuration
REPLICATES = ("seed", "split")  # axes whose values repeat one setting
Replicate = tuple[str, ...]  # values on the averaged axes, and how many cells before had the same


class Group(NamedTuple):
    """The cells of one setting."""

    axes: Mapping[str, str]
    cells: tuple[Cell, ...]
    values: Mapping[Replicate, float]  # of the cells that have a value
    lacking: Mapping[str, tuple[str, ...]]  # state -> the cells without a value: ("seed=2",)
    measured: Mapping[Replicate, Cell] = {}  # the cells of `values`

    @property
    def replicates(self) -> set[Replicate]:
        """The seeds and splits that have a value."""
        return {replicate[:-1] for replicate in self.values}

    @property
    def mean(self) -> float | None:
        return mean(list(self.values.values()))

    @property
    def std(self) -> float | None:
        return sample_std(list(self.values.values()))

    def cost(self, name: str) -> float | None:
        """Returns the mean of `parameters`, `flops` or `clips_per_second` over the runs that have it, or None.

        If all runs agree, it is exact.
        """
        told = [v for cell in self.cells if cell.results and (v := cell.results.get(name)) is not None]
        return told[0] if len(set(told)) == 1 else mean(told)

    @property
    def complete(self) -> bool:
        return not self.lacking

    @property
    def n(self) -> str:
        """The number of runs with a value; with the number of those planned, such as "2/3", if some lack one."""
        return str(len(self.cells)) if self.complete else f"{len(self.values)}/{len(self.cells)}"

    @property
    def states(self) -> str:
        """What became of the cells without a value: "failed: seed=2"."""
        return "; ".join(f"{state}: {', '.join(which)}" for state, which in self.lacking.items())

    @property
    def label(self) -> str:
        return label(self.axes)


def label(axes: Mapping[str, str]) -> str:
    """Returns a setting as it is typed.

    >>> label({"fusion": "sum", "layer": "conv3"}), label({})
    ('fusion=sum layer=conv3', 'all runs')
    """
    return " ".join(f"{axis}={value}" for axis, value in axes.items()) or "all runs"


def averaged_over(axes: Mapping[str, tuple[str, ...]], pivot: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns seed and split, if they were swept and are not asked for as axes of the pivot.

    >>> averaged_over({"fusion": ("sum",), "seed": ("0", "1"), "split": ("1",)}, pivot=("fusion", "split"))
    ('seed',)
    """
    return tuple(axis for axis in REPLICATES if axis in axes and axis not in pivot)


def compared_axes(axes: Mapping[str, tuple[str, ...]], over: Sequence[str]) -> tuple[str, ...]:
    """Returns the axes in which groups differ."""
    return tuple(axis for axis, values in axes.items() if axis not in over and len(values) > 1)


def group_cells(sweep: Sweep, metric: Metric, over: Sequence[str]) -> tuple[Group, ...]:
    """Returns all groups, in the order of the values typed.

    Every planned cell is in exactly one group, but a repeated one is in none.
    """
    axes = compared_axes(sweep.axes, over)
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in sweep.cells:
        if cell.state != REPEATED:
            found.setdefault(tuple(cell.overrides.get(axis, "") for axis in axes), []).append(cell)
    ranks = {axis: {value: rank for rank, value in enumerate(sweep.axes[axis])} for axis in axes}
    groups = [_group(dict(zip(axes, key, strict=True)), cells, metric, over) for key, cells in found.items()]
    return tuple(sorted(groups, key=lambda group: [ranks[axis][value] for axis, value in group.axes.items()]))


def _group(axes: Mapping[str, str], cells: Sequence[Cell], metric: Metric, over: Sequence[str]) -> Group:
    values: dict[Replicate, float] = {}
    measured: dict[Replicate, Cell] = {}
    lacking: dict[str, list[str]] = {}
    seen: Counter[Replicate] = Counter()
    for cell in cells:
        replicate = tuple(cell.overrides.get(axis, "") for axis in over)
        value = metric.of(cell)
        if value is None:
            state = f"finished without {metric.name}" if cell.state == "finished" else cell.state
            named = " ".join(f"{axis}={value}" for axis, value in zip(over, replicate, strict=True))
            lacking.setdefault(state, []).append(named or cell.name)
        else:
            key = (*replicate, str(seen[replicate]))  # cells with equal settings may be of two programs
            values[key], measured[key] = value, cell
        seen[replicate] += 1
    return Group(axes, tuple(cells), values, {state: tuple(which) for state, which in lacking.items()}, measured)

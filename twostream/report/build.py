"""Computes the content of a sweep's report, whatever form it is then written in (pure functions)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from twostream.metrics.contributions import Contributions, sentence
from twostream.report.column import Column
from twostream.report.compare import Comparison, best_first, best_groups, compare, find_baseline
from twostream.report.groups import REPEATED, Group, averaged_over, group_cells
from twostream.report.metric import Metric, choose_metric
from twostream.report.per_video import Marks, Unknown
from twostream.report.pivot import Pivot, choose_pivot, make_pivots
from twostream.report.published import Printed
from twostream.report.teachers import with_named_teachers
from twostream.runs.sweep import STATES, Cell, Sweep

DEFAULT = "default"  # shown if a run names no value


class Row(NamedTuple):
    """A group of runs, and what the report says about it."""

    group: Group
    best: bool
    comparison: Comparison | None  # with the reference; None for the reference itself, or without one
    printed: Printed | None  # a paper's number
    place: int  # in the order of the sweep, from 0


class Setting(NamedTuple):
    """Fused runs of one setting that have both streams alone beside them; `planned`: with those that do not."""

    label: str
    planned: int
    found: Contributions

    @property
    def told(self) -> str:
        return f"{self.label}: {sentence(self.found)}"


@dataclass(frozen=True)
class Report:
    """The content of a report, as numbers."""

    sweep: Sweep
    metric: Metric
    over: tuple[str, ...]  # the axes averaged over
    rows: tuple[Row, ...]  # the best first
    reference: int | None  # the row that others are compared with, if there is one
    has_baseline: bool  # whether the user named the reference; else it is the best row
    pivot_axes: tuple[str, str] | None
    pivots: tuple[Pivot, ...]
    folds: Sequence[Column] | None = None  # the table of `pooled_columns`
    contributions: Sequence[Setting] = ()  # what each stream contributes, the most accurate setting first

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes in which rows differ."""
        return tuple(self.rows[0].group.axes)

    @property
    def fixed(self) -> Mapping[str, str]:
        """The axes with a single value, which all rows share."""
        axes = self.sweep.axes
        return {axis: values[0] for axis, values in axes.items() if len(values) == 1 and axis not in self.over}

    @property
    def states(self) -> Mapping[str, int]:
        """How many cells are in each state, the finished ones first."""
        counts = Counter(cell.state for cell in self.sweep.cells)
        return {state: counts[state] for state in dict.fromkeys([*STATES, *counts]) if counts[state]}

    @property
    def unfinished(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.sweep.cells if cell.state != "finished")


def build_report(
    sweep: Sweep,
    *,
    metric: str | None = None,
    pivot: Sequence[str] | None = None,
    baseline: str | None = None,
    printed_number: Callable[[Group], Printed | None] = lambda group: None,
    marks_of: Callable[[Sequence[Cell], Metric], Mapping[str, Marks | Unknown]] | None = None,
    pooled: Callable[[Report], Sequence[Column] | None] = lambda report: None,
    contributions: Callable[[Report], Sequence[Setting]] = lambda report: (),
) -> Report:
    """Groups, compares and pivots the runs of a sweep; over videos only if `marks_of` reads what they got right.

    `pooled` makes the table of folds, `contributions` compares each stream with both. Raises ValueError for a sweep
    without runs, and for a metric, axis or baseline that it does not have.
    """
    if not sweep.cells:
        raise ValueError(f"{sweep.folder}: holds no runs")
    sweep = _once(_filled(with_named_teachers(sweep)))
    measured = choose_metric(metric, sweep.cells)
    over = averaged_over(sweep.axes, pivot or ())
    pivot_axes = choose_pivot(sweep.axes, over, pivot)
    groups = group_cells(sweep, measured, over)
    best = best_groups(groups, measured)
    reference = find_baseline(baseline, groups) if baseline else (best[0] if best else None)
    comparisons: list[Comparison | None] = [None] * len(groups)
    if reference is not None and len(groups) > 1:
        comparisons = compare(groups, reference, marks_of and marks_of(sweep.cells, measured))
    papers = [printed_number(group) if measured.name == "test/top1" else None for group in groups]
    order = best_first(groups, measured)
    rows = [Row(groups[place], place in best, comparisons[place], papers[place], place) for place in order]
    report = Report(
        sweep=sweep,
        metric=measured,
        over=over,
        rows=tuple(rows),
        reference=None if reference is None else order.index(reference),
        has_baseline=baseline is not None,
        pivot_axes=pivot_axes,
        pivots=make_pivots([row.group.axes for row in rows], sweep.axes, pivot_axes) if pivot_axes else (),
    )
    return replace(report, folds=pooled(report), contributions=contributions(report))


def _filled(sweep: Sweep) -> Sweep:
    """Gives every cell a value on every axis, and every axis all values of its cells.

    Runs that belong to no sweep leave out the values that are defaults.
    """
    cells = [c._replace(overrides={axis: c.overrides.get(axis) or DEFAULT for axis in sweep.axes}) for c in sweep.cells]
    axes = {
        axis: tuple(dict.fromkeys([*(value or DEFAULT for value in values), *(cell.overrides[axis] for cell in cells)]))
        for axis, values in sweep.axes.items()
    }
    return sweep._replace(axes=axes, cells=tuple(cells))


def _once(sweep: Sweep) -> Sweep:
    """Marks finished runs that repeat another one's configuration: a copy of a run is no second measurement."""
    cells, first = [], {}
    for cell in sweep.cells:
        identity = cell.results and cell.results.get("cell")
        counted = first.setdefault((identity, *cell.overrides.values()), cell.name) if identity else cell.name
        told = f"has the same configuration as {counted}, which is counted"
        cells.append(cell if counted == cell.name else cell._replace(state=REPEATED, error=told))
    return sweep._replace(cells=tuple(cells))

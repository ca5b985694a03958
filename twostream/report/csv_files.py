"""`report.csv` (a row a run) and `groups.csv` (a row a group): plain numbers, unrounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from twostream.files.spreadsheet import inert
from twostream.report.build import Report, Row
from twostream.report.columns import metric_names, result, starts_text
from twostream.runs.sweep import Cell

COMPARED = (
    *("pairs", "difference", "low", "high", "p_both", "p_both_holm"),
    *("p_videos", "p_videos_holm", "units", "p_seeds", "p_seeds_holm"),
)
NUMBERS = ("parameters", "flops", "clips_per_second", "seconds", "epochs", "steps", "leaked")
PROBE = ("probe_top1", "probe_mean_class", "probe_macro_f1")  # of the network before its first step


def cells_as_csv(report: Report) -> str:
    """Returns every planned run, with its state; what a run does not have is empty."""
    axes, metrics = list(report.sweep.axes), metric_names(report.sweep.cells, first=report.metric)
    return _csv(
        ["run", *axes, "state", *metrics, *NUMBERS, *PROBE, "weights", "unreadable", "error"],
        (_cell(c, axes, metrics) for c in report.sweep.cells),
    )


def _cell(cell: Cell, axes: Sequence[str], metrics: Sequence[str]) -> list[Any]:
    measured = result(cell, "metrics") or {}
    unreadable = result(cell, "unreadable")
    return [
        cell.name,
        *(cell.overrides.get(axis) for axis in axes),
        cell.state,
        *(measured.get(name) for name in metrics),
        *(result(cell, name) for name in NUMBERS),
        *((result(cell, "probe") or {}).get(name.removeprefix("probe_")) for name in PROBE),
        starts_text(cell),
        None if unreadable is None else sum(map(len, unreadable.values())),
        cell.error,
    ]


def groups_as_csv(report: Report) -> str:
    """Returns every group; what compares it with the reference is over `pairs` runs with the same seed and split.

    `low` and `high` are the ends of the interval of 95 % of `difference`. `units` counts the groups of test videos.
    """
    titles = ["n", "planned", "without_result", "mean", "std", "best", "reference"]
    tested = [*COMPARED, "paper", "paper_table", "parameters", "flops", "clips_per_second"]
    rows = (_group(row, is_reference=index == report.reference) for index, row in enumerate(report.rows))
    return _csv([*report.axes, "metric", *titles, *tested], ([*row[0], report.metric.name, *row[1]] for row in rows))


def _group(row: Row, *, is_reference: bool) -> tuple[list[str], list[Any]]:
    group, compared = row.group, row.comparison
    return list(group.axes.values()), [
        *(len(group.values), len(group.cells), group.states, group.mean, group.std, int(row.best), int(is_reference)),
        *(compared and getattr(compared, name) for name in COMPARED),
        *(row.printed or [None] * 2)[:2],
        *(group.cost(name) for name in ("parameters", "flops", "clips_per_second")),
    ]


def _csv(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns rows as CSV text; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(map(inert, row) for row in (titles, *rows))
    return text.getvalue()

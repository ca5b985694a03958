"""The comparison as text for a terminal (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from twostream.report.build import Report
from twostream.report.column import Column
from twostream.report.columns import group_columns
from twostream.report.contributions import as_lines
from twostream.report.notes import headline, without_result
from twostream.report.pooled import TITLE

ROWS = 40  # most rows that are shown; the files have all
RUNS = 10  # most runs without a result that are shown


def all_as_text(reports: Mapping[Path, Report], width: int | None = None) -> str:
    """Returns the tables of {folder: report}, each with its page, and then once what all of them leave out.

    Columns that do not fit into `width` letters are left out from the right, and named.
    """
    parts = []
    for folder, report in reports.items():
        title = [*[""] * bool(parts), report.sweep.data] if len(reports) > 1 else []
        parts += [*title, *_table(report, width), f"-> {folder / 'report.html'}"]
    left_out = dict.fromkeys(line for report in reports.values() for line in report.sweep.left_out)
    return "\n".join([*parts, *_some("left out", [*left_out])])


def as_text(report: Report) -> str:
    """Returns the table of one report, and what it leaves out."""
    return "\n".join([*_table(report), *_some("left out", report.sweep.left_out)])


def _table(report: Report, width: int | None = None) -> list[str]:
    """Returns headline, aligned columns with a star at the best rows, and what each stream contributes, if known."""
    columns, marks = group_columns(report), ["*" if row.best else " " for row in report.rows]
    least = 1 + next(place for place, column in enumerate(columns) if column.is_number)  # settings and the metric
    fitting = len(columns)
    while width and fitting > least and max(map(len, _aligned(columns[:fitting], marks))) > width:
        fitting -= 1
    lines = _aligned(columns[:fitting], marks)
    if fitting < len(columns):
        lines.append(f"not shown here: {', '.join(column.title for column in columns[fitting:])}")
    more = len(report.rows) - ROWS
    further = [f"… and {more} more rows"] if more > 0 else []
    folds = [f"{TITLE}:", *_aligned(report.folds, [" "] * len(report.folds[0].texts))] if report.folds else []
    lost = _some("no result", without_result(report))
    return [headline(report), *lines, *folds, *as_lines(report), *further, *lost]


def _some(what: str, lines: Sequence[str]) -> list[str]:
    """Returns the first lines, each with its heading, and how many more there are."""
    more = [f"{what}: {len(lines) - RUNS} more, see the files"] if len(lines) > RUNS else []
    return [*(f"{what}: {line}" for line in lines[:RUNS]), *more]


def _aligned(columns: Sequence[Column], marks: Sequence[str]) -> list[str]:
    """Returns the lines of a table, at most ROWS of them, each with its mark in front."""
    shown = [["", *marks[:ROWS]], *([column.title, *column.texts[:ROWS]] for column in columns)]
    sides = ["<", *(">" if column.is_number else "<" for column in columns)]
    widths = [max(map(len, texts)) for texts in shown]
    return [
        "  ".join(f"{text:{side}{width}}" for text, side, width in zip(texts, sides, widths, strict=True)).rstrip()
        for texts in zip(*shown, strict=True)
    ]

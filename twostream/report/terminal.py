"""The comparison as text for a terminal (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from twostream.report.build import Report
from twostream.report.column import Column
from twostream.report.columns import group_columns
from twostream.report.contributions import as_lines
from twostream.report.notes import headline, without_result
from twostream.report.pooled import TITLE

ROWS = 40  # most rows that are shown; the files have all
RUNS = 10  # most runs without a result that are shown


def as_text(report: Report) -> str:
    """Returns headline, aligned columns with a star at the best rows, and what each stream contributes, if known."""
    lines = _aligned(group_columns(report), ["*" if row.best else " " for row in report.rows])
    more = len(report.rows) - ROWS
    further = [f"… and {more} more rows"] if more > 0 else []
    lost = without_result(report)
    further += [f"no result: {line}" for line in lost[:RUNS]]
    further += [f"no result: {len(lost) - RUNS} more, see the files"] if len(lost) > RUNS else []
    folds = [f"{TITLE}:", *_aligned(report.folds, [" "] * len(report.folds[0].texts))] if report.folds else []
    return "\n".join([headline(report), *lines, *folds, *as_lines(report), *further])


def _aligned(columns: Sequence[Column], marks: Sequence[str]) -> list[str]:
    """Returns the lines of a table, at most ROWS of them, each with its mark in front."""
    shown = [["", *marks[:ROWS]], *([column.title, *column.texts[:ROWS]] for column in columns)]
    sides = ["<", *(">" if column.is_number else "<" for column in columns)]
    widths = [max(map(len, texts)) for texts in shown]
    return [
        "  ".join(f"{text:{side}{width}}" for text, side, width in zip(texts, sides, widths, strict=True)).rstrip()
        for texts in zip(*shown, strict=True)
    ]

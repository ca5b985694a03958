"""The comparison as text for a terminal (pure)."""

from __future__ import annotations

from twostream.report.build import Report
from twostream.report.columns import group_columns
from twostream.report.contributions import as_lines
from twostream.report.notes import headline, without_result

ROWS = 40  # most rows that are shown; the files have all
RUNS = 10  # most runs without a result that are shown


def as_text(report: Report) -> str:
    """Returns headline, aligned columns with a star at the best rows, and what each stream contributes, if known."""
    marks = ["*" if row.best else " " for row in report.rows][:ROWS]
    columns = [["", *marks]]
    alignments = ["<"]
    for column in group_columns(report):
        columns.append([column.title, *column.texts[:ROWS]])
        alignments.append(">" if column.is_number else "<")
    widths = [max(map(len, texts)) for texts in columns]
    lines = [
        "  ".join(f"{text:{side}{width}}" for text, side, width in zip(texts, alignments, widths, strict=True)).rstrip()
        for texts in zip(*columns, strict=True)
    ]
    more = len(report.rows) - ROWS
    further = [f"… and {more} more rows"] if more > 0 else []
    lost = without_result(report)
    further += [f"no result: {line}" for line in lost[:RUNS]]
    further += [f"no result: {len(lost) - RUNS} more, see the files"] if len(lost) > RUNS else []
    return "\n".join([headline(report), *lines, *as_lines(report), *further])

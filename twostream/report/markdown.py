"""`report.md`: the report as one page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from twostream.report.build import Report
from twostream.report.column import Column
from twostream.report.columns import group_columns, note, pivot_text
from twostream.report.contributions import as_section
from twostream.report.escape import markdown as escape
from twostream.report.groups import label
from twostream.report.notes import headline, notes
from twostream.report.pooled import NOTE, TITLE


def as_markdown(report: Report) -> str:
    """Returns headline, comparison, pivots, what each stream contributes, runs without a result, and notes."""
    parts = [f"# {escape(report.sweep.name)}", escape(headline(report))]
    if report.sweep.command:
        parts.append(f"    {' '.join(report.sweep.command.split())}")
    if report.fixed:
        parts.append(f"All runs: {escape(label(report.fixed))}")
    best = [row.best for row in report.rows]
    parts += [
        "## Comparison",
        "The best first, in bold." if any(best) else "",
        _table(group_columns(report), bold=best),
    ]
    if report.pivot_axes:
        rows, columns = report.pivot_axes
        parts.append(f"## {escape(rows)} × {escape(columns)}: {escape(report.metric.title)}")
        parts += [_pivot(report, index) for index in range(len(report.pivots))]
    if report.folds:
        parts += [f"## {TITLE}", _table(report.folds, bold=[False] * len(report.folds[0].texts)), NOTE]
    parts += as_section(report)
    if report.unfinished:
        parts += ["## Runs without a result", _unfinished(report)]
    parts += ["## How to read this", "\n".join(f"- {escape(line)}" for line in notes(report))]
    warned = [cell for cell in report.sweep.cells if cell.state == "finished" and note(cell)]
    if warned:
        lines = [f"- {escape(cell.name)}: {escape(note(cell))}" for cell in warned]
        parts += ["## Notes of finished runs", "\n".join(lines)]
    count = len(report.sweep.cells)
    parts.append(f"{'The one run' if count == 1 else f'All {count} runs'}: report.csv, report.html.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(columns: Sequence[Column], bold: Sequence[bool]) -> str:
    titles = [escape(column.title) for column in columns]
    rules = ["---:" if column.is_number else "---" for column in columns]
    rows = []
    for index, texts in enumerate(zip(*(column.texts for column in columns), strict=True)):
        rows.append([f"**{escape(text)}**" if bold[index] and text else escape(text) for text in texts])
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, rules, *rows))


def _pivot(report: Report, index: int) -> str:
    pivot = report.pivots[index]
    assert report.pivot_axes is not None
    lines = [
        [escape(" \\ ".join(report.pivot_axes)), *map(escape, pivot.columns)],
        ["---"] + ["---:"] * len(pivot.columns),
    ]
    for row in pivot.rows:
        cells = [escape(row)]
        for column in pivot.columns:
            position = pivot.positions.get((row, column))
            text = escape(pivot_text(report, position))
            cells.append(f"**{text}**" if position is not None and report.rows[position].best else text)
        lines.append(cells)
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{escape(label(pivot.fixed))}:\n\n{table}" if pivot.fixed else table


def _unfinished(report: Report) -> str:
    lines = ["| run | setting | state | why |", "| --- | --- | --- | --- |"]
    for cell in report.unfinished:
        texts = (cell.name if cell.folder else "", label(cell.overrides), cell.state, cell.error or "")
        lines.append(f"| {' | '.join(map(escape, texts))} |")
    return "\n".join(lines)

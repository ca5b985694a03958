"""`report.tex`: tables to \\input into a paper; they need the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from twostream.report.build import Report
from twostream.report.columns import group_columns, pivot_text
from twostream.report.escape import latex as escape
from twostream.report.groups import label
from twostream.report.notes import headline, notes


def as_latex(report: Report) -> str:
    """Returns the comparison, then a table for each pivot."""
    columns = group_columns(report)
    rows = []
    for row, *texts in zip(report.rows, *(column.texts for column in columns), strict=True):
        rows.append([_bold(text) if row.best and text else escape(text) for text in texts])
    caption = " ".join([f"{headline(report)}.", *notes(report)])
    tables = [
        "% needs \\usepackage{booktabs}",
        _table(
            [escape(column.title) for column in columns],
            rows,
            alignment="".join("r" if column.is_number else "l" for column in columns),
            caption=escape(f"{report.sweep.name}. {caption}"),
        ),
    ]
    return "\n\n".join(tables + [_pivot(report, index) for index in range(len(report.pivots))]) + "\n"


def _pivot(report: Report, index: int) -> str:
    pivot = report.pivots[index]
    assert report.pivot_axes is not None
    rows = []
    for row in pivot.rows:
        cells = [escape(row)]
        for column in pivot.columns:
            position = pivot.positions.get((row, column))
            text = pivot_text(report, position)
            cells.append(_bold(text) if position is not None and report.rows[position].best else escape(text))
        rows.append(cells)
    fixed = f" ({label(pivot.fixed)})" if pivot.fixed else ""
    return _table(
        [escape(f"{report.pivot_axes[0]} / {report.pivot_axes[1]}"), *map(escape, pivot.columns)],
        rows,
        alignment="l" + "r" * len(pivot.columns),
        caption=escape(f"{report.metric.title}{fixed}"),
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, alignment: str, caption: str) -> str:
    lines = [" & ".join(cells) + r" \\" for cells in (titles, *rows)]
    body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
    tabular = f"\\begin{{tabular}}{{{alignment}}}\n{body}\n\\end{{tabular}}"
    return f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n{tabular}\n\\end{{table}}"


def _bold(text: str) -> str:
    return f"\\textbf{{{escape(text)}}}"

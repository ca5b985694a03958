"""The metrics of scores as a table for the console."""

from __future__ import annotations

from collections.abc import Mapping

from twostream.metrics.measure import measure
from twostream.metrics.scores import Scores

PERCENT = ("top1", "top5", "mean_class_top1", "mean_class_top5", "macro_f1", "ece")  # the order of the table's columns
TITLES = {"mean_class_top1": "class top1", "mean_class_top5": "class top5", "macro_f1": "macro F1", "ece": "ECE"}


def metrics_of(scores: Scores) -> dict[str, float]:
    """Returns the metrics of scores: see `twostream.metrics.measure`."""
    return measure(scores.logits, scores.labels)


def metrics_table(rows: Mapping[str, Mapping[str, float]], first: str = "") -> str:
    """Returns rows of metrics in percent, as text.

    >>> print(metrics_table({"a": {"top1": 0.5, "ece": 0.125}}, "file"))
    file     top1      ECE
    a       50.00    12.50
    """
    names = [name for name in PERCENT if any(name in metrics for metrics in rows.values())]
    width = max(len(name) for name in (*rows, first))
    titles = [TITLES.get(name, name) for name in names]
    widths = [max(9, len(title) + 2) for title in titles]
    lines = [first.ljust(width) + "".join(title.rjust(wide) for title, wide in zip(titles, widths, strict=True))]
    for row, metrics in rows.items():
        cells = [f"{100 * metrics[name]:.2f}" if name in metrics else "" for name in names]
        lines.append(row.ljust(width) + "".join(cell.rjust(wide) for cell, wide in zip(cells, widths, strict=True)))
    return "\n".join(lines)

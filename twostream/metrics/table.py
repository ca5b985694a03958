"""The metrics of scores as a table for the console."""

from __future__ import annotations

from collections.abc import Mapping

from twostream.metrics.accuracy import untested
from twostream.metrics.measure import measure, require_finite
from twostream.metrics.multi_label import MEANS_OF_LABELS, measure_labels
from twostream.metrics.scores import Scores

PERCENT = ("top1", "top5", "mean_class_top1", "mean_class_top5", "map", "macro_f1", "micro_f1", "ece")  # in this order
TITLES = {"mean_class_top1": "class top1", "mean_class_top5": "class top5", "ece": "ECE", "map": "mAP"}
TITLES |= {"macro_f1": "macro F1", "micro_f1": "micro F1"}


def metrics_of(scores: Scores) -> dict[str, float]:
    """Returns the metrics of scores: see `measure`, and `measure_labels` for several labels a video."""
    if scores.multi:
        require_finite(scores.logits)
        return measure_labels(scores.logits, scores.labels, scores.thresholds)
    return measure(scores.logits, scores.labels)


def untested_in(scores: Scores) -> str:
    """Names the classes that none of the videos is of, or has; "" if there are none: see `untested`."""
    if scores.multi:
        return untested(scores.labels.nonzero()[1], scores.classes, MEANS_OF_LABELS)
    return untested(scores.labels, scores.classes)


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

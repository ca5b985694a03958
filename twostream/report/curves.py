"""Learning curves of many runs, compact enough for one page."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from math import isfinite
from operator import itemgetter
from pathlib import Path

POINTS = 60  # a curve of more epochs is thinned to so many

Curve = tuple[list[int], list[float]]  # epochs from 1, values


def run_curves(folder: Path, names: Sequence[str]) -> dict[str, Curve]:
    """Of a run, in whose folder `selection/` has the validation where all videos train in the end (refit=true)."""
    chosen = read_curves(folder / "selection" / "metrics.csv", [name for name in names if name.startswith("val/")])
    return read_curves(folder / "metrics.csv", names) | chosen


def read_curves(metrics_csv: Path, names: Sequence[str]) -> dict[str, Curve]:
    """Of the metrics named, those that the file has; nothing of a file that is absent or not yet written.

    Looks into no more columns than it has to: a long run logs thousands of steps.
    """
    curves: dict[str, Curve] = {}
    try:
        with metrics_csv.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            wanted = [(header.index(name), name) for name in names if name in header]
            if "epoch" not in header or not wanted:
                return {}
            epoch, columns = header.index("epoch"), [column for column, _ in wanted]
            chosen = itemgetter(*columns, *columns)  # twice: of a single column it would give no tuple
            for row in rows:
                if len(row) == len(header) and any(chosen(row)):  # the last line may be half written
                    for column, name in wanted:
                        if row[column]:
                            epochs, values = curves.setdefault(name, ([], []))
                            epochs.append(int(row[epoch]) + 1)
                            values.append(float(row[column]))
    except (OSError, ValueError, csv.Error):
        return {}
    return {name: thin(curve) for name, curve in curves.items()}


def thin(curve: Curve, points: int = POINTS) -> Curve:
    """Evenly spread epochs, the first and the last among them; four digits; without what is not finite.

    >>> thin(([1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.4, 0.123456]), points=3)
    ([1, 3, 5], [0.1, 0.3, 0.1235])
    """
    pairs = [(epoch, float(f"{value:.4g}")) for epoch, value in zip(*curve, strict=True) if isfinite(value)]
    if len(pairs) > points:
        pairs = [pairs[round(i * (len(pairs) - 1) / (points - 1))] for i in range(points)]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]

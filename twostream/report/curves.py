"""Reads the learning curves of many runs, compact enough for one page."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from math import isfinite
from operator import itemgetter
from pathlib import Path

POINTS = 60  # most points of a curve; longer ones are thinned

Curve = tuple[list[int], list[float]]  # epochs from 1, values


def run_curves(folder: Path, names: Sequence[str]) -> dict[str, Curve]:
    """Returns the curves of a run.

    With refit=true all videos train in the end; then `selection/` in the run's folder has the validation curves.
    """
    chosen = read_curves(folder / "selection" / "metrics.csv", [name for name in names if name.startswith("val/")])
    return read_curves(folder / "metrics.csv", names) | chosen


def read_curves(metrics_csv: Path, names: Sequence[str]) -> dict[str, Curve]:
    """Returns those of the named metrics that the file has; nothing if it is absent or not yet written.

    Reads no more columns than needed: a long run logs thousands of steps.
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
            chosen = itemgetter(*columns, *columns)  # twice: for a single column it would return no tuple
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
    """Returns evenly spread epochs, with the first and the last, and values of four digits; drops what is not finite.

    >>> thin(([1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.4, 0.123456]), points=3)
    ([1, 3, 5], [0.1, 0.3, 0.1235])
    """
    pairs = [(epoch, float(f"{value:.4g}")) for epoch, value in zip(*curve, strict=True) if isfinite(value)]
    if len(pairs) > points:
        pairs = [pairs[round(i * (len(pairs) - 1) / (points - 1))] for i in range(points)]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]

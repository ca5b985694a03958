"""`report.html`: one page that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twostream.report.build import Report
from twostream.report.column import Column
from twostream.report.columns import cell_columns, group_columns, note
from twostream.report.confusion import Confusion, group_confusion
from twostream.report.contributions import as_data
from twostream.report.curves import run_curves
from twostream.report.escape import script_json
from twostream.report.groups import label
from twostream.report.notes import headline, notes
from twostream.report.pooled import NOTE, TITLE

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("elements", "table", "pivot", "chart", "curves", "confusion", "contributions", "main")
MATRICES = 8  # groups whose confusions are shown: the best, and the one that others are compared with
POINTS = 120_000  # of all learning curves together, about 1 MB; with more, only the metric's own curves are shown


def as_html(report: Report) -> str:
    """Returns the page, with its data inside; reads the runs' metrics.csv and test_scores.npz."""
    parts = {
        "TITLE": html.escape(f"{report.sweep.name}: report"),
        "STYLE": (PAGE / "style.css").read_text(encoding="utf-8"),
        "DATA": script_json(page_data(report)),
        "SCRIPT": "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS),
    }
    template = (PAGE / "page.html").read_text(encoding="utf-8")
    pieces = template.split("@@")  # text @@NAME@@ text …; not by replacing: the data may contain such words
    return "".join(parts[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def page_data(report: Report) -> dict[str, Any]:
    """Returns what the scripts draw. Texts are made here, so that all formats say the same."""
    cells = report.sweep.cells
    means = [row.group.mean for row in report.rows if row.group.mean is not None]
    positions = {id(cell): index for index, cell in enumerate(cells)}
    return {
        "title": report.sweep.name,
        "command": report.sweep.command,
        "headline": headline(report),
        "states": report.states,
        "fixed": label(report.fixed) if report.fixed else "",
        "metric": report.metric.title,
        "lower": report.metric.lower_is_better,
        "range": [report.metric.text(end) for end in (min(means), max(means))] if means else [],
        "notes": notes(report),
        "axes": {axis: report.sweep.axes[axis] for axis in report.axes},
        "pivot": report.pivot_axes,
        "groups": [
            {
                "label": row.group.label,
                "values": list(row.group.axes.values()),
                "best": row.best,
                "mean": row.group.mean,
                "text": report.metric.mean_std(row.group.mean, row.group.std),
                "lack": "" if row.group.complete else f"n={row.group.n}; {row.group.states}",
                "cells": [positions[id(cell)] for cell in row.group.cells],
                "place": row.place,
            }
            for row in report.rows
        ],
        "groupTable": _table(group_columns(report)),
        "cellTable": _table(cell_columns(report)),
        "folds": {"title": TITLE, "table": _table(report.folds), "note": NOTE} if report.folds else None,
        "cells": [
            {"name": c.name, "label": label(c.overrides) if c.overrides else c.name, "state": c.state, "note": note(c)}
            for c in cells
        ],
        "curves": _curves(report),
        "confusions": _confusions(report),
        "contributions": as_data(report),
    }


def _table(columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [{"title": c.title, "number": c.is_number, "texts": c.texts, "keys": _finite(c.keys)} for c in columns]


def _finite(keys: Sequence[Any]) -> list[Any]:
    return [None if isinstance(key, float) and not np.isfinite(key) else key for key in keys]


def _curves(report: Report) -> dict[str, Any]:
    """Returns {metric: {position of the cell: curve}}; unfinished runs have curves, too."""
    own = f"val/{report.metric.name.rsplit('/', 1)[-1]}"
    names = list(dict.fromkeys([own, "val/top1", "val/loss", "train/loss"]))
    found = [run_curves(cell.folder, names) if cell.folder else {} for cell in report.sweep.cells]
    if sum(len(curve[0]) for curves in found for curve in curves.values()) > POINTS:
        names = [own if any(own in curves for curves in found) else "val/top1"]
    curves = {name: {index: curves[name] for index, curves in enumerate(found) if name in curves} for name in names}
    return {name: of_cells for name, of_cells in curves.items() if of_cells}


def _confusions(report: Report) -> list[dict[str, Any]]:
    shown = [*range(len(report.rows))][:MATRICES]
    if report.reference is not None and report.reference not in shown:
        shown.append(report.reference)
    matrices = [(index, group_confusion(report.rows[index].group.cells)) for index in shown]
    return [_matrix(report, index, matrix) for index, matrix in matrices if matrix is not None]


def _matrix(report: Report, index: int, matrix: Confusion) -> dict[str, Any]:
    filled = np.argwhere(matrix.counts)
    return {
        "label": report.rows[index].group.label,
        "runs": matrix.runs,
        "planned": len(report.rows[index].group.cells),
        "classes": matrix.classes,
        "counts": [[int(true), int(predicted), int(matrix.counts[true, predicted])] for true, predicted in filled],
    }

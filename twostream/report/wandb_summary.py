"""Logs the comparison to W&B: a table and a bar chart, in one run beside those of the sweep's cells."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twostream.files.json_yaml import read_yaml
from twostream.report.build import Report
from twostream.report.compare import TESTS
from twostream.runs.sweep import Cell
from twostream.training.wandb_account import usual_mode

MODES = ("off", "auto", "offline", "online")
COLUMNS = (
    "setting",
    "mean",
    "std",
    "n",
    "planned",
    "without a result",
    "best",
    "difference",
    "low",
    "high",
    *(f"p {test}" for test in TESTS),  # corrected
    "paper",
    "parameters",
    "flops",
)


def wandb_mode(wanted: str | None, cells: Sequence[Cell]) -> str:
    """Returns "off", "offline" or "online".

    Unless `wanted` says otherwise, only sweeps whose cells are in W&B are logged, in the usual mode. Raises ValueError
    for an unknown `wanted`.
    """
    if wanted is not None and wanted not in MODES:
        raise ValueError(f"wandb={wanted!r}: choose from {', '.join(MODES)}")
    wanted = wanted or ("auto" if any(cell.folder and (cell.folder / "wandb").is_dir() for cell in cells) else "off")
    if wanted != "auto":
        return wanted
    mode = usual_mode()
    return "off" if mode == "disabled" else mode


def log_summary(report: Report, folder: Path, *, mode: str) -> None:
    """Logs a W&B run that is named after the sweep, in the sweep's group and project.

    It never prompts: offline it is written into `folder`.
    """
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    name = report.sweep.name
    run = wandb.init(
        project=_project(report.sweep.cells),
        group=name,
        name=f"{name} report",
        job_type="report",
        dir=str(folder),
        mode="online" if mode == "online" else "offline",
        reinit="create_new",
    )
    try:
        title = f"{report.metric.name} over {' and '.join(report.over)}" if report.over else report.metric.name
        rows: Any = summary_rows(report)  # what wandb takes depends on whether pandas is installed
        table = wandb.Table(columns=list(COLUMNS), data=rows, allow_mixed_types=True)
        means = [row[:2] for row in rows if row[1] is not None]
        bars = wandb.Table(columns=["setting", "mean"], data=means)
        run.log({"report/settings": table, "report/means": wandb.plot.bar(bars, "setting", "mean", title=title)})
        run.summary.update(
            {"report/runs": len(report.sweep.cells), **{f"report/{k}": n for k, n in report.states.items()}}
        )
    finally:
        run.finish()


def summary_rows(report: Report) -> list[list[Any]]:
    """Returns the values of COLUMNS, a row for each group."""
    rows = []
    for row in report.rows:
        group = row.group
        names = ("difference", "low", "high", *(f"p_{test}_holm" for test in TESTS))
        compared = [row.comparison and getattr(row.comparison, name) for name in names]
        costs = [group.cost(name) for name in COLUMNS[-2:]]
        paper = row.printed.accuracy if row.printed else None
        counts = [len(group.values), len(group.cells), group.states, row.best]
        rows.append([group.label, group.mean, group.std, *counts, *compared, paper, *costs])
    return rows


def _project(cells: Sequence[Cell]) -> str:
    """Returns the W&B project of the cells, or "twostream"."""
    for folder in (cell.folder for cell in cells if cell.folder):
        try:
            return str(read_yaml(folder / "config.yaml")["logger"]["wandb"]["project"])
        except (ValueError, KeyError, TypeError):
            continue
    return "twostream"

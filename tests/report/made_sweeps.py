"""Sweeps whose numbers a test knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from twostream.files.lock import Claim
from twostream.metrics.scores import Scores
from twostream.report import Report, write_reports
from twostream.runs.sweep import Cell, Sweep

CHOICES = {
    "data": "moving_patterns",
    "backbone": "tiny",
    "backbone@flow_backbone": None,
    "fusion": "conv",
    "temporal": "pool3d",
    "pooling": "native",
    "attention": "none",
}


def results(top1: float, **others: Any) -> dict[str, Any]:
    """A results.json."""
    return {
        "choices": CHOICES,
        "layer": "conv5",
        "split": 1,
        "seed": 0,
        "metrics": {"test/loss": 1 - top1, "test/top1": top1},
        "unreadable": {},
        "leaked": 0,
        "parameters": 162_912,
        "flops": 41_062_400,
        "seconds": 139.13,
        **others,
    }


def sweep(axes: Mapping[str, Sequence[str]], value: Callable[..., float | str], folder: Path = Path("sweep")) -> Sweep:
    """Every combination; `value(*its values)` is its top-1, or the state it is in."""
    cells = []
    for number, values in enumerate(product(*axes.values())):
        found = value(*values)
        state = found if isinstance(found, str) else "finished"
        results_json = None if isinstance(found, str) else results(found)
        error = "ValueError: no such file" if state == "failed" else None
        run = None if state == "missing" else folder / str(number)
        cells.append(Cell(str(number), run, dict(zip(axes, values, strict=True)), state, results_json, error))
    command = "python train.py -m " + " ".join(f"{axis}={','.join(values)}" for axis, values in axes.items())
    return Sweep(folder, command, {axis: tuple(values) for axis, values in axes.items()}, tuple(cells))


def write(made: Sweep, *, epochs: int = 0, classes: Sequence[str] = (), steps: int = 5) -> list[Claim]:
    """Its plan and run folders, with curves of so many epochs and scores of four videos a class; holds running ones."""
    generator, claims = np.random.default_rng(0), []
    for cell in made.cells:
        if cell.folder is None:
            continue
        cell.folder.mkdir(parents=True)
        (cell.folder / "overrides.json").write_text(json.dumps(list(map("=".join, cell.overrides.items()))))
        if cell.results is not None:
            (cell.folder / "results.json").write_text(json.dumps(cell.results))
        if cell.error is not None:
            (cell.folder / "error.txt").write_text(f"{cell.error}\n")
        if cell.state == "running":
            claims.append(Claim(cell.folder / "results.json"))
            assert claims[-1].take()
        end = cell.results["metrics"]["test/top1"] if cell.results else 0.6
        if epochs:
            write_curves(cell.folder / "metrics.csv", epochs if cell.results else epochs // 2, end, steps, generator)
        if classes and cell.results is not None:
            write_scores(cell.folder / "test_scores.npz", classes, end, generator)
    plan = {"command": made.command, "axes": made.axes, "cells": [dict(cell.overrides) for cell in made.cells]}
    (made.folder / "ledger.json").write_text(json.dumps(plan))
    return claims


def write_curves(path: Path, epochs: int, end: float, steps: int, generator: np.random.Generator) -> None:
    """As Lightning writes them: rows of steps, of validation and of training."""
    lines = ["epoch,lr-AdamW,step,test/top1,train/loss,train/loss_step,train/top1,val/loss,val/top1"]
    for epoch in range(epochs):
        top1 = end * (1 - np.exp(-3 * (epoch + 1) / epochs)) + generator.normal(0, 0.01)
        lines += [f"{epoch},,{epoch * steps + step},,,{2.8 - top1},,," for step in range(steps)]
        lines.append(f"{epoch},,{epoch * steps},,,,,{1.2 * (1 - top1)},{top1}")
        lines.append(f"{epoch},,{epoch * steps},,{1 - top1},,{top1},,")
    path.write_text("\n".join(lines) + "\n")


def write_scores(path: Path, classes: Sequence[str], top1: float, generator: np.random.Generator) -> None:
    """Scores that are right about as often as top-1 says."""
    labels = np.repeat(np.arange(len(classes)), 4)
    logits = generator.random((len(labels), len(classes)), dtype=np.float32)
    right = generator.random(len(labels)) < top1
    logits[right, labels[right]] += 1
    save_scores(path, labels, logits, classes)


def save_scores(path: Path, labels: Sequence[int], logits: np.ndarray, classes: Sequence[str]) -> None:
    """As train.py leaves them."""
    videos = tuple(f"v{i:06}" for i in range(len(labels)))
    described = {"protocol": "train", "checkpoint": "", "data": "folder", "split": 1, "part": "test"}
    Scores(videos, np.array(labels), logits, tuple(classes), **described).save(path)  # type: ignore[arg-type]


def write_report(folder: Path, **options: Any) -> Report:
    """Writes the report of a folder whose runs are one table."""
    [report] = write_reports(folder, **options).values()
    return report

"""Learning curves, confusion matrices and reliability diagrams as PNG files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

from twostream.files.atomic import atomic_file
from twostream.files.errors import printable
from twostream.metrics import Calibration


def read_curves(metrics_csv: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Returns {metric: (epochs, values)} from Lightning's metrics.csv, without per-step values; epochs count from 1.

    Raises ValueError or OSError if the file cannot be read.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    try:
        with metrics_csv.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and row.get("epoch") and "/" in (name or "") and not name.endswith("_step"):
                        epochs, values = curves.setdefault(name, ([], []))
                        epochs.append(float(row["epoch"]) + 1)
                        values.append(float(value))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{metrics_csv}: cannot be read ({error})") from None
    return curves


def save_figure(figure: Figure, path: Path, *, dpi: int = 120) -> None:
    """Saves a figure as a PNG file, whole or not at all."""
    with atomic_file(path) as aside:
        figure.savefig(aside, dpi=dpi, format="png")


def save_learning_curves(curves: dict[str, tuple[list[float], list[float]]], path: Path) -> None:
    """Draws loss and accuracies over epochs, training against validation."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for stage, style in (("train", "--"), ("val", "-")):
        for metric, axes in (
            ("loss", loss),
            ("top1", accuracy),
            ("top5", accuracy),
            ("mean_class", accuracy),
            ("map", accuracy),
        ):
            if f"{stage}/{metric}" in curves:
                epochs, values = curves[f"{stage}/{metric}"]
                colour = {"loss": "C0", "top1": "C0", "top5": "C1", "mean_class": "C2", "map": "C0"}[metric]
                axes.plot(
                    epochs,
                    values,
                    style,
                    color=colour,
                    marker=".",
                    label=f"{stage} {metric.replace('_', ' ')}",
                )
    loss.set(xlabel="epoch", ylabel="cross-entropy loss", ylim=(0, None))
    accuracy.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False)
    save_figure(figure, path)


def plain_text(text: str) -> str:
    r"""Escapes a name for matplotlib, which reads text between two $ as a formula and cannot draw every character.

    >>> plain_text("$x$\n\udcff")
    '\\$x\\$ ?'
    """
    return printable(text).replace("$", r"\$")


def save_confusion_matrix(counts: Int[np.ndarray, "k k"], classes: tuple[str, ...], path: Path) -> None:
    """Draws a confusion matrix with a row for each true class.

    The colour is the share of the class's videos, the number their count (with up to 30 classes).
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(16.0, max(4.0, 1.6 + 0.32 * len(classes)))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    size = 9 if len(classes) <= 30 else 5
    names = [plain_text(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(classes)), names, fontsize=size)
    axes.set(xlabel="predicted class", ylabel="true class")
    if len(classes) <= 30:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    save_figure(figure, path)


def save_reliability(found: Calibration, path: Path) -> None:
    """Draws a reliability diagram: each bin's accuracy over its mean confidence, and its number of videos."""
    num_bins = len(found.count)
    left = np.arange(num_bins) / num_bins
    figure = Figure(figsize=(4.6, 5.6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.bar(
        left, np.nan_to_num(found.accuracy), 1 / num_bins, align="edge", color="C0", edgecolor="white", label="accuracy"
    )
    axes.plot([0, 1], [0, 1], "--", color="gray", label="calibrated")
    axes.plot(found.confidence, found.accuracy, "o", color="C1", label="at the bin's mean confidence")
    axes.set(
        ylabel="accuracy",
        xlim=(0, 1),
        ylim=(0, 1.02),
        title=f"{found.count.sum():,} videos, ECE {100 * found.error:.2f} %",
    )
    axes.legend(frameon=False, loc="upper left")
    below.bar(left, found.count, 1 / num_bins, align="edge", color="C2", edgecolor="white")
    below.set(xlabel="confidence", ylabel="videos")
    save_figure(figure, path)


def save_bars(rows: Mapping[str, tuple[float, float, float]], path: Path, *, label: str, title: str) -> None:
    """Draws {name: (value, low, high)}, shares, as bars in per cent with their intervals, from top to bottom."""
    figure = Figure(figsize=(7.5, 1.2 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (value, low, high) in enumerate(rows.values()):
        axes.barh(place, 100 * value, 0.6, color="C0" if value >= 0 else "C3")
        axes.hlines(place, 100 * low, 100 * high, "black", linewidth=1)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [plain_text(name) for name in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=label, title=plain_text(title))
    axes.grid(axis="x", alpha=0.3)
    save_figure(figure, path)

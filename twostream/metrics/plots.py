"""Learning curves, confusion matrices and reliability diagrams as PNG files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from twostream.files.atomic import atomic_file
from twostream.files.errors import printable
from twostream.metrics import Calibration

BLUE, VERMILION, GREEN, ORANGE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#e69f00",
)  # told apart by the colour-blind (Okabe, Ito)
MARKS = 20  # most markers of a curve
LINES: dict[str, tuple[str, Any, float, str, float]] = {  # curve: (colour, dashes, width, marker, its size), drawn so
    "val/loss": (BLUE, "-", 3, "o", 7),
    "train/loss": (VERMILION, "--", 1.8, "s", 5),
    "val/top1": (BLUE, "-", 3, "o", 9),
    "val/map": (BLUE, "-", 3, "o", 9),
    "val/mean_class": (ORANGE, (0, (3, 2)), 2, "^", 6),
    "train/top1": (VERMILION, (0, (6, 4)), 1.8, "s", 4),
    "val/top5": (GREEN, (0, (1, 2)), 2, "D", 5),
    "train/top5": ("black", (0, (6, 2, 1, 2)), 1, "x", 5),
}


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


def save_learning_curves(curves: dict[str, tuple[list[float], list[float]]], path: Path, *, title: str = "") -> None:
    """Draws loss and accuracies over epochs, training against validation; `title` says of which run."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    draw_curves(loss, {name: curve for name, curve in curves.items() if name.endswith("/loss")})
    draw_curves(accuracy, {name: curve for name, curve in curves.items() if not name.endswith("/loss")})
    is_mean = "val/map" in curves
    loss.set_ylabel("loss", fontsize=12)
    accuracy.set_ylabel("mean average precision" if is_mean else "accuracy", fontsize=12)
    losses = [value for line in loss.lines for value in np.asarray(line.get_ydata(), float) if np.isfinite(value)]
    loss.set_ylim(0, 1.05 * max(losses, default=1.0) or 1.0)
    accuracy.set_ylim(0, 1.03)
    figure.suptitle(plain_text(title), fontsize=13, wrap=True)
    save_figure(figure, path)


def draw_curves(axes: Axes, curves: Mapping[str, tuple[list[float], list[float]]]) -> None:
    """Draws curves over whole epochs, each in its own colour, dashes and marker, with the legend at the right.

    Later ones are thinner and dashed, so that a line below is seen where two are equal.
    """
    shown = {name: curves[name] for name in LINES if name in curves}
    for name, (epochs, values) in shown.items():
        colour, dashes, width, marker, size = LINES[name]
        every = max(1, len(epochs) // MARKS)
        axes.plot(
            epochs,
            values,
            color=colour,
            linestyle=dashes,
            linewidth=width,
            marker=marker,
            markersize=size,
            markevery=every,
            label=name.replace("/", " ").replace("_", " "),
        )
    ends = [epoch for epochs, _ in shown.values() for epoch in (epochs[0], epochs[-1])] or [1]
    room = 0.04 * (max(ends) - min(ends)) or 0.5
    axes.set_xlim(min(ends) - min(room, 0.5), max(ends) + room)  # no epoch 0
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=8))
    axes.set_xlabel("epoch", fontsize=12)
    axes.tick_params(labelsize=12)
    axes.grid(alpha=0.3)
    if shown:
        axes.legend(frameon=False, fontsize=12, loc="upper left", bbox_to_anchor=(1, 1), handlelength=3)


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

"""Draws one picture of a whole video: what was seen and where, and how sure the network was over time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twostream.data.windows import View, Window
from twostream.explain.overlay import stream_picture
from twostream.explain.pictures import Column, column_rows, draw_columns
from twostream.metrics.plots import plain_text, save_figure
from twostream.prediction.output import UNSURE
from twostream.prediction.predictor import Prediction, Seen, best, near_chance
from twostream.prediction.window_sample import WindowSample

COLUMNS, LEAST_COLUMNS = 6, 3
CLASSES = 5  # in the plot over time


def save_sheet(sample: WindowSample, prediction: Prediction, path: Path, *, view: View) -> None:
    """Draws columns spread over the video, above the probabilities over time; written aside, then renamed."""
    columns = [sheet_column(prediction, window, seen, view) for window, seen in sample.spread(COLUMNS)]
    rows = len(column_rows(columns[0]))
    places = max(LEAST_COLUMNS, len(columns))
    figure = Figure(figsize=(1.4 + 1.7 * places, 1.75 * rows + 3.2), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.75 * rows + 0.6, 2.6))
    above, below = parts
    grid = above.subplots(rows, places, squeeze=False)
    draw_columns(grid, columns)
    for axes in grid[:, len(columns) :].flat:
        axes.set_axis_off()
    draw_confidence(below.subplots(), prediction)
    figure.suptitle(sheet_title(prediction), fontsize=11)
    save_figure(figure, path, dpi=110)


def sheet_title(prediction: Prediction) -> str:
    """Names the video and its most probable class, or says that the network is not sure."""
    label, score = prediction.top(1)[0]
    told = f"{UNSURE}\nmost probable: {label} {score:.2f}" if prediction.unsure else f"{label} {score:.2f}"
    return "\n".join(map(plain_text, f"{os.path.basename(prediction.video)}: {told}".splitlines()))


def sheet_column(prediction: Prediction, window: Window, seen: Seen, view: View) -> Column:
    """Returns the column for the chunk in the middle of a window."""
    middle = len(window.shown) // 2
    second = sum(window.seconds) / 2
    unsure = "not sure: " * (prediction.thresholds is None and near_chance(seen.scores[None]))
    return Column(
        f"{second:.1f} s\n{unsure}{plain_text(prediction.classes[seen.label])} {seen.scores[seen.label]:.2f}",
        pictures_at(window, middle, view),
        {name: map_[middle] for name, map_ in seen.maps.items()},
        {name: float(map_.max()) for name, map_ in seen.maps.items()},
    )


def pictures_at(window: Window, place: int, view: View) -> dict[str, np.ndarray]:
    """Returns {stream: picture} of one chunk of a window."""
    shown = zip(view.streams, window.streams, strict=True)
    return {stream.name: stream_picture(stream, frames[place], view.flow.bound) for stream, frames in shown}


def draw_confidence(axes: Axes, prediction: Prediction) -> None:
    """Draws the probabilities of the best classes in every window."""
    middles = prediction.seconds.mean(1)
    for place, k in enumerate(best(prediction.overall, CLASSES)):
        axes.plot(
            middles,
            prediction.scores[:, k],
            marker=".",
            color=class_colour(k),
            linewidth=3.5 - 0.6 * place,  # so that a line below is seen where two are equal
            label=plain_text(prediction.classes[k]),
        )
    end = float(prediction.seconds.max())
    axes.set(xlabel="seconds", ylabel="probability", ylim=(-0.02, 1.02), xlim=(0, end or 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def class_colour(label: int) -> str:
    """Returns the colour of a class, the same in every picture; classes ten apart share one."""
    return f"C{label % 10}"

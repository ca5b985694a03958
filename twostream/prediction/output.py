"""Predictions as text, JSON and CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twostream.data.sources.source import BETWEEN
from twostream.files.atomic import atomic_file
from twostream.files.errors import printable
from twostream.files.spreadsheet import inert
from twostream.files.words import counted
from twostream.prediction.predictor import Prediction, best
from twostream.runs.results import write_json

UNSURE = "not sure: is this the kind of video it was trained on?"


def table(prediction: Prediction, top: int = 5) -> str:
    """Returns the best classes as text, with how sure the network was of them over time."""
    count, end = len(prediction.scores), float(prediction.seconds.max())
    name = os.fsencode(prediction.video).decode("utf-8", "replace")  # a name in another encoding cannot be printed
    classes = [printable(name) for name in prediction.classes]
    lines = [f"{printable(name)}: {counted(prediction.num_frames, 'frame')}, {end:.1f} s, {counted(count, 'window')}"]
    width = max(len(classes[k]) for k in best(prediction.overall, top))
    for k in best(prediction.overall, top):
        over_time = sparkline(prediction.scores[:, k])
        above = "" if prediction.thresholds is None else " *"[int(prediction.overall[k] > prediction.thresholds[k])]
        lines.append(f" {above or ' '}{classes[k]:<{width}}  {prediction.overall[k]:.3f}  {over_time}")
    if prediction.thresholds is not None:
        lines.append(f"  * above its threshold: {', '.join(map(printable, prediction.present())) or 'none'}")
    if prediction.unsure:
        lines.append(
            f"  {UNSURE} (best score of all windows {prediction.scores.max():.3f}, chance {1 / len(classes):.3f})"
        )
    return "\n".join(lines)


def sparkline(values: np.ndarray, width: int = 40) -> str:
    """Draws numbers from 0 to 1 over time as blocks, at most `width` of them.

    >>> sparkline(np.array([0, 0.5, 1.0]))
    '▁▅█'
    """
    parts = [part.mean() for part in np.array_split(values, min(width, len(values)))]
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value))] for value in parts)


def as_dict(prediction: Prediction, top: int = 5) -> dict[str, Any]:
    """Returns one video of the JSON file; scores are in the order of the file's `classes`."""
    return {
        "video": prediction.video,
        "frames": prediction.num_frames,
        "top": [{"class": name, "score": rounded(score)} for name, score in prediction.top(top)],
        **_present(prediction, prediction.overall),
        "scores": [rounded(score) for score in prediction.overall],
        "windows": [
            {
                "from_second": rounded(start),
                "to_second": rounded(end),
                "top": prediction.classes[int(scores.argmax())],
                **_present(prediction, scores),
                "scores": [rounded(score) for score in scores],
            }
            for (start, end), scores in zip(prediction.seconds, prediction.scores, strict=True)
        ],
    }


def _present(prediction: Prediction, scores: np.ndarray) -> dict[str, list[str]]:
    return {} if prediction.thresholds is None else {"present": prediction.present(scores)}


def save_json(
    path: Path,
    predictions: Sequence[Prediction],
    *,
    run: Path,
    classes: Sequence[str],
    failed: Mapping[str, str],
    top: int,
    thresholds: np.ndarray | None = None,
) -> None:
    """Writes all videos, and for those that could not be read the reason.

    Of several labels a video, also the `thresholds`, and which classes are above theirs.
    """
    content = {
        "run": str(run),
        "classes": list(classes),
        **({} if thresholds is None else {"thresholds": [rounded(threshold) for threshold in thresholds]}),
        "videos": [as_dict(prediction, top) for prediction in predictions],
        "failed": dict(failed),
    }
    write_json(path, content)


def save_csv(path: Path, predictions: Sequence[Prediction], classes: Sequence[str], *, multi: bool = False) -> None:
    """Writes a row for each window (counted from 0) and one, `all`, for the whole video; a column for each class.

    With `multi`, of several labels a video, a column `present` has the classes above their thresholds, as `run;wave`.
    """
    with atomic_file(path) as aside, aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        present = ["present"] if multi else []
        writer.writerow(["video", "window", "from_second", "to_second", "top", *present, *map(inert, classes)])
        for prediction in predictions:
            ends = [prediction.seconds.min(), prediction.seconds.max()]
            rows = [("all", ends, prediction.overall)]
            rows += [(i, *row) for i, row in enumerate(zip(prediction.seconds, prediction.scores, strict=True))]
            for name, seconds, scores in rows:
                numbers = [rounded(number) for number in (*seconds, *scores)]
                found = [BETWEEN.join(prediction.present(scores))] if multi else []
                row = [prediction.video, name, *numbers[:2], classes[int(scores.argmax())], *found, *numbers[2:]]
                writer.writerow(map(inert, row))


def rounded(number: float) -> float:
    """Rounds to six digits behind the point."""
    return round(float(number), 6)

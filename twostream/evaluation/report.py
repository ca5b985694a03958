"""Writes the results of an evaluation to `RUN_DIR/evaluation/<protocol>-<part>/`, and as a table for the console."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from twostream.evaluation.evaluate import Outcome
from twostream.files.atomic import atomic_folder
from twostream.files.spreadsheet import inert
from twostream.files.words import counted
from twostream.metrics import (
    BINS,
    Calibration,
    calibration,
    class_accuracies,
    class_f1,
    confused_pairs,
    confusion_of,
    count_right,
)
from twostream.metrics.multi_label import HALF, class_numbers
from twostream.metrics.plots import save_confusion_matrix, save_reliability
from twostream.metrics.scores import Scores
from twostream.metrics.table import metrics_of, metrics_table
from twostream.runs.results import write_json

ECE = f"{BINS} bins of equal width, of the largest class probability (Guo et al. 2017, equation 3)"
SHOWN = 5  # how many of the most confused pairs


def summary(outcome: Outcome, metrics: Mapping[str, float]) -> str:
    """Returns a short table for the console."""
    scores = outcome.scores
    lines = [title(outcome), metrics_table({scores.protocol: metrics}, "protocol")]
    lines += [about_thresholds(scores)] if scores.multi else most_confused(scores)
    return "\n".join([*lines, *remarks(outcome)])


def title(outcome: Outcome) -> str:
    """Says what was scored."""
    scores, views = outcome.scores, counted(outcome.views, "view")
    return (
        f"{scores.data} split {scores.split}, {scores.part}: {counted(len(scores.videos), 'video')} × {views}, "
        f"{outcome.seconds:.1f} s; accuracies in %"
    )


def remarks(outcome: Outcome) -> list[str]:
    """Returns what a reader of the numbers has to know."""
    lines = [*outcome.notes]
    if outcome.unreadable:
        lines.append(f"{counted(len(outcome.unreadable), 'video')} could not be read: left out (broken=skip)")
    if outcome.leaked:
        lines.append(f"WARNING: the weights were trained on {outcome.leaked} of the videos (--allow-leak)")
    return [*lines, *(f"WARNING: {caution}" for caution in outcome.cautions)]


def most_confused(scores: Scores) -> list[str]:
    """Returns a line with the pairs of classes that are taken for each other most often, if there are any."""
    mistakes = confused_pairs(confusion_of(scores.logits, scores.labels))
    shown = [f"{scores.classes[p.true]} as {scores.classes[p.predicted]} {p.count}/{p.of}" for p in mistakes[:SHOWN]]
    return ["most confused: " + ", ".join(shown)] if shown else []


def about_thresholds(scores: Scores) -> str:
    """Says at which thresholds F1 is, of several labels a video."""
    chosen = "one half for each class" if scores.thresholds is None else "chosen on validation videos"
    return f"F1 at thresholds of the probability: {chosen}"


def mean_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the mean of each metric over the rows, as papers report three splits.

    All rows count the same, whatever their number of videos.
    """
    return {name: sum(metrics[name] for metrics in rows) / len(rows) for name in rows[0]}


def write_evaluation(outcome: Outcome, out: Path) -> tuple[Path, dict[str, float]]:
    """Writes a folder in `out`; returns its path and the metrics.

    The folder is written aside, then renamed, and replaces an earlier one.
    """
    scores = outcome.scores
    metrics = metrics_of(scores)
    name = folder_name(outcome)
    with atomic_folder(out / name) as folder:
        scores.save(folder / "scores.npz")
        write_json(folder / "metrics.json", described(outcome, metrics))
        if scores.multi:
            write_csv(folder / "classes.csv", label_rows(scores))
        else:
            write_confusion(scores, folder)
    return out / name, metrics


def folder_name(outcome: Outcome) -> str:
    """Returns the name of the folder of an evaluation: its protocol, part, another split than the run's, a leak."""
    scores = outcome.scores
    split = "" if outcome.own_split else f"-split{scores.split}"
    return f"{scores.protocol}-{scores.part}{split}{'-leaked' if outcome.leaked else ''}"


def write_confusion(scores: Scores, folder: Path) -> None:
    """Writes what is right and what is confused, and how sure the network is of it, of one label a video."""
    confusion = confusion_of(scores.logits, scores.labels)
    write_csv(folder / "classes.csv", class_rows(scores))
    write_csv(folder / "confused.csv", confused_rows(confusion, scores.classes))
    header = ["true \\ predicted", *scores.classes]
    matrix = ([one, *row] for one, row in zip(scores.classes, confusion.tolist(), strict=True))
    write_csv(folder / "confusion_matrix.csv", (dict(zip(header, row, strict=True)) for row in matrix))
    save_confusion_matrix(confusion, scores.classes, folder / "confusion_matrix.png")
    found = calibration(scores.logits, scores.labels)
    write_csv(folder / "calibration.csv", calibration_rows(found))
    save_reliability(found, folder / "reliability.png")


def described(outcome: Outcome, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Returns the content of metrics.json."""
    scores = outcome.scores
    thresholds = None if scores.thresholds is None else scores.thresholds.tolist()
    return {
        "metrics": dict(metrics),
        "videos": len(scores.videos),
        "views": outcome.views,
        "seconds": round(outcome.seconds, 2),
        **{name: getattr(scores, name) for name in ("protocol", "part", "data", "split", "mirror", "checkpoint")},
        "notes": outcome.notes,
        "leaked": outcome.leaked,
        "unreadable": outcome.unreadable,
        "cautions": outcome.cautions,
        **({"thresholds": thresholds} if scores.multi else {"ece": ECE}),
    }


def label_rows(scores: Scores) -> Iterator[dict[str, Any]]:
    """Yields one row for each class, of several labels a video; precision is empty for a class never predicted."""
    found = class_numbers(scores.logits, scores.labels, scores.thresholds)
    thresholds = np.full(len(scores.classes), HALF) if scores.thresholds is None else scores.thresholds
    for label, name in enumerate(scores.classes):
        positives, predicted, right = (int(counts[label]) for counts in found[:3])
        yield {
            "class": name,
            "videos": positives,
            "average_precision": number(found.average_precision[label]),
            "threshold": number(thresholds[label]),
            "predicted": predicted,
            "correct": right,
            "precision": number(right / predicted if predicted else math.nan),
            "recall": number(right / positives if positives else math.nan),
            "f1": number(found.f1[label] if positives else math.nan),
        }


def class_rows(scores: Scores) -> Iterator[dict[str, Any]]:
    """Yields one row for each class, in the order of labels; accuracies are empty for a class without videos."""
    confusion = confusion_of(scores.logits, scores.labels)
    counted = count_right(scores.logits, scores.labels)
    top1, top5, f1 = class_accuracies(counted, "top1"), class_accuracies(counted, "top5"), class_f1(counted)
    most = {}
    for pair in confused_pairs(confusion):
        most.setdefault(pair.true, pair)
    for label, name in enumerate(scores.classes):
        pair = most.get(label)
        yield {
            "class": name,
            "videos": int(counted.videos[label]),
            "correct": int(counted.right["top1"][label]),
            "top1": number(top1[label]),
            "top5": number(top5[label]),
            "f1": number(f1[label]),
            "predicted": int(confusion[:, label].sum()),
            "most_confused_with": scores.classes[pair.predicted] if pair else "",
            "so_many": pair.count if pair else "",
        }


def confused_rows(confusion: Int[np.ndarray, "k k"], classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "true": classes[pair.true],
            "predicted": classes[pair.predicted],
            "videos": pair.count,
            "of": pair.of,
            "share": number(pair.count / pair.of),
        }
        for pair in confused_pairs(confusion)
    ] or [dict.fromkeys(("true", "predicted", "videos", "of", "share"), "")]


def calibration_rows(found: Calibration) -> Iterator[dict[str, Any]]:
    """Yields one row for each bin."""
    num_bins = len(found.count)
    for index in range(num_bins):
        yield {
            "above": number(index / num_bins),
            "up_to": number((index + 1) / num_bins),
            "videos": int(found.count[index]),
            "confidence": number(found.confidence[index]),
            "accuracy": number(found.accuracy[index]),
        }


def number(value: Any) -> str:
    """Formats a number for a CSV file; NaN becomes an empty field.

    >>> number(0.5), number(float("nan"))
    ('0.500000', '')
    """
    return "" if math.isnan(value) else f"{float(value):.6f}"


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows below a header, the keys of the first one; names of files in them need not be UTF-8."""
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(map(inert, row) for row in (rows[0], *(row.values() for row in rows)))

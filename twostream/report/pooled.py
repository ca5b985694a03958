"""The scores of all folds of a data set together: one test of all videos, each of them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from twostream.data.sources.split_file import FOLD, Row, read_csv
from twostream.files.words import counted
from twostream.metrics import ranks
from twostream.metrics.intervals import DRAWS, SHARE, Number, draws_of_groups, outer, over_classes, share
from twostream.report.build import Report
from twostream.report.column import Column, words
from twostream.report.groups import Group, averaged_over, group_cells
from twostream.report.metric import Metric
from twostream.report.run_scores import scores_of
from twostream.report.statistics import sample_std
from twostream.runs.sweep import Cell

TITLE = "Every video tested once"
NOTE = (
    "All folds together: each video is judged by the network that was not trained on its fold, and a class counts with "
    "all of its videos, whichever folds it is absent from. The mean over seeds, ± their standard deviation; in "
    f"brackets the 95 % interval over test videos, for these runs: the outer ends of {DRAWS:,} samples of whole groups "
    "within each class and of Wilson's formula, or, for a mean over classes, Zou and Donner's."
)
NAMED = 5  # most folds that are named
METRICS = (Metric("test/top1"), Metric("test/mean_class"))


class Whole(NamedTuple):
    """One test of all videos: whether each is right, its class, and its group."""

    right: Float[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    groups: tuple[str, ...]


class Setting(NamedTuple):
    """A row of the comparison: a test of all videos for each seed that has all folds, and what the others lack."""

    group: Group
    wholes: tuple[Whole, ...]
    seeds: int
    lacks: str


def pooled_columns(report: Report) -> list[Column] | None:
    """Returns a table with a row for each setting; None if no run says which folds its data are in."""
    settings = _settings(report)
    if not settings:
        return None
    columns = [words(axis, [one.group.axes[axis] for one in settings]) for axis in settings[0].group.axes]
    videos = [len(one.wholes[0].labels) if one.wholes else None for one in settings]
    columns.append(Column("videos", tuple("" if n is None else f"{n:,}" for n in videos), tuple(videos)))
    counts = [len(one.wholes) for one in settings]
    told = [f"{n}" if n == one.seeds else f"{n}/{one.seeds}" for n, one in zip(counts, settings, strict=True)]
    columns.append(Column("seeds", tuple(told), tuple(counts)))
    numbers = [numbers_of(one.wholes) if one.wholes else None for one in settings]
    for index, metric in enumerate(METRICS):
        cells = [None if found is None else found[index] for found in numbers]
        stds = [sample_std([_values(whole)[index] for whole in one.wholes]) for one in settings]
        texts = ["—" if cell is None else _text(metric, cell, std) for cell, std in zip(cells, stds, strict=True)]
        columns.append(Column(f"pooled {metric.title}", tuple(texts), tuple(cell and cell.value for cell in cells)))
    return [*columns, words("lacks", [one.lacks for one in settings])] if any(s.lacks for s in settings) else columns


def _settings(report: Report) -> list[Setting]:
    over = averaged_over(report.sweep.axes)
    folds: dict[bytes, Mapping[str, Row]] = {}  # what split.csv says, by its content: most are alike
    of_cell = {id(cell): _folds(cell, folds) for cell in report.sweep.cells}
    found = []
    for group in group_cells(report.sweep, report.metric, over):
        contents = {content for cell in group.cells if (content := of_cell[id(cell)]) is not None}
        if not contents:
            continue
        seeds: dict[str, list[Cell]] = {}
        for cell in group.cells:
            named = " ".join(f"{axis}={cell.overrides.get(axis, '')}" for axis in over if axis != "split")
            seeds.setdefault(named, []).append(cell)
        if len(contents) > 1:
            found.append(Setting(group, (), len(seeds), "its runs are on different folds"))
            continue
        tests = {named: whole_of(cells, folds[min(contents)]) for named, cells in seeds.items()}
        lacks = [f"{named}: {one}" if named else one for named, one in tests.items() if isinstance(one, str)]
        wholes = tuple(one for one in tests.values() if isinstance(one, Whole))
        found.append(Setting(group, wholes, len(seeds), "; ".join(lacks)))
    return found


def _folds(cell: Cell, known: dict[bytes, Mapping[str, Row]]) -> bytes | None:
    """Returns the content of a run's split.csv, whose rows are then in `known`; None if it is not of folds."""
    if cell.folder is None:
        return None
    path = cell.folder / "split.csv"
    try:
        with path.open("rb") as file:
            head = file.readline()
            if FOLD not in head.decode().strip().split(","):
                return None
            content = head + file.read()
        if content not in known:
            known[content] = {row.id: row for row in read_csv(path, 1)}
    except (OSError, ValueError):  # gone, or damaged
        return None
    return content


def whole_of(cells: Sequence[Cell], rows: Mapping[str, Row]) -> Whole | str:
    """Returns the tests of the runs of one seed as one; or, if they are not one of all videos, what they lack."""
    scores = [found for cell in cells if (found := scores_of(cell)) is not None]
    if absent := sorted({row.fold for row in rows.values()} - {found.split for found in scores}):
        more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        return f"fold {', '.join(map(str, absent[:NAMED]))}{more} of {max(row.fold for row in rows.values())}"
    videos = [video for found in scores for video in found.videos]
    if len({*videos}) < len(videos):
        return f"{counted(len(videos) - len({*videos}), 'video was', 'videos were')} tested more than once"
    if missing := len(rows.keys() - {*videos}):
        return f"{missing} of {counted(len(rows), 'video')} {'has' if missing == 1 else 'have'} no scores"
    if {*videos} - rows.keys() or len({found.classes for found in scores}) > 1:
        return "its runs are on different videos or classes"
    if any(found.labels.ndim > 1 for found in scores):
        return "videos have several labels"
    right = np.concatenate([ranks(found.logits, found.labels) == 0 for found in scores])
    labels, order = np.concatenate([found.labels for found in scores]), np.argsort(videos)
    return Whole(right[order].astype(float), labels[order], tuple(rows[videos[place]].group for place in order))


def numbers_of(wholes: Sequence[Whole]) -> tuple[Number, Number]:
    """Returns (top-1, mean over classes), each the mean over seeds, with its interval over test videos."""
    values, labels = np.mean([whole.right for whole in wholes], axis=0), wholes[0].labels
    groups = np.asarray(wholes[0].groups)
    of_classes, sums, counts = [], [], []
    for label in np.unique(labels):  # one by one: the samples of all videos would take much memory
        own = np.flatnonzero(labels == label)
        drawn = draws_of_groups(labels[own], groups[own].tolist(), seed=int(label))
        of_classes.append(share(values[own]))
        sums.append(drawn @ values[own])
        counts.append(drawn.sum(1))
    low, high = np.percentile(np.sum(sums, axis=0) / np.sum(counts, axis=0), SHARE)
    top1 = share(values)
    top1 = Number(top1.value, *outer((float(low), float(high)), (top1.low, top1.high)))
    low, high = np.percentile(np.mean(np.divide(sums, counts), axis=0), SHARE)
    means = [number.value for number in of_classes]
    formula = over_classes(means, [(number.low, number.high) for number in of_classes])
    return top1, Number(float(np.mean(means)), *outer((float(low), float(high)), formula))


def _values(whole: Whole) -> tuple[float, float]:
    """Returns (top-1, mean over classes) of one seed."""
    classes = np.unique(whole.labels)
    return float(whole.right.mean()), float(np.mean([whole.right[whole.labels == one].mean() for one in classes]))


def _text(metric: Metric, number: Number, std: float | None) -> str:
    ends = " to ".join(metric.text(max(0.0, min(1.0, end))) for end in (number.low, number.high))
    return f"{metric.mean_std(number.value, std)} ({ends})"

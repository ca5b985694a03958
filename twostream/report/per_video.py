"""Reads what runs got right video by video, which comparisons over videos need, and which videos are alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from twostream.data.sources.split_file import read_csv
from twostream.metrics.accuracy import ranks
from twostream.report.metric import Metric
from twostream.report.run_scores import scores_of
from twostream.runs.sweep import Cell

PER_VIDEO = {"test/top1": 1, "test/mean_class": 1, "test/top5": 5}  # {metric: a video is right within so many classes}


class Marks(NamedTuple):
    """What each test video adds to a run's metric, which is their sum: its share if it is right, else 0."""

    run: str
    videos: tuple[str, ...]
    labels: Int[np.ndarray, " n"]
    right: Float[np.ndarray, " n"]
    shares: Float[np.ndarray, " n"]  # they sum to 1
    groups: tuple[str, ...] | None  # of each video; None if the run does not say
    split: int


class Unknown(NamedTuple):
    """Why a run has no marks, or two settings cannot be compared by them."""

    why: str


class Paired(NamedTuple):
    """What each group of videos adds to the mean difference of two settings, in each pair of their runs.

    Both arrays are divided by the number of pairs: the differences sum to the mean difference, the shares to 1. A group
    that was tested in a pair's split by no video has 0 there.
    """

    differences: Float[np.ndarray, "m g"]
    shares: Float[np.ndarray, "m g"]
    videos: int
    grouped: bool  # else each video is a group of its own, since the runs do not say which are alike

    @property
    def kind(self) -> tuple[str, str]:
        """What the groups are, in words: one of them, and several."""
        if not self.grouped:
            return "video (no split.csv says which are alike)", "videos (no split.csv says which are alike)"
        return ("group of videos", "groups of videos") if self.shares.shape[1] < self.videos else ("video", "videos")


def marks_of(cells: Iterable[Cell], metric: Metric) -> Mapping[str, Marks | Unknown]:
    """Returns {name of a finished run: its marks}.

    Only of accuracies: any other metric is no mean over videos. Groups are those of the split.csv beside a run.
    """
    splits: dict[tuple[bytes, int], Mapping[str, str]] = {}
    return {cell.name: _marks_of(cell, metric, splits) for cell in cells if cell.state == "finished"}


def _marks_of(cell: Cell, metric: Metric, splits: dict[tuple[bytes, int], Mapping[str, str]]) -> Marks | Unknown:
    if metric.name not in PER_VIDEO:
        return Unknown(f"{metric.name} is no mean over videos")
    if (scores := scores_of(cell)) is None:
        return Unknown(f"{cell.name} has no test_scores.npz that can be read")
    if scores.labels.ndim > 1:
        return Unknown(f"videos of {cell.name} have several labels")
    if not len(scores.videos):
        return Unknown(f"{cell.name} scored no video")
    counts = np.bincount(scores.labels)
    by_class = 1 / (counts[scores.labels] * (counts > 0).sum())
    shares = by_class if metric.name == "test/mean_class" else np.full(len(scores.videos), 1 / len(scores.videos))
    right = (ranks(scores.logits, scores.labels) < PER_VIDEO[metric.name]) * shares
    told = metric.of(cell)
    if told is None or abs(right.sum() - told) > 1e-5:
        return Unknown(
            f"test_scores.npz of {cell.name} gives {metric.text(right.sum())}, its results.json another number"
        )
    groups = _groups_of(cell, scores.split, scores.videos, splits)
    return Marks(cell.name, scores.videos, scores.labels, right, shares, groups, scores.split)


def _groups_of(
    cell: Cell, split: int, videos: Sequence[str], read: dict[tuple[bytes, int], Mapping[str, str]]
) -> tuple[str, ...] | None:
    """Returns the group of each video; None if split.csv is absent or damaged, or lacks one of them."""
    assert cell.folder is not None
    path = cell.folder / "split.csv"
    try:
        key = path.read_bytes(), split  # runs of one split have the same file, which is parsed once
        if key not in read:
            read[key] = {row.id: row.group for row in read_csv(path, split)}
        groups = read[key]
        return tuple(groups[video] or video for video in videos)
    except (OSError, ValueError, KeyError):
        return None


def pair(runs: Sequence[tuple[Marks | Unknown, Marks | Unknown]]) -> Paired | Unknown:
    """Pairs runs of two settings that share a seed and a split; at least one pair.

    Returns why not, if a run has no marks, or if two runs of one split were not tested on the same videos.
    """
    first: dict[int, Marks] = {}
    pairs: list[tuple[Marks, Marks]] = []
    for one, other in runs:
        for marks in (one, other):
            if isinstance(marks, Unknown):
                return marks
            seen = first.setdefault(marks.split, marks)
            if seen.videos != marks.videos or not np.array_equal(seen.labels, marks.labels):
                return Unknown(f"{seen.run} and {marks.run} were not tested on the same videos")
        pairs.append((one, other))  # type: ignore[arg-type]
    grouped = all(one.groups is not None for one, _ in pairs)
    names = [one.groups if grouped and one.groups else one.videos for one, _ in pairs]
    _, index = np.unique(np.concatenate(names), return_inverse=True)
    of_pairs = np.split(index, np.cumsum([len(one.videos) for one, _ in pairs])[:-1])
    sums = partial(np.bincount, minlength=index.max() + 1)
    differences = [sums(own, one.right - other.right) for own, (one, other) in zip(of_pairs, pairs, strict=True)]
    shares = [sums(own, one.shares) for own, (one, _) in zip(of_pairs, pairs, strict=True)]
    videos = sum(len(marks.videos) for marks in first.values())
    return Paired(np.array(differences) / len(pairs), np.array(shares) / len(pairs), videos, grouped)

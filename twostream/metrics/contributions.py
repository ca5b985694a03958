"""Measures what each of two streams contributes to their fusion, from the scores of each alone and of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from twostream.metrics import ranks
from twostream.metrics.intervals import Number, Right, gain_of, share
from twostream.metrics.score_fusion import check_alike
from twostream.metrics.scores import Scores

FUSED = 2  # the row of the fusion; those of the streams alone are 0 and 1
NAMED = 3  # most classes that a sentence names


@dataclass(frozen=True)
class Contributions:
    """What was right on the same videos: the first stream alone, the second alone, and their fusion.

    - `streams`: the names of both streams.
    - `labels`: of the videos of all splits, one split after the other; positions in `classes`.
    - `right` (3, n): in which part of the runs each video is right, of the first, the second, the fusion.
    - `counts` (2, 2, 2): videos by whether the first, the second and the fusion are right; those of all runs added up.
    - `runs`: how many runs of each kind.
    - `repeated`: whether a video was tested by several of them, as with several seeds, or splits that share videos.
    """

    streams: tuple[str, str]
    classes: tuple[str, ...]
    labels: Int[np.ndarray, " n"]
    right: Float[np.ndarray, "3 n"]
    counts: Int[np.ndarray, "2 2 2"]
    runs: int
    repeated: bool

    @property
    def kinds(self) -> dict[str, tuple[int, int]]:
        """The four kinds of videos by the streams that are right alone, as places in `counts`."""
        first, second = self.streams
        return {"both": (1, 1), f"only {first}": (1, 0), f"only {second}": (0, 1), "neither": (0, 0)}

    @property
    def oracle(self) -> float:
        """The share of videos that one of the streams at least has right alone: a perfect choice between them."""
        return 1 - float(self.counts[0, 0].sum() / self.counts.sum())

    @property
    def tested(self) -> list[int]:
        """The classes that have videos, those with the largest gain over the first stream first."""
        return sorted(np.unique(self.labels).tolist(), key=lambda label: -self.gain(0, label).value)

    def accuracy(self, which: int, label: int | None = None) -> Number:
        """Returns the top-1 of a stream or of the fusion, on all videos or on those of a class."""
        return share(self._of(which, label))

    def gain(self, over: int, label: int | None = None) -> Number:
        """Returns how many more videos the fusion has right than stream `over`, of all or of those of a class."""
        return gain_of(self._of(over, label), self._of(FUSED, label))

    def p(self, over: int) -> float | None:
        """Returns McNemar's p of the fusion against stream `over`; None if videos were tested by several runs."""
        return None if self.repeated else mcnemar(self.right[over], self.right[FUSED])

    def _of(self, which: int, label: int | None) -> Float[np.ndarray, " m"]:
        return self.right[which] if label is None else self.right[which, self.labels == label]


def compare(
    runs: Sequence[Sequence[Scores]], streams: tuple[str, str], *, names: Sequence[Sequence[str]]
) -> Contributions:
    """Compares the scores of each run's three: the first stream alone, the second alone, both.

    `names`: what to call each of them in an error. Runs of one split have the same videos; those of several splits are
    put together. Raises ValueError if videos, labels or classes differ, as `check_alike` does, and for several labels a
    video.
    """
    by_split: dict[int, list[Sequence[Scores]]] = {}
    for three in runs:
        by_split.setdefault(three[0].split, []).append(three)
    for split, threes in by_split.items():
        called = [name for of, three in zip(names, runs, strict=True) for name in of if three[0].split == split]
        check_alike([scores for three in threes for scores in three], called)
    if runs[0][0].multi:
        raise ValueError(
            f"{names[0][0]}: has several labels a video; what streams add counts right videos, of one each"
        )
    if len({three[0].classes for three in runs}) > 1:
        raise ValueError(f"{names[0][0]} and {names[-1][0]} differ in their classes")
    found = [[right_of(three) for three in threes] for threes in by_split.values()]
    each = np.concatenate([right for of_split in found for right in of_split], axis=1).astype(int)
    tested = [video for three in runs for video in three[0].videos]
    counts = np.zeros((2, 2, 2), int)
    np.add.at(counts, tuple(each), 1)
    return Contributions(
        streams=streams,
        classes=runs[0][0].classes,
        labels=np.concatenate([threes[0][0].labels for threes in by_split.values()]),
        right=np.concatenate([np.mean(of_split, axis=0) for of_split in found], axis=1),
        counts=counts,
        runs=len(runs),
        repeated=len({*tested}) < len(tested),
    )


def right_of(three: Sequence[Scores]) -> np.ndarray:
    """Returns whether each video is right, of each scores: (3, n)."""
    return np.array([ranks(scores.logits, scores.labels) == 0 for scores in three])


def mcnemar(first: Right, second: Right) -> float:
    """Returns p of McNemar's exact test, two-sided: whether as many videos turned from wrong to right as the reverse.

    Videos that are right in both, or in none, say nothing about that. Without any other video p is 1.

    >>> mcnemar(np.array([True] * 2 + [False] * 5), np.array([False, True] + [True] * 4 + [False]))  # 1 : 4
    0.375
    """
    from scipy.stats import binomtest  # takes a second to import

    lost, won = int((first > second).sum()), int((first < second).sum())
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def sentence(found: Contributions, added: int = 1) -> str:
    """Says how much stream `added` adds to the other one, and to which classes most; or that this is not shown.

    Only classes are named whose own interval excludes zero.
    """
    base = 1 - added
    to, stream, gain = found.streams[base], found.streams[added], found.gain(base)
    interval = f"(95 % interval {points(gain.low)} to {points(gain.high)})"
    if gain.low <= 0 <= gain.high:
        return f"{stream} is not shown to add anything to {to}: {points(gain.value, '+')} points {interval}"
    sign = 1 if gain.low > 0 else -1
    numbers = {found.classes[label]: found.gain(base, label) for label in found.tested}
    shown = {name: one.value for name, one in numbers.items() if (one.low if sign > 0 else -one.high) > 0}
    most = sorted(shown, key=lambda name: -sign * shown[name])[:NAMED]
    told = f", most {'for' if sign > 0 else 'from'} {', '.join(most)}" if most else ""
    if sign > 0:
        return f"{stream} adds {points(gain.value, '+')} points to {to} {interval}{told}"
    return f"{stream} takes {points(-gain.value)} points from {to} {interval}{told}"


def points(value: float, sign: str = "") -> str:
    """Returns a share in per cent, with one decimal.

    >>> points(0.0312, "+"), points(-0.0312)
    ('+3.1', '−3.1')
    """
    return f"{100 * value:{sign}.1f}".replace("-", "−")

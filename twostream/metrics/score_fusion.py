"""Score fusion: combines several files of scores of the same videos into one (late fusion after training)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, pairwise, zip_longest
from typing import Any

import numpy as np
from jaxtyping import Float

from twostream.data.sources.source import first_ten
from twostream.metrics import log_softmax, measure
from twostream.metrics.multi_label import measure_labels
from twostream.metrics.scores import Scores

STEPS = 20  # of the search: weights are multiples of 1/20 and sum to 1
MOST = 4  # files in a search: 1,771 combinations


def parse_weights(text: str, number: int) -> tuple[float, ...]:
    """Parses `1:1.5` as (1.0, 1.5).

    Raises ValueError unless there is one weight for each file, none of them negative and not all 0.

    >>> parse_weights("1:1.5", 2)
    (1.0, 1.5)
    """
    try:
        weights = tuple(float(part) for part in text.split(":"))
    except ValueError:
        weights = ()
    fine = len(weights) == number and all(0 <= weight < float("inf") for weight in weights) and sum(weights) > 0
    if not fine:
        raise ValueError(f"--weights {text!r}: must be {number} numbers, one for each file, such as {example(number)}")
    return weights


def example(number: int) -> str:
    """Returns an example of weights for so many files.

    >>> example(3)
    '1:1.5:1'
    """
    return ":".join(["1", "1.5", *["1"] * number][:number])


def check_alike(files: Sequence[Scores], names: Sequence[str]) -> None:
    """Raises ValueError unless all files are of the same videos, labels and classes.

    The same holds for data, split, part and `mirror`. The message has counts and the first ids.
    """
    if len(files) < 2:
        raise ValueError("name two files of scores or more")
    first = files[0]
    for other, name in zip(files[1:], names[1:], strict=True):
        where = f"{names[0]} and {name}"
        if other.classes != first.classes:
            pairs = zip_longest(first.classes, other.classes, fillvalue="none")
            differing = [f"{one} / {two}" for one, two in pairs if one != two]
            what = f"{len(first.classes)} and {len(other.classes)}"
            raise ValueError(f"{where} differ in their classes ({what}): {first_ten(differing)}")
        if other.videos != first.videos:
            gone, new = (
                sorted(set(a) - set(b)) for a, b in ((first.videos, other.videos), (other.videos, first.videos))
            )
            raise ValueError(
                f"{where} are not of the same videos ({len(first.videos)} and {len(other.videos)}): "
                f"{len(gone)} only in the first ({first_ten(gone)}), {len(new)} only in the second ({first_ten(new)})"
            )
        if first.multi != other.multi:
            raise ValueError(f"{where} differ in data.labels: one of them has several labels a video")
        if len(unlike := np.flatnonzero((first.labels != other.labels).reshape(len(first.videos), -1).any(1))):
            ids = first_ten([first.videos[i] for i in unlike])
            raise ValueError(f"{where} have other labels for {len(unlike)} of {len(first.videos)} videos: {ids}")
        for field in ("data", "split", "part"):
            one, two = getattr(first, field), getattr(other, field)
            if one != two:
                raise ValueError(f"{where} differ in {field}: {one!r} and {two!r}")
        if None not in (first.mirror, other.mirror) and first.mirror != other.mirror:
            values = " and ".join(str(mirror).lower() for mirror in (first.mirror, other.mirror))
            raise ValueError(f"{where} differ in data.mirror: {values}; one of them calls left right")


def fuse(files: Sequence[Scores], weights: Sequence[float], *, softmax: bool, names: Sequence[str]) -> Scores:
    """Returns the weighted mean of the scores of several files; the weights are divided by their sum.

    By default the logits are averaged (Feichtenhofer et al. 2016 average FC8 outputs; Wang et al. 2016 weigh before
    softmax, too), with `softmax` the class probabilities (Simonyan & Zisserman 2014 average softmax scores): then the
    fused logits are the logarithms of the fused probabilities, or, of several labels a video, log(p / (1 - p)) of the
    fused sigmoids p. Raises ValueError as `check_alike` does.
    """
    check_alike(files, names)
    first = files[0]
    fused = weighted_mean([ready(scores, softmax=softmax) for scores in files], weights, softmax=softmax)
    return Scores(
        videos=first.videos,
        labels=first.labels,
        logits=fused.astype(np.float32),
        classes=first.classes,
        protocol="+".join(dict.fromkeys(scores.protocol for scores in files)),
        checkpoint="+".join(scores.checkpoint for scores in files),
        data=first.data,
        split=first.split,
        part=first.part,
        leaked=max(scores.leaked for scores in files),
        mirror=next((scores.mirror for scores in files if scores.mirror is not None), None),
    )


def ready(scores: Scores, *, softmax: bool) -> Float[np.ndarray, "*yes_no n k"]:
    """Returns what is averaged, in float64: the logits, or with `softmax` the logarithms of probabilities.

    Of several labels a video, these are of both answers of each class, yes and no: (2, n, k).
    """
    logits = scores.logits.astype(np.float64)
    if softmax and scores.multi:
        return -np.logaddexp(0.0, np.stack((-logits, logits)))
    return log_softmax(logits) if softmax else logits


def weighted_mean(
    parts: Sequence[Float[np.ndarray, "*yes_no n k"]], weights: Sequence[float], *, softmax: bool
) -> Float[np.ndarray, "n k"]:
    """Returns the mean of what `ready` returned; with `softmax` the log of mean probabilities, however small."""
    shares = [(weight / sum(weights), part) for weight, part in zip(weights, parts, strict=True) if weight]
    if softmax:
        logs = np.logaddexp.reduce([np.log(share) + part for share, part in shares])
        return logs if logs.ndim == 2 else logs[0] - logs[1]
    return sum((share * part for share, part in shares), np.zeros(()))


def search(files: Sequence[Scores], *, softmax: bool, names: Sequence[str]) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Returns the best weights, multiples of 1/20 that sum to 1, and their metrics.

    The best ones have the highest top-1 accuracy, or mean average precision, of several labels a video; among those the
    lowest loss, to nine digits; among those the most even weights. Raises ValueError for scores of test videos, since
    what was chosen on them cannot be measured on them, and for more than four files.
    """
    tested = [name for name, scores in zip(names, files, strict=True) if scores.part == "test"]
    if tested:
        raise ValueError(
            f"--search: {', '.join(tested)} is of test videos; weights are found on validation videos "
            "(twostream evaluate RUN_DIR --part validation)"
        )
    if len(files) > MOST:
        raise ValueError(f"--search: {len(files)} files; at most {MOST}")
    check_alike(files, names)
    parts = [ready(scores, softmax=softmax) for scores in files]
    measured, headline = (measure_labels, "map") if files[0].multi else (measure, "top1")
    best: tuple[Any, tuple[float, ...], dict[str, float]] | None = None
    for weights in grid(len(files)):
        metrics = measured(weighted_mean(parts, weights, softmax=softmax), files[0].labels)
        key = (-metrics[headline], round(metrics["loss"], 9), sum(weight**2 for weight in weights))
        if best is None or key < best[0]:
            best = key, weights, metrics
    assert best is not None
    return best[1:]


def grid(number: int, steps: int = STEPS) -> Iterator[tuple[float, ...]]:
    """Yields all weights that are multiples of 1/steps and sum to 1.

    >>> list(grid(2, 2))
    [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    >>> len(list(grid(2))), len(list(grid(3))), len(list(grid(4)))
    (21, 231, 1771)
    """
    for cuts in combinations_with_replacement(range(steps + 1), number - 1):
        edges = (0, *cuts, steps)
        yield tuple((high - low) / steps for low, high in pairwise(edges))

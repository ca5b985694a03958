"""Computes the numbers of a probe from scores of held-out videos, and puts them into plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from twostream.files.words import counted
from twostream.metrics import ranks
from twostream.metrics.intervals import (
    Interval,
    Number,
    draws_of_groups,
    gain_of,
    outer,
    over_classes,
    resampled,
    share,
)
from twostream.probe.scoring import BOTH

FEW = 50  # with fewer test videos a warning tells how wide the intervals are


@dataclass(frozen=True)
class Outcome:
    """What a probe found; a class without test videos counts in none of its means.

    - `top1`, `mean_class`: {stream or "both": number}.
    - `classes`: {name: {"videos": count, stream: accuracy, "gain": both - first}}.
    - `gain`: the mean over classes of their gains; None without both streams.
    - `largest`: (class, top-1, mean-class) of always answering the class with the most training videos.
    """

    videos: int
    groups: int
    top1: Mapping[str, Number]
    mean_class: Mapping[str, Number]
    classes: Mapping[str, Mapping[str, Any]]
    gain: Number | None
    largest: tuple[str, float, float]


def measured(
    scores: Mapping[str, Float[np.ndarray, "n k"]],
    labels: Int[np.ndarray, " n"],
    groups: Sequence[str],
    *,
    classes: Sequence[str],
    fitted: Int[np.ndarray, " k"],
) -> Outcome:
    """Computes the numbers from scores by stream (and both). `fitted`: each class's number of training videos."""
    right = {name: ranks(of, labels) == 0 for name, of in scores.items()}
    first = streams_of(scores)[0]
    draws = draws_of_groups(labels, groups)
    tested = np.unique(labels)
    rows = {name: class_row(right, labels == label) for label, name in enumerate(classes) if (labels == label).any()}
    largest = int(np.argmax(fitted))
    return Outcome(
        videos=len(labels),
        groups=len(set(groups)),
        top1={name: share(found) for name, found in right.items()},
        mean_class={
            name: mean_number(found.astype(float), labels, draws, [row[name] for row in rows.values()])
            for name, found in right.items()
        },
        classes=rows,
        gain=mean_number(
            right[BOTH].astype(float) - right[first], labels, draws, [row["gain"] for row in rows.values()]
        )
        if BOTH in right
        else None,
        largest=(classes[largest], float((labels == largest).mean()), float((tested == largest).mean())),
    )


def class_row(right: Mapping[str, Bool[np.ndarray, " n"]], own: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Returns the row of a class, whose videos are `own`: their number, each accuracy, and what the second adds."""
    row: dict[str, Any] = {"videos": int(own.sum()), **{name: share(found[own]) for name, found in right.items()}}
    first = streams_of(right)[0]
    return row | ({"gain": gain_of(right[first][own], right[BOTH][own])} if BOTH in right else {})


def streams_of(found: Iterable[str]) -> list[str]:
    """Returns the streams of what was found of each and of both: first the one that the other is added to."""
    return [name for name in found if name != BOTH]


def mean_number(
    values: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    draws: Float[np.ndarray, "b n"],
    of_classes: Sequence[Number],
) -> Number:
    """Returns the mean over classes.

    Its interval takes the outer ends of resampled groups and of the classes' own intervals.
    """
    numbers = [number.value for number in of_classes]
    intervals: list[Interval] = [(number.low, number.high) for number in of_classes]
    ends = outer(resampled(values, labels, draws), over_classes(numbers, intervals))
    return Number(float(np.mean(numbers)), *ends)


def sentence(outcome: Outcome) -> str:
    """Says how good the probe is, and whether flow helps, by mean-class accuracies."""
    if outcome.gain is None:
        name, number = next(iter(outcome.mean_class.items()))
        return f"{name} {number.value:.2f} (95 % {number.low:.2f} to {number.high:.2f}) of each class, on the average"
    both, gain = outcome.mean_class[BOTH], outcome.gain
    others = ", ".join(f"{name} {outcome.mean_class[name].value:.2f}" for name in streams_of(outcome.mean_class))
    one, two = streams_of(outcome.mean_class)
    verdict = f"{two} adds {gain.value:+.2f} to {one} (95 % {gain.low:+.2f} to {gain.high:+.2f})"
    if gain.low > 0:
        verdict += ": it helps, for the interval excludes zero"
    elif gain.high < 0:
        verdict = verdict.replace(f"{two} adds", f"{two} changes").replace(f" to {one}", f" of {one}")
        verdict += ": it harms, for the interval excludes zero"
    else:
        verdict += f": the interval includes zero, {outcome.videos} videos do not tell whether {two} helps"
    return f"both {both.value:.2f} (95 % {both.low:.2f} to {both.high:.2f}), {others}: {verdict}"


def warnings(outcome: Outcome) -> list[str]:
    """Returns a warning if there are so few videos that the numbers are uncertain; else an empty list."""
    name, number = next(iter(outcome.top1.items()))
    if outcome.videos >= FEW:
        return []
    return [
        f"{counted(outcome.videos, 'test video')} of {counted(outcome.groups, 'group')} are few: {name} top-1 is known "
        f"to {100 * (number.high - number.low):.0f} points ({number.low:.2f} to {number.high:.2f}); compare nothing "
        "that lies closer together"
    ]

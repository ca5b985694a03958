"""Finds the best group, and whether the others differ from it by more than chance (pure functions)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from twostream.report.groups import Group
from twostream.report.metric import Metric
from twostream.report.per_video import Marks, Unknown, pair
from twostream.report.statistics import holm, mean, sign_flip_p, two_levels
from twostream.runs.folders import one_spelling

TESTS = ("both", "videos", "seeds")  # what is new in the question that a test answers


class Comparison(NamedTuple):
    """A group against the reference, over the (seed, split) pairs that both have.

    All p are two-sided; each has a second one, corrected for all groups compared. `low` and `high` are the ends of the
    interval of 95 % for new seeds and new videos.
    """

    pairs: int
    difference: float | None  # mean of group − reference over those pairs
    p_seeds: float | None = None  # new seeds, these videos; None for fewer than two pairs
    p_seeds_holm: float | None = None
    p_videos: float | None = None  # new videos, these networks
    p_videos_holm: float | None = None
    p_both: float | None = None  # new seeds and new videos
    p_both_holm: float | None = None
    low: float | None = None
    high: float | None = None
    units: int | None = None  # what signs are flipped of, and drawn again
    kind: tuple[str, str] = ("", "")  # of the units, in words: one, several
    unknown: str = ""  # why nothing is known over videos


def eligible_groups(groups: Sequence[Group]) -> list[int]:
    """Returns the positions of the groups that may be best.

    Their mean is over all seeds and splits that any group was measured over, and they lack no run. If every group lacks
    a run, groups that lack one are eligible, too.
    """
    measured = set().union(*(group.replicates for group in groups))
    alike = [index for index, group in enumerate(groups) if group.values and group.replicates == measured]
    complete = [index for index in alike if groups[index].complete]
    return complete if any(group.complete for group in groups) else alike


def best_groups(groups: Sequence[Group], metric: Metric) -> tuple[int, ...]:
    """Returns the positions of the eligible groups with the best mean, several if they are equal."""
    means = {index: groups[index].mean for index in eligible_groups(groups)}
    values = [value for value in means.values() if value is not None]
    if not values:
        return ()
    best = (min if metric.lower_is_better else max)(values)
    return tuple(index for index, value in means.items() if value is not None and abs(value - best) < 1e-12)


def best_first(groups: Sequence[Group], metric: Metric) -> list[int]:
    """Returns the positions of all groups: those that may be best, the others with a mean, then those without one.

    The first two by their mean; equal ones stay in their order.
    """
    eligible, sign = eligible_groups(groups), 1 if metric.lower_is_better else -1

    def rank(place: int) -> tuple[bool, bool, float]:
        mean = groups[place].mean
        return mean is None, place not in eligible, 0.0 if mean is None else sign * mean

    return sorted(range(len(groups)), key=rank)


def compare(
    groups: Sequence[Group], reference: int, marks: Mapping[str, Marks | Unknown] | None = None
) -> list[Comparison | None]:
    """Compares every group with `groups[reference]`, Holm-corrected; None stands for the reference itself.

    `marks`: {name of a run: what it got right, video by video}; None: nothing is compared over videos. A run that has
    the seed and split of an earlier run of its group is in no pair, since it has no partner.
    """
    found = [
        None if index == reference else _compare(group, groups[reference], marks) for index, group in enumerate(groups)
    ]
    for test in TESTS:
        corrected = holm([comparison and getattr(comparison, f"p_{test}") for comparison in found])
        for index, (comparison, p) in enumerate(zip(found, corrected, strict=True)):
            found[index] = comparison and comparison._replace(**{f"p_{test}_holm": p})
    return found


def _compare(group: Group, reference: Group, marks: Mapping[str, Marks | Unknown] | None) -> Comparison:
    shared = [key for key in group.values if key in reference.values and key[-1] == "0"]
    differences = [group.values[key] - reference.values[key] for key in shared]
    compared = Comparison(len(shared), mean(differences), sign_flip_p(differences))
    if not shared or marks is None:
        return compared
    paired = pair([(marks[group.measured[key].name], marks[reference.measured[key].name]) for key in shared])
    if isinstance(paired, Unknown):
        return compared._replace(unknown=paired.why)
    p_videos = sign_flip_p(paired.differences.sum(0).tolist())
    compared = compared._replace(p_videos=p_videos, units=paired.shares.shape[1], kind=paired.kind)
    if (both := two_levels(paired.differences, paired.shares, paired.videos)) is None or p_videos is None:
        return compared
    return compared._replace(p_both=max(both.p, p_videos), low=both.low, high=both.high)


def find_baseline(text: str, groups: Sequence[Group]) -> int:
    """Returns the position of the one group that a text such as `fusion=sum,layer=conv3` names.

    Raises ValueError if it names none, several, or one without a result.
    """
    wanted = _parse(text)
    axes = list(groups[0].axes) if groups else []
    for axis, value in wanted.items():
        values = list(dict.fromkeys(group.axes.get(axis, "") for group in groups))
        if axis not in axes:
            raise ValueError(f"baseline={text!r}: {axis!r} is no axis of the table; choose from {', '.join(axes)}")
        if value not in values:
            raise ValueError(f"baseline={text!r}: no run has {axis}={value}; choose from {', '.join(values)}")
    matches = [i for i, group in enumerate(groups) if all(group.axes[axis] == v for axis, v in wanted.items())]
    if len(matches) != 1:
        labels = ", ".join(groups[i].label.replace(" ", ",") for i in matches[:5])
        raise ValueError(f"baseline={text!r}: {len(matches)} groups are that{labels and f', e.g. {labels}'}; name one")
    if not groups[matches[0]].values:
        raise ValueError(f"baseline={text!r}: none of its runs has a result ({groups[matches[0]].states})")
    return matches[0]


def _parse(text: str) -> Mapping[str, str]:
    """Parses a baseline as {axis: value}; commas inside brackets belong to a value.

    >>> _parse("fusion=sum,layer=[conv5,fc8]")
    {'fusion': 'sum', 'layer': '[conv5,fc8]'}
    """
    parts = re.split(r",(?![^\[]*\])", text)
    if not all("=" in part for part in parts):
        raise ValueError(f"baseline={text!r}: write axis=value, several with commas: fusion=sum,layer=conv3")
    return {axis.strip(): one_spelling(value.strip()) for axis, _, value in (part.partition("=") for part in parts)}

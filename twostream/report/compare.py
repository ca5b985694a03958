"""Finds the best group, and whether the others differ from it by more than chance (pure functions)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from twostream.report.groups import Group
from twostream.report.metric import Metric
from twostream.report.statistics import holm, mean, sign_flip_p


class Comparison(NamedTuple):
    """A group against the reference, over the (seed, split) pairs that both have."""

    pairs: int
    difference: float | None  # mean of group − reference over those pairs
    p: float | None  # exact sign-flip permutation test, two-sided; None for fewer than two pairs
    p_holm: float | None  # corrected for all groups compared


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


def compare(groups: Sequence[Group], reference: int) -> list[Comparison | None]:
    """Compares every group with `groups[reference]`, Holm-corrected; None stands for the reference itself.

    A run that has the seed and split of an earlier run of its group is in no pair, since it has no partner.
    """
    found: list[Comparison | None] = []
    for index, group in enumerate(groups):
        shared = [key for key in group.values if key in groups[reference].values and key[-1] == "0"]
        differences = [group.values[key] - groups[reference].values[key] for key in shared]
        comparison = Comparison(len(shared), mean(differences), sign_flip_p(differences), None)
        found.append(None if index == reference else comparison)
    corrected = holm([comparison and comparison.p for comparison in found])
    return [comparison and comparison._replace(p_holm=p) for comparison, p in zip(found, corrected, strict=True)]


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
    return {axis.strip(): value.strip() for axis, _, value in (part.partition("=") for part in parts)}

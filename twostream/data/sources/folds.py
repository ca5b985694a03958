"""Folds of cross-validation: groups stay whole, every video is tested in one fold, a seed always gives the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from twostream.data.sources.holdout import NO_LABEL, counted, hash_of
from twostream.data.sources.source import Video, first_ten
from twostream.files import words

BY_GROUP = "group"  # leave one group out: each is a fold


def check_folds(folds: object) -> None:
    """Raises ValueError unless `folds` is `group` or a number from 2."""
    if folds != BY_GROUP and (not isinstance(folds, int) or isinstance(folds, bool) or folds < 2):
        raise ValueError(f"data.folds={folds!r}: choose {BY_GROUP}, or a number from 2")


def draw_folds(videos: Sequence[Video], folds: int | str, *, seed: int, classes: Sequence[str]) -> dict[str, int]:
    """Returns {id of a video: number of its fold, from 1}.

    With `group`, each group is a fold, in the order of their names (g2 before g10). A number divides the groups into so
    many folds. Where groups do not span classes, a class is in as many folds as it has groups, and folds are of about
    equal size, with about equal shares of each class; where they do, sizes may differ by half. The choice depends
    neither on the order of `videos` nor on a library's version: scikit-learn's StratifiedGroupKFold draws other folds
    from the same seed since a correction (its #32540).

    Raises ValueError if there are fewer groups than folds, or if a fold has all videos of a class, so that nothing
    would be left to learn it from.
    """
    sizes: dict[str, Counter[int]] = {}  # group -> label -> number of videos
    for video in videos:
        sizes.setdefault(video.group, Counter()).update(counted(video))
    groups = sorted(sizes, key=_natural)
    least, what = (2, "at least two") if folds == BY_GROUP else (int(folds), f"choose from 2 to {len(groups)}")
    if len(groups) < least:
        number = words.counted(len(groups), "group")
        raise ValueError(f"data.folds={folds}: the videos are of {number} ({first_ten(groups)}); {what}")
    spread = {group: k for k, group in enumerate(groups)} if folds == BY_GROUP else _spread(sizes, int(folds), seed)
    places: dict[int, set[int]] = {}
    for group, counts in sizes.items():
        for label in counts:
            places.setdefault(label, set()).add(spread[group])
    if alone := [classes[label] for label in sorted(places) if len(places[label]) < 2 and label != NO_LABEL]:
        raise ValueError(
            f"data.folds={folds}: all videos of {len(alone)} of {len(classes)} classes are in one fold: "
            f"{first_ten(alone)}; where it is tested, nothing is left to learn them from: give them videos of further "
            "groups, or name the other classes in data.classes=[…]"
        )
    return {video.id: spread[video.group] + 1 for video in videos}


def _spread(sizes: Mapping[str, Counter[int]], folds: int, seed: int) -> dict[str, int]:
    """Returns {group: position of its fold}: each group, large ones first, goes where its classes are rarest."""
    num_groups = Counter(label for counts in sizes.values() for label in counts)
    num_videos = sum(sizes.values(), Counter())
    held: list[Counter[int]] = [Counter() for _ in range(folds)]  # label -> number of videos
    totals = [0] * folds
    chosen: dict[str, int] = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name].total(), hash_of(f"folds {seed}/{name}"))):
        counts = sorted(sizes[group].items())
        costs = [
            (
                sum(1 / num_groups[label] for label, _ in counts if have[label]),  # classes that are there already
                sum(count * (2 * have[label] + count) / num_videos[label] for label, count in counts),
                totals[fold],
                fold,
            )
            for fold, have in enumerate(held)
        ]
        chosen[group] = fold = min(costs)[-1]
        held[fold].update(sizes[group])
        totals[fold] += sizes[group].total()
    return chosen


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Orders names by the numbers in them.

    >>> sorted(["g10", "g2", "a", "7"], key=_natural)
    ['7', 'a', 'g2', 'g10']
    """
    parts = [part.lstrip("0") if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", name))]
    return [(index % 2 == 0, len(part) if index % 2 else 0, part) for index, part in enumerate(parts) if index or part]

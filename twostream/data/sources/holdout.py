"""Divides videos in two: groups stay whole, every class is on both sides if it can, a seed always gives the same.

A video of several labels counts for each of them.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence

from twostream.data.sources.source import Video

NO_LABEL = -1
log = logging.getLogger(__name__)


def hold_out(videos: Sequence[Video], fraction: float, seed: int) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Returns (train, validation): validation gets about `fraction` of each class, in whole groups.

    No group is on both sides. Every class keeps at least one group for training. If it has two or more, it gives
    at least one (so that small classes may give more than `fraction`); a class with a single group stays
    wholly in training. Both results are in the order of `videos`; the choice does not depend on it.

    Raises ValueError unless 0 <= fraction < 1, or if no class has a second group to give.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"validation_fraction={fraction!r}: choose 0 (no validation) or more, and less than 1")
    if fraction == 0:
        return tuple(videos), ()
    train, validation = divide(videos, fraction, key=f"validation {seed}")
    if not validation:
        raise ValueError(
            f"validation_fraction={fraction!r}: in the {len(videos)} training videos each class is a single "
            "group, which has to stay in training; choose validation_fraction=0"
        )
    return train, validation


def divide(videos: Sequence[Video], fraction: float, *, key: str) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Returns (kept, held), divided by the rules of `hold_out`; `key` takes the place of the seed."""
    sizes: dict[str, dict[int, int]] = {}  # group -> label -> number of videos; a group may span classes
    for video in videos:
        counts = sizes.setdefault(video.group, {})
        for label in counted(video):
            counts[label] = counts.get(label, 0) + 1
    # ordered by hash, not by a random generator: the same with every version, and new videos do not move others
    order = sorted(sizes, key=lambda group: hash_of(f"{key}/{group}"))
    held = _choose(order, sizes, fraction)
    divided = [video for video in videos if video.group in held]
    single = {label for v in videos for label in counted(v)} - {label for v in divided for label in counted(v)}
    if single:
        log.info("classes with no group to spare, which stay on one side: %d (%s)", len(single), key)
    return tuple(video for video in videos if video.group not in held), tuple(divided)


def counted(video: Video) -> tuple[int, ...]:
    """Returns the classes that a video counts for; those without a label count as one class more."""
    return video.all_labels or (NO_LABEL,)


def _choose(order: Sequence[str], sizes: dict[str, dict[int, int]], fraction: float) -> set[str]:
    """Chooses the groups to hold: those that bring classes closer to `fraction`, then one for each class without."""
    kept = Counter(label for group in order for label in sizes[group])  # label -> number of groups kept
    total: Counter[int] = Counter()
    for counts in sizes.values():
        for label, count in counts.items():
            total[label] += count
    owed = {label: fraction * count for label, count in total.items()}  # videos of the class still to be held
    held: set[str] = set()

    def spare(group: str) -> bool:
        return group not in held and all(kept[label] > 1 for label in sizes[group])

    def hold(group: str) -> None:
        held.add(group)
        for label, count in sizes[group].items():
            kept[label] -= 1
            owed[label] -= count

    for group in order:
        gain = sum(abs(owed[label]) - abs(owed[label] - count) for label, count in sizes[group].items())
        if gain > 0 and spare(group):
            hold(group)
    for label in sorted(owed):
        gives = any(label in sizes[group] for group in held)
        if not gives and (candidates := [g for g in order if label in sizes[g] and spare(g)]):
            hold(min(candidates, key=lambda group: sum(sizes[group].values())))  # the smallest: least above `fraction`
    return held


def hash_of(text: str) -> bytes:
    """Returns what names are ordered by, as if at random: the same with every version of every library."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

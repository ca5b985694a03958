"""What `hold_out` promises."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from video_trees import groups, ids, message, video

from twostream.data.sources import Video, hold_out


def many(groups_of: dict[int, list[int]]) -> list[Video]:
    """label -> sizes of its groups."""
    return [
        video(f"{label}/{group}_{number}", label, f"{label}/{group}")
        for label, sizes in groups_of.items()
        for group, size in enumerate(sizes)
        for number in range(size)
    ]


def test_hold_out_takes_the_fraction_of_every_class() -> None:
    videos = many({0: [1] * 10, 1: [1] * 50, 2: [5] * 4})
    train, validation = hold_out(videos, 0.2, 0)
    assert Counter(v.label for v in validation) == {0: 2, 1: 10, 2: 5}
    assert sorted(ids(train + validation)) == sorted(ids(videos))


@pytest.mark.parametrize("seed", range(20))
def test_hold_out_promises(seed: int) -> None:
    rng = random.Random(seed)
    sizes = {label: [rng.randint(1, 7) for _ in range(rng.randint(1, 12))] for label in range(15)}
    videos = many(sizes)
    train, validation = hold_out(videos, 0.25, seed)
    assert not groups(train) & groups(validation)
    kept, held = Counter(v.label for v in train), Counter(v.label for v in validation)
    for label, numbers in sizes.items():
        assert kept[label] > 0
        assert (held[label] > 0) == (len(numbers) > 1)
        if len(numbers) > 1:  # off by half a group, or by the smallest group where less than one is due
            assert abs(held[label] - 0.25 * sum(numbers)) <= max(numbers)
    shuffled = rng.sample(videos, len(videos))
    again, held_again = hold_out(shuffled, 0.25, seed)
    assert set(again) == set(train)
    assert set(held_again) == set(validation)
    assert [v for v in videos if v in set(train)] == list(train)  # keeps the order it is given
    assert list(again) == [v for v in shuffled if v in set(again)]


def test_hold_out_knows_groups_that_span_classes() -> None:
    videos = [
        video(f"{c}/{person}_{k}", c, f"person{person}") for c in range(4) for person in range(10) for k in (0, 1)
    ]
    train, validation = hold_out(videos, 0.2, 0)
    assert Counter(v.label for v in validation) == dict.fromkeys(range(4), 4)
    assert len(groups(validation)) == 2
    assert not groups(train) & groups(validation)
    # the only group of class 1 is one of class 0 too: it has to stay in training, the other may go
    videos = [video("0/a", 0, "both"), video("1/a", 1, "both"), video("0/b", 0, "alone")]
    train, validation = hold_out(videos, 0.9, 0)
    assert ids(validation) == ["0/b"]


def test_hold_out_by_seed() -> None:
    videos = many({0: [1] * 30, 1: [2] * 30})
    chosen = [frozenset(ids(hold_out(videos, 0.3, seed)[1])) for seed in range(5)]
    assert len(set(chosen)) == 5
    counts = Counter(name for seed in range(300) for name in ids(hold_out(videos, 0.3, seed)[1]))
    assert len(counts) == 90  # every video is held out by some seed, none by most
    assert max(counts.values()) < 150


def test_hold_out_is_the_same_on_every_machine() -> None:
    videos = many({0: [1] * 6, 1: [2] * 4})
    assert ids(hold_out(videos, 0.34, 0)[1]) == ["0/2_0", "0/5_0", "1/3_0", "1/3_1"]


def test_hold_out_limits() -> None:
    videos = many({0: [3], 1: [2, 1]})
    assert hold_out(videos, 0, 0) == (tuple(videos), ())
    _, validation = hold_out(videos, 0.01, 0)
    assert ids(validation) == ["1/1_0"]  # the smallest group; class 0 has but one
    assert "choose validation_fraction=0" in message(lambda: hold_out(many({0: [3], 1: [4]}), 0.5, 0))
    for fraction in (-0.1, 1, 1.5, float("nan")):
        assert f"fraction={fraction!r}" in message(lambda fraction=fraction: hold_out(videos, fraction, 0))

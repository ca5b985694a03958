"""Folds: every video is tested once, groups stay whole, and a seed gives the same folds everywhere."""

from __future__ import annotations

import logging
import random
from collections import Counter
from pathlib import Path

import pytest
from video_trees import groups, ids, message, touch, video, write_folder

from twostream.data.history import History, LeakError
from twostream.data.sources import UCF11, UCF50, Folder, Video
from twostream.data.sources.folds import draw_folds

NAMES = "abcdefghijkl"


def fold_numbers(videos: list[Video], folds: int | str, seed: int = 0) -> dict[str, int]:
    """Group -> fold."""
    found = draw_folds(videos, folds, seed=seed, classes=NAMES)
    assert found.keys() == set(ids(videos))
    numbers = {(one.group, found[one.id]) for one in videos}
    assert len(dict(numbers)) == len(numbers)  # no group is in two folds
    return dict(numbers)


def many(sizes: dict[int, list[int]]) -> list[Video]:
    """label -> sizes of its groups."""
    return [
        video(f"{label}/{group}_{number}", label, f"{label}/{group}")
        for label, numbers in sizes.items()
        for group, size in enumerate(numbers)
        for number in range(size)
    ]


def all_splits(root: Path, count: int, **options) -> list[Folder]:
    """Of each split: its sides are all videos, and no group is on both; the tests together are all videos once."""
    sources = [Folder(root, split=split, **options) for split in range(1, count + 1)]
    whole = sorted(ids(sources[0].videos))
    for source in sources:
        assert sorted(ids(source.videos)) == whole
        assert not groups(source.train) & groups(source.test)
    assert sorted(name for source in sources for name in ids(source.test)) == whole
    return sources


def test_groups_of_one_video_are_shared_out_evenly() -> None:
    videos = many({0: [1] * 11, 1: [1] * 7, 2: [1] * 5})
    found = draw_folds(videos, 5, seed=0, classes=NAMES)
    for label, shares in ((0, [2, 2, 2, 2, 3]), (1, [1, 1, 1, 2, 2]), (2, [1] * 5)):
        assert sorted(Counter(found[v.id] for v in videos if v.label == label).values()) == shares
    assert sorted(Counter(found.values()).values()) == [4, 4, 5, 5, 5]


@pytest.mark.parametrize("seed", range(10))
def test_a_class_is_in_as_many_folds_as_it_has_groups(seed: int) -> None:
    rng = random.Random(seed)
    sizes = {label: [rng.randint(1, 6) for _ in range(rng.randint(2, 12))] for label in range(12)}
    videos = many(sizes)
    found = fold_numbers(videos, 5, seed)
    for label, numbers in sizes.items():
        assert len({fold for group, fold in found.items() if group.startswith(f"{label}/")}) == min(5, len(numbers))
    totals = Counter(found[v.group] for v in videos)
    assert max(totals.values()) - min(totals.values()) <= 12  # of about 45
    assert fold_numbers(rng.sample(videos, len(videos)), 5, seed) == found
    assert fold_numbers(videos, 5, seed + 1) != found


def test_groups_that_span_classes_are_spread_too() -> None:
    videos = [video(f"{c}/{p}_{k}", c, f"person{p}") for c in range(4) for p in range(10) for k in (0, 1)]
    found = fold_numbers(videos, 5)
    assert sorted(Counter(found.values()).values()) == [2] * 5
    assert fold_numbers(videos, "group") == {f"person{p}": p + 1 for p in range(10)}  # person10 would be the last


def test_the_folds_of_a_seed_never_change() -> None:
    """What was published with a seed can be repeated."""
    videos = many({0: [3, 1, 2, 1], 1: [2, 2, 1], 2: [1, 1, 1, 4]})
    assert [sorted(group for group, fold in fold_numbers(videos, 3).items() if fold == k) for k in (1, 2, 3)] == [
        ["0/1", "0/3", "1/2", "2/3"],
        ["0/0", "1/0", "2/2"],
        ["0/2", "1/1", "2/0", "2/1"],
    ]


def test_what_cannot_be_folded_is_told() -> None:
    videos = many({0: [1] * 4, 1: [1, 1], 2: [1] * 4})
    assert "data.folds=11: the videos are of 10 groups (0/0, " in message(lambda: fold_numbers(videos, 11))
    assert message(lambda: fold_numbers(videos, 11)).endswith("; choose from 2 to 10")
    assert len(fold_numbers(videos, 5)) == 10  # class 1 is absent in three tests, which only warns
    alone = many({0: [1] * 4, 1: [3]})
    for folds in (2, "group"):
        text = message(lambda folds=folds: fold_numbers(alone, folds))
        assert text.startswith(f"data.folds={folds}: all videos of 1 of 12 classes are in one fold: b; where it is te")
        assert "data.classes=[…]" in text
    one = [video(f"{label}/{k}", label, "g") for label in (0, 1) for k in range(3)]
    assert "of 1 group (g); at least two" in message(lambda: fold_numbers(one, "group"))


def test_folder_in_folds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path)
    for source in all_splits(tmp_path, 5, folds=5):
        assert Counter(v.label for v in source.test) == {0: 2, 1: 2}
        assert not source.drawn
    pattern = r"b/clip_(g\d)_|^a/(\d+)"  # a: 10 groups of one video; b: 5 of two
    with caplog.at_level(logging.WARNING):
        sources = all_splits(tmp_path, 15, folds="group", group_pattern=pattern)
    assert [sorted(groups(source.test)) for source in sources] == [[name] for name in (*"0123456789", *GROUPS_OF_B)]
    assert "split 1: no test videos for 1 of the classes: b" in caplog.text
    assert {v.id for v in all_splits(tmp_path, 5, folds=5, seed=1)[0].test} != {
        v.id for v in all_splits(tmp_path, 5, folds=5)[0].test
    }


GROUPS_OF_B = ("g0", "g1", "g2", "g3", "g4")


def test_folds_of_a_csv_and_back(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    rows = [f"b/clip_g{k // 2}_{k}.AVI,run,p{k // 4}" for k in range(10)] + [
        f"a/{k}.mp4,walk,p{k % 3}" for k in range(9)
    ]
    (tmp_path / "all.csv").write_text("\n".join(["video,label,group", *rows]))
    sources = all_splits(tmp_path / "data", 3, csv=tmp_path / "all.csv", folds="group")
    assert [groups(source.test) for source in sources] == [{"p0"}, {"p1"}, {"p2"}]
    sources[1].write_split(tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_text().splitlines()[:3] == [
        "video,label,group,fold",
        "a/0.mp4,walk,p0,1",
        "a/1.mp4,walk,p1,2",
    ]
    again = all_splits(tmp_path / "data", 3, csv=tmp_path / "split.csv")
    assert again == sources
    assert [one.fold_of for one in again] == [one.fold_of for one in sources]


def test_a_column_fold_decides_and_is_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path)
    path = tmp_path / "s.csv"
    path.write_text("video,fold\na/1.mp4,1\na/2.mp4,2\na/3.mp4,unused\nb/clip_g0_0.AVI,1\nb/clip_g0_1.AVI,2\n")
    sources = [Folder(tmp_path, split=k, csv=path, group_pattern=r"(g\d)|\d") for k in (1, 2)]
    assert [ids(source.test) for source in sources] == [["a/1.mp4", "b/clip_g0_0.AVI"], ["a/2.mp4", "b/clip_g0_1.AVI"]]
    assert "1 group in training and in test: g0" in caplog.text
    assert message(lambda: Folder(tmp_path, split=3, csv=path)) == "split=3: there are 2 folds; choose from 1 to 2"
    path.write_text("video,split,fold\na/1.mp4,train,1\na/2.mp4,test,1\nb/clip_g0_0.AVI,train,1\n")
    assert ids(Folder(tmp_path, split=1, csv=path).test) == ["a/2.mp4"]  # `split` decides, as before there were folds
    for cell in ("0", "-1", "1.5", "x", "", "1" * 5000):
        path.write_text(f"video,fold\na/1.mp4,1\na/2.mp4,{cell}\n")
        assert f"{path}:3: fold='{cell}': expected the number of a fold" in message(
            lambda: Folder(tmp_path, split=1, csv=path)
        )


def test_what_else_decides_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    both = message(lambda: Folder(tmp_path / "data", split=1, folds=5, test_fraction=0.2))
    assert both == "data.folds=5 and data.test_fraction both say what is tested; give one of them"
    for column in ("split", "split2", "fold"):
        (tmp_path / "s.csv").write_text(f"video,{column}\na/1.mp4,1\n")
        text = message(lambda: Folder(tmp_path / "data", split=1, folds=5, csv=tmp_path / "s.csv"))
        assert text == f"data.folds=5: {tmp_path}/s.csv says what is tested, in `{column}`; leave out one of the two"
    touch(
        tmp_path / "sides",
        [f"{side}/{name}/{side}{k}.mp4" for side in ("train", "val") for name in "ab" for k in (1, 2)],
    )
    for split in (1, 2):
        text = message(lambda split=split: Folder(tmp_path / "sides", split=split, folds="group"))
        assert text.startswith(f"data.folds=group: {tmp_path}/sides is a split already, in folders")
    for folds in (1, 0, -2, True, 2.5, "groups", ""):
        text = message(lambda folds=folds: Folder(tmp_path / "data", split=1, folds=folds))
        assert text == f"data.folds={folds!r}: choose group, or a number from 2"
    assert message(lambda: Folder(tmp_path / "data", split=6, folds=5)) == (
        "split=6: there are 5 folds; choose from 1 to 5"
    )


def test_absent_videos_move_no_other(tmp_path: Path) -> None:
    write_folder(tmp_path)
    rows = [f"a/{k}.mp4" for k in range(10)] + [f"b/clip_g{k // 2}_{k}.AVI" for k in range(10)]
    (tmp_path / "all.csv").write_text("\n".join(["video", *rows]))
    whole = Folder(tmp_path, split=2, folds=5, csv=tmp_path / "all.csv")
    (tmp_path / whole.test[0].id).unlink()
    rest = Folder(tmp_path, split=2, folds=5, csv=tmp_path / "all.csv", missing="skip")
    assert (rest.train, rest.test) == (whole.train, whole.test[1:])


def test_weights_of_one_fold_are_not_tested_on_another(tmp_path: Path) -> None:
    write_folder(tmp_path)
    one, other = (Folder(tmp_path, split=split, folds=5) for split in (1, 2))
    learned = History.of(one.name, one.split, one.train)
    assert learned.check(one.test) == 0
    with pytest.raises(LeakError, match="4 of 4 test videos are among those that the weights were trained on"):
        learned.check(other.test)


# ---- UCF11, UCF50 ----

UCF11_GROUPS = {"basketball": "v_shooting", "biking": "v_biking", "walking": "v_walk_dog"}
UCF50_CLASSES = ("BaseballPitch", "Biking", "YoYo")


def write_ucf11(root: Path, numbers: range = range(1, 26), suffix: str = "mpg") -> Path:
    for name, start in UCF11_GROUPS.items():
        touch(root / name, [f"{start}_{k:02}/{start}_{k:02}_{c:02}.{suffix}" for k in numbers for c in (1, 2, 3, 4)])
        touch(root / name / "Annotation", [f"{start}_{k:02}_01.xgtf" for k in numbers])
    return root


def write_ucf50(root: Path, numbers: range = range(1, 26)) -> Path:
    touch(
        root, [f"{name}/v_{name}_g{k:02}_c{c:02}.avi" for name in UCF50_CLASSES for k in numbers for c in range(1, 6)]
    )
    return root


@pytest.mark.parametrize("folder", ["UCF11_updated_mpg", "action_youtube_naudio", "elsewhere"])
def test_ucf11_leaves_one_group_of_every_class_out(tmp_path: Path, folder: str) -> None:
    suffix = "avi" if folder == "action_youtube_naudio" else "mpg"
    top = write_ucf11(tmp_path / folder, suffix=suffix)
    tested = []
    for split in range(1, 26):
        source = UCF11(top if folder == "elsewhere" else tmp_path, split=split)
        tested += ids(source.test)
        assert source.classes == ("basketball", "biking", "walking")
        assert ids(source.test) == [
            f"{name}/{start}_{split:02}/{start}_{split:02}_{c:02}.{suffix}"
            for name, start in UCF11_GROUPS.items()
            for c in (1, 2, 3, 4)
        ]
    assert len(set(tested)) == len(tested) == 300
    assert source.test[0].path.is_file()
    assert (source.name, source.split, source.is_published) == ("ucf11", 25, True)


def test_ucf50_leaves_one_group_of_every_class_out(tmp_path: Path) -> None:
    write_ucf50(tmp_path / "UCF50")
    for split in (1, 9, 10, 25):
        source = UCF50(tmp_path, split=split)
        assert Counter(v.label for v in source.test) == {0: 5, 1: 5, 2: 5}
        assert groups(source.test) == {f"g{split:02}"}
        assert len(source.train) == 24 * 15
    assert message(lambda: UCF50(tmp_path, split=26)) == "split=26: there are 25 folds; choose from 1 to 25"
    assert UCF50(tmp_path, split=1, classes=["YoYo", "Biking"]).classes == ("Biking", "YoYo")
    five = [UCF50(tmp_path / "UCF50", split=split, folds=5) for split in range(1, 6)]
    assert sorted(name for source in five for name in groups(source.test)) == sorted(groups(source.videos))


def test_a_part_of_ucf50_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_ucf50(tmp_path / "UCF50", range(3, 8))
    source = UCF50(tmp_path, split=2)
    assert groups(source.test) == {"g04"}
    assert "5 numbers of groups, where the whole ucf50 has 25" in caplog.text
    touch(tmp_path / "UCF50", ["YoYo/mine.avi"])
    assert message(lambda: UCF50(tmp_path, split=2)) == (
        "ucf50: <class>/v_<Class>_gGG_cCC.avi: matches 75 of 76 videos, not YoYo/mine.avi"
    )
    assert "should hold UCF11_updated_mpg/, or its class folders" in message(lambda: UCF11(tmp_path / "no", split=1))


def test_real_clips_are_each_tested_once(real_data: Path) -> None:
    options = {"group_pattern": r"_(g\d+)_"}
    assert len(all_splits(real_data / "UCF-101", 5, folds=5, **options)[0].videos) == 57
    by_group = all_splits(real_data / "UCF-101", 19, folds="group", **options)
    assert [len(groups(source.test)) for source in by_group] == [1] * 19

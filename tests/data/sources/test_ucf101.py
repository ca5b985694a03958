"""UCF101's official lists. Files are empty: parsing never opens a video."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from video_trees import UCF_TEST, UCF_TRAIN, groups, ids, message, touch, write_ucf

from twostream.data.sources import UCF101, hold_out
from twostream.data.sources.ucf101 import read_class_index, read_list


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ucf101_labels_come_from_the_folder_through_the_index(tmp_path: Path, end: str) -> None:
    source = UCF101(write_ucf(tmp_path, end=end), split=1)
    assert source.classes == ("HandstandPushups", "Biking", "YoYo")
    assert [(v.id, v.label) for v in source.train] == [
        ("HandstandPushups/v_HandStandPushups_g08_c01.avi", 0),
        ("Biking/v_Biking_g08_c01.avi", 1),
        ("Biking/v_Biking_g25_c07.avi", 1),
        ("YoYo/v_YoYo_g09_c02.avi", 2),
    ]
    assert [(v.id, v.label) for v in source.test] == [(UCF_TEST[0], 0), (UCF_TEST[1], 2)]
    assert [v.group for v in source.train] == ["HandstandPushups/g08", "Biking/g08", "Biking/g25", "YoYo/g09"]
    assert source.train[1].path == tmp_path / "UCF-101/Biking/v_Biking_g08_c01.avi"
    assert all(v.path.is_file() for v in source.train + source.test)


def test_ucf101_lists_may_lack_the_last_line_end_and_hold_blank_lines_and_a_bom(tmp_path: Path) -> None:
    write_ucf(tmp_path)
    lists = tmp_path / "ucfTrainTestlist"
    whole = UCF101(tmp_path, split=1)
    (lists / "trainlist01.txt").write_bytes("\ufeff".encode() + "\r\n\r\n".join(UCF_TRAIN).encode())
    (lists / "testlist01.txt").write_bytes(("\r\n".join(UCF_TEST) + "\r\n \r\n").encode())
    assert UCF101(tmp_path, split=1) == whole


@pytest.mark.parametrize(
    ("lists", "videos", "root"),
    [
        ("ucfTrainTestlist", "UCF-101", "."),
        ("ucfTrainTestlist", "UCF-101", "UCF-101"),  # root is the video folder, the lists lie beside it
        ("ucfTrainTestlist", ".", "."),
        (".", ".", "."),
        ("official_splits/ucf101", "UCF101", "."),
        ("splits", "videos", "videos"),
    ],
)
def test_ucf101_finds_the_usual_layouts(tmp_path: Path, lists: str, videos: str, root: str) -> None:
    source = UCF101(write_ucf(tmp_path, lists=lists, videos=videos) / root, split=1)
    assert len(source.train) == 4
    assert source.test[0].path == tmp_path / videos / UCF_TEST[0]


def test_ucf101_root_may_be_relative_and_lists_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ucf(tmp_path / "data", lists="../far/away")
    monkeypatch.chdir(tmp_path / "data")
    source = UCF101(".", split=1, lists="../far/away")
    assert source.train[0].path.is_absolute()
    assert "no classInd.txt in" in message(lambda: UCF101(".", split=1, lists="UCF-101"))
    monkeypatch.chdir(tmp_path / "far")
    (tmp_path / "ucfTrainTestlist").symlink_to(tmp_path / "far/away")
    assert UCF101("../data/UCF-101/..", split=1).train == source.train


@pytest.mark.parametrize(
    ("name", "line", "wanted"),
    [
        ("trainlist01.txt", "Biking/v_Biking_g01_c01.avi 1", "numbers Biking 2, not 1"),  # 0-based list
        ("trainlist01.txt", "Biking/v_Biking_g01_c01.avi two", "numbers Biking 2, not two"),
        (
            "trainlist01.txt",
            "HandStandPushups/v_HandStandPushups_g01_c02.avi 1",
            "no class 'HandStandPushups'",
        ),
        ("trainlist01.txt", "v_Biking_g01_c01.avi 2", "expected `Class/v_Class_gGG_cCC.avi`"),
        ("trainlist01.txt", "a/Biking/v_Biking_g01_c01.avi 2", "expected `Class/v_Class_gGG_cCC.avi`"),
        ("trainlist01.txt", "Biking/v_Biking.avi 2", "expected `Class/v_Class_gGG_cCC.avi`"),
        ("trainlist01.txt", "Biking\\v_Biking_g01_c01.avi 2", "expected `Class/v_Class_gGG_cCC.avi`"),
        ("trainlist01.txt", UCF_TRAIN[1], "is listed twice"),
        ("trainlist01.txt", "./Biking//v_Biking_g08_c01.avi 2", "is listed twice"),
        ("testlist01.txt", "Biking", "expected `Class/v_Class_gGG_cCC.avi`"),
        ("testlist01.txt", "2", "expected `Class/v_Class_gGG_cCC.avi`"),
        ("classInd.txt", "5 Diving", "expected `4 ClassName`"),
        ("classInd.txt", "Diving", "expected `4 ClassName`"),
        ("classInd.txt", "4", "expected `4 ClassName`"),
        ("classInd.txt", "4 Biking", "listed twice"),
    ],
)
def test_ucf101_odd_lines_are_named(tmp_path: Path, name: str, line: str, wanted: str) -> None:
    path = write_ucf(tmp_path) / "ucfTrainTestlist" / name
    number = len(path.read_text().splitlines()) + 1
    path.write_text(path.read_text() + line + "\n")
    text = message(lambda: UCF101(tmp_path, split=1))
    assert text.startswith(f"{path}:{number}: ")
    assert wanted in text


def test_ucf101_lists_that_are_no_text_empty_or_absent(tmp_path: Path) -> None:
    lists = write_ucf(tmp_path) / "ucfTrainTestlist"
    assert "trainlist02.txt: cannot be read" in message(lambda: UCF101(tmp_path, split=2))
    (lists / "testlist01.txt").write_bytes(b"\xff\xfe\x00")
    assert "testlist01.txt: not a text file" in message(lambda: UCF101(tmp_path, split=1))
    (lists / "testlist01.txt").write_bytes(b"")
    assert "ucf101 split 1: no test videos" in message(lambda: UCF101(tmp_path, split=1))
    (lists / "testlist01.txt").write_text(UCF_TRAIN[0] + "\n")
    assert "1 video is in training and in test: HandstandPushups/v_" in message(lambda: UCF101(tmp_path, split=1))
    (lists / "classInd.txt").write_text("\n")
    assert "classInd.txt: no classes" in message(lambda: UCF101(tmp_path, split=1))


@pytest.mark.parametrize(("split", "sizes"), [(1, (9537, 3783)), (2, (9586, 3734)), (3, (9624, 3696))])
def test_official_ucf101_lists(real_data: Path, split: int, sizes: tuple[int, int]) -> None:
    lists = real_data / "official_splits/ucf101"
    classes = read_class_index(lists / "classInd.txt")
    assert (len(classes), classes[0], classes[-1]) == (101, "ApplyEyeMakeup", "YoYo")
    assert classes.index("Hammering") + 1 == classes.index("HammerThrow")  # sorting would swap labels
    train = read_list(lists / f"trainlist{split:02d}.txt", classes, Path())
    test = read_list(lists / f"testlist{split:02d}.txt", classes, Path())
    assert (len(train), len(test)) == sizes
    assert len(set(ids(train + test))) == 13320
    assert not groups(train) & groups(test)
    assert len(groups(train + test)) == 101 * 25
    assert {v.group[-2:] for v in test} == {f"{7 * (split - 1) + k:02d}" for k in range(1, 8)}
    pushups = Counter(v.label for v in train if v.id.startswith("HandstandPushups/v_HandStandPushups_"))
    assert list(pushups) == [classes.index("HandstandPushups")]
    kept, validation = hold_out(train, 0.1, 0)
    assert not groups(kept) & groups(validation)
    assert set(Counter(v.label for v in validation)) == set(range(101))
    assert 0.08 < len(validation) / len(train) < 0.12


@pytest.mark.parametrize(("split", "sizes"), [(1, (33, 24)), (2, (39, 18)), (3, (42, 15))])
def test_real_mini_ucf101(real_data: Path, split: int, sizes: tuple[int, int]) -> None:
    source = UCF101(real_data, split=split)
    assert source.classes == ("Biking", "Diving", "JavelinThrow", "Punch", "YoYo")
    assert (len(source.train), len(source.test)) == sizes
    assert Counter(v.label for v in source.train + source.test) == {0: 5, 1: 5, 2: 5, 3: 18, 4: 24}
    assert not groups(source.train) & groups(source.test)
    train, validation = hold_out(source.train, 0.2, 0)
    assert {v.label for v in validation} == {v.label for v in train} == set(range(5))
    assert UCF101(real_data / "UCF-101", split=split) == source


def test_without_lists_the_splits_follow_the_rule(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"{c}/v_{c}_g{group:02}_c01.avi" for c in ("b", "A") for group in (1, 7, 8, 14, 15, 21, 22, 25)]
    touch(tmp_path / "UCF-101", [*names, "b/notes.txt", ".hidden/v_b_g01_c01.avi"])
    for split, tested in ((1, (1, 7)), (2, (8, 14)), (3, (15, 21))):
        source = UCF101(tmp_path, split=split)
        assert source.classes == ("A", "b")
        assert ids(source.test) == [f"{c}/v_{c}_g{group:02}_c01.avi" for c in ("A", "b") for group in tested]
        assert len(source.train) == 12
    assert "no list files; split 3 is derived by its rule; 16 of the 13,320 videos are there" in caplog.text
    assert UCF101(tmp_path, split=1, classes="b").classes == ("b",)


def test_neither_lists_nor_videos_with_official_names(tmp_path: Path) -> None:
    touch(tmp_path, ["a/clip.avi"])
    assert "to derive the splits from" in message(lambda: UCF101(tmp_path, split=1))


def test_derived_splits_are_the_official_ones(real_data: Path, tmp_path: Path) -> None:
    lists = real_data / "official_splits/ucf101"
    for side in ("train", "test"):
        listed = (lists / f"{side}list01.txt").read_text().split("\n")
        touch(tmp_path / "UCF-101", [line.split()[0] for line in listed if line.strip()])
    for split, sizes in {1: (9_537, 3_783), 2: (9_586, 3_734), 3: (9_624, 3_696)}.items():
        official, derived = (UCF101(tmp_path, split=split, lists=folder) for folder in (lists, None))
        assert (len(derived.train), len(derived.test)) == sizes
        assert derived.classes == official.classes
        assert set(derived.train) == set(official.train)
        assert set(derived.test) == set(official.test)

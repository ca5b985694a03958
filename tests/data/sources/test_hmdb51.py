"""HMDB51's official lists. Files are empty: parsing never opens a video."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
from video_trees import NASTY, groups, ids, message, touch, write_hmdb

from twostream.data.sources import HMDB51
from twostream.data.sources.hmdb51 import read_classes, read_lists


def test_hmdb51_flags_and_exact_classes(tmp_path: Path) -> None:
    source = HMDB51(write_hmdb(tmp_path), split=1)
    assert source.classes == ("climb", "climb_stairs", "wave")
    assert [(v.id, v.label, v.group) for v in source.train] == [
        (f"climb/{NASTY}", 0, "climb/Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!"),
        ("climb_stairs/climb_climb_stairs_f_cm_np1_le_med_0.avi", 1, "climb_stairs/climb"),
        ("wave/film_wave_f_nm_np1_fr_med_9.avi", 2, "wave/film"),
        ("wave/film_wave_f_nm_np1_fr_med_10.avi", 2, "wave/film"),
    ]
    assert [v.label for v in source.test] == [0, 1, 1, 2]
    assert not any("unused" in v.id for v in source.train + source.test)
    assert source.train[0].path == tmp_path / "hmdb51/climb" / NASTY


@pytest.mark.parametrize(
    ("lists", "videos", "root"),
    [
        ("official_splits/hmdb51", "hmdb51", "."),
        ("test_train_splits/testTrainMulti_7030_splits", "hmdb51_org", "hmdb51_org"),
        ("testTrainMulti_7030_splits", ".", "."),
        (".", ".", "."),
    ],
)
def test_hmdb51_finds_the_usual_layouts(tmp_path: Path, lists: str, videos: str, root: str) -> None:
    source = HMDB51(write_hmdb(tmp_path, lists=lists, videos=videos) / root, split=1)
    assert source.train[0].path == tmp_path / videos / "climb" / NASTY


def test_hmdb51_reads_crlf_alike_and_ignores_hidden_files(tmp_path: Path) -> None:
    expected = HMDB51(write_hmdb(tmp_path), split=1)
    lists = tmp_path / "testTrainMulti_7030_splits"
    for path in lists.iterdir():
        path.write_bytes(path.read_bytes().replace(b" \n", b"\r\n"))
    touch(lists, ["._wave_test_split1.txt", "._wave_test_split2.txt", "readme.txt"])  # copied from a Mac
    assert HMDB51(tmp_path, split=1) == expected


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("film_wave_f_nm_np1_fr_med_11.avi 3 ", "expected `name.avi FLAG`"),
        ("film_wave_f_nm_np1_fr_med_11.avi", "expected `name.avi FLAG`"),
        ("1", "expected `name.avi FLAG`"),
        ("../wave/film_wave_f_nm_np1_fr_med_11.avi 1 ", "expected `name.avi FLAG`"),
        ("film_wave_f_nm_np1_fr_med_9.avi 2 ", "is listed twice"),
        ("film_climb_f_nm_np1_fr_med_9.avi 1 ", "expected a name `<recording>_wave_….avi`"),
    ],
)
def test_hmdb51_odd_lines_are_named(tmp_path: Path, line: str, wanted: str) -> None:
    path = write_hmdb(tmp_path) / "testTrainMulti_7030_splits/wave_test_split1.txt"
    path.write_text(path.read_text() + "\n\n" + line + "\n")
    text = message(lambda: HMDB51(tmp_path, split=1))
    assert text.startswith(f"{path}:5: ")
    assert wanted in text


def test_hmdb51_a_lost_list_does_not_lose_the_class(tmp_path: Path) -> None:
    lists = write_hmdb(tmp_path) / "testTrainMulti_7030_splits"
    touch(lists, ["wave_test_split2.txt", "kick_test_split2.txt"])
    assert "kick_test_split1.txt: missing" in message(lambda: HMDB51(tmp_path, split=1))
    (tmp_path / "empty").mkdir()
    text = message(lambda: HMDB51(tmp_path, split=1, lists=tmp_path / "empty"))
    assert "no list files <class>_test_split<1|2|3>.txt in" in text


@pytest.mark.parametrize("split", [1, 2, 3])
def test_official_hmdb51_lists(real_data: Path, split: int) -> None:
    lists = real_data / "official_splits/hmdb51"
    classes = read_classes(lists, split)
    assert len(classes) == 51
    assert list(classes) == sorted(classes)
    train, test = read_lists(lists, split, classes, Path())
    assert Counter(v.label for v in train) == dict.fromkeys(range(51), 70)
    assert Counter(v.label for v in test) == dict.fromkeys(range(51), 30)
    assert not set(ids(train)) & set(ids(test))
    assert not groups(train) & groups(test)


def test_official_hmdb51_test_sets_overlap(real_data: Path) -> None:
    lists = real_data / "official_splits/hmdb51"
    tests = [set(ids(read_lists(lists, k, read_classes(lists, k), Path())[1])) for k in (1, 2, 3)]
    pairs = [len(tests[a] & tests[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert sorted(pairs) == [104, 126, 155]


def test_real_hmdb51_holds_five_of_the_listed_videos(real_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "5,096 of 5,100 listed videos are absent" in message(lambda: HMDB51(real_data, split=1))
    text = message(lambda: HMDB51(real_data, split=1, missing="skip"))
    assert text.startswith("hmdb51 split 1: no training videos for 49 of 51 classes: brush_hair, catch, ")
    assert text.endswith(": cartwheel, wave")
    with caplog.at_level(logging.WARNING):
        source = HMDB51(real_data, split=1, missing="skip", classes=["cartwheel", "wave"])
    assert [(v.label, v.path.is_file()) for v in source.train + source.test] == [
        (0, True),
        (1, True),
        (1, True),
    ]
    assert "197 of 200 listed videos are absent" in caplog.text

"""Folders of videos and split files. Files are empty: parsing never opens a video."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
from video_trees import groups, ids, message, touch, write_folder

from twostream.data.sources import Folder, fingerprint


def test_folder_finds_videos_of_any_case_and_ignores_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, ["b/1.MP4", "b/2.avi", "b/.hidden.avi", "b/notes.txt", "b/.git/x.avi", "b/mp4", "stray.avi"])
    touch(tmp_path, ["a*[b]?/naïve name, (x)\n#1.mkv", "a*[b]?/s/deep/y.webm", ".cache/z.avi", "notes.md"])
    (tmp_path / "b/loop").symlink_to(tmp_path / "b", target_is_directory=True)
    with caplog.at_level(logging.WARNING):
        source = Folder(tmp_path, split=1)
    assert "1 video in no class folder: stray.avi" in caplog.text
    assert source.classes == ("a*[b]?", "b")
    assert {v.id: v.label for v in source.train + source.test} == {
        "a*[b]?/naïve name, (x)\n#1.mkv": 0,
        "a*[b]?/s/deep/y.webm": 0,
        "b/1.MP4": 1,
        "b/2.avi": 1,
    }
    assert groups(source.train + source.test) == {
        "a*[b]?/naïve name, (x)\n#1",
        "a*[b]?/s",
        "b/1",
        "b/2",
    }
    assert "2 files have no suffix of a video and are left out: b/mp4, b/notes.txt" in caplog.text
    assert len(source.train) == len(source.test) == 2  # two groups a class: one on each side


def test_folder_random_split_is_stratified_seeded_and_its_own_for_each_number(tmp_path: Path) -> None:
    write_folder(tmp_path)
    source = Folder(tmp_path, split=1, test_fraction=0.2)
    assert Counter(v.label for v in source.test) == {0: 2, 1: 2}
    assert Counter(v.label for v in source.train) == {0: 8, 1: 8}
    assert ids(source.train) == sorted(ids(source.train))
    assert Folder(tmp_path, split=1, test_fraction=0.2) == source
    others = [Folder(tmp_path, split=k, test_fraction=0.2, seed=seed) for k, seed in ((2, 0), (3, 0), (1, 1))]
    assert len({fingerprint(s.test) for s in (source, *others)}) == 4


def test_folder_random_split_keeps_groups_whole(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for split in range(1, 6):
        source = Folder(tmp_path, split=split, test_fraction=0.4, group_pattern=r"b/clip_(g\d)_|\d+\.mp4")
        assert not groups(source.train) & groups(source.test)
        assert Counter(v.label for v in source.test) == {0: 4, 1: 4}
    assert groups(source.train + source.test) >= {"g0", "g1", "g2", "g3", "g4", "0.mp4"}


def test_folder_group_pattern_may_join_classes_or_not(tmp_path: Path) -> None:
    touch(tmp_path, [f"{name}/person{number}_x.avi" for name in "ab" for number in range(5)])
    joined = Folder(tmp_path, split=1, group_pattern=r"person\d")
    assert groups(joined.train + joined.test) == {f"person{number}" for number in range(5)}
    assert not groups(joined.train) & groups(joined.test)
    apart = Folder(tmp_path, split=1, group_pattern=r"^(\w)/(person\d)")
    assert groups(apart.train + apart.test) == {f"{c}/person{number}" for c in "ab" for number in range(5)}


def test_folder_sub_folders_are_groups(tmp_path: Path) -> None:
    takes = [f"tape{tape}/take{take}/{k}.avi" for tape in range(3) for take in (1, 2) for k in (1, 2)]
    touch(tmp_path, [f"{name}/{take}" for name in "ab" for take in takes])
    source = Folder(tmp_path, split=1)
    assert groups(source.train) | groups(source.test) == {f"{c}/tape{tape}" for c in "ab" for tape in range(3)}
    assert not groups(source.train) & groups(source.test)
    assert Counter(v.label for v in source.test) == {0: 4, 1: 4}


def test_folder_wrong_values(tmp_path: Path) -> None:
    write_folder(tmp_path)
    assert message(lambda: Folder(tmp_path, split=0)) == "split=0: choose from 1, 2, 3, …"
    assert "test_fraction=1.0: " in message(lambda: Folder(tmp_path, split=1, test_fraction=1.0))
    assert "not a regular expression" in message(lambda: Folder(tmp_path, split=1, group_pattern="("))
    assert "matches 10 of 20 videos, not a/0.mp4, a/1.mp4" in message(
        lambda: Folder(tmp_path, split=1, group_pattern=r"_g\d_")
    )
    text = message(lambda: Folder(tmp_path, split=1, suffixes="mp4"))
    assert (
        "1 of 2 class folders hold no videos: b; name the classes to use with data.classes=[…]: 10 files have no"
        in text
    )
    assert Folder(tmp_path, split=1, suffixes=["mp4"], classes=["a"]).classes == ("a",)
    touch(tmp_path / "b/inner", ["x.txt"])
    assert "holds 1 folders: inner" in message(lambda: Folder(tmp_path / "b", split=1))
    (tmp_path / "a/dead.mp4").symlink_to(tmp_path / "gone")
    assert "1 of 21 listed videos are absent" in message(lambda: Folder(tmp_path, split=1))


def write_csv(root: Path, text: str) -> Path:
    path = root / "split.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_folder_csv_decides_and_labels_may_differ_from_folders(tmp_path: Path) -> None:
    write_folder(tmp_path)
    path = write_csv(
        tmp_path,
        "video, label ,split,note\na/1.mp4,run,train,x\na/2.mp4,walk,train,\n"
        "b/clip_g0_0.AVI,run,test,\na/3.mp4,rest,unused,\n",
    )
    source = Folder(tmp_path, split=1, csv=path)
    assert source.classes == ("run", "walk")
    assert [(v.id, v.label) for v in source.train] == [("a/1.mp4", 0), ("a/2.mp4", 1)]
    assert [(v.id, v.label) for v in source.test] == [("b/clip_g0_0.AVI", 0)]
    assert source.train[0].path == tmp_path / "a/1.mp4"


def test_folder_csv_without_labels_with_bom_and_crlf(tmp_path: Path) -> None:
    write_folder(tmp_path)
    path = write_csv(tmp_path, '\ufeffvideo,split\r\n"b/clip_g0_0.AVI",train\r\n./a/1.mp4, train\r\n\r\na/2.mp4,test')
    source = Folder(tmp_path, split=1, csv=str(path))
    assert source.classes == ("a", "b")
    assert [(v.id, v.label) for v in source.train] == [("a/1.mp4", 0), ("b/clip_g0_0.AVI", 1)]
    assert ids(source.test) == ["a/2.mp4"]


def test_folder_csv_may_hold_several_splits(tmp_path: Path) -> None:
    write_folder(tmp_path)
    path = write_csv(tmp_path, "video,split1,split2\na/1.mp4,train,test\na/2.mp4,test,train\n")
    assert ids(Folder(tmp_path, split=1, csv=path).test) == ["a/2.mp4"]
    assert ids(Folder(tmp_path, split=2, csv=path).test) == ["a/1.mp4"]
    assert "has no column `split3`; choose from 1, 2" in message(lambda: Folder(tmp_path, split=3, csv=path))
    path = write_csv(tmp_path, "video,split\na/1.mp4,train\na/2.mp4,test\n")
    assert "choose from 1" in message(lambda: Folder(tmp_path, split=2, csv=path))  # not the same one again


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [
        ("", 1, "expected columns `video` and `split`, found none"),
        ("video;split\na/1.mp4;train\n", 1, "expected columns `video` and `split`, found video;split"),
        ("a/1.mp4,train\n", 1, "expected columns `video` and `split`, found a/1.mp4, train"),
        ("video,split,split\na/1.mp4,train,test\n", 1, "a column is there twice"),
        ("video,split,split1\na/1.mp4,train,test\n", 1, "a column is there twice"),
        ("video,split\na/1.mp4,train\na/2.mp4,dev\n", 3, "split='dev': choose from train, validation, test, unused"),
        ("video,split\na/1.mp4\n", 2, "more or fewer cells than columns"),
        ("video,split\na/1,2.mp4,train\n", 2, "more or fewer cells than columns"),
        ("video,split\n,train\n", 2, "expected a path below root"),
        ("video,split\n/a/1.mp4,train\n", 2, "expected a path below root"),
        ("video,split\na/../../1.mp4,train\n", 2, "expected a path below root"),
        ("video,split\n1.mp4,train\n", 2, "no class folder in the path, and no column `label`"),
        ("video,label,split\n.,run,train\n", 2, "expected a path below root"),
        ("video,label,split\na/1.mp4,,train\n", 2, "label='': expected a class name"),
        ("video,label,split\na/1.mp4, run,train\n", 2, "label=' run': expected a class name without spaces"),
        ("video,split\na/1.mp4,train\n./a//1.mp4,test\n", 3, "a/1.mp4 is listed twice"),
        ('video,split\n"a/1.mp4"x,train\n', 2, "not a CSV file"),
    ],
)
def test_folder_csv_errors_name_the_line(tmp_path: Path, text: str, line: int, wanted: str) -> None:
    write_folder(tmp_path)
    path = write_csv(tmp_path, text)
    error = message(lambda: Folder(tmp_path, split=1, csv=path))
    assert error.startswith(f"{path}:{line}: ")
    assert wanted in error


def test_folder_csv_absent_file_absent_videos_and_leaking_groups(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path)
    assert "cannot be read" in message(lambda: Folder(tmp_path, split=1, csv=tmp_path / "no.csv"))
    path = write_csv(tmp_path, "video,group,split\na/1.mp4,g,train\na/2.mp4,g,test\na/no.mp4,,train\n")
    assert "1 of 3 listed videos are absent" in message(lambda: Folder(tmp_path, split=1, csv=path))
    with caplog.at_level(logging.WARNING):
        Folder(tmp_path, split=1, csv=path, missing="skip")
    assert "1 group in training and in test: g" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with mark"])
def test_folder_csv_in_unicode(tmp_path: Path, encoding: str) -> None:
    touch(write_folder(tmp_path), ["Müller/1.mp4", "Müller/2.mp4"])
    text = "video,label,split\r\na/1.mp4,ä,train\r\nMüller/1.mp4,ü,train\r\nMüller/2.mp4,ü,test\r\n"
    mark, encoding = ("\ufeff", "utf-16-le") if "with" in encoding else ("", encoding)
    (tmp_path / "s.csv").write_bytes((mark + text).encode(encoding))
    source = Folder(tmp_path, split=1, csv=tmp_path / "s.csv")
    assert (source.classes, ids(source.test)) == (("ä", "ü"), ["Müller/2.mp4"])


def test_folder_csv_in_other_encodings(tmp_path: Path) -> None:
    touch(write_folder(tmp_path), ["Müller/1.mp4", "Müller/2.mp4"])
    path = tmp_path / "s.csv"
    path.write_bytes("video,split\na/1.mp4,train\nMüller/1.mp4,train\nMüller/2.mp4,test\n".encode("cp1252"))
    text = message(lambda: Folder(tmp_path, split=1, csv=path))
    assert "2 of 3 listed videos are absent" in text
    assert text.endswith("ller/2.mp4 (there is Müller/2.mp4: the list is not written in UTF-8)")
    for column in ("label", "group"):
        path.write_bytes(f"video,{column},split\na/1.mp4,x,train\na/2.mp4,é,test\n".encode("cp1252"))
        wanted = f"{path}:3: {column}=b'\\xe9': not UTF-8; save the CSV in UTF-8"
        assert message(lambda: Folder(tmp_path, split=1, csv=path)) == wanted
    path.write_bytes("video,split\na/1.mp4,train\n".encode("utf-16-le"))
    assert "not a text file in UTF-8 (it holds a NUL)" in message(lambda: Folder(tmp_path, split=1, csv=path))


def test_folder_csv_names_that_are_one_to_the_eye(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path)
    rows = "a/1.mp4,{},g1,train\na/2.mp4,{}, g1 ,test\nb/clip_g0_0.AVI,x,g2,train\n"
    path = write_csv(tmp_path, "video,label,group,split\n" + rows.format("a", "a"))
    assert groups(Folder(tmp_path, split=1, csv=path).videos) == {"g1", "g2"}
    assert "s.csv: 1 group in training and in test: g1".replace("s.csv", "split.csv") in caplog.text
    for one, other in (("Walk", "walk"), ("open door", "open  door"), ("\u00e9", "e\u0301")):
        path = write_csv(tmp_path, "video,label,group,split\n" + rows.format(one, other))
        text = message(lambda path=path: Folder(tmp_path, split=1, csv=path))
        assert f"classes {min(one, other)!r} and {max(one, other)!r} are one to the eye (" in text
        path.unlink()


def test_folder_files_of_one_name_are_one_group(tmp_path: Path) -> None:
    touch(write_folder(tmp_path), [f"a/{number}.mov" for number in range(10)])
    for split in range(1, 6):
        source = Folder(tmp_path, split=split)
        assert not groups(source.train) & groups(source.test)
        assert len({name for name in ids(source.test) if name.startswith("a/")}) % 2 == 0


def test_real_folder_split_by_recording(real_data: Path) -> None:
    source = Folder(real_data / "UCF-101", split=1, group_pattern=r"^(\w+)/.*_(g\d+)_c\d+")
    assert len(source.train) + len(source.test) == 57
    assert not groups(source.train) & groups(source.test)
    assert {v.label for v in source.train} == {v.label for v in source.test} == set(range(5))

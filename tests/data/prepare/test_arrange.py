"""Where files end up: whatever archives look like, the sources find videos and lists; nothing is done twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from archive_files import write_rar, write_tar, write_zip
from file_server import FileServer

from twostream.data.prepare import arrange as module
from twostream.data.prepare.archives import RAR_TOOLS, ArchiveError
from twostream.data.prepare.arrange import arrange, arrange_folder
from twostream.data.prepare.catalogue import HMDB51, UCF101
from twostream.data.prepare.report import Report

VIDEOS = {
    "YoYo/v_YoYo_g01_c01.avi": b"1",
    "YoYo/v_YoYo_g09_c02.avi": b"2",
    "HandstandPushups/v_HandStandPushups_g08_c01.avi": b"3",
}
LISTS = {"classInd.txt": b"1 HandstandPushups\n2 YoYo\n", "trainlist01.txt": b"", "testlist01.txt": b""}
HMDB_VIDEOS = {"walk/a_walk_f_cm_np1_fr_goo_0.avi": b"1", "climb_stairs/b_climb_stairs_f_cm_np1_fr_goo_0.avi": b"2"}
HMDB_LISTS = {"walk_test_split1.txt": b"", "climb_stairs_test_split1.txt": b""}
needs_rar = pytest.mark.skipif(not any(map(shutil.which, RAR_TOOLS)), reason="no program for rar")


def below(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(root: Path, known=UCF101, *, fetch: bool = False, mirrors=()) -> int:
    """How many things were unpacked; what there is then is looked at by the sources' own rules."""
    report = Report()
    videos, lists = arrange(root, known, fetch=fetch, mirrors=mirrors, report=report)
    assert known.has_classes(videos)
    assert lists is None or known.has_lists(lists)
    return report.changes


@pytest.mark.parametrize("inside", ["UCF-101/{}", "{}", "some/where/UCF101/{}"])
@pytest.mark.parametrize("name", ["UCF101.zip", "my-ucf101.tar.gz", "UCF-101.tar"])
def test_ucf101_from_an_archive(tmp_path: Path, inside: str, name: str) -> None:
    files = {inside.format(file): data for file, data in VIDEOS.items()} | {"read me.txt": b"!"}
    (write_zip if name.endswith("zip") else write_tar)(tmp_path / name, files)
    assert run(tmp_path) == 1
    assert content(tmp_path / "UCF-101") == VIDEOS
    assert sorted(os.listdir(tmp_path)) == sorted(["UCF-101", name])
    assert run(tmp_path) == 0


def test_videos_in_no_class_folders_get_theirs(tmp_path: Path) -> None:
    write_zip(tmp_path / "UCF101_videos.zip", {f"UCF101/{name.split('/')[1]}": data for name, data in VIDEOS.items()})
    run(tmp_path)
    assert content(tmp_path / "UCF-101") == VIDEOS


def test_lists_from_an_archive_of_their_own(tmp_path: Path) -> None:
    write_zip(tmp_path / "UCF101.zip", below("UCF-101", VIDEOS))
    write_zip(tmp_path / "UCF101TrainTestSplits-RecognitionTask.zip", below("ucfTrainTestlist", LISTS))
    assert run(tmp_path) == 2
    assert content(tmp_path / "ucfTrainTestlist") == LISTS
    assert arrange(tmp_path, UCF101, fetch=False, mirrors=(), report=Report()) == (
        tmp_path / "UCF-101",
        tmp_path / "ucfTrainTestlist",
    )


def test_videos_and_lists_in_one_archive(tmp_path: Path) -> None:
    write_tar(tmp_path / "ucf.tar", {**VIDEOS, **LISTS})
    assert run(tmp_path) == 1
    assert content(tmp_path / "UCF-101") == VIDEOS
    assert content(tmp_path / "ucfTrainTestlist") == LISTS


@needs_rar
def test_hmdb51_from_rars_in_a_rar(tmp_path: Path) -> None:
    inner = {}
    for name, data in HMDB_VIDEOS.items():
        inner[f"{name.split('/')[0]}.rar"] = write_rar(tmp_path / "x", {name: data}).read_bytes()
    (tmp_path / "x").unlink()
    write_rar(tmp_path / "hmdb51_org.rar", inner)
    write_rar(tmp_path / "test_train_splits.rar", below("testTrainMulti_7030_splits", HMDB_LISTS))
    assert run(tmp_path, HMDB51) == 2
    assert content(tmp_path / "hmdb51") == HMDB_VIDEOS
    assert content(tmp_path / "testTrainMulti_7030_splits") == HMDB_LISTS


@needs_rar
def test_hmdb51_whose_outer_archive_was_unpacked_by_hand(tmp_path: Path) -> None:
    (tmp_path / "hmdb51_org").mkdir()
    for name, data in HMDB_VIDEOS.items():
        folder, file = name.split("/")
        write_rar(tmp_path / "hmdb51_org" / f"{folder}.rar", {file if folder == "walk" else name: data})
    for name in HMDB_LISTS:
        (tmp_path / name).touch()
    assert run(tmp_path, HMDB51) == 2
    assert content(tmp_path / "hmdb51") == HMDB_VIDEOS


def test_a_tree_that_is_there_is_left_alone(tmp_path: Path) -> None:
    for name, data in VIDEOS.items():
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(data)
    write_zip(tmp_path / "UCF101.zip", below("UCF-101", {"YoYo/v_YoYo_g02_c01.avi": b"other"}))
    before = content(tmp_path)
    assert run(tmp_path) == 0
    assert content(tmp_path) == before


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
def test_an_interruption_at_any_move_is_made_up_for(tmp_path: Path, stop_at: int, monkeypatch) -> None:
    """Two class folders and a list are moved: stopped before each of them, and before what is left is removed."""
    write_zip(tmp_path / "UCF101.zip", {**VIDEOS, "classInd.txt": LISTS["classInd.txt"], "rest.txt": b""})
    steps = []

    def counted(original):
        def step(*arguments):
            steps.append(arguments)
            if len(steps) == stop_at:
                raise KeyboardInterrupt
            original(*arguments)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(module, "_merge", counted(module._merge))
        patch.setattr(module, "_remove", counted(module._remove))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert len(steps) == stop_at
    run(tmp_path)
    assert content(tmp_path / "UCF-101") == VIDEOS
    assert sorted(os.listdir(tmp_path)) == ["UCF-101", "UCF101.zip", "ucfTrainTestlist"]


def test_archives_without_anything_of_use_leave_nothing(tmp_path: Path) -> None:
    write_zip(tmp_path / "ucf.zip", {"a/b.avi": b"", "v_YoYo.avi": b""})
    with pytest.raises(ArchiveError, match=r"ucf\.zip: holds neither videos <Class>/v_.* nor split lists of UCF101"):
        run(tmp_path)
    assert os.listdir(tmp_path) == ["ucf.zip"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_zip(tmp_path / "UCF101.zip", VIDEOS)
    (tmp_path / "UCF-101").mkdir()
    (tmp_path / "UCF-101" / "YoYo").write_text("mine")
    with pytest.raises(ArchiveError, match=r"would overwrite .*UCF-101/YoYo: move that away"):
        run(tmp_path)
    assert (tmp_path / "UCF-101" / "YoYo").read_text() == "mine"
    (tmp_path / "UCF-101" / "YoYo").unlink()
    run(tmp_path)
    assert content(tmp_path / "UCF-101") == VIDEOS


def test_what_to_do_where_there_are_no_videos(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--download fetches them \(7 GB\), or put UCF101.rar from https://www.crcv"):
        run(tmp_path)
    write_zip(tmp_path / "holiday.zip", VIDEOS)
    with pytest.raises(ValueError, match=r"its archives are not named like those of UCF101: holiday\.zip"):
        run(tmp_path)
    deep = tmp_path / "datasets" / "ucf" / "YoYo"
    deep.mkdir(parents=True)
    (deep / "v_YoYo_g01_c01.avi").touch()
    with pytest.raises(ValueError, match=rf"they are in {deep.parent}: name that with --root"):
        run(tmp_path)


def test_where_the_lists_of_hmdb51_come_from(tmp_path: Path) -> None:
    (tmp_path / "hmdb51" / "walk").mkdir(parents=True)
    (tmp_path / "hmdb51" / "walk" / "a_walk_f_cm_np1_fr_goo_0.avi").touch()
    with pytest.raises(ValueError, match=r"get them from https://serre-lab.*put test_train_splits\.rar .*--download"):
        run(tmp_path, HMDB51)


def test_the_classes_of_both_data_sets_are_told_apart(real_data: Path) -> None:
    """All official names are recognised, each in its own class only."""
    for known, other, folder in ((UCF101, HMDB51, "ucf101"), (HMDB51, UCF101, "hmdb51")):
        lists = real_data / "official_splits" / folder
        classes, train, test = known.listed(real_data, lists, 1)
        assert len(train) + len(test) == sum(known.split_sizes[1])
        for video in (*train, *test):
            name = video.path.name
            assert known.in_class(video.path.parent.name, name)
            assert not other.in_class(video.path.parent.name, name)
            assert known.class_of(name) == (video.path.parent.name if known is UCF101 else None)
        others = [name for name in classes if known.in_class(name, "v_YoYo_g01_c01.avi")]
        assert others == (["YoYo"] if known is UCF101 else [])


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({}) as server:
        yield server


def test_videos_and_lists_from_a_mirror(tmp_path: Path, server: FileServer, capsys) -> None:
    videos = write_zip(tmp_path / "v.zip", below("UCF-101", VIDEOS)).read_bytes()
    lists = write_zip(tmp_path / "l.zip", below("ucfTrainTestlist", LISTS)).read_bytes()
    server.files |= {"x/UCF101_videos.zip": videos, "x/UCF101TrainTestSplits-RecognitionTask.zip": lists}
    server.cuts = [100]
    root = tmp_path / "new"
    root.mkdir()
    assert run(root, fetch=True, mirrors=[server.url("x/")]) == 2
    assert content(root / "UCF-101") == VIDEOS
    assert [asked[0] for asked in server.asked] == [
        "x/UCF101.rar", "x/UCF101_videos.zip", "x/UCF101_videos.zip", "x/UCF101TrainTestSplits-RecognitionTask.zip",
    ]  # fmt: skip
    assert "MB" not in capsys.readouterr().out  # in a file, a short download has no line of its own
    server.asked.clear()
    assert run(root, fetch=True, mirrors=[server.url("x/")]) == 0
    assert server.asked == []


def test_own_archives_become_class_folders(tmp_path: Path) -> None:
    one = {"walk/1.mp4": b"1", "walk/deep/2.mp4": b"2", "run/3.mp4": b"3", "__MACOSX/walk/._1.mp4": b""}
    for name, files, expected in (
        ("clips.zip", one, {"walk/1.mp4": b"1", "walk/deep/2.mp4": b"2", "run/3.mp4": b"3"}),
        ("clips.tar.gz", {**below("my clips", one), "my clips/split.csv": b"c"},
         {"walk/1.mp4": b"1", "walk/deep/2.mp4": b"2", "run/3.mp4": b"3", "split.csv": b"c"}),
        ("walk.zip", {"1.mp4": b"1", "2.AVI": b"2"}, {"walk/1.mp4": b"1", "walk/2.AVI": b"2"}),
        ("a.zip", {"walk/1.mp4": b"1"}, {"walk/1.mp4": b"1"}),
    ):  # fmt: skip
        root = tmp_path / f"of {name}"
        root.mkdir()
        archive = (write_zip if name.endswith("zip") else write_tar)(root / name, files)
        report = Report()
        assert arrange_folder(root, fetch=False, mirrors=(), report=report) == (root, None)
        archive.unlink()
        assert content(root) == expected
        assert report.changes == 1


def test_one_archive_for_each_class(tmp_path: Path) -> None:
    for name in ("walk", "run"):
        write_zip(tmp_path / f"{name}.zip", {f"{name}/1.mp4": name.encode()})
    arrange_folder(tmp_path, fetch=False, mirrors=(), report=Report())
    assert (tmp_path / "run" / "1.mp4").read_text() + (tmp_path / "walk" / "1.mp4").read_text() == "runwalk"


def test_archives_of_sides_stay_around_their_classes(tmp_path: Path) -> None:
    one, two = ({f"{name}/1.mp4": side.encode() for name in ("run", "walk")} for side in ("train", "test"))
    whole = {f"{side}/{name}": text for side, files in (("train", one), ("test", two)) for name, text in files.items()}
    for number, archives in enumerate((
        {"train.zip": one, "test.zip": two},
        {"Clips.zip": below("clips", whole)},
        {"train.zip": below("train", one), "test.zip": below("my test", two)},
    )):  # fmt: skip
        root = tmp_path / str(number)
        root.mkdir()
        for name, files in archives.items():
            write_zip(root / name, files)
        arrange_folder(root, fetch=False, mirrors=(), report=Report())
        for name in archives:
            (root / name).unlink()
        assert content(root) == whole


def test_own_videos_from_an_address(tmp_path: Path, server: FileServer) -> None:
    server.files["mine.zip"] = write_zip(tmp_path / "x", {"walk/1.mp4": b"1"}).read_bytes()
    (tmp_path / "root").mkdir()
    arrange_folder(tmp_path / "root", fetch=True, mirrors=[server.url("mine.zip")], report=Report())
    assert (tmp_path / "root" / "walk" / "1.mp4").read_bytes() == b"1"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="name the address of an archive of your videos with --mirror URL"):
        arrange_folder(tmp_path / "empty", fetch=True, mirrors=(), report=Report())
    with pytest.raises(ValueError, match=r"no videos and no archives of them in it"):
        arrange_folder(tmp_path / "empty", fetch=False, mirrors=(), report=Report())

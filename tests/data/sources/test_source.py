"""What all sources share: roots, absent videos, classes, written splits, configs."""

from __future__ import annotations

import logging
import os
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from video_trees import UCF_TRAIN, ids, message, touch, video, write_folder, write_hmdb, write_ucf

from twostream.data.sources import HMDB51, UCF101, Folder, Source, Video, fingerprint, hold_out
from twostream.runs.data_values import which_videos

CONF = Path(__file__).parents[3] / "conf" / "data"


@pytest.mark.parametrize("source", [UCF101, HMDB51])
@pytest.mark.parametrize("split", [0, 4, -1, "all", None])
def test_official_splits_are_three(tmp_path: Path, source: type[Source], split: object) -> None:
    text = message(lambda: source(tmp_path, split=split))  # type: ignore[call-arg, arg-type]
    assert text.startswith(f"split={split!r}: ")
    assert text.endswith("choose from 1, 2, 3")


@pytest.mark.parametrize("source", [UCF101, HMDB51, Folder])
def test_a_missing_root_says_what_it_should_hold(tmp_path: Path, source: Callable[..., Source]) -> None:
    assert "does not exist; it should hold " in message(lambda: source(tmp_path / "nowhere", split=1))
    touch(tmp_path, ["file"])
    assert "is not a folder; it should hold " in message(lambda: source(tmp_path / "file", split=1))
    assert message(lambda: source(None, split=1)).startswith("data.root=None: name the folder that holds ")
    text = message(lambda: source(tmp_path, split=1, missing="ignore"))
    assert text == "data.missing='ignore': choose from error, skip"


def test_a_root_without_class_folders(tmp_path: Path) -> None:
    write_ucf(tmp_path / "a")
    lists = tmp_path / "a/ucfTrainTestlist"
    (tmp_path / "b").mkdir()
    text = message(lambda: UCF101(tmp_path / "b", split=1, lists=lists))
    assert "found none of the 3 class folders (HandstandPushups, Biking, YoYo, …)" in text
    assert "UCF-101/<class>/" in text


def test_absent_videos_are_counted_and_the_first_ten_named(tmp_path: Path) -> None:
    write_ucf(tmp_path)
    more = [f"Biking/v_Biking_g11_c{number:02d}.avi" for number in range(13)]
    with (tmp_path / "ucfTrainTestlist/testlist01.txt").open("a") as file:
        file.write("\n".join(more))
    (tmp_path / "UCF-101/Biking/v_Biking_g25_c07.avi").unlink()
    lines = message(lambda: UCF101(tmp_path, split=1)).split("\n  ")
    assert lines[0].endswith("14 of 19 listed videos are absent (data.missing=skip leaves them out):")
    assert lines[1:11] == ["Biking/v_Biking_g25_c07.avi", *more[:9]]
    assert lines[11:] == ["and 4 more"]


def test_skipping_absent_videos_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_ucf(tmp_path)
    (tmp_path / "UCF-101/Biking/v_Biking_g25_c07.avi").unlink()
    with caplog.at_level(logging.WARNING):
        source = UCF101(tmp_path, split=1, missing="skip")
    assert "1 of 6 listed videos are absent" in caplog.text
    assert ids(source.train) == [line.split()[0] for line in (UCF_TRAIN[0], UCF_TRAIN[1], UCF_TRAIN[3])]
    assert source.classes == ("HandstandPushups", "Biking", "YoYo")  # labels stay as they were


def test_a_class_without_training_videos_is_an_error_and_classes_the_way_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_ucf(tmp_path)
    (tmp_path / "UCF-101/YoYo/v_YoYo_g09_c02.avi").unlink()
    text = message(lambda: UCF101(tmp_path, split=1, missing="skip"))
    assert text.startswith("ucf101 split 1: no training videos for 1 of 3 classes: YoYo; ")
    assert text.endswith("HandstandPushups, Biking")
    with caplog.at_level(logging.WARNING):
        source = UCF101(tmp_path, split=1, missing="error", classes=["Biking", "HandstandPushups"])
    assert source.classes == ("HandstandPushups", "Biking")
    assert Counter(v.label for v in source.train) == {0: 1, 1: 2}
    assert "no test videos for 1 of the classes: Biking" in caplog.text


def test_classes_are_counted_anew_in_official_order(tmp_path: Path) -> None:
    source = UCF101(write_ucf(tmp_path), split=1, classes=["YoYo", "HandstandPushups"])
    assert source.classes == ("HandstandPushups", "YoYo")
    assert [v.label for v in source.train] == [0, 1]
    assert [v.label for v in source.test] == [0, 1]
    text = message(lambda: UCF101(tmp_path, split=1, classes=["yoyo"]))
    assert text.startswith("classes: 'yoyo' is no class here; ")
    assert text.endswith("choose from HandstandPushups, Biking, YoYo")
    assert "each once" in message(lambda: UCF101(tmp_path, split=1, classes=["YoYo", "YoYo"]))
    assert "at least one" in message(lambda: UCF101(tmp_path, split=1, classes=[]))


def test_names_that_differ_in_case_only_are_pointed_out(tmp_path: Path) -> None:
    write_ucf(tmp_path)
    folder = tmp_path / "UCF-101/HandstandPushups"
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("HandStand", "Handstand"))
    if (folder / "v_HandStandPushups_g08_c01.avi").is_file():  # a file system that ignores case opens them
        assert len(UCF101(tmp_path, split=1).train) == 4
        return
    text = message(lambda: UCF101(tmp_path, split=1))
    assert "HandStandPushups_g08_c01.avi (there is v_HandstandPushups_g08_c01.avi: upper and lower case differ)" in text


def test_a_file_system_that_ignores_case_keeps_the_names_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = UCF101(write_ucf(tmp_path), split=1)
    folder = tmp_path / "UCF-101/HandstandPushups"
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.lower())
    monkeypatch.setattr(os.path, "isfile", lambda path: Path(str(path)).parent.is_dir())  # opens any case
    assert UCF101(tmp_path, split=1) == official


def test_folders_and_dead_links_are_no_videos(tmp_path: Path) -> None:
    write_ucf(tmp_path)
    folder = tmp_path / "UCF-101/Biking"
    (folder / "v_Biking_g08_c01.avi").unlink()
    (folder / "v_Biking_g08_c01.avi").mkdir()
    (folder / "v_Biking_g25_c07.avi").unlink()
    (folder / "v_Biking_g25_c07.avi").symlink_to(tmp_path / "gone.avi")
    assert "2 of 6 listed videos are absent" in message(lambda: UCF101(tmp_path, split=1))


@pytest.mark.parametrize("split", [1, 2])
def test_a_written_split_reads_back_identical(tmp_path: Path, split: int) -> None:
    names = [
        "a/1.mp4",
        "a-b/naïve, \"quoted\"\n'x'.mp4",
        "a-b/ 2 .mp4",
        "a/g 1/3.mp4",
        "a/g 1/4.mp4",
        "a/#5.mp4",
    ]
    touch(tmp_path / "data", [*names, *(f"a-b/{number}.mp4" for number in range(5))])
    source = Folder(tmp_path / "data", split=split, seed=3)
    source.write_split(tmp_path / "split.csv")
    again = Folder(tmp_path / "data", split=split, csv=tmp_path / "split.csv", seed=99, test_fraction=0.9)
    assert again == source  # classes, order, labels, groups
    assert hold_out(again.train, 0.3, 0) == hold_out(source.train, 0.3, 0)
    assert sorted(os.listdir(tmp_path)) == ["data", "split.csv"]


def test_a_written_split_is_a_plain_table(tmp_path: Path) -> None:
    source = UCF101(write_ucf(tmp_path), split=1, classes=["Biking", "YoYo"])
    source.write_split(tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_bytes().decode() == (
        "video,label,group,split\n"
        "Biking/v_Biking_g08_c01.avi,Biking,Biking/g08,train\n"
        "Biking/v_Biking_g25_c07.avi,Biking,Biking/g25,train\n"
        "YoYo/v_YoYo_g02_c01.avi,YoYo,YoYo/g02,test\n"
        "YoYo/v_YoYo_g09_c02.avi,YoYo,YoYo/g09,train\n"
    )
    again = Folder(tmp_path / "UCF-101", split=1, csv=tmp_path / "split.csv")
    assert (again.train, again.test) == (source.train, source.test)


@pytest.mark.skipif(os.name == "nt", reason="names are text on Windows")
def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    touch(tmp_path / "data", ["a/1.avi", "a/2.avi", "b/1.avi", "b/x.avi"])
    try:
        os.rename(tmp_path / "data/b/x.avi", os.fsencode(tmp_path) + b"/data/b/\xff.avi")
    except OSError:
        pytest.skip("this file system wants UTF-8 names")
    source = Folder(tmp_path / "data", split=1)
    source.write_split(tmp_path / "split.csv")
    assert Folder(tmp_path / "data", split=1, csv=tmp_path / "split.csv") == source
    assert any(os.fsencode(v.path).endswith(b"/b/\xff.avi") for v in source.train + source.test)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = UCF101(write_ucf(tmp_path / "data"), split=1)
    (tmp_path / "split.csv").write_text("old")

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        source.write_split(tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["data", "split.csv"]


def test_fingerprint_is_of_the_set_of_ids() -> None:
    a, b, joined = video("x/a", 0, "g"), video("x/b", 0, "g"), video("x/ax/b", 0, "g")
    moved = Video(id="x/a", path=Path("/elsewhere/x/a"), label=3, group="h")
    assert fingerprint([a, b]) == fingerprint([b, moved])
    assert len({fingerprint(v) for v in ([a, b], [a], [b], [joined], [])}) == 5


def test_sources_travel_to_workers(tmp_path: Path) -> None:
    source = UCF101(write_ucf(tmp_path), split=1)
    assert pickle.loads(pickle.dumps(source)) == source
    assert "v_Biking" not in repr(source)


def test_configs_build_the_sources(tmp_path: Path) -> None:
    write_ucf(tmp_path / "ucf")
    write_hmdb(tmp_path / "hmdb")
    write_folder(tmp_path / "own")
    for option, root, classes in (
        ("ucf101", "ucf", ["YoYo", "HandstandPushups"]),
        ("hmdb51", "hmdb", ["wave", "climb"]),
        ("folder", "own", ["b", "a"]),
    ):
        path = CONF / f"{option}.yaml"
        assert path.read_text().startswith("# @package _global_\n")
        config = OmegaConf.load(path).data
        read_by = {"cache", "decode", "frames", "mirror", "packed"}  # how frames are read is not the source's business
        assert read_by <= config.keys()
        assert config.keys() - which_videos(config).keys() == read_by
        config = OmegaConf.create(which_videos(config))
        assert message(lambda config=config: instantiate(config)(split=1)).startswith("data.root=None: ")
        config.merge_with({"root": str(tmp_path / root), "classes": classes})
        source = instantiate(config)(split=1)
        assert (source.name, len(source.classes), source.split) == (option, 2, 1)

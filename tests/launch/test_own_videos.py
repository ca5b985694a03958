"""`data=folder` from the configuration to loaders: sides of a split, copies, one class. No video is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from twostream.config.compose import compose_config
from twostream.config.data import build_source, build_views
from twostream.config.run import Run, build_run
from twostream.files.errors import UserError
from twostream.launch.announce import announce

SMALL = ["data=folder", "backbone=tiny", "num_workers=0", "transform.size=64", "logger=csv", "trainer.accelerator=cpu"]


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def run_on(root: Path, *overrides: str) -> Run:
    return build_run(compose_config([*SMALL, f"data.root={root}", *overrides]), root / ".run")


def names(*sides: str) -> list[str]:
    return [f"{side}{name}/{number}.mp4" for side in sides for name in "ab" for number in range(4)]


def test_folders_of_sides_are_the_parts_of_a_run(tmp_path: Path) -> None:
    run = run_on(write(tmp_path, *names("train/", "val/", "test/")))
    parts = (run.data.train_set, run.data.validation_set, run.data.test_set)
    assert [{video.id.split("/")[0] for video in part.videos} for part in parts] == [{"train"}, {"val"}, {"test"}]
    assert [len(part) for part in parts] == [8, 8, 8]
    cfg = compose_config([*SMALL, f"data.root={tmp_path}"])
    views = build_views(cfg, build_source(cfg), part="validation", protocol="train", frame_by_frame=False)
    assert views.videos == run.data.validation_set.videos


def test_a_copy_in_test_is_refused_and_counted_where_it_is_allowed(tmp_path: Path) -> None:
    write(tmp_path, *names("train/", "test/"))
    (tmp_path / "test/a/2.mp4").write_text("train/a/1.mp4")
    with pytest.raises(UserError, match=r"in test and on another side: train/a/1.mp4 = test/a/2.mp4; .*allow_leak"):
        run_on(tmp_path, "validation_fraction=0")
    assert run_on(tmp_path, "validation_fraction=0", "allow_leak=true").leaked == 1


def test_one_class_is_refused_in_our_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^folder split 1: one class, a, and nothing to tell it from; two are needed"):
        run_on(write(tmp_path, *names("")), "data.classes=[a]")


@pytest.mark.parametrize("how", ["data.folds=2", "data.seed=1"])
def test_a_run_says_that_every_video_is_a_group_of_its_own(tmp_path: Path, capsys, how: str) -> None:
    write(tmp_path, *names(""))
    for pattern, is_said in (("null", True), (r"'(\d)'", False)):  # 1.mp4 of both classes is one recording
        overrides = [how, f"data.group_pattern={pattern}", "validation_fraction=0"]
        run = run_on(tmp_path, *overrides)
        announce(
            cfg := compose_config([*SMALL, f"data.root={tmp_path}", *overrides]),
            cfg,
            run,
            tmp_path,
            run.trainer.loggers,
        )
        assert ("NOTE: each video is a group of its own" in capsys.readouterr().out) == is_said

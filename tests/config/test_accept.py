"""A run does not go on with other data, or another network, than it was interrupted with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import pytorch_lightning as pl
from omegaconf import DictConfig

from twostream.config.accept import trained_before
from twostream.config.compose import compose_config
from twostream.config.data import build_data, build_source
from twostream.config.run import Run, build_run
from twostream.data.sources import Video
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.data.storage.packed import pack_clip
from twostream.files.errors import UserError
from twostream.files.signals import Signals
from twostream.runs.checkpoint import load_mapped
from twostream.runs.interrupted import recovery_files
from twostream.training.callbacks import Begins
from twostream.training.recovery import Recovery, fit, newest_recovery, read_recovery

OPTIONS = [
    *("data=folder", "backbone=tiny", "flow.length=2", "flow.preset=ultrafast", "sampling.num_chunks=1"),
    *("transform=none", "transform.size=64", "validation_fraction=0", "optimizer=adamw", "logger=csv"),
    *("epochs=2", "batch_size=2", "num_workers=0", "checkpoint_minutes=0", "data.frames=packed"),
]
CLIPS = [f"{name}/{number}.mp4" for name in ("a", "b") for number in range(4)]  # 0 to 2 train, 3 is for the test


class Place(NamedTuple):
    """Where the videos of an interrupted run are, and its folder."""

    data: Path
    run: Path

    def rows(self, **changed: str) -> None:
        """Write the split: train, train, train, test of each class, but as `changed` says: a3="train"."""
        sides = {name: "test" if name.endswith("3.mp4") else "train" for name in CLIPS}
        sides |= {f"{name[0]}/{name[1:]}.mp4": side for name, side in changed.items()}
        lines = [f"{name},{name[0]},{side}" for name, side in sides.items() if side != "gone"]
        (self.data / "split.csv").write_text("\n".join(["video,label,split", *lines]) + "\n")

    def cfg(self, *overrides: str) -> DictConfig:
        return compose_config([*OPTIONS, f"data.root={self.data}", f"data.csv={self.data}/split.csv", *overrides])

    def build(self, *overrides: str, start: Path | None = None, further: Sequence[pl.Callback] = ()) -> Run:
        recovery = Recovery(self.run, minutes=0, cell="", signals=Signals())
        return build_run(self.cfg(*overrides), self.run, [recovery, *further], start)

    def goes_on(self, *overrides: str) -> Run:
        return self.build(*overrides, start=newest_recovery(self.run))

    def look(self, *overrides: str) -> None:
        """What `goes_on` does first, without a network."""
        cfg, start = self.cfg(*overrides), newest_recovery(self.run)
        assert start is not None
        trained_before(load_mapped(start), self.run, build_data(cfg, build_source(cfg)), allow_change=False)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> Place:
    """A run of three steps an epoch that was stopped after two of its second."""
    place = Place(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run"))
    source = MovingPatterns(tmp_path_factory.mktemp("cache"), split=1, train_clips=16, test_clips=16)
    for name, video in zip(CLIPS, source.train, strict=False):
        (place.data / name).parent.mkdir(exist_ok=True)
        shutil.copy(video.path, place.data / name)
    place.rows()
    pack(place, CLIPS)
    run = place.build()
    fit(run.trainer, run.system, run.data, None)
    for path in recovery_files(place.run / "checkpoints")[:1]:  # the end
        path.unlink()
    assert (state := read_recovery(newest_recovery(place.run)))["batch"] == 2, state  # type: ignore[arg-type]
    return place


@pytest.fixture
def place(interrupted: Place, tmp_path: Path) -> Place:
    """A copy of it, to be changed."""
    return Place(*(Path(shutil.copytree(path, tmp_path / path.name)) for path in interrupted))


def pack(place: Place, names: list[str], quality: int = 95) -> None:
    for name in names:
        video = Video(id=name, path=place.data / name, label=0, group="")
        pack_clip(video, place.data / "packed-256", short_side=32, quality=quality)


def rename(place: Place) -> None:
    for suffix, folder in (("", place.data), (".frames", place.data / "packed-256")):
        (folder / f"a/0.mp4{suffix}").rename(folder / f"a/9.mp4{suffix}")
    place.rows(a0="gone", a9="train")


def encode_again(place: Place) -> None:
    with (place.data / "a/1.mp4").open("ab") as file:
        file.write(bytes(8))
    pack(place, ["a/1.mp4"])


CHANGES: dict[str, tuple[Callable[[Place], object], str]] = {
    "sides": (
        lambda place: place.rows(a0="test", a3="train"),
        r"1 video moved from training to test \(a/0\.mp4\); 1 video moved from test to training \(a/3\.mp4\)",
    ),
    "a name": (rename, r"1 gone from training \(a/0\.mp4\); 1 new in training \(a/9\.mp4\)"),
    "one out, one in": (
        lambda place: place.rows(a0="unused", a3="train", b0="test"),
        r"1 gone from training \(a/0\.mp4\); 1 video moved from training to test \(b/0\.mp4\); 1 video moved from test",
    ),
    "a file": (encode_again, r"1 video has another content \(a/1\.mp4\)"),
    "packed frames": (
        lambda place: pack(place, ["a/1.mp4"], quality=20),
        r"1 video has other packed frames \(a/1\.mp4\)",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", CHANGES)
def test_other_data_are_refused_and_named(place: Place, kind: str) -> None:
    change, told = CHANGES[kind]
    place.look()
    change(place)
    with pytest.raises(UserError, match=f"the data are not those that its run was interrupted with: {told}.*allow_ch"):
        place.look()


def test_swapped_labels_are_refused(place: Place) -> None:
    text = (place.data / "split.csv").read_text().replace("a/1.mp4,a", "a/1.mp4,b").replace("b/2.mp4,b", "b/2.mp4,a")
    (place.data / "split.csv").write_text(text)
    with pytest.raises(UserError, match=r"2 videos have another label \(a/1\.mp4, b/2\.mp4\)"):
        place.look()


@pytest.mark.long
@pytest.mark.parametrize("change", ["another seed", "another file"])
def test_a_split_drawn_anew_is_refused(place: Place, change: str) -> None:
    drawn = ["data.csv=null", "data.test_fraction=0.3"]
    run = place.build(*drawn, "epochs=1", "+trainer.max_steps=2")
    fit(run.trainer, run.system, run.data, None)
    if change == "another seed":
        tests = {seed: build_source(place.cfg(*drawn, f"data.seed={seed}")).test for seed in range(9)}
        drawn.append(f"data.seed={next(seed for seed in tests if tests[seed] != run.source.test)}")
    else:
        for suffix, folder in (("", place.data), (".frames", place.data / "packed-256")):
            shutil.copy(folder / f"a/0.mp4{suffix}", folder / f"a/7.mp4{suffix}")
    with pytest.raises(UserError, match=r"videos? moved from training to test|1 new in t"):
        place.look(*drawn)


@pytest.mark.parametrize("kind", ["sides", "a name and a side"])
def test_a_change_that_is_wanted_lets_no_video_be_tested_that_was_trained_on(place: Place, kind: str, capsys) -> None:
    if kind == "sides":
        place.rows(a0="test", a3="train")
    else:
        rename(place)
        place.rows(a0="gone", a9="test", a3="train")
    with pytest.raises(UserError, match=r"^1 of 2 test videos are among those .* trained on .*a/[09]\.mp4"):
        place.goes_on("allow_change=true")
    run = place.goes_on("allow_change=true", "allow_leak=true")
    assert run.leaked == 1
    assert "WARNING: the data have changed since (1 " in capsys.readouterr().out
    names = {video.id for video in run.data.train_set.videos}
    assert len(run.system.history.videos) == len(names) + 1 + (kind != "sides"), "the union: of both lists, both names"


def test_a_change_that_is_wanted_begins_the_epoch_again(place: Place) -> None:
    place.rows(b2="gone")
    start = newest_recovery(place.run)
    run = place.build("allow_change=true", "epochs=3", start=start)
    fit(run.trainer, run.system, run.data, start)
    assert run.trainer.current_epoch == 3
    assert run.trainer.global_step == 5 + 2 * 3, "five steps before, then two epochs of five clips"


def test_nothing_is_written_before_all_of_a_checkpoint_is_loaded(place: Place) -> None:
    start = newest_recovery(place.run)
    (place.run / "metrics.csv").write_text("epoch\n")
    began: list[int] = []
    run = place.build("epochs=2", start=start, further=[Begins(lambda: began.append(run.trainer.global_step))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.trainer.strategy, "load_optimizer_state_dict", fails)
        with pytest.raises(RuntimeError, match="another optimizer"):
            fit(run.trainer, run.system, run.data, start)
    assert began == []
    assert (place.run / "metrics.csv").read_text() == "epoch\n"
    run = place.build("epochs=2", start=start, further=[Begins(lambda: began.append(run.trainer.global_step))])
    fit(run.trainer, run.system, run.data, start)
    assert began == [5], "once, before the first step"


def fails(*_: object) -> None:
    raise RuntimeError("another optimizer")


def test_another_network_is_refused_before_anything_is_loaded(place: Place) -> None:
    with pytest.raises(
        UserError, match=r"interrupted with another network: \d+ of \d+ tensors differ, such as network\."
    ):
        place.goes_on("fusion=sum")

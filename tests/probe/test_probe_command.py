"""`twostream probe` on small videos that were made here: what it writes, keeps, and refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from twostream.cli.probe import late, probe
from twostream.config.compose import compose_config
from twostream.config.data import build_source
from twostream.config.probe import probe_plan, probe_views
from twostream.files.errors import UserError
from twostream.metrics.scores import Scores
from twostream.models.backbone import tiny
from twostream.probe import extract as extracting


def write_video(path: Path, *, red: bool, moves: bool, seed: int, frames: int = 13) -> Path:
    """A texture, reddish or bluish, that moves 3 pixels a frame or stands still."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(60, 180, (12, 12)).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 64, 64, "yuv420p", 2_000_000
        for index in range(frames):
            picture = np.zeros((64, 64, 3), np.uint8)
            picture[..., :] = np.roll(coarse, 3 * index * moves, 1)[:64, :64, None] // 2
            picture[..., 0 if red else 2] += 60
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name, red, moves in (("red", True, False), ("blue", False, False), ("moving", True, True)):
        for number in range(4):
            write_video(root / name / f"{number}.avi", red=red, moves=moves, seed=hash_free(name, number))
    return root


def hash_free(name: str, number: int) -> int:
    return sum(map(ord, name)) + number


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(tiny(3, 5).state_dict(), path)
    return path


@pytest.fixture
def command(videos: Path, weights: Path, tmp_path: Path, monkeypatch) -> Callable[..., None]:
    """The command on these videos, with a cache of its own, in an empty folder."""
    monkeypatch.setenv("TWOSTREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    small = ["data=folder", "backbone=tiny", "transform=none", "transform.size=64", "num_workers=0", "--views=2"]

    def run(*words: str, root: Path = videos, weights_word: str = f"backbone.weights={weights}") -> None:
        probe([*small, f"data.root={root}", "trainer.accelerator=cpu", weights_word, *words])

    return run


@pytest.mark.long
def test_what_it_says_writes_and_keeps(command, videos: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    command("--folds=2")
    said = capsys.readouterr().out
    assert said.startswith("both ")
    assert "2-fold cross-validation by groups, 12 videos" in said
    assert "largest     0.33" in said
    assert "WARNING: 12 test videos of 12 groups are few" in said
    assert "features computed" in said
    assert "NOTE: each video is a group of its own; data.group_pattern keeps those of one recording together" in said
    out = tmp_path / "probes" / f"{videos.name}-tiny-folds2"
    found = json.loads((out / "probe.json").read_text())
    assert found["sentence"] == said.splitlines()[0]
    assert found["videos"] == 12
    assert set(found["classes"]) == {"red", "blue", "moving"}
    assert (out / "probe.png").stat().st_size > 1000
    assert found["sentence"] in (out / "probe.md").read_text()
    for name in ("both", "rgb", "flow"):
        scores = Scores.load(out / f"{name}.npz")
        assert scores.videos == tuple(sorted(f"{c}/{n}.avi" for c in ("red", "blue", "moving") for n in range(4)))
        assert float((scores.logits.argmax(1) == scores.labels).mean()) == pytest.approx(found["top1"][name][0])

    monkeypatch.setattr(extracting, "head_features", None)  # no video is looked at again
    command("split=1")
    said = capsys.readouterr().out
    assert "features of 12 videos from the cache, of 0 computed" in said
    assert "split 1, fitted on 9 videos, tested on 3" in said
    assert json.loads((tmp_path / "probes" / f"{videos.name}-tiny-split1" / "probe.json").read_text())["videos"] == 3


@pytest.mark.long
def test_only_what_is_damaged_or_changed_is_computed_anew(command, videos: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "copy"
    for path in videos.rglob("*.avi"):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / path.parent.name / path.name).write_bytes(path.read_bytes())
    command("streams=rgb", "split=1", root=root)
    capsys.readouterr()
    (stored,) = (tmp_path / "cache" / "features").iterdir()
    for path in list(stored.glob("*.npz"))[:2]:
        path.write_bytes(b"damaged")
    command("streams=rgb", "split=1", root=root)
    assert "features of 10 videos from the cache, of 2 computed" in capsys.readouterr().out
    os.utime(root / "red" / "0.avi", ns=(0, 0))
    command("streams=rgb", "split=1", root=root)
    assert "features of 11 videos from the cache, of 1 computed" in capsys.readouterr().out
    command("streams=rgb", "split=1", "transform.crop_fraction=0.5", root=root)
    assert "features computed" in capsys.readouterr().out
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 2


@pytest.mark.long
def test_broken_videos_are_named_or_left_out(command, videos: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "broken"
    for path in videos.rglob("*.avi"):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / path.parent.name / path.name).symlink_to(path)
    (root / "red" / "9.avi").write_text("no video")
    with pytest.raises(Exception, match=r"9\.avi"):
        command("streams=rgb", root=root)
    command("streams=rgb", "broken=skip", "--folds=2", root=root)
    said = capsys.readouterr().out
    assert "WARNING: left out, for they cannot be read: red/9.avi" in said
    assert "12 videos" in said
    assert said.startswith("rgb ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.root=nowhere"], "nowhere"),
        (["data.classes=[red]"], "one class, red, and nothing to tell it from"),
        (["--folds=5"], r"--folds 5: blue has 4 groups of videos; choose at most so many folds"),
        (["backbone.weights=null", "weights=null"], r"weights=null: .*random rgb network say nothing; give .*weights="),
        (["backbone.weights=absent.pth"], "absent.pth.*no such file"),
        (["pooling=netvlad"], "pooling=NetVLAD: has weights of its own"),
        (["backbone=mc3_18", "sampling.num_chunks=3"], "sampling: a network of whole clips .*choose sampling=clip"),
        (["--out=taken/probe"], "nothing can be written there; name another folder with --out"),
    ],
)
def test_refused_in_one_line_before_any_work(command, words, message, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr(extracting, "head_features", None)
    with pytest.raises(UserError, match=message):
        command(*words)


@pytest.mark.parametrize(
    "words",
    [
        ["fusion=residual", "fusion.operation=multiply", "layer=[conv3,conv4]", "two_towers=true"],
        ["fusion=conv", "fusion.init=kaiming", "temporal=conv3d", "temporal.order=interleaved", "train_from=fusion"],
        ["attention=se", "attention.reduction=4"],
    ],
    ids=str,
)
def test_settings_of_how_streams_meet_change_nothing(words: list[str]) -> None:
    assert late(compose_config(words)) == late(compose_config([]))


def test_options_of_an_experiments_fusion_are_gone() -> None:
    cfg = late(compose_config(["experiment=st_multiplier"]))
    assert cfg.fusion == late(compose_config([])).fusion
    assert (cfg.layer, cfg.batch_size) == ("softmax", 128), "the rest is the experiment's"


def test_a_network_of_clips_is_shown_clips(videos: Path) -> None:
    words = ["data=folder", f"data.root={videos}", "flow.length=1"]
    for sampling, shape in ((["sampling=clip", "sampling.num_frames=6"], (2, 6)), (["sampling=segments"], (2, 1))):
        cfg = compose_config([*words, *sampling])
        source = build_source(cfg)
        assert probe_views(cfg, source, source.videos, 2).sampling.fixed(13, 1).shape == shape


def test_folds_by_default_are_five_or_as_many_as_every_class_has_groups(videos: Path) -> None:
    source = build_source(compose_config(["data=folder", f"data.root={videos}"]))
    plan = probe_plan(source, None, given=False)
    assert plan.folds == len(plan.parts) == 4
    assert sorted(position for _, held in plan.parts for position in held) == list(range(12))
    given = probe_plan(source, None, given=True)
    assert (given.folds, [len(side) for side in given.parts[0]]) == (0, [9, 3])
    assert [given.videos[position] for position in given.parts[0][1]] == list(source.test)


def test_a_class_of_one_video_is_refused_by_name(command, videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "single"
    for path in videos.rglob("*.avi"):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / path.parent.name / path.name).symlink_to(path)
    (root / "alone").mkdir()
    (root / "alone" / "0.avi").symlink_to(videos / "red" / "0.avi")
    with pytest.raises(
        UserError, match=r"one video or group alone in 1 of 4 classes: alone; held out, nothing is left"
    ):
        command(root=root)


def test_data_in_folds_are_probed_by_their_folds(videos: Path) -> None:
    def source(split: int):
        words = ["data=folder", f"data.root={videos}", "data.folds=4", f"split={split}"]
        return build_source(compose_config(words))

    plan = probe_plan(source(1), None, given=False)
    held = [{plan.videos[position].id for position in held} for _, held in plan.parts]
    assert held == [{video.id for video in source(split).test} for split in (1, 2, 3, 4)]
    assert all(len(set(fitted) | set(held)) == 12 == len(fitted) + len(held) for fitted, held in plan.parts)
    assert probe_plan(source(2), None, given=True).folds == 0
    assert probe_plan(source(2), 2, given=False).folds == 2

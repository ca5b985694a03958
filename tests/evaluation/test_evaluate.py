"""Evaluating a run: the same scores however videos and views are batched; what is written, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import twostream.data.frames as frames_module
from twostream import cli
from twostream.config.compose import compose_config
from twostream.config.data import build_source, build_views
from twostream.config.run import build_run
from twostream.data.clip import Clip
from twostream.data.flow import DIS
from twostream.data.history import History
from twostream.evaluation.evaluate import Scorer, by_size, make_trainer, prepare, score, views_at_once
from twostream.evaluation.plan import Plan
from twostream.evaluation.report import summary, write_csv
from twostream.files.atomic import atomic_folder
from twostream.files.digest import sha256
from twostream.metrics.scores import Scores
from twostream.metrics.table import metrics_of

ROOT = Path(__file__).parents[2]
TINY = [
    *("data.train_clips=32", "data.test_clips=16", "validation_fraction=0.5", "num_workers=0", "batch_size=8"),
    *("flow.preset=ultrafast", "flow.length=2", "sampling.num_chunks=2", "sampling.stride=[1,3]", "logger=csv"),
]


def left_by(folder: Path, *overrides: str) -> Path:
    """A run folder as train.py leaves it, but untrained: its scores are of order 1, and say nothing."""
    cfg = compose_config([*TINY, *overrides])
    torch.manual_seed(0)
    run = build_run(cfg, folder)
    for parameter in run.system.network.rgb.stages["fc8"].parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    run.trainer.strategy.connect(run.system)
    run.trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt", weights_only=True)
    return folder


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWOSTREAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return left_by(tmp_path_factory.mktemp("run"))


def logits(folder: Path, **plan) -> np.ndarray:
    outcome = score(prepare(folder, Plan(**plan)), Plan(**plan))
    assert outcome is not None
    assert len(outcome.scores.videos) == 16
    return outcome.scores.logits


@pytest.mark.long
def test_batches_of_videos_and_views_and_workers_change_no_score(folder: Path) -> None:
    one = logits(folder, protocol="paper", batch_size=1, views_per_batch=3)
    assert one.std() > 0.1
    assert logits(folder, protocol="paper", batch_size=7, views_per_batch=64) == pytest.approx(one, abs=1e-5)
    assert logits(folder, protocol="paper", batch_size=7, workers=2) == pytest.approx(one, abs=1e-5)


@pytest.mark.slow
def test_two_processes_give_the_same_scores(folder: Path, tmp_path: Path) -> None:
    one = logits(folder, protocol="paper")
    command = [sys.executable, "-m", "twostream.cli", "evaluate", str(folder), "--protocol", "paper", "--devices", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("16 videos × 10 views") == 1, "one process writes"
    assert Scores.load(folder / "evaluation/paper-test/scores.npz").logits == pytest.approx(one, abs=1e-5)


def test_a_score_is_the_mean_over_the_views_computed_one_by_one(folder: Path) -> None:
    """Each view as a clip of its own, straight through the network."""
    mirrored = ("data.mirror=true",)
    prepared = prepare(folder, Plan(protocol="paper", settings=mirrored))
    clip = prepared.dataset[(0, 3)]
    assert clip is not None
    assert len(clip.first) == prepared.views == 20
    network = prepared.run.system.network
    with torch.no_grad():
        each = [
            network.combine(network(rgb[None], flow[None]))[0]
            for rgb, flow in zip(clip.first, clip.second, strict=True)
        ]
    videos = [video.id for video in prepared.dataset.videos]
    row = sorted(videos).index(videos[3])
    found = logits(folder, protocol="paper", settings=mirrored)[row]
    assert found == pytest.approx(torch.stack(each).mean(0).numpy(), abs=1e-5)


def test_views_decode_each_frame_and_compute_each_field_once(folder: Path, monkeypatch) -> None:
    """12 frames, L = 2, T = 2, stride 2 (of 1 … 3): clips start at frames 0 … 7, so frames 0 … 11 and all 11 pairs."""
    read, computed = [], []
    read_frames, fields = frames_module.read_frames, DIS.fields
    monkeypatch.setattr(
        frames_module, "read_frames", lambda p, i, **k: (read.append(list(i)), read_frames(p, i, **k))[1]
    )
    monkeypatch.setattr(DIS, "fields", lambda self, f, p: (computed.append(p.tolist()), fields(self, f, p))[1])
    cases = [("paper", "true", 20), ("two_stream", "true", 250), ("paper", "false", 10), ("two_stream", "false", 125)]
    for protocol, mirror, views in cases:
        read.clear()
        computed.clear()
        clip = prepare(folder, Plan(protocol=protocol, settings=[f"data.mirror={mirror}"])).dataset[(0, 0)]
        assert clip is not None
        assert len(clip.first) == views
        assert read == [list(range(12))]
        assert computed == [[[k, k + 1] for k in range(11)]]


def test_a_cpu_gets_no_more_views_at_once_than_are_fast_there() -> None:
    """6 million values: of 5 chunks of 3 + 20 channels, a view of 224 × 224 (5.77 million), or 12 of 64 × 64."""
    assert [views_at_once(clip_of(size), 64) for size in (640, 224, 64)] == [1, 1, 12]
    assert views_at_once(clip_of(64), 7) == 7
    assert views_at_once(clip_of(224, device="meta"), 64) == 64


def clip_of(size: int, device: str = "cpu") -> Clip:
    rgb, flow = (torch.empty(1, 1, 5, channels, size, size, dtype=torch.uint8, device=device) for channels in (3, 20))
    return Clip(rgb, flow, label=torch.zeros(1), index=torch.zeros(1))


def test_whole_frames_of_several_sizes_share_a_batch(folder: Path) -> None:
    prepared = prepare(folder, Plan())
    clips = [prepared.dataset[(0, index)] for index in range(3)]
    wider = clips[1]._replace(**{name: getattr(clips[1], name).repeat(1, 1, 1, 1, 2) for name in ("first", "second")})
    scorer = Scorer(prepared.run.system, prepared.dataset, views_per_batch=2, batch_size=3, workers=0)
    batches = by_size([clips[0], wider, None, clips[2]])
    assert [batch.index.tolist() for batch in batches] == [[0, 2], [1]]
    with torch.no_grad():
        scorer.test_step(batches, 0)
    assert sorted(scorer.logits) == [0, 1, 2]
    assert by_size([None]) == []


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["twostream", *map(str, arguments)])
    cli.main()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_an_evaluation_leaves_behind(folder: Path, monkeypatch, capsys) -> None:
    run(monkeypatch, "evaluate", folder, "--protocol", "quick")
    told = capsys.readouterr().out
    left = folder / "evaluation" / "quick-test"
    assert "moving_patterns split 1, test: 16 videos × 1 view" in told
    names = "calibration.csv classes.csv confused.csv confusion_matrix.csv confusion_matrix.png metrics.json"
    assert sorted(path.name for path in left.iterdir()) == [*names.split(), "reliability.png", "scores.npz"]
    scores, written = Scores.load(left / "scores.npz"), json.loads((left / "metrics.json").read_text())
    assert "RGB (1/16)" in written["cautions"][0], "strides of 1 to 3 frames show it several moments"
    assert scores.mirror is written["mirror"] is False
    assert scores.checkpoint == written["checkpoint"] == sha256(folder / "checkpoints" / "best.ckpt")
    right = scores.logits.argmax(1) == scores.labels
    assert written["metrics"]["top1"] == pytest.approx(right.mean())
    assert f"{100 * right.mean():.2f}" in told
    classes = rows(left / "classes.csv")
    assert [row["class"] for row in classes] == list(scores.classes)
    assert [int(row["correct"]) for row in classes] == [int(right[scores.labels == k].sum()) for k in range(16)]
    assert written["metrics"]["macro_f1"] == pytest.approx(np.mean([float(row["f1"]) for row in classes]), abs=1e-6)
    wrong = rows(left / "confused.csv")
    assert sum(int(row["videos"]) for row in wrong) == 16 - right.sum()
    matrix = np.array([list(row.values())[1:] for row in rows(left / "confusion_matrix.csv")], int)
    assert (matrix.sum(), matrix.trace()) == (16, right.sum())
    assert sum(int(row["videos"]) for row in rows(left / "calibration.csv")) == 16


def test_classes_without_a_test_video_are_named(folder: Path) -> None:
    plan = Plan(protocol="quick")
    prepared = prepare(folder, plan)
    prepared.dataset.videos = prepared.dataset.videos[:14]
    prepared.dataset.is_unreadable = prepared.dataset.is_unreadable[:14]
    outcome = score(prepared, plan)
    assert outcome is not None
    absent = sorted({*range(16)} - {*outcome.scores.labels.tolist()})
    names = ", ".join(outcome.scores.classes[label] for label in absent)
    assert "no video of 2 of 16 classes was tested, and means over classes" in outcome.cautions[-1]
    assert outcome.cautions[-1].endswith(names)
    assert f"WARNING: {outcome.cautions[-1]}" in summary(outcome, metrics_of(outcome.scores))


def test_an_unfinished_run_and_mirrors_against_the_data_are_noted(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    run(monkeypatch, "evaluate", tmp_path / "run", "--protocol", "quick", "--set", "data.mirror=true")
    told = capsys.readouterr().out
    assert "run: unfinished, it has no results.json; its best weights so far: checkpoints/best.ckpt after epoch" in told
    assert "NOTE: data.mirror=true, where the run has data.mirror=false: a mirrored view may show another class" in told
    left = tmp_path / "run" / "evaluation" / "quick-test"
    assert len(json.loads((left / "metrics.json").read_text())["notes"]) == 2
    assert Scores.load(left / "scores.npz").mirror is True
    (tmp_path / "run" / "results.json").write_text("{}")
    run(monkeypatch, "evaluate", tmp_path / "run", "--protocol", "quick")
    assert "NOTE" not in capsys.readouterr().out


def test_the_configurations_own_protocol_gives_the_scores_of_the_training(tmp_path: Path) -> None:
    cfg = compose_config([*TINY, "epochs=1"])
    trained = build_run(cfg, tmp_path)
    OmegaConf.save(cfg, tmp_path / "config.yaml", resolve=True)
    trained.trainer.fit(trained.system, trained.data)
    trained.system.load_weights(trained.trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    [metrics] = trained.trainer.test(trained.system, trained.data, verbose=False)
    plan = Plan(protocol="train")
    outcome = score(prepare(tmp_path, plan), plan)
    assert outcome is not None
    ids = [video.id for video in trained.data.test_set.videos]
    tested = np.stack([trained.system.test_logits[ids.index(name)] for name in outcome.scores.videos])
    assert outcome.scores.logits == pytest.approx(tested, abs=1e-5)
    right = outcome.scores.logits.argmax(1) == outcome.scores.labels
    assert right.mean() == pytest.approx(metrics["test/top1"], abs=1e-6)


def test_videos_that_were_trained_on_are_refused(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    content = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    source = build_source(compose_config(TINY))
    history = History.of("moving_patterns", 1, [*source.train, *source.test[:3]])
    (tmp_path / "checkpoints").mkdir()
    torch.save({**content, "trained_on": history.to_checkpoint()}, tmp_path / "checkpoints" / "best.ckpt")
    (tmp_path / "config.yaml").write_text((folder / "config.yaml").read_text())
    with pytest.raises(SystemExit, match=r"error: 3 of 16 test videos .* trained on .*give --allow-leak"):
        run(monkeypatch, "evaluate", tmp_path)
    assert not (tmp_path / "evaluation").exists()
    run(monkeypatch, "evaluate", tmp_path, "--allow-leak", "--protocol", "quick")
    assert "WARNING: the weights were trained on 3 of the videos" in capsys.readouterr().out
    [left] = (tmp_path / "evaluation").iterdir()
    assert left.name == "quick-test-leaked", "beside a clean one"
    assert json.loads((left / "metrics.json").read_text())["leaked"] == 3
    assert Scores.load(left / "scores.npz").leaked == 3
    run(monkeypatch, "fuse", left / "scores.npz", left / "scores.npz", "--output", tmp_path / "fused.npz")
    assert capsys.readouterr().out.count("scores.npz: the weights were trained on 3 of the videos") == 2
    assert Scores.load(tmp_path / "fused.npz").leaked == 3


def test_validation_is_of_the_videos_held_out(folder: Path) -> None:
    plan = Plan(protocol="quick", part="validation")
    prepared = prepare(folder, plan)
    source = build_source(compose_config(TINY))
    held = {video.id for video in prepared.dataset.videos}
    assert len(held) == 16
    assert held < {video.id for video in source.train}
    cfg = compose_config([*TINY, "validation_fraction=0"])
    with pytest.raises(ValueError, match="held no videos out"):
        build_views(cfg, source, part="validation", protocol="quick", frame_by_frame=False)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    return left_by(tmp_path_factory.mktemp("other"), "split=2")


@pytest.mark.long
def test_the_mean_over_splits(folder: Path, other: Path, tmp_path, monkeypatch, capsys) -> None:
    output = tmp_path / "mean.json"
    run(monkeypatch, "evaluate", other, folder, "--splits", "1,2", "--protocol", "quick", "--output", output)
    found = json.loads(output.read_text())
    assert list(found) == ["split 1", "split 2", "mean"]
    for name in ("top1", "mean_class_top5", "ece"):
        assert found["mean"][name] == pytest.approx((found["split 1"][name] + found["split 2"][name]) / 2)
    assert "mean" in capsys.readouterr().out
    assert Scores.load(other / "evaluation/quick-test/scores.npz").split == 2


def test_several_runs_that_are_no_splits(folder: Path, other: Path, tmp_path: Path, monkeypatch) -> None:
    third = tmp_path / "third"
    third.mkdir()
    text = (other / "config.yaml").read_text()
    (third / "config.yaml").write_text(text.replace("layer: conv5", "layer: conv4").replace("split: 2", "split: 3"))
    for arguments, told in [
        ((folder, other), "several run folders need --splits"),
        ((folder, other, "--splits", "1,3"), "--splits 1, 3: needs one run folder of each; these are of 1, 2"),
        ((folder, folder, "--splits", "1,1"), "needs one run folder of each"),
        ((folder, third, "--splits", "1,3"), "are not the same network: they differ in layer"),
        ((folder, other, "--splits", "1,2", "--set", "split=2"), r"\[1, 2\]: with these --set .* tested on \[2, 2\]"),
        ((folder, "--output", tmp_path / "o.json"), "needs --splits"),
        ((folder, other, "--splits", "1,2", "--output", tmp_path / "no" / "o.json"), "its folder does not exist"),
    ]:
        with pytest.raises(SystemExit, match=told):
            run(monkeypatch, "evaluate", *arguments)


def test_another_split_has_a_folder_of_its_own(folder: Path, monkeypatch) -> None:
    run(monkeypatch, "evaluate", folder, "--protocol", "quick", "--split", "2")
    assert Scores.load(folder / "evaluation" / "quick-test-split2" / "scores.npz").split == 2


def test_wrong_input_is_one_line(folder: Path, tmp_path: Path, monkeypatch) -> None:
    for arguments, told in [
        ((tmp_path,), "is no run folder"),
        ((folder, "--split", "4"), "split=4: choose from 1, 2, 3"),
        ((folder, "--views-per-batch", "0"), "views_per_batch=0: must be at least 1"),
        ((folder, "--set", "layer=conv1"), "--set 'layer=conv1'"),
        (
            (folder, "--set", "data.cells=9", "--set", "data.train_clips=36", "--set", "data.test_clips=36"),
            "the data have 36 classes, the checkpoint has 16; the first that differs",
        ),
        ((folder, "--protocol", "tsn"), "25 segments cannot be divided into clips of T=2"),
    ]:
        with pytest.raises(SystemExit, match=told) as stopped:
            run(monkeypatch, "evaluate", *arguments)
        assert "\n" not in str(stopped.value)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "quick-test") as aside:
            (aside / content).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["quick-test", "new"]
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "quick-test") as aside:
        (aside / "a").rename(aside / "b")
    assert [path.name for path in tmp_path.rglob("*")] == ["quick-test", "new"]


def test_what_was_there_stays_when_the_new_folder_cannot_take_its_place(tmp_path: Path, monkeypatch) -> None:
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            raise OSError("no")
        return rename(path, target)

    (tmp_path / "quick-test" / "old").mkdir(parents=True)
    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no"), atomic_folder(tmp_path / "quick-test"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["quick-test", "old"]


def test_names_in_tables_are_no_formulas(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"class": "=1+1", "-walk": -0.5}])
    assert (tmp_path / "t.csv").read_text() == "class,'-walk\n'=1+1,-0.5\n"


def score_file(path: Path, *logits: tuple[float, float], part: str = "test") -> Path:
    ids = tuple(f"{part}-{number}" for number in range(len(logits)))
    labels, classes = np.arange(len(logits)) % 2, ("a", "b")
    fields = {"protocol": "quick", "checkpoint": "", "data": "folder", "split": 1, "part": part}
    Scores(ids, labels, np.array(logits, np.float32), classes, **fields).save(path)
    return path


def test_fusing_on_the_command_line(tmp_path: Path, monkeypatch, capsys) -> None:
    """Each network is right about one of two videos, and less sure of its mistake: together they are right."""
    for part in ("test", "validation"):
        score_file(tmp_path / f"{part}-1.npz", (3, 0), (1, 0), part=part)
        score_file(tmp_path / f"{part}-2.npz", (0, 1), (0, 3), part=part)
    one, two = tmp_path / "test-1.npz", tmp_path / "test-2.npz"
    run(monkeypatch, "fuse", one, two, "--weights", "1:1.5", "--output", tmp_path / "fused.npz")
    told = capsys.readouterr().out
    assert "folder split 1, test: 2 videos, weighted mean of logits; in %" in told
    assert "top1  class top1  macro F1  " in told
    accuracies, f1 = ([line.split()[place] for line in told.splitlines()[2:]] for place in (-4, -2))
    assert accuracies == ["50.00", "50.00", "100.00"]
    assert f1 == ["33.33", "33.33", "100.00"]  # of the class that both are taken for 2 · 1/(1 + 2), of the other 0
    assert Scores.load(tmp_path / "fused.npz").logits == pytest.approx(np.array([[1.2, 0.6], [0.4, 1.8]]))

    validation = tmp_path / "validation-1.npz", tmp_path / "validation-2.npz"
    run(monkeypatch, "fuse", *validation, "--search", "--softmax")
    told = capsys.readouterr().out
    assert "weighted mean of class probabilities" in told
    assert told.endswith("--weights 0.5:0.5\n")
    for arguments, why in [
        ((one, two, "--search"), r"--search: .* is of test videos"),
        ((one, validation[1]), r"are not of the same videos \(2 and 2\): 2 only in the first"),
        ((one,), "name two files of scores or more"),
        ((*validation, "--search", "--weights", "1:1"), "give no --weights"),
    ]:
        with pytest.raises(SystemExit, match=why):
            run(monkeypatch, "fuse", *arguments)


def test_products_are_as_exact_as_in_training_and_not_as_in_the_run_before() -> None:
    for typed, wanted in (("high", "high"), ("null", "highest")):
        make_trainer(Plan(), compose_config([f"matmul_precision={typed}"]))
        assert torch.get_float32_matmul_precision() == wanted

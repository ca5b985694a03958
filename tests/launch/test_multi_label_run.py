"""One small training with data.labels=multi, on two moving cells a video, and what each command makes of it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from warm import Warm

from benchmarks.two_cells import both_sides, render
from twostream.cli import main
from twostream.config.compose import compose_config
from twostream.config.loaded import load_run
from twostream.config.run import check_training
from twostream.config.settle import settle_starts
from twostream.export.run import export_run
from twostream.metrics.multi_label import choose_thresholds, probabilities
from twostream.metrics.plots import read_curves
from twostream.metrics.scores import Scores
from twostream.report import as_text, write_reports
from twostream.report.html import page_data

ROOT = Path(__file__).parents[2]
SETTINGS = [
    *("data=folder", "data.labels=multi", "data.mirror=false", "weights=null", "backbone=tiny", "optimizer=adamw"),
    *(
        "sampling=moving_patterns",
        "sampling.test_views=1",
        "transform=none",
        "transform.size=64",
        "flow.length=5",
        "flow.preset=ultrafast",
    ),
    *("epochs=2", "batch_size=16", "num_workers=0", "validation_fraction=0.4", "logger=csv", "trainer=cpu"),
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two_cells")
    render(folder, train=60, test=14)
    return folder


@pytest.fixture(scope="module")
def sweep(videos: Path, warm: Warm, tmp_path_factory) -> Path:
    """The folder of a sweep of one cell, `run`."""
    folder = tmp_path_factory.mktemp("several")
    words = [str(ROOT / "train.py"), *SETTINGS, f"data.root={videos}", f"data.csv={videos}/data.csv"]
    done = warm.run(
        [*words, f"hydra.run.dir={folder}/run"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "NOTE: several labels a video: a sigmoid for each class, the best checkpoint by val/map" in done.stdout
    return folder


@pytest.fixture(scope="module")
def run(sweep: Path) -> Path:
    return sweep / "run"


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., str]:
    def call(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["twostream", *map(str, arguments)])
        main()
        return capsys.readouterr().out

    return call


def test_map_is_that_of_scikit_learn_from_the_scores_of_the_run(run: Path) -> None:
    found = both_sides(run)
    assert found["test/map of results.json"] == pytest.approx(found["scikit-learn"], abs=1e-12)


def test_what_a_run_leaves(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    assert {*results["metrics"]} == {"test/loss", "test/map", "test/macro_f1", "test/micro_f1"}
    _, curve = read_curves(run / "metrics.csv")["val/map"]
    assert results["validation"] == pytest.approx(max(curve)), "the best checkpoint by val/map"
    assert not (run / "confusion_matrix.png").exists()
    assert (run / "learning_curves.png").exists()
    with (run / "split.csv").open() as file:
        assert {row["label"].count(";") for row in csv.DictReader(file)} == {1}


def test_thresholds_are_those_of_the_validation_of_the_best_weights(run: Path, command, tmp_path: Path) -> None:
    command("evaluate", run, "--part", "validation", "--out", tmp_path)
    validated = Scores.load(tmp_path / "train-validation" / "scores.npz")
    wanted = choose_thresholds(validated.logits, validated.labels)
    kept = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["thresholds"]
    assert kept == pytest.approx(wanted.tolist(), abs=1e-6)
    assert Scores.load(run / "test_scores.npz").thresholds == pytest.approx(kept)
    assert len({*kept}) > 1


def test_evaluate_gives_the_numbers_of_the_run(run: Path, command, tmp_path: Path) -> None:
    said = command("evaluate", run, "--out", tmp_path)
    assert "mAP" in said
    assert "F1 at thresholds of the probability: chosen on validation videos" in said
    folder = tmp_path / "train-test"
    assert {path.name for path in folder.iterdir()} == {"classes.csv", "metrics.json", "scores.npz"}
    content = json.loads((folder / "metrics.json").read_text())
    results = json.loads((run / "results.json").read_text())["metrics"]
    for name in ("map", "macro_f1", "micro_f1"):
        assert content["metrics"][name] == pytest.approx(results[f"test/{name}"], abs=1e-9)
    scores = Scores.load(folder / "scores.npz")
    counts = scores.labels.sum(0).tolist()
    lacking = [name for name, count in zip(scores.classes, counts, strict=True) if not count]
    assert len(content["cautions"]) == bool(lacking)
    assert all(name in said for name in lacking)
    with (folder / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    measured = [float(row["average_precision"]) for row in rows if row["average_precision"]]
    assert np.mean(measured) == pytest.approx(content["metrics"]["map"], abs=1e-5)
    assert [int(row["videos"]) for row in rows] == counts
    with pytest.raises(SystemExit, match=r"data.labels=single: the run was trained with data.labels=multi"):
        command("evaluate", run, "--set", "data.labels=single")


def test_predict_names_the_classes_above_their_thresholds(run: Path, videos: Path, command, tmp_path: Path) -> None:
    said = command("predict", run, videos / "test-00000.mp4", "--top", 16, "--device", "cpu",
                   "--json", tmp_path / "p.json", "--csv", tmp_path / "p.csv")  # fmt: skip
    content = json.loads((tmp_path / "p.json").read_text())
    [video] = content["videos"]
    above = np.array(video["scores"]) > content["thresholds"]
    assert video["present"] == [name for name, one in zip(content["classes"], above, strict=True) if one]
    scores = Scores.load(run / "test_scores.npz")
    row = scores.videos.index("test-00000.mp4")
    assert video["scores"] == pytest.approx(probabilities(scores.logits[row]).tolist(), abs=0.15)  # one view
    assert f"above its threshold: {', '.join(video['present']) or 'none'}" in said
    assert said.count("*") == 1 + len(video["present"])
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["present"] == ";".join(video["present"])
    assert rows[0].keys() == {"video", "window", "from_second", "to_second", "top", "present", *content["classes"]}


def test_the_report_is_of_map(sweep: Path) -> None:
    [report] = write_reports(sweep).values()
    value = json.loads((sweep / "run" / "results.json").read_text())["metrics"]["test/map"]
    assert report.metric.title == "test/map, %"
    assert report.rows[0].group.mean == value
    assert f"{100 * value:.2f}" in as_text(report)
    data = page_data(report)
    assert data["confusions"] == []
    assert "val/map" in data["curves"]
    shutil.rmtree(sweep / "report")


def test_fuse_measures_map(run: Path, command, tmp_path: Path) -> None:
    files = [run / "test_scores.npz", run / "test_scores.npz"]
    said = command("fuse", *files, "--softmax", "--output", tmp_path / "f.npz")
    assert "mAP" in said
    one, fused = Scores.load(files[0]), Scores.load(tmp_path / "f.npz")
    assert fused.multi
    assert fused.logits == pytest.approx(one.logits, abs=1e-5)


def test_what_is_exported_says_sigmoid_and_keeps_the_thresholds(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    export_run(run, "safetensors", to=tmp_path, say=lambda _: None)
    output = json.loads((tmp_path / "preprocessing.json").read_text())["output"]
    assert output["meaning"].startswith("before the sigmoid")
    loaded = load_run(tmp_path).system
    assert loaded.multi
    assert loaded.thresholds is not None
    assert loaded.thresholds.tolist() == output["thresholds"]
    card = (tmp_path / "README.md").read_text()
    assert "mean average precision" in card
    assert "type: map" in card
    assert "names those above their thresholds" in card
    assert "validation chose epoch" in card
    assert "softmax" not in card


def test_what_counts_right_videos_is_refused(run: Path, command) -> None:
    with pytest.raises(
        SystemExit, match=r"--streams: counts right videos, which have one label each; here data.labels"
    ):
        command("evaluate", run, "--streams")
    file = run / "test_scores.npz"
    with pytest.raises(SystemExit, match=r"has several labels a video; what streams add counts right videos"):
        command("contributions", f"rgb={file}", f"flow={file}", f"fused={file}")


def test_thresholds_of_others_are_checked(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    for wrong in ([0.5], [2.0] * len(content["classes"]), "half"):
        torch.save({**content, "thresholds": wrong}, path)
        with pytest.raises(ValueError, match="its thresholds are not 16 probabilities"):
            load_run(tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["start=probe"], "data.labels=multi with start=probe: is fitted to one label a video; choose start=random"),
        (["refit=true"], "refit=true: leaves no validation videos to choose thresholds on; choose refit=false"),
        (["sampler=balanced"], "sampler=balanced: a video counts for one class there; choose sampler=null"),
        (["loss.class_weights=balanced"], "loss.class_weights: are of one label a video; choose null"),
        (["loss.focal=2"], "loss.focal: is of one label a video; choose null"),
        (["schedule=plateau"], "schedule.monitor=val/top1: is not measured; choose val/map or val/loss"),
    ],
)
def test_what_needs_one_label_a_video_is_refused_before_any_work(words: list[str], told: str) -> None:
    settings = [*SETTINGS, "data.root=x", "data.csv=x"]
    with pytest.raises(ValueError, match=told):
        check_training(compose_config([*settings, *words]))
    check_training(compose_config([*settings, "schedule=plateau", "schedule.monitor=val/map"]))


def test_a_probe_is_refused(videos: Path, command) -> None:
    words = ["data=folder", f"data.root={videos}", f"data.csv={videos}/data.csv", "data.labels=multi"]
    with pytest.raises(SystemExit, match=r"data.labels=multi: a probe fits one label a video"):
        command("probe", *words, "backbone=tiny")


def test_from_weights_classifiers_start_at_random(videos: Path) -> None:
    words = [*SETTINGS, f"data.root={videos}", f"data.csv={videos}/data.csv", "weights=imagenet", "backbone=resnet18"]
    assert settle_starts(compose_config(words)).start == "random"
    assert settle_starts(compose_config([*words, "data.labels=single"])).start == "probe"

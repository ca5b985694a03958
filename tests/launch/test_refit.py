"""refit=true: held-out videos choose the number of epochs, then all videos train; going on after a stop."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from warm import Warm

from twostream.config.compose import compose_config
from twostream.config.data import build_lists, build_source
from twostream.data.record import Record
from twostream.files.errors import UserError
from twostream.launch.claim import identity
from twostream.launch.refit import Validated, chosen_before, earliest, held_out_record
from twostream.models.backbone import tiny
from twostream.runs.interrupted import CHOICE, SELECTION, has_begun
from twostream.runs.results import write_json, write_text

ROOT = Path(__file__).parents[2]

FEW = ["data.train_clips=48", "data.test_clips=16", "validation_fraction=0.34", "num_workers=0", "batch_size=16"]
SMALL = [*FEW, "logger=csv", "transform.size=32", "refit=true", "epochs=3", "flow.length=2", "streams=flow"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_earliest_epoch_that_is_not_clearly_worse() -> None:
    """By hand: differences to the last row are 1.5, 1.5, .5, .5 (mean 1, error .29) and .1, -.1, .1, -.1 (mean 0)."""
    assert earliest([[2.0, 2.0, 1.0, 1.0], [0.6, 0.4, 0.6, 0.4], [0.5, 0.5, 0.5, 0.5]]) == 1
    assert earliest([[0.5, 0.5], [0.4, 0.6]]) == 0
    assert earliest([[0.9, 0.9, 0.1], [0.1, 0.1, 0.8]]) == 0  # mean .3, error .5: three videos decide nothing
    assert earliest([[2.0], [1.0], [1.5]]) == 1  # one video has no error
    assert earliest([[0.010, 0.137], [0.0, 0.511], [0.0, 0.102]]) == 2  # the second: uncertain, worse
    assert earliest([[1.0000001, 2.0000001], [1.0, 2.0]]) == 0  # rounding


def test_only_videos_that_were_always_read_choose() -> None:
    validated = Validated()
    validated.curve = [{"epoch": 0, "loss": 1.0, "top1": 0.1}, {"epoch": 1, "loss": 0.5, "top1": 0.2}]
    validated.losses = [{0: 1.0, 1: 1.1, 7: 0.0}, {0: 0.5, 1: 0.6}]
    assert validated.choose()[:2] == (1, 0.2)


def test_a_loss_that_is_no_number_is_not_low() -> None:
    validated = Validated()
    validated.curve = [{"epoch": 1, "loss": float("nan"), "top1": 1.0}, {"epoch": 2, "loss": 3.0, "top1": 0.5}]
    validated.losses = [{0: float("nan"), 1: 1.0}, {0: 3.0, 1: 3.0}]
    assert validated.choose()[:2] == (2, 0.5)


def test_what_was_chosen_counts_for_the_same_configuration_and_data_alone(tmp_path: Path) -> None:
    cfg = compose_config([*FEW, "refit=true"])
    record = held_out_record(OmegaConf.merge(cfg, {"refit": False}), build_source(cfg))
    assert chosen_before(cfg, tmp_path, record) is None
    assert not has_begun(tmp_path)
    (tmp_path / SELECTION).mkdir()
    content = {"cell": identity(cfg), "epochs": 4, "top1": 0.5, "seconds": 9.5, "data": record.to_text()}
    write_json(tmp_path / SELECTION / CHOICE, content)
    write_text(tmp_path / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    assert has_begun(tmp_path)
    assert chosen_before(cfg, tmp_path, record) == (4, 0.5, 9.5)
    other = compose_config([*FEW, "refit=true", "seed=1"])
    fewer = Record(record.classes, {**record.parts, "train": record.parts["train"][1:]})
    for now, here in ((other, record), (cfg, fewer)):
        with pytest.raises(UserError, match=r"interrupted (under another|with: 1 gone).*allow_change=true"):
            chosen_before(now, tmp_path, here)
        assert chosen_before(OmegaConf.merge(now, {"allow_change": True}), tmp_path, here) is None


def test_nothing_to_choose_by() -> None:
    cfg = compose_config([*FEW, "validation_fraction=0"])
    with pytest.raises(ValueError, match=r"refit=true: no training video is held out .*validation_fraction=0"):
        held_out_record(cfg, build_source(cfg))


def test_lists() -> None:
    cfg = compose_config(FEW)
    held_out, all_train = (build_lists(OmegaConf.merge(cfg, {"refit": on}), build_source(cfg)) for on in (False, True))
    assert len(held_out["train"]) + len(held_out["validation"]) == len(all_train["train"]) == 48
    assert len(held_out["validation"]) > 0 == len(all_train["validation"])
    assert {video.id for video in held_out["validation"]} <= {video.id for video in all_train["train"]}


def command(warm: Warm, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    words = (str(ROOT / "train.py"), *words)
    return warm.run(words, cwd=folder.parent, env={**os.environ, "WANDB_MODE": "offline"}, timeout=300)


def test_both_parts_of_a_run(tmp_path: Path, warm: Warm) -> None:
    done = command(warm, tmp_path / "run", *SMALL, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    choice = json.loads((tmp_path / "run" / "selection" / "choice.json").read_text())
    assert results["epochs"] == choice["epochs"] >= 1  # nothing was measured before the first
    assert results["steps"] == choice["epochs"] * 3  # 48 videos in batches of 16
    assert results["validation"] == choice["top1"]
    assert results["data"]["train"]["videos"] == 48
    assert results["data"]["validation"]["videos"] == 0
    curve = rows(tmp_path / "run" / "selection" / "metrics.csv")
    losses = [float(row["val/loss"]) for row in curve if row.get("val/loss")]
    assert len(losses) == 3
    assert choice["epochs"] <= losses.index(min(losses)) + 1
    assert not list((tmp_path / "run").rglob("recovery-*"))
    assert "choose the number of epochs" in done.stdout
    assert (tmp_path / "run" / "learning_curves.png").stat().st_size > 0
    again = command(warm, tmp_path / "run", *SMALL, f"hydra.run.dir={tmp_path / 'run'}")
    assert "finished before" in again.stdout, again.stderr


@pytest.mark.long
def test_it_goes_on_wherever_it_was_stopped(tmp_path: Path, warm: Warm) -> None:
    """After the choice, and within the selection: the results are those of the run that was not stopped."""
    run = tmp_path / "run"
    assert command(warm, run, *SMALL, f"hydra.run.dir={run}").returncode == 0
    whole = json.loads((run / "results.json").read_text())
    (run / "results.json").unlink()
    done = command(warm, run, f"resume={run}")
    assert done.returncode == 0, done.stderr
    assert "choose the number of epochs" not in done.stdout  # they have
    again = json.loads((run / "results.json").read_text())
    assert again["metrics"] == whole["metrics"]


def test_a_probe_that_training_does_not_improve_stays(tmp_path: Path, warm: Warm) -> None:
    """No step is made, yet there is a run like any other: with weights, scores, and the same numbers in `evaluate`."""
    torch.manual_seed(0)
    torch.save(tiny(3, 4).state_dict(), tmp_path / "tiny.pth")
    run, words = tmp_path / "run", [*SMALL, f"backbone.weights={tmp_path / 'tiny.pth'}", "start=probe", "streams=rgb"]
    done = command(warm, run, *words, "optimizer.learning_rate=1e-12", "dropout.rgb=0", f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stderr
    results = json.loads((run / "results.json").read_text())
    assert (results["epochs"], results["steps"]) == (0, 0)
    assert results["probe"].keys() == {"top1", "mean_class", "macro_f1", "loss"}
    assert all(results["metrics"][f"test/{name}"] == value for name, value in results["probe"].items())
    assert "probe: val/top1" in done.stdout
    assert "probe: test/top1" not in done.stdout, "test videos were seen once"
    again = warm.run(
        ["-m", "twostream.cli", "evaluate", str(run), "--protocol", "train"],
        cwd=tmp_path,
        env={**os.environ},
        timeout=300,
    )
    assert again.returncode == 0, again.stderr
    [metrics] = (run / "evaluation").rglob("metrics.json")
    assert json.loads(metrics.read_text())["metrics"]["top1"] == pytest.approx(results["metrics"]["test/top1"])

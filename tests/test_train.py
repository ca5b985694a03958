"""Whole runs, as a user starts them: `python train.py …` in a process of its own, on a small embedded data set."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from warm import Warm

from twostream.config.compose import compose_config
from twostream.config.run import build_run, check_training
from twostream.data.clip import Clip
from twostream.data.history import History
from twostream.evaluation.evaluate import prepare, score
from twostream.evaluation.plan import Plan
from twostream.files.digest import sha256
from twostream.files.errors import UserError, checked, one_line
from twostream.launch.announce import announce
from twostream.metrics.scores import Scores
from twostream.options import conf_folder
from twostream.runs.sweep import read_sweep

ROOT = Path(__file__).parent.parent
SMALL = [
    "data.train_clips=48",
    "data.test_clips=16",
    "validation_fraction=0.34",
    "epochs=1",
    "batch_size=16",
    "num_workers=0",
    "flow.preset=ultrafast",
]
GROUPS = ("fusion", "temporal", "pooling", "attention")


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def environment(cache) -> dict[str, str]:
    return {**os.environ, "TWOSTREAM_CACHE": str(cache), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


@pytest.fixture(scope="session")
def train(environment, warm: Warm) -> Train:
    """Runs a command line in a folder, in a process of its own; returns the finished process."""
    script = str(ROOT / "train.py")
    return lambda folder, *words: warm.run([script, *words], cwd=folder, env=environment, timeout=280)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, train: Train) -> Path:
    """The folder of one finished run with all loggers."""
    folder = tmp_path_factory.mktemp("run")
    done = train(folder, *SMALL, "logger=[wandb,tensorboard]", f"hydra.run.dir={folder}/run", "ema=0.9", "accumulate=2")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_results_hold_choices_metrics_and_versions(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    expected = {"fusion": "conv", "temporal": "pool3d", "backbone": "tiny", "data": "moving_patterns"}
    assert expected.items() <= results["choices"].items()
    assert (results["layer"], results["split"], results["seed"]) == ("conv5", 1, 0)
    assert {"test/top1", "test/top5", "test/mean_class", "test/macro_f1", "test/loss"} <= set(results["metrics"])
    correct = results["metrics"]["test/top1"] * 16
    assert correct == pytest.approx(round(correct), abs=1e-4), "16 test videos, each counted once"
    assert results["metrics"]["test/top5"] >= results["metrics"]["test/top1"]
    assert results["parameters"] > 0
    assert results["flops"] > 0
    assert results["versions"]["torch"]


def test_the_run_folder_is_complete(finished: Path) -> None:
    for name in ("config.yaml", "metrics.csv", "results.json", "learning_curves.png", "confusion_matrix.png"):
        assert (finished / name).stat().st_size > 0
    assert not (finished / "error.txt").exists()


def test_the_scores_of_the_test_give_its_accuracy(finished: Path) -> None:
    scores = Scores.load(finished / "test_scores.npz")
    metrics = json.loads((finished / "results.json").read_text())["metrics"]
    assert len(scores.videos) == 16
    assert [name.split("/")[0] for name in scores.videos] == [scores.classes[label] for label in scores.labels]
    assert (scores.logits.argmax(1) == scores.labels).mean() == pytest.approx(metrics["test/top1"], abs=1e-7)
    five = np.argsort(-scores.logits, axis=1)[:, :5]
    assert (five == scores.labels[:, None]).any(1).mean() == pytest.approx(metrics["test/top5"], abs=1e-7)
    assert (scores.protocol, scores.data, scores.split, scores.part) == ("train", "moving_patterns", 1, "test")
    assert scores.checkpoint == sha256(finished / "checkpoints" / "best.ckpt")


def test_a_run_that_only_tests_can_be_evaluated(tmp_path: Path, train: Train, cache: Path, monkeypatch) -> None:
    """`experiment=t1_late` is one: both towers come trained, and nothing is left to train."""
    monkeypatch.setenv("TWOSTREAM_CACHE", str(cache))
    done = train(tmp_path, *SMALL, "epochs=0", "logger=csv", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    tested = Scores.load(tmp_path / "run" / "test_scores.npz")
    outcome = score(prepare(tmp_path / "run", Plan()), Plan())
    assert outcome is not None
    assert outcome.scores.checkpoint == tested.checkpoint == sha256(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert outcome.scores.logits == pytest.approx(tested.logits, abs=1e-5)
    assert outcome.notes == []


def test_checkpoints_are_plain_tensors(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    assert len(checkpoint["classes"]) == 16
    assert any(key.startswith("network.fusions.conv5") for key in checkpoint["state_dict"])


def wandb_records(path: Path) -> list[bytes]:
    """The records of an offline run's file, a LevelDB log: blocks of 32 KiB; each chunk has a header of 7 bytes."""
    raw, position, records, partial = path.read_bytes(), 7, [], b""
    while position + 7 <= len(raw):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        length, kind = int.from_bytes(raw[position + 4 : position + 6], "little"), raw[position + 6]
        partial += raw[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(partial)
            partial = b""
    return records


def test_towers_that_were_trained_on_test_videos_are_refused(
    finished: Path, tmp_path: Path, cache, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("TWOSTREAM_CACHE", str(cache))
    checkpoint = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    assert len(checkpoint["trained_on"]["videos"]) == 48 - 16, "those held out for validation are not trained on"
    overrides = [*SMALL, "logger=csv", f"init.rgb={tmp_path / 'rgb.ckpt'}", f"init.flow={finished}"]
    source = build_run(compose_config([*SMALL, "logger=csv"]), tmp_path).source
    leaked = History.of("moving_patterns", 7, source.test[:3]) | History.of("moving_patterns", 7, source.train)
    torch.save({**checkpoint, "trained_on": leaked.to_checkpoint()}, tmp_path / "rgb.ckpt")
    with pytest.raises(UserError, match=r"3 of 16 test videos .*moving_patterns split 7, .*allow_leak=true"):
        build_run(compose_config(overrides), tmp_path)
    run = build_run(compose_config([*overrides, "allow_leak=true"]), tmp_path)
    assert run.leaked == 3
    assert run.leaked_validation == 16, "the list of training is that of validation, too"
    announce(cfg := compose_config(overrides), cfg, run, tmp_path, run.trainer.loggers)
    assert "WARNING: the weights were trained on 16 of the validation videos" in capsys.readouterr().out
    towers = [f"init.rgb={finished}", f"init.flow={finished}"]
    honest = build_run(compose_config([*SMALL, "logger=csv", *towers]), tmp_path)
    assert honest.leaked_validation == 0
    assert run.system.history.videos >= leaked.videos, "what the towers have seen goes into the new checkpoints"


def test_offline_wandb_run_holds_metrics_config_and_pictures(finished: Path) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = finished.glob("wandb/offline-run-*/run-*.wandb")
    history, config = set(), set()
    for data in wandb_records(path):
        record = Record.FromString(data)
        history |= {item.key or item.nested_key[0] for item in record.history.item}
        for update in (record.run.config.update, record.config.update):
            config |= {item.key or item.nested_key[0] for item in update}
    assert {"train/loss", "val/top1", "val/mean_class", "test/top1", "learning_curves"} <= history
    assert {"layer", "fusion", "backbone", "optimizer"} <= config
    media = [picture.name for picture in path.parent.glob("files/media/images/*.png")]
    assert any("learning_curves" in name for name in media)
    assert any("confusion_matrix" in name for name in media)


def test_same_seed_same_numbers(finished: Path, tmp_path: Path, environment) -> None:
    """By the command as a user types it, with two workers instead of none: draws come from seed, epoch and video."""
    options = [*SMALL, "logger=csv", "ema=0.9", "accumulate=2", "num_workers=2", f"hydra.run.dir={tmp_path}/run"]
    command = [sys.executable, ROOT / "train.py", *options]
    subprocess.run(command, cwd=tmp_path, env=environment, timeout=280, check=True)
    one, other = (json.loads((run / "results.json").read_text())["metrics"] for run in (finished, tmp_path / "run"))
    assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.long
def test_a_sweep_goes_on_after_a_cell_that_fails_and_repeats_none_that_finished(tmp_path: Path, train: Train) -> None:
    command = ("-m", "fusion=concat,sum", "layer=fc8,softmax", *SMALL, "logger=csv")
    done = train(tmp_path, *command)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [folder] = (tmp_path / "runs" / "sweeps").iterdir()
    sweep = read_sweep(folder)
    assert [(*cell.overrides.values(), cell.state) for cell in sweep.cells] == [
        ("concat", "fc8", "failed"),
        ("concat", "softmax", "failed"),
        ("sum", "fc8", "finished"),
        ("sum", "softmax", "finished"),
    ]
    assert "choose fusion=sum, max or conv" in str(sweep.cells[0].error)
    assert re.findall(r"^cell      (.+)$", done.stdout, flags=re.M) == ["3 of 4", "4 of 4"], "of those that were built"
    trained = {cell.name: (folder / cell.name / "results.json").stat().st_mtime_ns for cell in sweep.cells[2:]}
    (folder / "fusion_sum-layer_fc8").rename(tmp_path / "lost")
    trained.pop("fusion_sum-layer_fc8", None)
    again = train(tmp_path, *command)
    assert again.returncode == 1
    assert again.stdout.count("finished before") == 1
    assert [cell.state for cell in read_sweep(folder).cells].count("finished") == 2
    kept = folder / "fusion_sum-layer_softmax" / "results.json"
    assert kept.stat().st_mtime_ns == trained["fusion_sum-layer_softmax"]


@pytest.mark.long
def test_broken_videos_are_left_out_if_asked_for_and_counted(tmp_path: Path, train: Train) -> None:
    options = ["logger=csv", "data.test_clips=17", *SMALL[:1], *SMALL[2:], "epochs=1", "batch_size=8"]
    first = train(tmp_path, *options, f"hydra.run.dir={tmp_path}/first", "data.root=data")
    assert first.returncode == 0, first.stderr
    [broken] = (tmp_path / "data").rglob("test-00003.mp4")
    broken.write_bytes(b"")
    fatal = train(tmp_path, *options, f"hydra.run.dir={tmp_path}/fatal", "data.root=data")
    assert fatal.returncode == 1
    assert "test-00003.mp4: is empty; broken=skip leaves out such videos" in fatal.stderr
    skipping = [f"hydra.run.dir={tmp_path}/skip", "data.root=data", "broken=skip", "test_batch_size=1", "num_workers=1"]
    done = train(tmp_path, *options, *skipping)
    assert done.returncode == 0, done.stderr
    assert "test: 1 of 17 videos could not be read and were left out" in done.stdout
    results = json.loads((tmp_path / "skip" / "results.json").read_text())
    assert [Path(name).name for name in results["unreadable"]["test"]] == ["test-00003.mp4"]
    correct = results["metrics"]["test/top1"] * 16
    assert correct == pytest.approx(round(correct), abs=1e-4), "16 of 17 were tested"


def options_of(groups: tuple[str, ...]) -> list[str]:
    return [f"{group}={path.stem}" for group in groups for path in sorted((conf_folder() / group).glob("*.yaml"))]


NEEDED = {
    "fusion=weighted": ["layer=softmax"],
    "fusion=pyramid": ["layer=[conv3,conv5]"],
    "fusion=multilevel": ["layer=[conv3,conv5]"],
    "fusion=residual": ["layer=[conv4,conv5]", "two_towers=true", "backbone=resnet18", "backbone.weights=null"],
}


OVER_CLIP = [f"{option} attention_over=clip" for option in options_of(("attention",))]


FEW = [*SMALL, "logger=csv", "sampling.num_chunks=2"]
LOADERS = [f"{part}_dataloader" for part in ("train", "val", "test")]


@pytest.fixture(scope="session")
def loaded(tmp_path_factory, cache) -> dict[str, DataLoader[Clip]]:
    """The loaders, with their batches read once: no layer changes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWOSTREAM_CACHE", str(cache))
        data = build_run(compose_config(FEW), tmp_path_factory.mktemp("loaded")).data
        return {name: DataLoader(list(getattr(data, name)()), batch_size=None) for name in LOADERS}  # type: ignore[arg-type]


@pytest.mark.long
@pytest.mark.parametrize("option", options_of(GROUPS) + OVER_CLIP)
def test_every_layer_trains(option: str, tmp_path: Path, cache, loaded, monkeypatch) -> None:
    """In this process, for speed: one epoch of two steps, and finite numbers at its end."""
    monkeypatch.setenv("TWOSTREAM_CACHE", str(cache))
    data, system, trainer, *_ = build_run(compose_config([*option.split(), *NEEDED.get(option, []), *FEW]), tmp_path)
    for name in LOADERS:
        monkeypatch.setattr(data, name, lambda name=name: loaded[name])
    before = {name: p.detach().clone() for name, p in system.network.named_parameters()}
    trainer.fit(system, data)
    [metrics] = trainer.test(system, data, verbose=False)
    assert all(value == value and abs(value) < 1e4 for value in metrics.values())
    moved = [name for name, p in system.network.named_parameters() if not torch.equal(p, before[name])]
    assert len(moved) > 0.9 * len(before), "nearly every parameter takes part"
    no_clips = (
        data.train_set.no_clips()
    )  # what a process of several may get: it takes part in backward, and moves nothing
    system.train().zero_grad()
    system.loss(system(no_clips)[0], no_clips.label).backward()
    assert all(p.grad is not None and not p.grad.any() for p in system.network.parameters())


WRONG = [
    (["fusion=foo"], "fusion=foo: no such option", "concat"),
    (["layer=conv9"], "layer=conv9", "conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8, softmax, or a list of them"),
    (["layer=fc6"], "layer='fc6'", "conv5, fc8, softmax"),
    (["layer=[conv5,conv3]"], "name each layer once", "conv1"),
    (["split=4"], "split=4", "1, 2, 3"),
    (["data=ucf101", "backbone=tiny", "data.root=/nowhere"], "/nowhere", ""),
    (["data=ucf101", "backbone=vgg16", "backbone.weights=null", "fusion=bilinear"], "fc6, fc7", "pooling=gap"),
    (["streams=[rgb,sound]"], "streams=", "rgb, flow"),
    (["train_from=conv7"], "train_from=conv7", "fusion"),
    (["decoder=vlc"], "vlc", "decord"),
    (["dropout.flow=0.3"], "dropout.flow=0.3: the flow tower ends at the fusion", "null"),
    (["dropout.flow=0.3", "streams=rgb"], "dropout.flow=0.3: the flow tower is not there", "null"),
    (["init.flow=runs/a", "streams=rgb"], "init.flow=runs/a", "streams=rgb"),
    (["schedule=plateau", "schedule.patience=0"], "schedule.patience=0", "at least 1"),
    (["schedule=plateau", "validation_fraction=0"], "schedule.monitor=val/top1", "validation_fraction"),
    (["attention=se", "attention_over=video"], "attention_over=video", "frame, clip"),
    (["data.cache=disk"], "data.cache=disk", "ram, null"),
    (["align=stretch"], "align=stretch: no such option", "upconv"),
    (["align.channels=crop"], "align.channels=crop", "equal, project"),
    (["backbone@flow_backbone=tiny", "flow_backbone.width=0.5"], "rgb has 64 and flow 32", "align.channels=project"),
    (["logger.wandb.mode=loud"], "logger.wandb.mode=loud", "offline"),
    (["flow.preset=slow"], "slow", "ultrafast"),
    (["laier=conv5"], "laier", ""),
    (["backbone=resnet18", "backbone.weights=nowhere.pth"], "nowhere.pth", "imagenet"),
]


@pytest.mark.parametrize(("overrides", "named", "choice"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_input_names_the_value_and_the_choices(overrides, named, choice, tmp_path, cache, monkeypatch) -> None:
    monkeypatch.setenv("TWOSTREAM_CACHE", str(cache))
    with pytest.raises(UserError) as caught, checked():
        build_run(compose_config([*([] if "data=ucf101" in overrides else SMALL), *overrides]), tmp_path)
    assert named in one_line(caught.value)
    assert choice in one_line(caught.value)


WITHOUT_EFFECT = [
    ([], []),
    (["attention=se", "dropout.flow=0.3", "two_towers=true", "optimizer.fusion_factor=5"], []),
    (["attention=se", "attention_after=[]"], ["attention: no layer follows attention_after=[] here"]),
    (["attention=se", "attention_after=null"], ["attention: no layer follows attention_after=[] here"]),
    (["attention=none", "attention_after=null"], []),
    (
        ["attention=se", "layer=conv3", "fusion=bilinear", "attention_after=conv5"],
        ["attention: no layer follows attention_after=['conv5'] here"],
    ),
    (
        ["attention=se", "layer=conv3", "fusion=bilinear"],
        ["attention: no layer follows attention_after=['conv5'] here"],
    ),
    (["align=upconv"], ["align=upconv: the maps are equally large"]),
    (["align.channels=project"], ["align.channels=project: the maps have equally many channels"]),
    (["align.channels=project", "backbone@flow_backbone=tiny", "flow_backbone.width=0.5"], []),
    (["streams=rgb", "two_towers=true"], ["two_towers=true: there is one stream"]),
    (["streams=rgb", "optimizer.flow_conv1_factor=5"], ["optimizer.flow_conv1_factor=5: no first convolution of"]),
    (["layer=softmax", "fusion=sum", "optimizer.fusion_factor=5"], ["optimizer.fusion_factor=5: no fusion layer is"]),
    (["streams=rgb", "backbone@flow_backbone=tiny"], ["flow_backbone: there is no flow tower"]),
]


@pytest.mark.parametrize(("overrides", "lines"), WITHOUT_EFFECT, ids=str)
def test_what_changes_nothing_is_told(overrides: list[str], lines: list[str]) -> None:
    found = check_training(compose_config(overrides))
    assert len(found) == len(lines)
    assert all(line.startswith(start) for line, start in zip(found, lines, strict=True))


@pytest.mark.parametrize("number", [0, 3, 5])
def test_wrong_input_ends_a_run_with_one_line(number: int, tmp_path: Path, train: Train) -> None:
    overrides, named, choice = WRONG[number]
    done = train(tmp_path, *overrides, *SMALL[3:5], f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert choice in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["-m", "fusion=sum,max", "seed=1,x"],
            "seed=x: must be a whole number of at least 0 and at most 4,294,967,295",
        ),
        (["hydra.run.dir=file/below"], "hydra.run.dir=file/below: Not a directory; must be a folder that can be made"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(words: list[str], told: str, tmp_path, train: Train) -> None:
    (tmp_path / "file").touch()
    done = train(tmp_path, *SMALL, *words, "logger=csv")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {told}")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


REAL = {
    "ucf101": ["data=ucf101", "data.root={root}", "validation_fraction=0.2"],
    "hmdb51": [
        "data=hmdb51",
        "data.root={root}",
        "data.missing=skip",
        "data.classes=[cartwheel,wave]",
        "validation_fraction=0",
    ],
    "folder": [
        "data=folder",
        "data.root={root}/UCF-101",
        "data.group_pattern='_(g[0-9]+)_'",
        "temporal=conv3d",
        "start=random",
    ],
}


@pytest.mark.long
@pytest.mark.parametrize("name", REAL)
def test_real_clips_train(name: str, real_data: Path, tmp_path: Path, train: Train) -> None:
    weights = real_data / "weights" / "squeezenet1_0_from_deep_compression.pth"
    done = train(
        tmp_path,
        *(override.format(root=real_data) for override in REAL[name]),
        "backbone=squeezenet1_0",
        f"backbone.weights={weights}",
        "epochs=1",
        "batch_size=4",
        "sampling.num_chunks=2",
        "flow.length=2",
        "flow.preset=ultrafast",
        "transform.size=112",
        "transform.test_flip=false",
        "logger=csv",
        "num_workers=2",
        *(f"+trainer.limit_{part}_batches=1" for part in ("train", "val", "test")),
        f"hydra.run.dir={tmp_path}/run",
    )
    assert done.returncode == 0, done.stderr
    assert "50 tensors loaded" in done.stdout, "RGB: all but the classifier"
    assert "1 tensor adapted" in done.stdout, "flow: conv1 from the mean over colours"
    assert (tmp_path / "run" / "split.csv").exists()
    assert 0 <= json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]["test/top1"] <= 1

"""`distill.from=RUN_DIR`: which teachers fit, what both networks see, and whole runs."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from warm import PYTORCH_READS, Warm

from twostream.config.compose import compose_config
from twostream.config.data import build_data, build_source
from twostream.config.distill import settings_digest, teacher_history
from twostream.config.loaded import load_run
from twostream.config.run import build_run, build_system, check_training
from twostream.config.shareable import shareable_overrides
from twostream.data.history import History
from twostream.data.sources import Video
from twostream.files.errors import UserError, checked
from twostream.launch.claim import identity
from twostream.launch.refit import held_out_record
from twostream.launch.replay import replay
from twostream.training.distill import DistilledSystem
from twostream.training.recovery import random_state
from twostream.training.system import TwoStreamSystem

ROOT = Path(__file__).parents[2]
FEW = ["data.train_clips=48", "data.test_clips=16", "validation_fraction=0.34", "num_workers=0", "batch_size=16"]
SMALL = [*FEW, "logger=csv", "transform.size=32", "flow.length=2", "flow.preset=ultrafast"]
SMALL += ["sampling.num_chunks=2", "diff.length=2"]
TINY = "backbone.width=0.25"
RGB = [*SMALL, TINY, "streams=rgb", "epochs=2"]
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def classes() -> tuple[str, ...]:
    return build_source(compose_config(SMALL)).classes


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, classes: tuple[str, ...]) -> Make:
    """Makes what a finished run leaves, with random weights; each of some options only once."""
    made: dict[Any, Path] = {}

    def teacher(
        *words: str,
        classes: tuple[str, ...] = classes,
        trained: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
    ) -> Path:
        key = (words, classes, trained)
        if key in made:
            return made[key]
        folder = made[key] = tmp_path_factory.mktemp("teacher")
        cfg = compose_config([*(word for word in SMALL if word not in without), TINY, *words])
        torch.manual_seed(1)
        history = History.of("some", 1, [Video(name, Path(name), 0, "") for name in trained])
        system = build_system(cfg, classes, history)
        checkpoint: dict[str, Any] = {"state_dict": system.state_dict()}
        system.on_save_checkpoint(checkpoint)
        (folder / "checkpoints").mkdir()
        torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
        OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
        (folder / "results.json").write_text(json.dumps({"metrics": {"test/top1": 0.5}}))
        return folder

    return teacher


@pytest.mark.long
def test_what_a_teacher_must_share(make: Make, tmp_path: Path, classes: tuple[str, ...]) -> None:
    flow, both = make("streams=flow"), make("fusion=sum")

    def refused(teacher: Path, *words: str) -> str:
        with pytest.raises(ValueError, match="distill") as error:
            check_training(compose_config([*RGB, f"distill.from={teacher}", *words]))
        return str(error.value).replace(str(teacher), "T")

    for fits in (flow, both, make("streams=rgb"), make("streams=diff")):
        check_training(compose_config([*RGB, f"distill.from={fits}"]))
    check_training(compose_config([*RGB, f"distill.from={flow}", "distill.layer=fc8", "backbone.width=0.5"]))
    assert refused(flow, "streams=[rgb,flow]") == "distill.from=T: trains one stream, not streams=[rgb,flow]; " + (
        "choose streams=rgb"
    )
    assert refused(make("streams=[rgb,diff]"), "streams=flow").startswith(
        "distill.from=T: its streams, rgb and diff, and flow here are three"
    )
    same = "distill.from=T: both have to see the same clips: "
    assert refused(flow, "flow.length=3") == same + "flow.length=2 there, 3 here"
    assert refused(flow, "sampling.num_chunks=1") == same + "sampling.num_chunks=2 there, 1 here"
    assert refused(make("streams=diff", "diff.length=3"), "diff.length=3").startswith(
        "distill.from=T: with the teacher a stack is 3 long and without it 2, so clips would differ"
    )
    plain = [word for word in RGB if not word.startswith(("sampling.", "flow.preset"))]
    rows = ("sampling=clip", "sampling.num_frames=3", "sampling.stride=2")  # alone, RGB keeps no frame for a stack
    in_rows = make("streams=flow", *rows, without=("sampling.num_chunks=2",))
    check_training(compose_config([*plain, "flow.preset=ultrafast", *rows, f"distill.from={in_rows}"]))
    for word, told in {
        "sampling=clip": "sampling=Chunks there, Clip here",
        "flow=farneback": "flow.algorithm=DIS there, Farneback here",
    }.items():
        with pytest.raises(ValueError, match=f"both have to see the same clips: .*{told}"):
            check_training(compose_config([*plain, f"distill.from={flow}", word]))
    assert refused(both, "transform.size=48") == same + "transform.size=32 there, 48 here"
    assert refused(flow, "backbone.width=0.5") == (
        "distill.layer=conv5: the teacher has 16 features after it, this network 32; choose another layer, such as "
        "fc8, the scores, or networks of equal width"
    )
    assert (
        refused(flow, "distill.layer=fc7") == "distill.layer='fc7': choose from conv1, conv2, conv3, conv4, conv5, fc8"
    )
    assert refused(both, "distill.layer=conv4") == "distill.from=T: distill.layer='conv4': choose from conv5, fc8"
    for unfused in (make("layer=softmax"), make("fusion=multilevel", "layer=[conv3,conv5]")):
        assert "none of its stages goes on with both streams" in refused(unfused)
    assert refused(tmp_path / "absent") == "distill.from=T: no such folder"
    assert "is no run folder: it has no config.yaml" in refused(tmp_path)
    unfinished = make("streams=flow", "seed=3")
    (unfinished / "results.json").unlink()
    assert refused(unfinished) == "distill.from=T: has no results.json; it has not finished"

    other = make("streams=flow", classes=(*classes[:-1], "other"))
    told = rf"its class 16 is other, that of the data is {classes[-1]}"
    with pytest.raises(UserError, match=told):
        build_run(compose_config([*RGB, f"distill.from={other}"]), tmp_path / "run")
    two = make("streams=flow", classes=("a", "b"))
    with pytest.raises(UserError, match="knows 2 classes, the data have 16"):
        build_run(compose_config([*RGB, f"distill.from={two}"]), tmp_path / "run")


def test_what_changes_nothing_is_said() -> None:
    [line] = check_training(compose_config([*RGB, "distill.layer=conv4"]))
    assert line == "distill.layer=conv4: there is no teacher (distill.from); this changes nothing"


def test_a_network_that_goes_on_with_tokens_has_no_map_to_compare(make: Make) -> None:
    pytest.importorskip("timm")
    words = [*RGB[:-2], "backbone=timm", "backbone.name=vit_tiny_patch16_224", "streams=rgb", "batch_size=16"]
    words.remove(TINY)
    with pytest.raises(ValueError, match=r"distill\.layer=conv5: after it .* goes on with tokens, .* choose fc8"):
        check_training(compose_config([*words, f"distill.from={make('streams=flow')}"]))


@pytest.mark.long
@pytest.mark.parametrize(
    ("own", "teacher", "second"),
    [
        ("rgb", ["streams=flow"], "flow"),
        ("rgb", ["fusion=sum"], "flow"),
        ("rgb", ["streams=rgb"], None),
        ("flow", ["streams=rgb"], "rgb"),
        ("diff", ["fusion=sum", "streams=[rgb,diff]"], "rgb"),
    ],
)
def test_both_see_the_same_clips(make: Make, own: str, teacher: list[str], second: str | None) -> None:
    """Bit for bit those of a run without a teacher, and of the teacher's stream alone; tests see one stream."""
    moving = ["transform=tsn", "transform.size=32", "data.mirror=true"]  # crops and mirrors that are drawn

    def data(*words: str) -> Any:
        cfg = compose_config([*RGB, *moving, *words])
        return build_data(cfg, build_source(cfg))

    taught = data(f"streams={own}", f"distill.from={make(*teacher)}")
    alone = data(f"streams={own}")
    other = None if second is None else data(f"streams={second}")
    for key in ((0, 0), (0, 3), (1, 3)):
        clip = taught.train_set[key]
        assert torch.equal(clip.first, alone.train_set[key].first)
        if other is None:
            assert clip.second.shape[2] == 0
        else:
            assert torch.equal(clip.second, other.train_set[key].first)
    for seen, plain in ((taught.validation_set, alone.validation_set), (taught.test_set, alone.test_set)):
        assert [stream.name for stream in seen.streams] == [own]
        assert torch.equal(seen[0, 1].first, plain[0, 1].first)
        assert seen[0, 1].second.shape[2] == 0
    empty = taught.train_set.no_clips()
    assert empty.second.shape[3] == taught.train_set[0, 0].second.shape[2]


def test_videos_of_the_teacher_count_as_trained_on(make: Make, tmp_path: Path) -> None:
    source = build_source(compose_config(RGB))
    leaking = make("streams=flow", trained=(source.test[0].id,))
    cfg = compose_config([*RGB, f"distill.from={leaking}"])
    assert teacher_history(cfg).among(source.test) == [source.test[0].id]
    with pytest.raises(UserError, match="1 of 16 test videos are among those that the weights were trained on"):
        build_run(cfg, tmp_path)
    run = build_run(compose_config([*RGB, f"distill.from={leaking}", "allow_leak=true"]), tmp_path)
    assert run.leaked == 1
    assert run.system.history.among(source.test) == [source.test[0].id]  # written into its checkpoints


def test_runs_without_a_teacher_are_what_they_were() -> None:
    cfg = compose_config(RGB)
    before = OmegaConf.to_container(cfg)
    assert isinstance(before, dict)
    del before["distill"]
    assert identity(cfg) == identity(OmegaConf.create(before))
    assert identity(cfg) != identity(compose_config([*RGB, "distill.from=T"]))
    assert type(build_system(cfg, ("a", "b"))) is TwoStreamSystem
    assert shareable_overrides(["distill.from=runs/flow", "epochs=3"]) == ["epochs=3"]


def test_a_digest_of_settings_is_the_same_for_repeated_ones() -> None:
    one, seed, other = (compose_config([*RGB, word]) for word in ("seed=0", "seed=1", "epochs=7"))
    assert settings_digest(one) == settings_digest(seed) != settings_digest(other)


def test_what_chooses_epochs_is_recorded_with_all_streams(make: Make) -> None:
    cfg = compose_config([*RGB, f"distill.from={make('streams=flow')}"])
    assert held_out_record(cfg, build_source(cfg)).order("train")


@pytest.mark.long
@pytest.mark.parametrize(
    "words", [["ema=0.9"], ["accumulate=2", "batch_size=8"], ["accumulate=auto"], ["precision=bf16-mixed"]]
)
def test_ways_to_train(make: Make, tmp_path: Path, words: list[str]) -> None:
    run = build_run(compose_config([*RGB, f"distill.from={make('fusion=sum')}", *words]), tmp_path)
    assert isinstance(run.system, DistilledSystem)
    before = {name: value.clone() for name, value in run.system.teacher.network.state_dict().items()}
    run.trainer.fit(run.system, run.data)
    distances = [float(row["train/distance"]) for row in rows(tmp_path) if row.get("train/distance")]
    assert len(distances) == 2
    assert distances[1] < distances[0]
    after = run.system.teacher.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    best = torch.load(run.trainer.checkpoint_callback.best_model_path, weights_only=True)  # type: ignore[union-attr]
    assert {name.split(".")[1] for name in best["state_dict"]} == {"rgb"}
    assert best["teacher"]["streams"] == ["rgb", "flow"]


@pytest.mark.long
def test_without_weight_training_is_that_of_the_network_alone(make: Make, tmp_path: Path) -> None:
    """The losses of all steps, to the last bit: same start, same clips, same dropout."""
    found = []
    for name, words in {"alone": [], "taught": [f"distill.from={make('streams=flow')}", "distill.weight=0"]}.items():
        run = build_run(compose_config([*RGB, *words, "log_every=1"]), tmp_path / name)
        run.trainer.fit(run.system, run.data)
        found.append([row["train/loss_step"] for row in rows(tmp_path / name) if row.get("train/loss_step")])
    assert len(found[0]) == 4
    assert found[0] == found[1]


@pytest.mark.long
def test_a_probe_sees_the_stream_of_the_network_alone(make: Make, tmp_path: Path) -> None:
    weights = torch.load(make("streams=rgb") / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    prefix = "network.rgb.backbone."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    torch.save(own, tmp_path / "tiny.pth")
    words = [f"backbone.weights={tmp_path / 'tiny.pth'}", "start=probe", "epochs=1"]
    accuracies = []
    for name, further in {"alone": [], "taught": [f"distill.from={make('streams=flow')}"]}.items():
        run = build_run(compose_config([*RGB, *words, *further]), tmp_path / name)
        run.trainer.fit(run.system, run.data)
        [probe] = [part for part in run.trainer.callbacks if type(part).__name__ == "StartFromProbe"]  # type: ignore[attr-defined]
        assert [stream.name for stream in probe.videos.streams] == ["rgb"]
        accuracies.append(probe.accuracy)
    assert accuracies[0] == accuracies[1]


def test_fsdp_is_refused(make: Make, tmp_path: Path) -> None:
    cfg = compose_config([*RGB, f"distill.from={make('streams=flow')}", "trainer=fsdp", "trainer.accelerator=cpu"])
    with pytest.raises(UserError, match=r"distill\.from: has not been tried with trainer=fsdp; use trainer=ddp"):
        build_run(cfg, tmp_path)


def test_a_step_is_done_again_with_the_teacher(make: Make, tmp_path: Path) -> None:
    """The loss of `twostream replay` is that of training: cross-entropy and distance."""
    cfg = compose_config([*RGB, f"distill.from={make('streams=flow')}", "dropout.rgb=0"])
    run = build_run(cfg, tmp_path)
    OmegaConf.save(cfg, tmp_path / "config.yaml", resolve=True)
    indices = torch.tensor([0, 5, 7])
    kept = {"epoch": 0, "parts": [{"index": indices, "random": random_state()}], "state_dict": run.system.state_dict()}
    torch.save(kept, tmp_path / "nonfinite-00000-0000000.pt")
    batch = torch.utils.data.default_collate([run.data.train_set[0, index] for index in indices.tolist()])
    loss = run.system.train().training_loss(batch)[0].item()
    found = replay(tmp_path / "nonfinite-00000-0000000.pt")
    assert found.loss == pytest.approx(loss, rel=1e-6)
    assert sum(found.losses.values()) / 3 < loss


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


# ---- whole runs ----


def command(warm: Warm, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return warm.run(
        (str(ROOT / "train.py"), *words), cwd=folder, env={**os.environ, "WANDB_MODE": "offline"}, timeout=300
    )


@pytest.mark.long
def test_a_run_is_that_of_one_stream_and_needs_no_teacher_afterwards(make: Make, tmp_path: Path, warm: Warm) -> None:
    teacher, run = make("streams=flow"), tmp_path / "run"
    copy = tmp_path / "flow"
    copy.symlink_to(teacher, target_is_directory=True)
    done = command(warm, tmp_path, *RGB, "distill.from=flow", f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stderr
    assert "teacher   flow (flow); its features after conv5, weight 50" in done.stdout
    results = json.loads((run / "results.json").read_text())
    facts = {"run": "flow", "streams": ["flow"], "layer": "conv5", "weight": 50.0}
    assert results["teacher"].items() >= facts.items()
    assert len(results["teacher"]["weights"]) == 64
    assert results["test_videos_per_second"] > 0
    copy.unlink()
    loaded = load_run(run)
    assert type(loaded.system) is TwoStreamSystem
    assert loaded.system.network.streams == ("rgb",)
    with pytest.raises(UserError, match=r"distill\.from=flow: no such folder"), checked():
        check_training(loaded.cfg)


@pytest.mark.long
def test_it_goes_on_exactly_and_only_with_the_same_teacher(make: Make, tmp_path: Path, warm: Warm) -> None:
    """Stopped after the first of two epochs; the results are those of the run that was not stopped."""
    teacher = make("streams=flow")
    words = [*RGB, f"distill.from={teacher}"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert command(warm, tmp_path, *words, f"hydra.run.dir={whole}").returncode == 0
    script = tmp_path / "killed.py"
    script.write_text(f"""
import sys
from twostream.training.recovery import Recovery
save = Recovery.save
def save_and_die(self, trainer, epoch, batch):
    save(self, trainer, epoch, batch)
    import os
    os._exit(9)
Recovery.save = save_and_die
sys.argv[1:] = {[*words, f"hydra.run.dir={run}", "checkpoint_minutes=0"]!r}
from twostream.cli.train import train
train(sys.argv[1:])
""")
    alike = {**os.environ, **PYTORCH_READS}  # as many threads as the other processes have, or the last digits differ
    killed = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=alike, capture_output=True, text=True)
    assert killed.returncode == 9, killed.stderr
    checkpoint = teacher / "checkpoints" / "best.ckpt"
    kept = checkpoint.read_bytes()
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {name: value * 2 for name, value in content["state_dict"].items()}
    torch.save(content, checkpoint)
    refused = command(warm, tmp_path, f"resume={run}")
    checkpoint.write_bytes(kept)
    assert refused.returncode == 1
    assert "the teacher (distill.from) was" in refused.stderr
    assert "allow_change=true" in refused.stderr
    done = command(warm, tmp_path, f"resume={run}")
    assert done.returncode == 0, done.stderr
    before, after = (json.loads((folder / "results.json").read_text()) for folder in (whole, run))
    assert after["metrics"] == before["metrics"]
    assert [row.get("train/distance") for row in rows(run)] == [row.get("train/distance") for row in rows(whole)]

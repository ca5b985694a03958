"""Writes what a run leaves in its folder: its configuration, its scores and pictures, `results.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from twostream.config.bounds import cautions
from twostream.config.compose import streams_of
from twostream.config.network import starts
from twostream.config.older import mirrors
from twostream.config.run import Run
from twostream.data.dataset import ClipDataset
from twostream.data.record import summary_of
from twostream.data.sources import Source
from twostream.data.storage.flow_store import READING
from twostream.files.digest import sha256
from twostream.launch.announce import untested_classes
from twostream.launch.claim import identity
from twostream.metrics import confusion_of
from twostream.metrics.plots import read_curves, save_confusion_matrix, save_learning_curves
from twostream.metrics.scores import Scores
from twostream.probe.start import StartFromProbe
from twostream.runs.interrupted import SELECTION
from twostream.runs.results import finite_or_none, git_revision, versions, write_json, write_text
from twostream.training.distill import teacher_facts
from twostream.training.distributed import of_all_processes
from twostream.training.loggers import log_pictures
from twostream.training.objective import CrossEntropy

CLONE = Path(__file__).parents[2]  # of an installed wheel, this folder is no clone


def begin(cfg: DictConfig, run: Run, folder: Path) -> None:
    """Writes what is trained; called only after a checkpoint that the run goes on from has been accepted."""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    if (facts := teacher_facts(run.system)) is not None:
        values["teacher"] = facts
    for logger in run.trainer.loggers:
        logger.log_hyperparams(values)
    if not run.trainer.is_global_zero:
        return
    leave_config(cfg, folder)
    if isinstance(run.source, Source):  # config.yaml determines the embedded data set
        run.source.write_split(folder / "split.csv")


def leave_config(cfg: DictConfig, folder: Path) -> None:
    """Writes what was typed, and the whole configuration that follows from it: enough to resume the run."""
    overrides = HydraConfig.get().overrides.task
    write_json(folder / "overrides.json", OmegaConf.to_container(overrides, resolve=False))
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))


def weights_file(run: Run) -> Path:
    """Returns the checkpoint that validation chose; if nothing was trained, the only one there is."""
    checkpoint: Any = run.trainer.checkpoint_callback
    return Path(checkpoint.best_model_path or Path(checkpoint.dirpath, f"{checkpoint.filename}.ckpt"))


def leave_scores(run: Run, folder: Path, cfg: DictConfig) -> None:
    """Writes `test_scores.npz`, the scores of each test video, and the pictures of a run."""
    scores = Scores.of(
        run.data.test_set.videos,
        run.system.test_logits,
        classes=run.system.classes,
        protocol="train",
        checkpoint=sha256(weights_file(run)),
        data=run.source.name,
        split=run.source.split,
        part="test",
        leaked=run.leaked,
        mirror=mirrors(cfg),
        thresholds=run.system.thresholds,
    )
    scores.save(folder / "test_scores.npz")
    pictures = {"learning_curves": folder / "learning_curves.png"}
    # With refit=true, only the run that chose the epochs has a curve of validation.
    selection = folder / SELECTION / "metrics.csv"
    curves = read_curves(selection if selection.is_file() else folder / "metrics.csv")
    save_learning_curves(curves, pictures["learning_curves"], title=title_of(cfg, run.source.name))
    if not scores.multi:
        pictures["confusion_matrix"] = folder / "confusion_matrix.png"
        save_confusion_matrix(confusion_of(scores.logits, scores.labels), scores.classes, pictures["confusion_matrix"])
    log_pictures(run.trainer.loggers, pictures, run.trainer.global_step)


def title_of(cfg: DictConfig, data: str) -> str:
    """Names a run: "ucf101 split 1, rgb + flow, fusion=conv layer=conv5, seed 0"."""
    told = settings(cfg)
    layer = told["layer"] if isinstance(told["layer"], str) else f"[{','.join(told['layer'])}]"
    streams = streams_of(cfg)
    fusion = [f"fusion={told['choices']['fusion']} layer={layer}"] if len(streams) > 1 else []
    return ", ".join([f"{data} split {told['split']}", " + ".join(streams), *fusion, f"seed {told['seed']}"])


class Outcome(NamedTuple):
    """What came of training and testing.

    `chosen`: top-1 on the held-out videos that chose the number of `epochs`; None without refit=true.
    """

    metrics: Mapping[str, float]
    epochs: int
    chosen: float | None
    seconds: float
    skipped_steps: int
    clips_per_second: float | None
    test_videos_per_second: float | None


def leave_results(run: Run, folder: Path, typed: DictConfig, cfg: DictConfig, outcome: Outcome) -> dict[str, Any]:
    """Writes `results.json`. Returns its content; {} in processes other than the first. `cfg`: `typed` as settled."""
    unreadable = unreadable_videos(run)
    if not run.trainer.is_global_zero:
        return {}
    batches = {"batch_size": run.data.batch_size, "accumulate": run.trainer.accumulate_grad_batches}
    if cfg.accumulate == "auto":
        write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.merge(cfg, batches), resolve=True))
    results = {
        **settings(cfg),
        **batches,
        "precision": cfg.precision,
        "matmul_precision": cfg.get("matmul_precision") or "highest",
        **balance(run, cfg),
        **learned(run, outcome),
        "flow_reading": None if run.data.train_set.flow_store is None else READING,
        "unreadable": unreadable,
        **warned(run, cfg),
        "skipped_steps": outcome.skipped_steps,
        "parameters": run.summary.parameters,
        "flops": run.summary.flops,
        "clips_per_second": outcome.clips_per_second,
        "test_videos_per_second": outcome.test_videos_per_second,
        "seconds": round(outcome.seconds, 2),
        **origin(typed),
    }
    write_json(folder / "results.json", results)
    return results


def settings(cfg: DictConfig) -> dict[str, Any]:
    """Returns the options of a run by which reports tell it from others."""
    chosen: Any = HydraConfig.get().runtime.choices
    return {
        "choices": {group: option for group, option in chosen.items() if "hydra" not in group},
        "layer": cfg.layer if isinstance(cfg.layer, str) else list(cfg.layer),
        "split": cfg.split,
        "seed": cfg.seed,
    }


def balance(run: Run, cfg: DictConfig) -> dict[str, Any]:
    """Returns what was done about classes of unequal size; `class_weights`: {class: number}, None if all count 1."""
    loss = run.system.objective
    weights, focal = (loss.class_weights, loss.focal) if isinstance(loss, CrossEntropy) else (None, None)
    named = None if weights is None else dict(zip(run.source.classes, weights, strict=True))
    return {"class_weights": named, "focal": focal, "sampler": cfg.get("sampler")}


def learned(run: Run, outcome: Outcome) -> dict[str, Any]:
    """Returns what a run learned from, and the numbers that it reached."""
    best: Any = outcome.chosen
    if best is None:
        best = run.trainer.checkpoint_callback.best_model_score  # type: ignore[union-attr]
    probed = next((c for c in run.trainer.callbacks if isinstance(c, StartFromProbe)), None)  # type: ignore[attr-defined]
    start = None if probed is None else probed.accuracy or as_tested(outcome.metrics)
    return {
        "data": summary_of(run.source.classes, {name: part.videos for name, part in parts_of(run).items()}),
        "weights": starts(run.system.network),
        "teacher": teacher_facts(run.system),
        "metrics": finite_or_none(outcome.metrics),
        "probe": None if start is None else finite_or_none(start),
        "epochs": outcome.epochs,
        "steps": run.trainer.global_step,
        "validation": None if best is None else finite_or_none({"best": float(best)})["best"],
    }


def as_tested(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the accuracy of a probe from the test of a run without a step: its network is the probe's."""
    names = ("top1", "mean_class", "macro_f1", "loss")
    return {name: metrics[f"test/{name}"] for name in names if f"test/{name}" in metrics}


def warned(run: Run, cfg: DictConfig) -> dict[str, Any]:
    """Returns what a reader of the numbers has to know."""
    found = [*cautions(cfg), *filter(None, [untested_classes(run)])]
    return {"leaked": run.leaked, "leaked_validation": run.leaked_validation, "cautions": found}


def origin(typed: DictConfig) -> dict[str, Any]:
    """Returns what a run can be repeated by: what was typed, and by which code it ran."""
    return {
        "overrides": OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False),
        "cell": identity(typed),
        "versions": versions(),
        "git": git_revision(CLONE) if (CLONE / "train.py").is_file() else None,
    }


def parts_of(run: Run) -> dict[str, ClipDataset]:
    """Returns the clips of each part."""
    return {"train": run.data.train_set, "validation": run.data.validation_set, "test": run.data.test_set}


def unreadable_videos(run: Run) -> dict[str, list[str]]:
    """Returns the videos that could not be read, by part (train, val, test); every process has to call it."""
    found = {}
    for name, part in parts_of(run).items():
        if videos := sorted(set().union(*of_all_processes(part.unreadable()))):
            found["val" if name == "validation" else name] = videos
    return found

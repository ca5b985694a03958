"""Train and test one network, or with -m a sweep of them: `python train.py fusion=conv layer=conv5`."""

from __future__ import annotations

import time
from pathlib import Path

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from twostream.config import (
    build_data,
    build_network,
    build_source,
    build_system,
    build_trainer,
    checked,
    describe_config,
    notes_errors,
    run_command,
)
from twostream.loggers import log_pictures
from twostream.pictures import read_curves, save_confusion_matrix, save_learning_curves
from twostream.results import git_revision, versions, write_json


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@notes_errors
def main(cfg: DictConfig) -> None:
    """Compose -> build -> fit -> test -> results.json."""
    started = time.perf_counter()
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)

    with checked():  # what the user typed is checked before a video is decoded or weights are loaded
        build_network(cfg, num_classes=10, meta=True)
        source = build_source(cfg)
        data = build_data(cfg, source)
        summary = describe_config(cfg, len(source.classes))
        print(
            f"{source.name} split {cfg.split}: {len(source.classes)} classes, {len(data.train_set)} training, "
            f"{len(data.validation_set)} validation, {len(data.test_set)} test videos; "
            f"{summary.parameters:,} parameters -> {folder}",
            flush=True,
        )
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        system = build_system(cfg, source.classes)
        trainer = build_trainer(cfg, folder, validate=len(data.validation_set) > 0)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    if hasattr(source, "write_split"):
        source.write_split(folder / "split.csv")

    trainer.fit(system, data)
    [metrics] = trainer.test(system, data, ckpt_path="best", weights_only=True, verbose=False)

    save_learning_curves(read_curves(folder / "metrics.csv"), folder / "learning_curves.png")
    assert system.confusion is not None
    save_confusion_matrix(system.confusion, system.classes, folder / "confusion_matrix.png")
    pictures = {name: folder / f"{name}.png" for name in ("learning_curves", "confusion_matrix")}
    log_pictures(trainer.loggers, pictures, trainer.global_step)
    write_json(
        folder / "results.json",
        {
            "choices": {
                group: option for group, option in hydra_config.runtime.choices.items() if "hydra" not in group
            },
            "layer": cfg.layer if isinstance(cfg.layer, str) else list(cfg.layer),
            "split": cfg.split,
            "seed": cfg.seed,
            "metrics": metrics,
            "parameters": summary.parameters,
            "flops": summary.flops,
            "seconds": round(time.perf_counter() - started, 2),
            "versions": versions(),
            "git": git_revision(Path(__file__).parent),
        },
    )
    print("  ".join(f"{name} {value:.4f}" for name, value in metrics.items()), flush=True)


if __name__ == "__main__":
    run_command(main)

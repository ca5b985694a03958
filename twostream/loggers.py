"""Lightning loggers for a run folder."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from pytorch_lightning.loggers import CSVLogger, Logger

WANDB_MODES = ("auto", "online", "offline", "disabled")


def csv_logger(folder: Path) -> Logger:
    """`metrics.csv` in the run folder itself."""
    return CSVLogger(save_dir=folder, name="", version="")


def wandb_logger(
    folder: Path, *, project: str, mode: str = "auto", group: str | None = None, tags: list[str] | None = None
) -> Logger:
    """Weights & Biases; never prompts: without an account it writes to the run folder (`wandb sync` uploads it)."""
    from pytorch_lightning.loggers import WandbLogger  # takes a second to import

    if mode not in WANDB_MODES:
        raise ValueError(f"logger.wandb.mode={mode!r}: choose from {', '.join(WANDB_MODES)}")
    if mode == "auto":
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
    os.environ.setdefault("WANDB_SILENT", "true")
    return WandbLogger(
        project=project,
        save_dir=str(folder),
        mode=mode,
        group=group,
        tags=tags,
        name=folder.name,
        offline=mode == "offline",
    )


def tensorboard_logger(folder: Path) -> Logger:
    """TensorBoard event files in the run folder."""
    try:
        import tensorboard  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            'logger=tensorboard needs tensorboard: pip install "twostream[tensorboard]"'
        ) from None
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(save_dir=str(folder), name="tensorboard", version="")


def log_pictures(loggers: list[Logger], pictures: dict[str, Path], step: int) -> None:
    """Show PNG files in the loggers that show pictures; keys are their names there."""
    import matplotlib.image

    for logger in loggers:
        for key, path in pictures.items():
            if hasattr(logger, "log_image"):
                logger.log_image(key, [str(path)])  # type: ignore[attr-defined]
            elif hasattr(logger.experiment, "add_image"):
                pixels = torch.from_numpy(matplotlib.image.imread(path).copy())
                logger.experiment.add_image(key, pixels, step, dataformats="HWC")

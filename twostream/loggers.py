"""Lightning loggers for a run folder."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
        mode = os.environ.get("WANDB_MODE") or ("online" if has_wandb_key() else "offline")
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


def has_wandb_key() -> bool:
    """Whether `wandb login` was done here: a key in the environment or in the netrc file; asks nobody."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    try:
        return host in netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False


def tensorboard_logger(folder: Path) -> Logger:
    """TensorBoard event files in the run folder."""
    try:
        import tensorboard  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError('logger=tensorboard needs tensorboard: pip install "twostream[tensorboard]"') from None
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(save_dir=str(folder), name="tensorboard", version="")


def log_pictures(loggers: list[Logger], pictures: dict[str, Path], step: int) -> None:
    """Show PNG files in the loggers that show pictures; keys are their names there."""
    import matplotlib.image

    shown: list[Any] = list(loggers)
    for logger in shown:
        for key, path in pictures.items():
            if hasattr(logger, "log_image"):
                logger.log_image(key, [str(path)])
            elif hasattr(logger.experiment, "add_image"):
                pixels = torch.from_numpy(matplotlib.image.imread(path).copy())
                logger.experiment.add_image(key, pixels, step, dataformats="HWC")


def finish(loggers: list[Logger]) -> None:
    """Close the runs of the loggers, so that the next run of a sweep is one of its own."""
    for logger in loggers:
        close = getattr(getattr(logger, "experiment", None), "finish", None)
        if close is not None:
            close()

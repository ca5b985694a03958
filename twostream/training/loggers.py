"""Lightning loggers for a run folder."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import torch
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from twostream.files.atomic import atomic_file
from twostream.files.errors import one_line
from twostream.files.extras import missing_extra
from twostream.files.signals import Stopped
from twostream.training.wandb_account import usual_mode

WANDB_MODES = ("auto", "online", "offline", "disabled")
ANSWER_SECONDS = 5.0
INIT_SECONDS = 20.0
log = logging.getLogger(__name__)


def csv_logger(folder: Path) -> Logger:
    """Returns a logger that writes `metrics.csv` into the run folder itself."""
    return WholeRows(save_dir=folder, name="", version="")


class WholeRows(CSVLogger):
    """Lightning's CSV logger, made safe: a full disk or a kill loses no earlier row and leaves no half-written one."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = WholeRowsWriter(log_dir=self.log_dir)
        return self._experiment


class WholeRowsWriter(ExperimentWriter):
    """Replaces an earlier file at the first save, or adds to it if `goes_on` is true."""

    goes_on = False

    def _check_log_dir_exists(self) -> None:
        """Does nothing: Lightning's method deletes the file before it is known whether the run may go on."""

    def save(self) -> None:
        """Adds the rows to a copy of the file, which then takes the file's place."""
        path, rows, names = Path(self.metrics_file_path), self.metrics, list(self.metrics_keys)
        if not rows:
            return
        try:
            with atomic_file(path) as aside:
                if self.goes_on and path.exists():
                    shutil.copyfile(path, aside)
                self.metrics_file_path = str(aside)
                super().save()
            self.goes_on = True
        except OSError:
            self.metrics, self.metrics_keys = rows, names  # the unsaved rows, and the columns of the file as it is
            raise
        finally:
            self.metrics_file_path = str(path)


def wandb_logger(
    folder: Path,
    *,
    project: str,
    mode: str = "auto",
    group: str | None = None,
    tags: list[str] | None = None,
    patience: float = 60.0,
) -> Logger:
    """Returns a Weights & Biases logger that never prompts. Raises ValueError for an unknown mode.

    Without an account it writes to the run folder, which `wandb sync` uploads later.
    """
    if mode not in WANDB_MODES:
        raise ValueError(f"logger.wandb.mode={mode!r}: choose from {', '.join(WANDB_MODES)}")
    if mode == "auto":
        mode = usual_mode()
    os.environ.setdefault("WANDB_SILENT", "true")
    return PatientWandb(
        project=project,
        save_dir=str(folder),
        mode=mode,
        group=group,
        tags=tags,
        name=folder.name,
        offline=mode == "offline",
        patience=patience,
        id=previous_run(folder),
    )


def previous_run(folder: Path) -> str | None:
    """Returns the id of the newest W&B run in a run folder, or None; a resumed run goes on in that W&B run."""
    names = sorted(path.name.partition("run-")[2] for path in folder.glob("wandb/*run-*-*"))  # DATE_TIME-ID
    return names[-1].partition("-")[2] if names else None  # an id may have hyphens of its own


class PatientWandb(WandbLogger):
    """A W&B logger that neither stops nor delays the training.

    If the server does not answer at the start, the run is written to its folder, as with mode=offline. Afterwards W&B
    works in its own process and uploads from files that it writes first; at the end it gets `patience` seconds for the
    rest. If that process dies, the training goes on without W&B.
    """

    def __init__(self, *, mode: str, patience: float, **options: Any) -> None:
        super().__init__(mode=mode, **options)
        self._wandb_init.pop("anonymous", None)  # Lightning sets this option, and W&B warns that it has no effect
        self.patience = patience
        self.lost = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        import wandb

        if self._experiment is not None:
            return super().experiment
        if self._wandb_init["mode"] != "online":
            return self._offline_experiment()
        self._wandb_init["settings"] = wandb.Settings(init_timeout=INIT_SECONDS, finish_timeout=self.patience)
        try:
            if not answers(url := wandb.setup().settings.base_url):
                raise wandb.Error(f"{url} does not answer")
            return super().experiment
        except wandb.Error as error:
            log.warning("W&B: %s; this run is logged offline: wandb sync %s", one_line(error), self.files)
        self._wandb_init["mode"] = "offline"
        return self._offline_experiment()

    def _offline_experiment(self) -> Any:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else W&B spends 10 s at the end on sending some
        return super().experiment

    @property
    def files(self) -> Path:
        """The pattern of the folders of W&B runs, as `wandb sync` takes it."""
        return Path(self.save_dir or ".") / "wandb" / "*run-*"

    def place(self, folder: Path) -> str:
        """Returns in words where the numbers go, before the W&B run begins; `folder`: the run's, as it is shown."""
        mode = self._wandb_init["mode"]
        if mode == "online":
            return f"online, project {self._wandb_init['project']}"
        if mode == "disabled":
            return "disabled"
        return f"offline; upload: wandb sync {shlex.quote(str(folder / 'wandb'))}/{self.files.name}"

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        self._try(super().log_hyperparams, params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._try(super().log_metrics, metrics, step)

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        self._try(super().log_image, key, images, step, **kwargs)

    @rank_zero_only
    def finish(self, error: BaseException | None = None) -> None:
        """Closes the W&B run, if there is one; the next run of this process gets a W&B run of its own.

        With an error the W&B run is marked as failed; if the error is a signal (`Stopped`), as preempted. W&B allows
        both to be resumed.
        """
        if self._experiment is None:
            return
        if isinstance(error, Stopped):
            self._try(self._experiment.mark_preempting)
        exit_code = error.exit_code if isinstance(error, Stopped) else int(error is not None)
        self._try(self._experiment.finish, exit_code=exit_code)

    def _try(self, call: Callable[..., object], *arguments: Any, **options: Any) -> None:
        if self.lost:
            return
        try:
            call(*arguments, **options)
        except Exception as error:  # any error: days of training are worth more than their curves on a web page
            self.lost = True
            told = f"{one_line(error)}; the run goes on without it. metrics.csv has every number"
            log.warning("W&B: %s; what W&B got until now: wandb sync %s", told, self.files)
            forget_wandb()


def forget_wandb() -> None:
    """Drops W&B's process, which has died.

    So the program does not wait for it at the end, and the next run starts another one.
    """
    import wandb

    with suppress(Exception):
        wandb.teardown()


def answers(url: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Returns whether a server answers, even with an error, within `seconds`, the lookup of its name included."""
    said: list[bool] = []

    def ask() -> None:
        try:
            urlopen(url, timeout=seconds).close()
        except HTTPError:
            pass
        except OSError as error:
            if not isinstance(getattr(error, "reason", error), ssl.SSLError):  # an answer: W&B may trust it
                return
        said.append(True)

    thread = Thread(target=ask, daemon=True)  # the lookup of a name has no time limit of its own
    thread.start()
    thread.join(seconds)
    return bool(said)


def tensorboard_logger(folder: Path) -> Logger:
    """Returns a logger of TensorBoard event files in the run folder. Raises ImportError if tensorboard is missing."""
    try:
        import tensorboard  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise missing_extra("logger=tensorboard", "tensorboard", "tensorboard") from None
    from pytorch_lightning.loggers import TensorBoardLogger

    return TensorBoardLogger(save_dir=str(folder), name="tensorboard", version="")


def log_pictures(loggers: list[Logger], pictures: dict[str, Path], step: int) -> None:
    """Shows PNG files in the loggers that can show pictures. `pictures`: {name in the logger: file}."""
    import matplotlib.image

    shown: list[Any] = list(loggers)
    for logger in shown:
        for key, path in pictures.items():
            if hasattr(logger, "log_image"):
                logger.log_image(key, [str(path)])
            elif hasattr(logger.experiment, "add_image"):
                pixels = torch.from_numpy(matplotlib.image.imread(path).copy())
                logger.experiment.add_image(key, pixels, step, dataformats="HWC")


@contextmanager
def finishing(loggers: Sequence[Logger]) -> Iterator[None]:
    """Closes the loggers' W&B runs at the end of the block, with the block's error if it raised one.

    So the next cell of a sweep begins a W&B run of its own.
    """
    error: BaseException | None = None
    try:
        yield
    except BaseException as caught:
        error = caught
        raise
    finally:
        for logger in loggers:
            if isinstance(logger, PatientWandb):
                logger.finish(error)

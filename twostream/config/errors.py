"""What the user got wrong, told in one line."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from twostream.data.container import ContainerError
from twostream.data.decoding import VideoError
from twostream.data.flow_store import FlowStoreError
from twostream.data.prepare import ArchiveError, DownloadError

EXPECTED = (
    HydraException,
    OmegaConfBaseException,
    VideoError,
    FlowStoreError,
    ContainerError,
    ArchiveError,
    DownloadError,
    MisconfigurationException,
)


class UserError(Exception):
    """Something the user typed, or a file the user named, that cannot be obeyed: shown as one line."""


@contextmanager
def checked() -> Iterator[None]:
    """Turns the errors that wrong input raises into a `UserError`; used around building, not around training."""
    try:
        yield
    except InstantiationException as error:
        raise UserError(str(error.__cause__ or error)) from error
    except (ValueError, OSError, ImportError, *EXPECTED) as error:
        raise UserError(str(error)) from error


def notes_errors(task: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Leaves `error.txt` in the run folder of a run that failed; a sweep shows it and goes on with the next cell."""

    @functools.wraps(task)
    def wrapped(cfg: DictConfig) -> None:
        try:
            task(cfg)
        except Exception as error:
            hydra_config = HydraConfig.get()
            expected = isinstance(error, (UserError, *EXPECTED))
            text = one_line(error) if expected else traceback.format_exc()
            (Path(hydra_config.runtime.output_dir) / "error.txt").write_text(text + "\n", encoding="utf-8")
            if hydra_config.mode == RunMode.MULTIRUN:
                print(f"cell {hydra_config.job.num} failed: {one_line(error)}", file=sys.stderr, flush=True)
            raise

    return wrapped


def run_command(main: Callable[[], None]) -> None:
    """Run a Hydra main function; what the user got wrong ends in one line and exit code 1, without a traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the errors itself
    try:
        main()
    except (UserError, *EXPECTED) as error:
        sys.exit(f"error: {one_line(error)}")


def one_line(error: BaseException) -> str:
    """The message without its line breaks.

    >>> one_line(ValueError("In 'config':\\n\\tno such option"))
    "In 'config': no such option"
    """
    text = str(error).split("Config search path:")[0]  # of no help to who mistyped an option
    return " ".join(text.split()) or type(error).__name__

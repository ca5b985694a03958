"""What the user got wrong, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException, InstantiationException
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


def one_line(error: BaseException) -> str:
    """The message without its line breaks.

    >>> one_line(ValueError("In 'config':\\n\\tno such option"))
    "In 'config': no such option"
    """
    text = str(error).split("Config search path:")[0]  # of no help to who mistyped an option
    return " ".join(text.split()) or type(error).__name__

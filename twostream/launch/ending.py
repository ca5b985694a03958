"""What a finished run says last: where it is, its pictures, and commands that go on with it."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from twostream.config.run import Run
from twostream.config.trust import TYPED_IN, plugin_packages, targets
from twostream.data.sources import Video
from twostream.files.words import duration
from twostream.options.streams import Stream

PICTURES = ("learning_curves.png", "confusion_matrix.png")
KNOWN = ("twostream", "torch", "pytorch_lightning")  # whose code needs no --trust


def ending(cfg: DictConfig, run: Run, folder: Path, seconds: float, *, cell: bool = False) -> str:
    """Returns the last lines of a run, with commands that can be pasted; of a `cell` of a sweep the folder alone."""
    shown = as_seen_from_the_shell(folder)
    if cell:
        return f"-> {shown}"
    pictures = ", ".join(name for name in PICTURES if (folder / name).is_file())
    trained = f"; trained in {duration(seconds)}" if cfg.epochs else ""
    lines = [f"folder    {shown}{trained}"] + [f"pictures  {pictures}, in it"] * bool(pictures)
    return "\n".join([*lines, "next", *(f"  {line}" for line in next_commands(cfg, run, shown))])


def as_seen_from_the_shell(path: Path) -> Path:
    """Returns a path below the folder that the user is in relative to it, and any other one as a whole.

    With resume= that folder is not the current one of the process.
    """
    here, whole = Path(os.environ.get(TYPED_IN) or os.getcwd()), path.absolute()
    return whole.relative_to(here) if whole.is_relative_to(here) else whole


def next_commands(cfg: DictConfig, run: Run, folder: Path) -> list[str]:
    """Returns what shows most of a run: a test video, where the network looks in it, all numbers in a page."""
    program = ["twostream"] if shutil.which("twostream") else ["python", "-m", "twostream.cli"]
    videos, streams = run.data.test_set.videos, run.data.test_set.streams
    video = next((words for one in videos if (words := words_of(one, streams))), ["VIDEO"])
    trust = [word for package in own_packages(cfg) for word in ("--trust", package)]
    shown = [str(folder), *video, *trust]
    return [
        shlex.join([*program, *words]) for words in (["predict", *shown], ["inspect", *shown], ["report", str(folder)])
    ]


def words_of(video: Video, streams: Sequence[Stream]) -> list[str]:
    """Returns the arguments that name a video and the files beside it; none if they are not there."""
    columns = [stream.column for stream in streams if stream.column]
    if len(streams) == 1 and columns:  # the video is that file
        video, columns = video.in_column(columns[0]), []
    files = {column: video.files.get(column) for column in columns}
    if not all(path is not None and path.is_file() for path in (video.path, *files.values())):
        return []
    beside = [f"{column}={as_seen_from_the_shell(path)}" for column, path in files.items() if path is not None]
    return [str(as_seen_from_the_shell(video.path)), *(word for text in beside for word in ("--stream", text))]


def own_packages(cfg: DictConfig) -> list[str]:
    """Returns the packages of the user's own code that a configuration names."""
    named = {name.partition(".")[0] for name in targets(OmegaConf.to_container(cfg))}
    return sorted(named - {*KNOWN, *(package.partition(".")[0] for package in plugin_packages())})

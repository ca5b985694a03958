"""Makes a clean copy, or packed frames, of every sound video, in several processes."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from twostream.data.prepare.reencode import copy_options, is_copy, reencode
from twostream.data.prepare.report import Report
from twostream.data.sources import Video
from twostream.data.storage.packed import QUALITY, SHORT_SIDE, is_packed, pack_clip, packed_path
from twostream.data.tasks import run_tasks
from twostream.files.atomic import remove_left_behind
from twostream.files.progress import watch
from twostream.files.words import counted


class Workers(NamedTuple):
    """How many processes do the work, and where; see `run_tasks`."""

    workers: int
    engine: str = "local"
    address: str | None = None


@dataclass(frozen=True)
class Copier:
    """Makes one file in `folder` of each video below `videos`. Is pickled and sent to other processes."""

    videos: Path
    folder: Path
    short_side: int | None
    decoder: str

    done: ClassVar[str]  # the word for it in messages, such as "packed"

    def is_there(self, path: Path) -> bool:
        raise NotImplementedError

    def make(self, path: Path) -> int:
        """Makes the file of a video, and returns its size in bytes."""
        raise NotImplementedError


class Reencoder(Copier):
    """Makes clean copies, at the same paths as the originals."""

    done = "re-encoded"

    def is_there(self, path: Path) -> bool:
        return is_copy(self._copy(path), path, copy_options(self.short_side))

    def make(self, path: Path) -> int:
        return reencode(path, self._copy(path), short_side=self.short_side, decoder=self.decoder).num_bytes

    def _copy(self, path: Path) -> Path:
        return self.folder / path.relative_to(self.videos)


class Packer(Copier):
    """Makes files of packed frames, named after the videos' ids."""

    done = "packed"

    def is_there(self, path: Path) -> bool:
        video = self._video(path)
        options = {"short_side": self.short_side or SHORT_SIDE, "quality": QUALITY}
        return is_packed(packed_path(self.folder, video.id), video, options)

    def make(self, path: Path) -> int:
        side = self.short_side or SHORT_SIDE
        return pack_clip(self._video(path), self.folder, short_side=side, decoder=self.decoder).num_bytes

    def _video(self, path: Path) -> Video:
        return Video(id=path.relative_to(self.videos).as_posix(), path=path, label=0, group="")


@dataclass(frozen=True)
class _Task:
    copier: Copier

    def __call__(self, path: Path) -> int | None:
        """Returns the size in bytes, or None if the disk is full, upon which `copy_all` stops everything."""
        try:
            return self.copier.make(path)
        except Exception as error:  # OSError, or PyAV's
            if getattr(error, "errno", None) == errno.ENOSPC:
                return None
            raise


def copy_all(copier: Copier, paths: Sequence[Path], *, workers: Workers, report: Report) -> int:
    """Makes the missing files of the videos at `paths`. Reports each failure and returns how many there were.

    Raises OSError if the disk is full; the files made so far are whole, and the next call makes the others.
    """
    started = time.perf_counter()
    for folder, _, _ in os.walk(copier.folder):
        remove_left_behind(Path(folder))
    waiting = [path for path in paths if not copier.is_there(path)]
    made = failed = num_bytes = 0
    outcomes = run_tasks(_Task(copier), waiting, **workers._asdict())
    for path, size, error in watch(copier.done)(outcomes, len(waiting)):
        if error is None and size is None:
            outcomes.close()  # type: ignore[attr-defined]  # a generator; ends its processes
            raise OSError(
                errno.ENOSPC, "the disk is full: make room and run the same command again", str(copier.folder)
            )
        failed += error is not None
        made += error is None
        num_bytes += size or 0
        if error is not None:
            report.note(f"  not {copier.done}: {path}: {error}")
    report.did(
        made + failed,
        f"{counted(len(paths), 'video')}, {made:,} {copier.done} into {copier.folder} "
        f"({num_bytes / 1e6:,.1f} MB), {failed:,} failed ({time.perf_counter() - started:.1f} s)",
    )
    return failed

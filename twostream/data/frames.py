"""Where the frames of a video come from, and what may stand between: a limit of time, a cache."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding import VideoError, check_decoder, count_frames, read_frames, telling
from twostream.data.sources import Video
from twostream.files.atomic import atomic_file

T = TypeVar("T")
log = logging.getLogger(__name__)

MEMORY = Path("/dev/shm")  # a folder in memory, on Linux
SPARE = 0.1  # of that memory stays free: the loader hands its batches over in it


class FrameSource(Protocol):
    """Frames by index; index i is the i-th frame that decoding the whole video yields.

    Both raise `VideoError` (from `twostream.data.decoding`) for a video that cannot be read.
    """

    def count(self, video: Video) -> int:
        """How many frames the video has."""
        ...

    def read(self, video: Video, indices: Sequence[int]) -> UInt8[np.ndarray, "n h w 3"]:
        """The frames at `indices`, any order, as upright RGB."""
        ...


class Counts(Protocol):
    """Numbers of frames that are known already, such as `twostream.data.storage.index.VideoIndex`."""

    def count(self, path: Path, decoder: str) -> int | None:
        """How many frames `decoder` yields exactly; None where that is not known of the file as it is now."""
        ...


class Decoded:
    """Frames decoded from the video file when they are asked for; `decoder` as in `twostream.data.decoding`.

    A video that `counts` does not know is decoded once more, to count its frames.
    Raises ValueError for an unknown decoder, ImportError for one that is not installed.
    """

    def __init__(self, decoder: str = "pyav", *, counts: Counts | None = None) -> None:
        check_decoder(decoder)
        self.decoder = decoder
        self.counts = counts

    def count(self, video: Video) -> int:
        known = self.counts.count(video.path, self.decoder) if self.counts is not None else None
        return count_frames(video.path, decoder=self.decoder) if known is None else known

    def read(self, video: Video, indices: Sequence[int]) -> UInt8[np.ndarray, "n h w 3"]:
        try:
            return read_frames(video.path, indices, decoder=self.decoder)
        except IndexError as error:  # of a file that has become shorter since it was counted
            reason = str(error).removeprefix(f"{video.path}: ")
            raise VideoError(video.path, f"has fewer frames than were counted ({reason})") from None


class Guarded:
    """FrameSource that raises `VideoError` where counting or reading gets no further for `seconds`.

    Every frame that is decoded starts the time anew, so that a long video may take as long as it needs. A decoder that
    hangs cannot be stopped: its thread stays behind, asleep, until the process ends.
    """

    def __init__(self, frame_source: FrameSource, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"decode_timeout={seconds!r}: must be a positive number of seconds, or null")
        self.frame_source = frame_source
        self.seconds = seconds

    def count(self, video: Video) -> int:
        return self._within(video, lambda: self.frame_source.count(video))

    def read(self, video: Video, indices: Sequence[int]) -> UInt8[np.ndarray, "n h w 3"]:
        return self._within(video, lambda: self.frame_source.read(video, indices))

    def _within(self, video: Video, work: Callable[[], T]) -> T:
        outcome: list[Any] = []
        latest = time.monotonic()  # when something was decoded

        def progress() -> None:
            nonlocal latest
            latest = time.monotonic()

        def run() -> None:
            try:
                with telling(progress):
                    outcome.append((work(), None))
            except BaseException as error:
                outcome.append((None, error))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive() and (left := latest + self.seconds - time.monotonic()) > 0:
            thread.join(left)
        if not outcome:
            raise VideoError(video.path, f"decoding hangs: no frame within {self.seconds:g} s (decode_timeout)")
        value, error = outcome[0]
        if error is not None:
            raise error
        return value


class Cached:
    """FrameSource that decodes every video once, and then keeps all of its frames in memory, as uint8.

    They lie in files of a folder in memory (/dev/shm; elsewhere the folder for temporary files), so that all workers
    share them, and vanish with the process that made this. Where it gets full, the videos that no longer fit are
    decoded every time, with one warning.
    """

    def __init__(self, frame_source: FrameSource, *, memory: Path | None = None) -> None:
        self.frame_source = frame_source
        memory = memory or (MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir()))
        remove_left_over(memory)
        self.folder = Path(tempfile.mkdtemp(prefix=f"twostream-{os.getpid()}-", dir=memory))
        self._finalizer = weakref.finalize(self, remove_of_process, self.folder, os.getpid())
        self._full = False

    def count(self, video: Video) -> int:
        frames = self._frames(video)
        return self.frame_source.count(video) if frames is None else len(frames)

    def read(self, video: Video, indices: Sequence[int]) -> UInt8[np.ndarray, "n h w 3"]:
        frames = self._frames(video)
        return self.frame_source.read(video, indices) if frames is None else frames[np.asarray(indices)]

    def _frames(self, video: Video) -> np.ndarray | None:
        """All frames of a video, mapped from memory; None where they do not fit."""
        name = hashlib.sha256(str(video.path).encode("utf-8", "surrogateescape")).hexdigest()
        path = self.folder / f"{name}.npy"
        if path.exists():
            return np.load(path, mmap_mode="r")
        if self._full:
            return None
        frames = self.frame_source.read(video, range(self.frame_source.count(video)))
        disk = shutil.disk_usage(self.folder)
        if disk.free - frames.nbytes < SPARE * disk.total:
            self._full = True
            kept = len(list(self.folder.glob("*.npy")))
            log.warning("data.cache=ram: %s is full with %d videos; others are decoded each time", self.folder, kept)
            return frames
        with (
            suppress(OSError),
            atomic_file(path, tidy=False) as aside,
            aside.open("wb") as file,
        ):  # others fill it
            np.save(file, frames)
        return frames

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_finalizer"}


def remove_of_process(folder: Path, process: int) -> None:
    """Remove the folder, if this is the process that made it and not a copy of that."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def remove_left_over(memory: Path) -> None:
    """Remove the folders of processes that were killed."""
    for folder in memory.glob("twostream-*-*"):
        process = folder.name.split("-")[1]
        if process.isdigit() and not Path(f"/proc/{process}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)

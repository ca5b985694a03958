"""Sources of a video's frames: decoding, and around it a time limit and a cache in memory, which has fields too."""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any, Protocol, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from twostream.data.decoding import VideoError, check_decoder, count_frames, read_frames, read_moving, telling
from twostream.data.sources import Video
from twostream.files.atomic import atomic_file

T = TypeVar("T")
Pairs = Iterable[tuple[int, int]] | np.ndarray  # of frame indices
Fields = dict[tuple[int, int], Float32[np.ndarray, "h2 w2 2"]]
Motion = dict[int, Float32[np.ndarray, "h2 w2 2"]]  # the field to each frame from the one before
log = logging.getLogger(__name__)

MEMORY = Path("/dev/shm")  # a folder in memory, on Linux
HEADER = Struct("<4q8s")  # of a kept array: n, h, w, c, type of its numbers; the header of .npy takes long to read
SPARE = 0.1  # the part of that memory that stays free: the loader's workers hand over batches in it


class FrameSource(Protocol):
    """Counts and reads frames by index; index i is the i-th frame that decoding the whole video yields.

    All methods raise `VideoError` (from `twostream.data.decoding`) for a video that cannot be read.
    """

    def count(self, video: Video) -> int:
        """Returns the number of frames of the video."""
        ...

    def read(self, video: Video, indices: Sequence[int], count: int | None = None) -> UInt8[np.ndarray, "n h w 3"]:
        """Returns the frames at `indices`, which may be in any order, as upright RGB; `count`: its result, if known."""
        ...

    def read_moving(
        self, video: Video, indices: Sequence[int], moved: Sequence[int], count: int | None = None
    ) -> tuple[np.ndarray, Motion]:
        """Returns the frames, and by index of `moved` the motion vectors from the frame before: (h2, w2, 2), in cells.

        Raises ValueError if this source has frames alone.
        """
        ...


class Counts(Protocol):
    """Frame counts that are known without decoding, such as `twostream.data.storage.index.VideoIndex`."""

    def count(self, path: Path, decoder: str) -> int | None:
        """Returns exactly how many frames `decoder` yields, or None if that is not known of the file as it is now."""
        ...


class Decoded:
    """FrameSource that decodes the video file at every request; `decoder` as in `twostream.data.decoding`.

    If `counts` does not know a video, `count` decodes it as well.
    Raises ValueError for an unknown decoder, ImportError for one that is not installed.
    """

    def __init__(self, decoder: str = "auto", *, counts: Counts | None = None) -> None:
        check_decoder(decoder)
        self.decoder = decoder
        self.counts = counts

    def count(self, video: Video) -> int:
        known = self.counts.count(video.path, self.decoder) if self.counts is not None else None
        return count_frames(video.path, decoder=self.decoder) if known is None else known

    def read(self, video: Video, indices: Sequence[int], count: int | None = None) -> UInt8[np.ndarray, "n h w 3"]:
        try:
            return read_frames(video.path, indices, decoder=self.decoder, count=count)
        except IndexError as error:  # the file has become shorter since its frames were counted
            raise fewer(video, error) from None

    def read_moving(
        self, video: Video, indices: Sequence[int], moved: Sequence[int], count: int | None = None
    ) -> tuple[np.ndarray, Motion]:
        try:
            return read_moving(video.path, indices, moved, decoder=self.decoder, count=count)
        except IndexError as error:
            raise fewer(video, error) from None


def fewer(video: Video, error: IndexError) -> VideoError:
    reason = str(error).removeprefix(f"{video.path}: ")
    return VideoError(video.path, f"has fewer frames than were counted ({reason})")


class Guarded:
    """FrameSource that raises `VideoError` if counting or reading makes no progress for `seconds`.

    Every decoded frame restarts the clock, so that a long video may take as long as it needs. A decoder that hangs
    cannot be stopped: its thread stays until the process ends.

    Raises ValueError if `seconds` is not positive.
    """

    def __init__(self, frame_source: FrameSource, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"decode_timeout={seconds!r}: must be a positive number of seconds, or null")
        self.frame_source = frame_source
        self.seconds = seconds

    def count(self, video: Video) -> int:
        return self._within(video, lambda: self.frame_source.count(video))

    def read(self, video: Video, indices: Sequence[int], count: int | None = None) -> UInt8[np.ndarray, "n h w 3"]:
        return self._within(video, lambda: self.frame_source.read(video, indices, count))

    def read_moving(
        self, video: Video, indices: Sequence[int], moved: Sequence[int], count: int | None = None
    ) -> tuple[np.ndarray, Motion]:
        return self._within(video, lambda: self.frame_source.read_moving(video, indices, moved, count))

    def _within(self, video: Video, work: Callable[[], T]) -> T:
        outcome: list[Any] = []
        latest = time.monotonic()  # when the last frame was decoded

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


class Kept:
    """Frames and fields in a folder in memory (`/dev/shm`, or else the folder for temporary files), for all workers.

    The folder is removed when the process that made it ends. When it is full, nothing more is kept, and each process
    that notices warns once.
    """

    def __init__(self, memory: Path | None = None) -> None:
        memory = memory or (MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir()))
        remove_left_over(memory)
        self.folder = Path(tempfile.mkdtemp(prefix=f"twostream-{os.getpid()}-", dir=memory))
        self._finalizer = weakref.finalize(self, remove_of_process, self.folder, os.getpid())
        self._full = False

    def fields(self, video: Video, pairs: Pairs, compute: Callable[[Pairs], Fields]) -> Fields:
        """Returns the field of every distinct pair of frames (n, 2), bit for bit as `compute` did the first time.

        One flow algorithm is asked for fields in one folder; `compute` gets the pairs that are not there yet.
        """
        distinct = [(int(i), int(j)) for i, j in pairs]
        found = {pair: self.get(name_of(video, pair)) for pair in distinct}
        known = {pair: field[0] for pair, field in found.items() if field is not None}
        computed = compute([pair for pair in distinct if pair not in known])
        for pair, field in computed.items():
            self.put(name_of(video, pair), field[None])
        return known | computed

    def get(self, name: str) -> np.ndarray | None:
        """Returns the array (n, h, w, c) of that name, read-only, or None."""
        try:
            with (self.folder / name).open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            return None
        *shape, dtype = HEADER.unpack_from(content)
        return np.frombuffer(content, dtype.decode().strip("\0"), offset=HEADER.size).reshape(shape)

    def put(self, name: str, array: np.ndarray) -> None:
        """Keeps an array (n, h, w, c) if there is room."""
        if self.is_full(array.nbytes):
            return
        with (
            suppress(OSError),  # other programs may fill the folder
            atomic_file(self.folder / name, tidy=False) as aside,
            aside.open("wb") as file,
        ):
            file.write(HEADER.pack(*array.shape, array.dtype.str.encode()) + array.tobytes())

    def is_full(self, wanted: int = 0) -> bool:
        """Whether there was no room at an earlier call, or is none for so many bytes."""
        if not self._full:
            disk = shutil.disk_usage(self.folder)
            self._full = disk.free - wanted < SPARE * disk.total
            if self._full:
                count = len({path.name.partition("-")[0] for path in self.folder.glob("[!.]*")})
                text = "data.cache=ram: %s is full with %d videos; others are decoded each time"
                log.warning(text, self.folder, count)
        return self._full

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_finalizer"}


class Cached:
    """FrameSource that decodes every video once and then keeps all its frames, as uint8, as long as there is room.

    Motion vectors are read once more, when they are first asked for, and kept, too.

    `with_fields`: whether the fields that are computed from these frames are to be kept there, too.
    """

    def __init__(self, frame_source: FrameSource, kept: Kept, *, with_fields: bool = False) -> None:
        self.frame_source = frame_source
        self.kept = kept
        self.with_fields = with_fields

    def count(self, video: Video) -> int:
        frames = self._frames(video)
        return self.frame_source.count(video) if frames is None else len(frames)

    def read(self, video: Video, indices: Sequence[int], count: int | None = None) -> UInt8[np.ndarray, "n h w 3"]:
        frames = self._frames(video)
        return self.frame_source.read(video, indices, count) if frames is None else frames[np.asarray(indices)]

    def read_moving(
        self, video: Video, indices: Sequence[int], moved: Sequence[int], count: int | None = None
    ) -> tuple[np.ndarray, Motion]:
        motion = self._motion(video)
        if motion is None:
            return self.frame_source.read_moving(video, indices, moved, count)
        return self.read(video, indices), {index: motion[index - 1] for index in moved}

    def _motion(self, video: Video) -> np.ndarray | None:
        """Returns the fields from each frame to the next (n-1, h2, w2, 2), or None as `_frames` does."""
        name = f"{name_of(video)}-motion"
        motion = self.kept.get(name)
        if motion is None and not self.kept.is_full():
            count = self.count(video)
            moved = range(1, count)
            fields = self.frame_source.read_moving(video, (0,), moved, count)[1]
            if moved:
                motion = np.stack([fields[index] for index in moved])
                self.kept.put(name, motion)
        return motion

    def _frames(self, video: Video) -> np.ndarray | None:
        """Returns all frames of a video (n, h, w, 3), or None if it is not kept and there is no room."""
        frames = self.kept.get(name_of(video))
        if frames is None and not self.kept.is_full():
            count = self.frame_source.count(video)
            frames = self.frame_source.read(video, range(count), count)
            self.kept.put(name_of(video), frames)
        return frames


def name_of(video: Video, pair: tuple[int, int] | None = None) -> str:
    """Returns the name under which a video's frames are kept, or the field of one pair of them."""
    digest = hashlib.sha256(str(video.path).encode("utf-8", "surrogateescape")).hexdigest()
    return digest if pair is None else f"{digest}-{pair[0]}-{pair[1]}"


def remove_of_process(folder: Path, process: int) -> None:
    """Removes the folder if this is the process that made it; a forked copy of that process leaves it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def remove_left_over(memory: Path) -> None:
    """Removes the cache folders of processes that no longer exist (they were killed)."""
    for folder in memory.glob("twostream-*-*"):
        process = folder.name.split("-")[1]
        if process.isdigit() and not Path(f"/proc/{process}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)

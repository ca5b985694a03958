"""Packed frames: one file per video with each frame as a JPEG, so that any frame can be read without the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

import cv2
import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding import VideoError, iterate_frames, progressing
from twostream.data.picture import decode_picture, picture_size
from twostream.data.provenance import FACTS, source_change, source_facts
from twostream.data.sources import Video
from twostream.data.storage.absent import SHORT_SIDE, check_present, require_packed
from twostream.data.storage.container import Container, ContainerError, write_container

QUALITY = 95
SUFFIX = ".frames"
HEADER = {"!source": FACTS, "!short_side": int, "!quality": int}


class Pack(NamedTuple):
    """The result of `pack_clip`: `made` is False if the file was there already."""

    made: bool
    num_frames: int
    num_bytes: int


def pack_clip(
    video: Video, folder: Path, *, short_side: int = SHORT_SIDE, quality: int = QUALITY, decoder: str = "pyav"
) -> Pack:
    """Writes the frames of a video into `folder`, with one in memory at a time. The file appears whole or not at all.

    Frames are reduced to `short_side` pixels; smaller ones stay as they are. If there is a file of the same video,
    short side and quality, nothing is written. Raises VideoError if the video cannot be decoded, OSError, and
    ValueError for numbers out of range.
    """
    if short_side < 16 or not 1 <= quality <= 100:
        raise ValueError(f"short_side={short_side!r}, quality={quality!r}: at least 16 pixels, and 1 to 100")
    path = packed_path(folder, video.id)
    options = {"short_side": short_side, "quality": quality}
    if is_packed(path, video, options):
        return Pack(False, len(Container(path)), path.stat().st_size)
    header: dict[str, Any] = {"source": source_facts(video.path), **options}
    write_container(path, _jpegs(video, header, decoder), header=lambda: header)
    return Pack(True, len(Container(path)), path.stat().st_size)


def is_packed(path: Path, video: Video, options: dict[str, int]) -> bool:
    """Whether the file is there and has what `pack_clip` would write."""
    if not path.exists():
        return False
    try:
        header = Container(path).require(HEADER, "frame").header
    except ContainerError:
        return False
    same = all(header[key] == value for key, value in options.items())
    return same and source_change(header["source"], video.path) is None


def packed_path(folder: Path, video_id: str) -> Path:
    """Returns the path of a video's packed frames. Raises ValueError for an id that leads out of the folder."""
    parts = PurePosixPath(video_id).parts
    if not parts or ".." in parts or PurePosixPath(video_id).is_absolute():
        raise ValueError(f"{folder}: no video can have the id {video_id!r}")
    return folder.joinpath(*parts[:-1], parts[-1] + SUFFIX)


class Packed:
    """FrameSource that reads what `pack_clip` has written into `folder`: frames of its short side, with JPEG's loss.

    Raises ValueError if there is no such folder. Reading a video raises VideoError if its packed frames are absent,
    damaged, or were made from another file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        require_packed(self.folder)
        self._last: tuple[Video, Container] | None = None

    def require(self, videos: Sequence[Video]) -> None:
        """Raises ValueError, with their number and first names, if packed frames are absent. Opens no file."""
        check_present(
            videos,
            lambda video: packed_path(self.folder, video.id),
            folder=self.folder,
            otherwise="pack them with `twostream prepare`",
            error=ValueError,
        )

    def count(self, video: Video) -> int:
        return len(self._open(video))

    def read(self, video: Video, indices: Sequence[int], count: int | None = None) -> UInt8[np.ndarray, "n h w 3"]:
        packed = self._open(video)
        frames = {index: unpack(packed, index) for index in progressing({int(index) for index in indices})}
        if not frames:
            return np.empty((0, *packed.header["frame"], 3), np.uint8)
        return np.stack([frames[int(index)] for index in indices])

    def jpegs(self, video: Video, indices: Sequence[int]) -> tuple[list[bytes], tuple[int, int]]:
        """Returns frames as they are stored, and their height and width. Raises VideoError as `read` does."""
        packed = self._open(video)
        height, width = packed.header["frame"]
        return [checked_blob(packed, index) for index in indices], (height, width)

    def read_moving(
        self, video: Video, indices: Sequence[int], moved: Sequence[int], count: int | None = None
    ) -> NoReturn:
        """Raises ValueError: packed frames are pictures."""
        raise ValueError(
            f"flow=motion_vectors: packed frames ({self.folder}) have no motion vectors; choose data.frames=video, or "
            "flow.store=PATH, made by `twostream flow` of the videos"
        )

    def _open(self, video: Video) -> Container:
        last = self._last  # read once: another thread may replace it
        if last is None or last[0] != video:  # keep one file open per process
            last = self._last = video, open_packed(self.folder, video)
        return last[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}


def open_packed(folder: Path, video: Video) -> Container:
    """Opens the packed frames of a video. Raises VideoError if they are absent, damaged, or of another file."""
    path = packed_path(folder, video.id)
    if not path.exists():
        raise VideoError(video.path, f"has no packed frames in {folder}; run `twostream prepare … --pack`")
    try:
        packed = Container(path).require(HEADER, "frame")
        change = source_change(packed.header["source"], video.path)
    except ContainerError as error:
        raise VideoError(error.path, error.reason) from None
    except OSError as error:
        change = f"{video.path} cannot be looked at ({error.strerror})"
    if change:
        raise VideoError(path, f"does not hold this video's frames: {change}; pack it again")
    return packed


def unpack(packed: Container, index: int) -> UInt8[np.ndarray, "h w 3"]:
    """Returns frame `index` as RGB. Raises IndexError if there is none, VideoError if it is damaged."""
    if not 0 <= index < len(packed):
        raise IndexError(f"{packed.path}: frame {index} does not exist; there are {len(packed)}")
    try:
        height, width = packed.header["frame"]
        frame = decode_picture(packed[index], cv2.IMREAD_COLOR_RGB, most_pixels=height * width)
    except ContainerError as error:
        raise VideoError(error.path, error.reason) from None
    except ValueError as error:
        raise VideoError(packed.path, f"frame {index} is {error}") from None
    if frame.shape[:2] != (height, width):
        raise VideoError(packed.path, f"frame {index} has another size than the header says")
    return frame


def checked_blob(packed: Container, index: int) -> bytes:
    """Returns the JPEG of a frame. Raises VideoError unless its size is that of the header."""
    try:
        blob = packed[index]
        fits = picture_size(blob) == tuple(packed.header["frame"])
    except (ContainerError, ValueError) as error:
        raise VideoError(packed.path, f"frame {index} cannot be read ({error})") from None
    if not fits:
        raise VideoError(packed.path, f"frame {index} has another size than the header says")
    return blob


def _jpegs(video: Video, header: dict[str, Any], decoder: str) -> Iterator[bytes]:
    for frame in iterate_frames(video.path, decoder=decoder):
        height, width = frame.shape[:2]
        scale = header["short_side"] / min(height, width)
        if scale < 1:
            frame = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        header["frame"] = list(frame.shape[:2])
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        yield cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, header["quality"]])[1].tobytes()

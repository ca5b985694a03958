"""Reads the motion vectors of a video file, in one pass with its frames, and for exactly the same frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import Any

import av
import numpy as np
from av import Packet, VideoFrame
from av.codec.context import Flags2
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import PictureType
from jaxtyping import UInt8

from twostream.data.decoding.agreement import BY_PYAV
from twostream.data.decoding.facts import VideoError
from twostream.data.decoding.groups import pictures_in_groups
from twostream.data.decoding.packets import UnsureError, looker
from twostream.data.decoding.progress import progressing
from twostream.data.decoding.pyav_reader import PyAVReader
from twostream.data.decoding.vectors import Field, Moving, Shown, moving

# codecs whose vectors FFmpeg hands out, each tried with a motion that is known (tests/data/test_motion_vectors.py)
CODECS = ("h264", "mpeg4", "mpeg1video", "mpeg2video", "h263", "flv1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2")
OTHERWISE = "choose another flow, such as flow=dis"


class NoVectorsError(VideoError):
    """A video file has no motion vectors, or none that can be read."""


class MotionReader(PyAVReader):
    """A video opened by PyAV that hands out motion vectors. Raises `NoVectorsError` for another codec."""

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__(path)
        if self.codec not in CODECS:
            self.close()
            raise _none(path, f"codec {self.codec} has none that can be read")
        context = self.stream.codec_context
        context.flags2 |= Flags2.export_mvs
        context.copy_opaque = True  # so that a picture tells which packet it comes from
        try:
            self._look = looker(self.codec, context.extradata)
        except UnsureError:
            self._look = None

    def packets(self) -> Iterator[Packet]:
        """Yields the packets; each says its place, and whether no other picture needs its own (None: not known)."""
        for order, packet in enumerate(super().packets()):
            packet.opaque = order, self._is_droppable(packet)
            yield packet

    def shown(self, index: int, picture: VideoFrame) -> Shown:
        """Returns what is known of picture `index`. Raises `NoVectorsError` if it is interlaced."""
        order, is_droppable = picture.opaque  # type: ignore[misc]
        is_between = picture.pict_type == PictureType.B
        # `picture.side_data` would keep the picture in memory: each would refer to the other
        records: Any = SideDataContainer(picture).get("MOTION_VECTORS")  # pyright: ignore[reportCallIssue]
        if is_between and self.codec == "mpeg4":  # not there: all are 0
            records = None
        if records is not None and picture.interlaced_frame:
            raise _none(self._path, f"codec {self.codec}, interlaced: the vectors of fields are not read")
        is_reference = not (is_between if is_droppable is None else is_droppable)
        return Shown(index, picture, order, is_reference, records)

    def moving(self) -> Iterator[Moving]:
        """Yields all pictures in order with their fields."""
        return moving(self.shown(index, picture) for index, picture in enumerate(progressing(self.pictures())))

    def _is_droppable(self, packet: Packet) -> bool | None:
        if self.codec != "h264" or self._look is None or not packet.size:
            return None
        try:
            return self._look(bytes(packet)).is_droppable
        except UnsureError:
            return None


def read_moving(
    path: str | PathLike[str],
    shown: Sequence[int],
    moved: Sequence[int],
    *,
    decoder: str = "auto",
    count: int | None = None,
) -> tuple[UInt8[np.ndarray, "n h w 3"], dict[int, Field]]:
    """Returns the frames at the indices `shown`, as `read_frames` does, and for each index of `moved` its field.

    The field of j leads from frame j-1 to frame j (see `twostream.data.decoding.vectors.moving`). With ``auto``,
    pictures that none of these needs are not decoded, with the same result; `count`: as for `read_frames`.

    Raises ValueError for a decoder that does not hand out vectors, IndexError for an index outside the file,
    `NoVectorsError` for a file without vectors, `VideoError` for one that cannot be decoded.
    """
    check_hands_out(decoder)
    found = _Found(set(shown), set(moved))
    done = decoder == "auto" and _read_groups(path, found, count)
    if not done:
        found = _Found(set(shown), set(moved))
        reader = MotionReader(path)
        with reader:
            seen = found.take(reader, reader.moving())
        if found.lacks():
            raise IndexError(f"{path}: frame {found.lacks()[0]} does not exist; the file has {seen} frames")
    if moved and not found.has_vectors:
        require_vectors(path)
    frames = [found.frames[index] for index in shown]
    return np.stack(frames) if frames else np.empty((0, 0, 0, 3), np.uint8), found.fields


def iterate_motion(path: str | PathLike[str]) -> Iterator[Field]:
    """Yields the field from each frame to the next. Raises the errors of `require_vectors` and `iterate_frames`."""
    require_vectors(path)
    reader = MotionReader(path)
    with reader:
        for one in reader.moving():
            if one.shown.index:
                yield one.field


def require_vectors(path: str | PathLike[str]) -> None:
    """Raises `NoVectorsError` for another codec, and if every frame is a key frame.

    Decodes up to the first picture that is not intra. A file of one frame needs none.
    """
    reader = MotionReader(path)
    with reader:
        count = 0
        for picture in progressing(reader.pictures()):
            if picture.pict_type != PictureType.I:
                return
            count += 1
        if count > 1:
            raise _none(path, f"codec {reader.codec}, every frame is a key frame")


def check_hands_out(decoder: str) -> None:
    """Raises ValueError for a decoder that does not hand out motion vectors."""
    if decoder not in BY_PYAV:
        raise ValueError(f"decoder={decoder}: hands out no motion vectors (flow=motion_vectors); choose decoder=auto")


def _none(path: str | PathLike[str], why: str) -> NoVectorsError:
    return NoVectorsError(path, f"flow=motion_vectors: {why}; {OTHERWISE}")


class _Found:
    """Collects frames and fields until all that are wanted are there."""

    def __init__(self, shown: set[int], moved: set[int]) -> None:
        self.shown, self.moved = shown, moved
        self.frames: dict[int, np.ndarray] = {}
        self.fields: dict[int, Field] = {}
        self.has_vectors = False

    def take(self, reader: MotionReader, pictures: Iterable[Moving], *, sure: bool = True) -> int:
        """Takes what is wanted from the pictures; returns one more than the last index seen.

        With `sure=False`, when not all pictures are decoded, raises UnsureError where the field may need another.
        """
        count = 0
        for one in pictures:
            index = one.shown.index
            count = index + 1
            self.has_vectors |= bool(one.made_of)
            if index in self.shown:
                self.frames[index] = reader.rgb(one.shown.picture)
            if index in self.moved:
                if not sure and one.made_of not in ((index,), (index - 1, index + 1)):
                    raise UnsureError
                self.fields[index] = one.field
            if sure and not self.lacks():
                break
        return count

    def lacks(self) -> list[int]:
        """Returns the indices that are wanted and not there yet."""
        return sorted((self.shown - self.frames.keys()) | (self.moved - self.fields.keys()))


def _read_groups(path: str | PathLike[str], found: _Found, count: int | None) -> bool:
    """Takes what is wanted by decoding only the groups that hold it; returns whether that was certain to be exact."""
    reader = MotionReader(path)
    with reader:
        pictures = pictures_in_groups(reader, found.lacks(), around=found.moved, count=count)
        try:
            found.take(reader, moving(reader.shown(*one) for one in pictures), sure=False)
        except (UnsureError, av.FFmpegError):
            return False
    return not found.lacks()

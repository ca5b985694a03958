"""Reads exact frames: index i is always the i-th frame that decoding from the start of the file yields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding.agreement import BY_PYAV, REFERENCE, Compared, check_close, difference, refused
from twostream.data.decoding.decord_reader import DecordReader
from twostream.data.decoding.facts import SeekTable, VideoError, open_video, probe, seek_table, video_stream
from twostream.data.decoding.groups import read_groups
from twostream.data.decoding.progress import progressing
from twostream.data.decoding.pyav_reader import PyAVReader
from twostream.data.decoding.reader import Reader
from twostream.data.decoding.torchcodec_reader import TorchCodecReader

DECODERS: dict[str, type[Reader]] = {
    "auto": PyAVReader,
    "pyav": PyAVReader,
    "decord": DecordReader,
    "torchcodec": TorchCodecReader,
}

COMPARED = 5  # frames of a file that `compare_frames` looks at, from the first to the last

# Below this index, decoding from the start is cheaper than reading all packets to find out if a jump is exact.
JUMP_FROM = 256


def read_frames(
    path: str | PathLike[str], indices: Sequence[int] | np.ndarray, *, decoder: str = "auto", count: int | None = None
) -> UInt8[np.ndarray, "n h w 3"]:
    """Returns the frames at `indices` (any order, repeats allowed) as upright RGB.

    Index i is the i-th frame that decoding from the start yields. It is not the i-th packet, nor the frame that the
    header or a seek calls i: in many AVI files these differ. Each needed frame is converted once, and decoding stops
    after the largest index. All decoders apply the file's display rotation.

    ``pyav`` decodes all frames up to the last that is needed. ``auto`` gives the same ones bit for bit, and leaves out
    what they do not need where the file's packets show that this is exact (see `read_groups`). Both read every file.
    ``decord`` decodes like ``pyav``, because it does not tell which frame a seek has reached; ``torchcodec`` jumps to a
    keyframe if `seek_table` shows that this is exact. These two raise `VideoError` for files of which their frames are
    not PyAV's (see `Compared`).

    Damage: frames that the codec repairs by itself count, and a file that is cut off has the frames that are left.
    If the codec rejects data, `VideoError` is raised when decoding gets there (with decord up to a few frames
    earlier; ``auto`` and ``torchcodec`` may pass by it). Only `count_frames`, which decodes the whole file, shows that
    a file is sound. Its result, given as
    `count`, shows ``auto`` which files have lost pictures where it would not look; these it reads like ``pyav``.

    Raises ValueError for an unknown decoder or indices that are not whole numbers, ImportError if the decoder is
    not installed, IndexError for an index outside the file, `VideoError` for a file that cannot be decoded.
    """
    check_decoder(decoder)
    wanted = np.asarray(indices)
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        raise ValueError(f"indices={indices!r}: must be a flat sequence of whole numbers")
    if not wanted.size:
        facts = probe(path)
        return np.empty((0, facts.height, facts.width, 3), np.uint8)
    if wanted.min() < 0:
        raise _outside(path, int(wanted.min()), count_frames(path, decoder=decoder))
    distinct: list[int] = np.unique(wanted).tolist()
    partly = read_groups(path, distinct, count=count) if decoder == "auto" else _read_by_jumps(path, distinct, decoder)
    frames = partly or _read_from_start(path, distinct, decoder)
    shapes = {frame.shape for frame in frames.values()}
    if len(shapes) > 1:
        raise VideoError(path, f"changes its frame size: {sorted(shapes)}")
    return np.stack([frames[index] for index in wanted.tolist()])


def iterate_frames(path: str | PathLike[str], *, decoder: str = "auto") -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yields all frames of a video in order, as upright RGB, with one in memory at a time.

    Raises the errors of `count_frames`: with ``auto`` and ``pyav`` when decoding gets to the damage, with the others
    before the first frame, since PyAV counts for them first.
    """
    check_decoder(decoder)
    expected = None if decoder in BY_PYAV else _count_by_reference(path, decoder)
    count, shape = 0, None
    with _open(path, decoder) as reader:
        for picture in progressing(reader.pictures()):
            frame = reader.rgb(picture)
            shape = shape or frame.shape
            if frame.shape != shape:
                raise VideoError(path, f"changes its frame size: {sorted({shape, frame.shape})}")
            yield frame
            count += 1
    if not count:
        raise VideoError(path, "holds no frame that can be decoded")
    if expected not in (None, count):
        raise _miscounted(path, decoder, count, expected)


def count_frames(path: str | PathLike[str], *, decoder: str = "auto") -> int:
    """Returns how many frames decoding from the start yields; the container's own count is often wrong.

    PyAV counts for all decoders, because it does so without converting pictures, in a third of decord's time. For
    another decoder PyAV also checks the kind of each picture. That decoder itself has to read the first frame like
    PyAV. If the header does not confirm PyAV's count, that decoder has to count the same number, too.

    Raises `VideoError` if the file does not decode to its end, has no frame, or the decoder cannot read it exactly or
    finds another number of frames; ValueError and ImportError like `read_frames`.
    """
    check_decoder(decoder)
    count = _count_by_reference(path, decoder)
    if decoder in BY_PYAV:
        return count
    with open_video(path) as container:
        claimed = video_stream(container, path).frames
    with _open(path, decoder) as reader:
        trusted = 1 if count == claimed else count + 1  # ask for one more, to see that there is none
        own = sum(1 for _ in islice(progressing(reader.pictures()), trusted))
    if own != min(count, trusted):
        raise _miscounted(path, decoder, own, count)
    return count


def compare_frames(path: str | PathLike[str], count: int, *, decoder: str = "auto") -> None:
    """Reads a few of a file's `count` frames by index; raises `VideoError` if they are not PyAV's in sequence.

    This costs nothing with ``pyav``, and with ``auto`` where it reads in sequence. Otherwise PyAV and the decoder each
    read the file once more.
    """
    check_decoder(decoder)
    indices = sorted({round(place * (count - 1) / (COMPARED - 1)) for place in range(COMPARED)})
    if decoder == REFERENCE:
        return
    if decoder == "auto":
        frames = read_groups(path, indices) or {}
    else:
        frames = dict(zip(indices, read_frames(path, indices, decoder=decoder), strict=True))
    wanted = _read_from_start(path, list(frames), REFERENCE) if frames else {}
    for index, found in frames.items():
        check_close(path, decoder, index, found, wanted[index])


def check_decoder(decoder: str) -> None:
    """Raises ValueError for an unknown decoder and ImportError for one that is not installed."""
    if decoder not in DECODERS:
        raise ValueError(f"decoder={decoder!r}: no such decoder; choose from {', '.join(DECODERS)}")
    DECODERS[decoder].load()


def same_frames(decoder: str) -> str:
    """Returns the decoder that gives the same frames bit for bit and has done so in all versions.

    >>> same_frames("auto"), same_frames("decord")
    ('pyav', 'decord')
    """
    return REFERENCE if decoder in BY_PYAV else decoder


def _open(path: str | PathLike[str], decoder: str) -> Reader:
    reader = DECODERS[decoder]
    return reader(path) if decoder in BY_PYAV else Compared(path, decoder, reader)


def _count_by_reference(path: str | PathLike[str], decoder: str) -> int:
    """Returns how many frames PyAV yields. Raises `VideoError` if `decoder` is not exact for one of them."""
    count = 0
    reader = PyAVReader(path)
    with reader:
        for picture in progressing(reader.pictures()):
            count += 1
            if decoder not in BY_PYAV and (what := difference(reader.codec, picture)):
                raise refused(path, decoder, what)
    if not count:
        raise VideoError(path, "holds no frame that can be decoded")
    return count


def _read_from_start(path: str | PathLike[str], wanted: list[int], decoder: str) -> dict[int, np.ndarray]:
    """Reads the wanted frames (ascending, distinct) by decoding all frames up to the last of them."""
    needed, frames, count = set(wanted), {}, 0
    with _open(path, decoder) as reader:
        for index, picture in enumerate(progressing(reader.pictures())):
            count = index + 1
            if index in needed:
                frames[index] = reader.rgb(picture)
            if count > wanted[-1]:
                return frames
    if not count:
        raise VideoError(path, "holds no frame that can be decoded")
    if decoder not in BY_PYAV and (all_frames := count_frames(path)) != count:
        raise _miscounted(path, decoder, count, all_frames)
    raise _outside(path, next(index for index in wanted if index >= count), count)


def _read_by_jumps(path: str | PathLike[str], wanted: list[int], decoder: str) -> dict[int, np.ndarray] | None:
    """Reads the wanted frames (ascending, distinct) from the keyframes before them; None if that may not be exact."""
    if wanted[-1] < JUMP_FROM or not DECODERS[decoder].can_jump:
        return None
    table = seek_table(path, wanted[-1])
    if table is None or wanted[-1] >= len(table.indices):
        return None
    frames: dict[int, np.ndarray] = {}
    numbered: Iterator[tuple[int, Any]] = iter(())
    index, picture = -1, None
    try:
        with _open(path, decoder) as reader:
            for target in wanted:
                if table.keyframe_before(target)[0] > index:
                    numbered = _from_keyframe(reader, table, target)
                while index < target:
                    index, picture = next(numbered)
                if index > target:  # the seek went too far
                    return None
                frames[target] = reader.rgb(picture)
    except (VideoError, StopIteration):  # decoding from the start will show what is wrong
        return None
    return frames


def _from_keyframe(reader: Reader, table: SeekTable, target: int) -> Iterator[tuple[int, Any]]:
    """Yields (index, picture) from the keyframe before `target` on; stops at a timestamp that is not the next one."""
    reader.seek(table, table.keyframe_before(target)[1])
    expected = None
    for picture in progressing(reader.pictures()):
        index = table.index_of(reader.timestamp(table, picture))
        if index is None or (index not in table.key_indices if expected is None else index != expected):
            return
        yield index, picture
        expected = index + 1


def _outside(path: str | PathLike[str], index: int, count: int) -> IndexError:
    return IndexError(f"{path}: frame {index} does not exist; the file has {count} frames, 0 to {count - 1}")


def _miscounted(path: str | PathLike[str], decoder: str, own: int, count: int) -> VideoError:
    return VideoError(path, f"{decoder} finds {own} frames, {REFERENCE} {count}: use decoder={REFERENCE}")

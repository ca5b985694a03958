"""Exact frames: index i is the i-th frame that decoding from the start of the file yields, whatever came before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding.agreement import REFERENCE, Compared, check_close, difference, refused
from twostream.data.decoding.decord_reader import DecordReader
from twostream.data.decoding.facts import SeekTable, VideoError, open_video, probe, seek_table, video_stream
from twostream.data.decoding.progress import progressing
from twostream.data.decoding.pyav_reader import PyAVReader
from twostream.data.decoding.reader import Reader
from twostream.data.decoding.torchcodec_reader import TorchCodecReader

DECODERS: dict[str, type[Reader]] = {
    "pyav": PyAVReader,
    "decord": DecordReader,
    "torchcodec": TorchCodecReader,
}

COMPARED = 5  # frames of a file, from the first to the last

# Up to this index decoding from the start is cheaper than reading all packets in search of a shorter way.
JUMP_FROM = 256


def read_frames(
    path: str | PathLike[str], indices: Sequence[int] | np.ndarray, *, decoder: str = "pyav"
) -> UInt8[np.ndarray, "n h w 3"]:
    """The frames at `indices` (any order, repeats allowed) as upright RGB.

    Index i is the i-th frame that decoding from the start yields: not the i-th packet, and not what the header or a
    seek calls i, which differ in many AVI files. Each needed frame is converted once, and decoding stops behind the
    largest index. ``pyav`` and ``torchcodec`` jump to a keyframe where `seek_table` shows that this is exact;
    ``decord`` always starts at the first frame, because it does not tell which frame a seek has reached. All three
    apply the file's display rotation. ``pyav`` reads every file; the other two refuse, by `VideoError`, those where
    their frames are not PyAV's (see `Compared`).

    Damage: what the codec repairs by itself counts as frames, and a file that is cut off has those that are left.
    Data that the codec rejects raise `VideoError` when decoding gets there, in decord's case up to a few frames
    before. A file is known to be sound once `count_frames` has decoded all of it.

    Raises ValueError for an unknown decoder or indices that are no whole numbers, ImportError where the decoder is
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
    frames = _read_by_jumps(path, distinct, decoder) or _read_from_start(path, distinct, decoder)
    shapes = {frame.shape for frame in frames.values()}
    if len(shapes) > 1:
        raise VideoError(path, f"changes its frame size: {sorted(shapes)}")
    return np.stack([frames[index] for index in wanted.tolist()])


def iterate_frames(path: str | PathLike[str], *, decoder: str = "pyav") -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """All frames of a video in turn, as upright RGB, one in memory at a time.

    Raises like `count_frames`; ``pyav`` when it gets to the damage, the others before the first frame, since PyAV
    counts for them first.
    """
    check_decoder(decoder)
    expected = None if decoder == REFERENCE else _count_by_reference(path, decoder)
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


def count_frames(path: str | PathLike[str], *, decoder: str = "pyav") -> int:
    """How many frames decoding from the start yields; the container's own count is often wrong.

    PyAV counts for all decoders, since it need not convert pictures for that: a third of decord's time. For another
    decoder it looks at what kind of picture each is; the decoder itself has to read the first frame like PyAV and,
    where the header does not confirm PyAV's count, to arrive at the same.

    Raises `VideoError` for a file that does not decode to its end, holds no frame, cannot be read by the decoder
    exactly, or has another number of frames for it; ValueError and ImportError like `read_frames`.
    """
    check_decoder(decoder)
    count = _count_by_reference(path, decoder)
    if decoder == REFERENCE:
        return count
    with open_video(path) as container:
        claimed = video_stream(container, path).frames
    with _open(path, decoder) as reader:
        trusted = 1 if count == claimed else count + 1  # one more, to see that there is no other
        own = sum(1 for _ in islice(progressing(reader.pictures()), trusted))
    if own != min(count, trusted):
        raise _miscounted(path, decoder, own, count)
    return count


def compare_frames(path: str | PathLike[str], count: int, *, decoder: str = "pyav") -> None:
    """Raises `VideoError` unless a few of a file's `count` frames, read by index, are PyAV's sequential ones.

    Costs nothing with ``pyav`` where its frames are read in sequence anyway; else one more decoding by PyAV and one
    by the decoder.
    """
    check_decoder(decoder)
    indices = sorted({round(place * (count - 1) / (COMPARED - 1)) for place in range(COMPARED)})
    if decoder == REFERENCE and (count <= JUMP_FROM or seek_table(path) is None):
        return
    wanted = _read_from_start(path, indices, REFERENCE)
    for index, found in zip(indices, read_frames(path, indices, decoder=decoder), strict=True):
        check_close(path, decoder, index, found, wanted[index])


def check_decoder(decoder: str) -> None:
    """Raises ValueError for an unknown decoder and ImportError for one that is not installed."""
    if decoder not in DECODERS:
        raise ValueError(f"decoder={decoder!r}: no such decoder; choose from {', '.join(DECODERS)}")
    DECODERS[decoder].load()


def _open(path: str | PathLike[str], decoder: str) -> Reader:
    reader = DECODERS[decoder]
    return reader(path) if decoder == REFERENCE else Compared(path, decoder, reader)


def _count_by_reference(path: str | PathLike[str], decoder: str) -> int:
    """How many frames PyAV yields. Raises `VideoError` where one of them is of a kind that `decoder` gets wrong."""
    count = 0
    reader = PyAVReader(path)
    with reader:
        for picture in progressing(reader.pictures()):
            count += 1
            if decoder != REFERENCE and (what := difference(reader.codec, picture)):
                raise refused(path, decoder, what)
    if not count:
        raise VideoError(path, "holds no frame that can be decoded")
    return count


def _read_from_start(path: str | PathLike[str], wanted: list[int], decoder: str) -> dict[int, np.ndarray]:
    """The wanted frames (ascending, distinct), by decoding all frames up to the last of them."""
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
    if decoder != REFERENCE and (all_frames := count_frames(path)) != count:
        raise _miscounted(path, decoder, count, all_frames)
    raise _outside(path, next(index for index in wanted if index >= count), count)


def _read_by_jumps(path: str | PathLike[str], wanted: list[int], decoder: str) -> dict[int, np.ndarray] | None:
    """The wanted frames (ascending, distinct) through the keyframes before them, or None where that is not sure."""
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
    except (VideoError, StopIteration):  # decoding from the start will tell
        return None
    return frames


def _from_keyframe(reader: Reader, table: SeekTable, target: int) -> Iterator[tuple[int, Any]]:
    """Pictures with their indices from the keyframe before `target` on; ends where a timestamp is out of line."""
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

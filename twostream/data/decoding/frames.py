"""Exact frames: index i is the i-th frame that decoding from the start of the file yields, whatever came before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding.probe import SeekTable, VideoError, open_video, probe, seek_table, video_stream

DECODERS = ("decord", "torchcodec", "pyav")

# Up to this index decoding from the start is cheaper than reading all packets in search of a shorter way.
JUMP_FROM = 256


class Reader(Protocol):
    """An open video file, a context manager, to be used once. A picture is whatever the decoder hands out.

    `seek` and `timestamp` count in units of the stream's time base; only readers with `can_jump` have them.
    All methods raise `VideoError`.
    """

    can_jump: bool

    def __enter__(self) -> Reader: ...
    def __exit__(self, *exception: object) -> None: ...
    def pictures(self) -> Iterator[Any]: ...  # from here to the end, in the order in which they are shown
    def rgb(self, picture: Any) -> UInt8[np.ndarray, "h w 3"]: ...  # upright; stays valid
    def seek(self, table: SeekTable, timestamp: int) -> None: ...
    def timestamp(self, table: SeekTable, picture: Any) -> int | None: ...


def read_frames(
    path: str | PathLike[str], indices: Sequence[int] | np.ndarray, *, decoder: str = "decord"
) -> UInt8[np.ndarray, "n h w 3"]:
    """The frames at `indices` (any order, repeats allowed) as upright RGB.

    Index i is the i-th frame that decoding from the start yields: not the i-th packet, and not what the header or a
    seek calls i, which differ in many AVI files. Each needed frame is converted once, and decoding stops behind the
    largest index. ``pyav`` and ``torchcodec`` jump to a keyframe where `seek_table` shows that this is exact;
    ``decord`` always starts at the first frame, because it does not tell which frame a seek has reached. All three
    apply the file's display rotation.

    Damage: what the codec repairs by itself counts as frames. Data that it rejects raise `VideoError` in every
    request that has to decode them; requests that end before them work. `count_frames` decodes the whole file.

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


def count_frames(path: str | PathLike[str], *, decoder: str = "decord") -> int:
    """How many frames decoding from the start yields; the container's own count is often wrong.

    PyAV counts for all decoders, since it need not convert pictures for that: a third of decord's time. Where the
    header does not confirm its count, the decoder itself counts too and has to agree.

    Raises `VideoError` for a file that does not decode to its end, holds no frame, cannot be opened by the decoder,
    or has another number of frames for it; ValueError and ImportError like `read_frames`.
    """
    check_decoder(decoder)
    with open_video(path) as container:
        claimed = video_stream(container, path).frames
    with _open(path, "pyav") as reader:
        count = sum(1 for _ in reader.pictures())
    if not count:
        raise VideoError(path, "holds no frame that can be decoded")
    if decoder != "pyav":
        with _open(path, decoder) as reader:
            own = count if count == claimed else sum(1 for _ in reader.pictures())
        if own != count:
            raise VideoError(path, f"is damaged: {own} frames by {decoder}, {count} by pyav, {claimed} by its header")
    return count


def check_decoder(decoder: str) -> None:
    """Raises ValueError for an unknown decoder and ImportError for one that is not installed."""
    if decoder not in DECODERS:
        raise ValueError(f"decoder={decoder!r}: no such decoder; choose from {', '.join(DECODERS)}")
    if decoder == "decord":
        from twostream.data.decoding.decord_reader import load_decord

        load_decord()
    elif decoder == "torchcodec":
        from twostream.data.decoding.torchcodec_reader import load_torchcodec

        load_torchcodec()

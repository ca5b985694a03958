"""The views of a protocol (see `twostream.config.protocols`) for one network."""

from __future__ import annotations

from copy import copy
from typing import Any

from torch import nn

from twostream.config.protocols import CLIPS, FRAMES, check_protocol
from twostream.data.dataset import Transform
from twostream.data.sampling import Chunks, Clip, Sampling, Segments
from twostream.models.network import OverClip
from twostream.models.network.tower import FoldTime, sees_clips
from twostream.models.temporal import Pool2d, Temporal


def sampling_of(protocol: str, own: Any, *, frame_by_frame: bool) -> Sampling:
    """Returns the sampling of a protocol: where its views are in time.

    `own`: the sampling of the network's configuration, with its T and stride. Raises ValueError for `tsn` if it cannot
    divide its 25 segments into clips of T, or if these are of frames in a row, not of one in each segment.
    """
    check_protocol(protocol)
    if protocol == "train":
        return own
    if protocol == "quick":
        return with_views(own, 1)
    if protocol == "paper":
        return with_views(own, CLIPS) if isinstance(own, Chunks) else Chunks(own.num_chunks, test_views=CLIPS)
    if protocol == "two_stream" and isinstance(own, Clip):
        return with_views(own, FRAMES)
    num_chunks = 1 if frame_by_frame else own.num_chunks
    if protocol == "two_stream":
        stride = own.test_stride if isinstance(own, Chunks) else None
        return Chunks(num_chunks, test_stride=stride, test_views=FRAMES)
    if isinstance(own, Clip) and not frame_by_frame:
        raise ValueError(
            f"protocol='tsn': shows one frame in each of {FRAMES} segments, and this network was trained on "
            f"{num_chunks} frames in a row (sampling=clip); choose two_stream or paper"
        )
    if FRAMES % num_chunks:
        raise ValueError(
            f"protocol='tsn': {FRAMES} segments cannot be divided into clips of T={num_chunks}, and this network does "
            "not score each frame alone; choose two_stream or paper"
        )
    return Segments(num_chunks, test_views=FRAMES // num_chunks)


def with_views(sampling: Any, number: int) -> Sampling:
    """Returns a copy of the sampling with another number of test views."""
    other = copy(sampling)
    other.test_views = number
    return other


def num_views(sampling: Sampling, transform: Transform) -> int:
    """How many views each video has."""
    return len(sampling.fixed(1, 0)) * len(transform.fixed(256, 256))


def scores_frame_by_frame(network: nn.Module) -> bool:
    """Whether a network's score of a clip is the mean of its scores of the frames: no layer looks at several frames."""
    return not any(
        sees_clips(part)
        or isinstance(part, OverClip | FoldTime)
        or (isinstance(part, Temporal) and not isinstance(part, Pool2d))
        for part in network.modules()
    )

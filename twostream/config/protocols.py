"""Which views of a video are scored in a test: where in time, and which crops of the frame.

- `train`: the configuration's own test protocol, as train.py tests.
- `paper`: 20 predictions, 10 clips spread evenly from the first to the last possible one, as they are and mirrored,
  whole frames (fully convolutional; Feichtenhofer et al. 2016).
- `two_stream`: 25 frames, equally spaced, × 10 crops (corners and centre, also mirrored; Simonyan & Zisserman 2014).
- `tsn`: the middles of 25 equal segments × 10 crops (Wang et al. 2016).
- `quick`: one clip in the middle, one central crop: what training validates with.

A *clip* is what the network takes at once: the T chunks of its configuration. A network that scores each frame alone
is given single frames in `two_stream` and `tsn`, as in the originals: exactly 25 of them. Any other network needs its
T chunks: in `two_stream` it is given 25 clips, in `tsn` 25/T clips, each with a T-th of the 25 segments, so that T has
to divide 25.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from torch import nn

from twostream.data.dataset import Sampling, Transform
from twostream.data.sampling import Chunks, Segments
from twostream.models.network import OverClip
from twostream.models.network.tower import FoldTime
from twostream.models.temporal import Pool2d, Temporal

CROPS: dict[str, dict[str, Any]] = {  # options of a transform; those not named stay as they were in training
    "train": {},
    "paper": {"test": "full", "test_flip": True},
    "two_stream": {"test": "ten", "test_flip": False},
    "tsn": {"test": "ten", "test_flip": False},
    "quick": {"test": "centre", "test_flip": False},
}
PROTOCOLS = tuple(CROPS)
FRAMES = 25  # of the two 10-crop protocols
CLIPS = 10  # of the paper


def check_protocol(name: str) -> None:
    """Raises ValueError unless there is such a protocol."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol={name!r}: choose from {', '.join(PROTOCOLS)}")


def sampling_of(protocol: str, own: Any, *, frame_by_frame: bool) -> Sampling:
    """Returns the sampling of a protocol: where its views are in time.

    `own`: the sampling of the network's configuration, with its T and stride. Raises ValueError if `tsn` cannot divide
    its 25 segments into clips of T.
    """
    check_protocol(protocol)
    if protocol == "train":
        return own
    if protocol == "quick":
        return with_views(own, 1)
    if protocol == "paper":
        return with_views(own, CLIPS) if isinstance(own, Chunks) else Chunks(own.num_chunks, test_views=CLIPS)
    num_chunks = 1 if frame_by_frame else own.num_chunks
    if protocol == "two_stream":
        stride = own.test_stride if isinstance(own, Chunks) else None
        return Chunks(num_chunks, test_stride=stride, test_views=FRAMES)
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
        isinstance(part, OverClip | FoldTime) or (isinstance(part, Temporal) and not isinstance(part, Pool2d))
        for part in network.modules()
    )

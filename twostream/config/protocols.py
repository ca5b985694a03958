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
to divide 25. For clips of frames in a row (sampling=clip) there is no `tsn`.
"""

from __future__ import annotations

from typing import Any

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

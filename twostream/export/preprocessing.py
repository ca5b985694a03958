"""Describes how a video file becomes a network's input, in words and numbers: `preprocessing.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from twostream.data.dataset import ClipDataset
from twostream.metrics.multi_label import HALF
from twostream.models.network.parts import towers
from twostream.options.streams import Stream
from twostream.training.system import TwoStreamSystem

RULES = {
    "Chunks": (
        "With F frames: stride = min(test_stride, (F - L - 1) // (T - 1)), at least 0 (T = 1: none); first = "
        "max(0, F - (T - 1) * stride - L - 1) // 2; chunk k starts at frame s = first + k * stride."
    ),
    "Clip": (
        "With F frames: first = max(0, F - (T - 1) * test_stride - L - 1) // 2; chunk k starts at frame s = "
        "min(first + k * test_stride, max(0, F - L - 1))."
    ),
    "Segments": "With F frames: M = max(1, F - L); chunk k starts at frame s = (2 * k + 1) * M // (2 * T).",
}
INDICES = (
    " Its RGB frame is s + L // 2, its flow field j is the motion from frame s + j to s + j + 1, j = 0 … L - 1; "
    "indices past the last frame F - 1 become F - 1, and a pair of the same frame is zero motion."
)

CROP = (
    "A square of side = round(crop_fraction * min(height, width)), its top at round((height - side) / 2), its left at "
    "round((width - side) / 2) (halves to even), resized to size x size: cv2.INTER_AREA where it shrinks, else "
    "cv2.INTER_LINEAR. Flow fields are cut by the same fractions of their height and width."
)
FLOW = (
    "Computed between whole frames in grey (cv2.COLOR_RGB2GRAY) at their own size, or resized to short_side. "
    "Displacements are in pixels, u to the right, v down. A field is cropped and resized like the frame, and its u and "
    "v multiplied by the factors by which its width and height were resized. Every pair is given to a new object of "
    "OpenCV's, since one remembers small frames. DIS: setFinestScale is at most 0 where the long side is below 46 "
    "pixels, at most 1 where it is below 91 or the short side below 32."
)

VECTORS = (
    "Read from the video file by FFmpeg (export_mvs), not computed: a block of frame j that is predicted from frame "
    "i, the nearest reference picture on that side, has moved by -motion / motion_scale / (j - i) since frame j - 1; "
    "by the mean of both where it is predicted from both sides. There is a vector for each cell of 8x8 pixels of the "
    "later frame of a pair, in cells, u to the right, v down. Cells without one have that of the nearest cell, "
    "pictures without any the mean of the fields before and after, B pictures of MPEG-4 the field of the next P "
    "picture. A field is cut at the crop, not at whole cells, and enlarged by cv2.INTER_LINEAR; u and v are "
    "multiplied by the pixels of a cell."
)


MULTI = (
    "before the sigmoid: the sigmoid of each class's score is its probability; a video has all classes that are above "
    "their thresholds"
)


def preprocessing(clips: ClipDataset, system: TwoStreamSystem) -> dict[str, Any]:
    """Returns all that the input of an exported network depends on, for one view: the centre of video and frame."""
    size, chunks = clips.transform.size, clips.sampling.fixed(1, clips.span).shape[1]
    rule = RULES.get(type(clips.sampling).__name__)
    return {
        "format": "twostream preprocessing 1",
        "classes": list(system.classes),
        "T": chunks,
        "L": clips.span,
        "inputs": {
            stream.name: {
                "shape": ["n", chunks, stream.channels, size, size],
                "dtype": stream.dtype,
                "channels": list(stream.channel_names),
                "range": list(stream.range),
                "normalisation": _norm(system, stream),
                **_shows(stream, clips.span),
            }
            for stream in clips.streams
        },
        "output": {
            "name": "score",
            "shape": ["n", len(system.classes)],
            "meaning": MULTI if system.multi else "before softmax: softmax over the classes gives probabilities",
            **_thresholds(system),
        },
        "sampling": {
            "kind": type(clips.sampling).__name__,
            **_plain(vars(clips.sampling)),
            "rule": None if rule is None else rule + INDICES,
        },
        "crop": {
            "position": "centre",
            "crop_fraction": clips.transform.crop_fraction,  # type: ignore[attr-defined]
            "size": size,
            "rule": CROP,
        },
        "flow": _flow(clips) if any(stream.made == "flow" for stream in clips.streams) else None,
    }


def _thresholds(system: TwoStreamSystem) -> dict[str, list[float]]:
    if not system.multi:
        return {}
    halves = [HALF] * len(system.classes)
    return {"thresholds": halves if system.thresholds is None else system.thresholds.tolist()}


def _flow(clips: ClipDataset) -> dict[str, Any]:
    return {
        **_plain(clips.flow.settings()),
        "rule": VECTORS if clips.flow.from_video else FLOW,
        "quantisation": "round(127 / bound * displacement), after clipping to ±bound",
    }


def _shows(stream: Stream, span: int) -> dict[str, str]:
    """Says what a frame of the stream is, unless `INDICES` does."""
    if stream.made == "differences":
        first = f"s + (L - {stream.length}) // 2 + j"
        return {"shows": f"frame {first} + 1 minus frame {first}, j = 0 … {stream.length - 1}, of RGB after the crop"}
    if stream.made == "flow" and stream.length != span:  # in the middle of a longer stack
        first = f"s + (L - {stream.length}) // 2 + j"
        return {"shows": f"the motion from frame {first} to frame {first} + 1, j = 0 … {stream.length - 1}"}
    if stream.column:
        grey = ", as cv2.COLOR_RGB2GRAY after the crop" if stream.channels == 1 else ""
        return {"shows": f"frame s + L // 2 of the file in the column {stream.column}{grey}"}
    return {}


def _norm(system: TwoStreamSystem, stream: Stream) -> dict[str, Any]:
    """Returns what the network itself does to its input first: (x - mean) / std."""
    normalise = towers(system.network)[stream.name].input
    mean, std = normalise.mean.flatten().tolist(), normalise.std.flatten().tolist()
    if stream.length:  # all channels have the same
        mean, std = mean[:1], std[:1]
    return {"done_by": "the network", "mean": mean, "std": std}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def random_inputs(clips: ClipDataset, count: int, seed: int = 0) -> dict[str, Tensor]:
    """Returns `count` clips of noise, as the network takes them: one view, with every possible value."""
    random = torch.Generator().manual_seed(seed)
    size, chunks = clips.transform.size, clips.sampling.fixed(1, clips.span).shape[1]

    def noise(stream: Stream) -> Tensor:
        lowest, highest = stream.range
        shape, dtype = (count, chunks, stream.channels, size, size), getattr(torch, stream.dtype)
        return torch.randint(lowest, highest + 1, shape, generator=random, dtype=dtype)

    return {stream.name: noise(stream) for stream in clips.streams}

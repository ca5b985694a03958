"""What each flow algorithm costs for a pair of frames of several sizes: `python -m benchmarks.flow`.

With videos, `python -m benchmarks.flow VIDEO…`, also what a training sample costs, and how far each is from TV-L1 and,
with flow.short_side, from the fields of whole frames.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from benchmarks.loading import seconds
from twostream.data.dataset import ClipDataset
from twostream.data.decoding import count_frames, read_moving
from twostream.data.flow import DIS, TVL1, Farneback, MotionVectors, OpticalFlow, pin_threads
from twostream.data.frames import Decoded
from twostream.data.sampling import Chunks
from twostream.data.sources import Video
from twostream.data.transform import JitterCrop
from twostream.options.streams import Stream, rgb

Field = Float32[np.ndarray, "h w 2"]
SIZES = ((64, 64), (120, 160), (240, 320), (480, 640))  # height, width
PRESETS = ("ultrafast", "fast", "medium")


class Error(NamedTuple):
    """The errors of a field between two gray frames."""

    photometric: float  # mean absolute difference of the first frame and the second moved back, of 255
    distance: float  # mean end-point distance to a reference field, in pixels


def end_point_distance(field: Field, reference: Field) -> float:
    """Returns the mean over pixels of the length of the difference vector (Otte & Nagel 1994), in pixels.

    >>> end_point_distance(np.zeros((2, 2, 2), np.float32), np.full((2, 2, 2), [3, 4], np.float32))
    5.0
    """
    return float(np.mean(np.hypot(*(field - reference).transpose(2, 0, 1))))


def photometric_error(first: UInt8[np.ndarray, "h w"], second: UInt8[np.ndarray, "h w"], field: Field) -> float:
    """Returns the mean |first(x) - second(x + field(x))|, bilinear, over the pixels that stay in the frame."""
    height, width = first.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + field[..., 0], y + field[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    moved = cv2.remap(second.astype(np.float32), x, y, cv2.INTER_LINEAR)
    return float(np.mean(np.abs(first - moved)[inside]))


def enlarge(field: Field, height: int, width: int) -> Field:
    """Scales a field from its working resolution to the size of the frames, in their pixels."""
    scale = np.asarray([width / field.shape[1], height / field.shape[0]], np.float32)
    return cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR) * scale  # type: ignore[return-value]


def errors(
    fields: Sequence[Field], frames: Sequence[np.ndarray], references: Sequence[Field]
) -> Float[np.ndarray, " 2"]:
    """Returns the mean `Error` of the fields between successive frames."""
    found = []
    for i, (field, reference) in enumerate(zip(fields, references, strict=True)):
        field = enlarge(field, *reference.shape[:2])
        gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[i : i + 2]]
        found.append(Error(photometric_error(gray[0], gray[1], field), end_point_distance(field, reference)))
    return np.mean(found, axis=0)


def sample_seconds(videos: Sequence[Video], flows: dict[str, OpticalFlow], size: int, repeats: int) -> dict[str, float]:
    """Returns the CPU seconds of a training sample of both streams, by name of the flow, and "": of RGB alone.

    It has T=5 chunks, with flow L=10 fields of each. All are measured in turns, so that other work of the machine
    disturbs all alike.
    """

    def dataset(flow: OpticalFlow, streams: Sequence[Stream] | None = None) -> ClipDataset:
        return ClipDataset(
            videos,
            sampling=Chunks(5, stride=(5, 5)),
            transform=JitterCrop(size=size),
            flow=flow,
            frame_source=Decoded(),
            streams=streams,
            training=True,
        )

    datasets = {"": dataset(DIS(), [rgb()]), **{name: dataset(flow) for name, flow in flows.items()}}
    taken: dict[str, list[float]] = {name: [] for name in datasets}
    for repeat in range(repeats + 1):
        for index in range(len(videos)):
            for name, samples in datasets.items():
                started = time.process_time()
                samples[(repeat, index)]
                taken[name].append(time.process_time() - started)
    first = len(videos)  # the first round has counted the frames, too
    return {name: float(np.mean(times[first:])) for name, times in taken.items()}


def pair_seconds(flow: OpticalFlow, height: int, width: int, repeats: int) -> float:
    """Returns the seconds of a field between two frames of smooth noise that moves two pixels to the right."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width + 2), dtype=np.uint8)
    still = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    frames = [np.ascontiguousarray(frame) for frame in (still[:, 2:], still[:, :-2])]
    return seconds(lambda: flow.compute(*frames), repeats)


def print_sizes(repeats: int) -> None:
    """Prints a row for each algorithm: milliseconds for a pair of frames of each size."""
    print(f"{'ms for a pair of frames':<36}" + "".join(f"{f'{width}x{height}':>10}" for height, width in SIZES))
    tried = {f"dis flow.preset={preset}": DIS(preset=preset) for preset in PRESETS}
    for name, flow in {**tried, "farneback": Farneback()}.items():
        costs = [1e3 * pair_seconds(flow, *size, repeats) for size in SIZES]
        print(f"{'flow=' + name:<36}" + "".join(f"{cost:>10.2f}" for cost in costs), flush=True)


def main() -> None:
    """Prints a row for each algorithm, all in one run on one core."""
    parser = argparse.ArgumentParser("python -m benchmarks.flow", description=__doc__)
    parser.add_argument("videos", nargs="*", type=Path, help="clips to measure on")
    parser.add_argument("--pairs", type=int, default=3, help="of each video, compared with TV-L1: seconds each")
    parser.add_argument("--size", type=int, default=224, help="pixels of the crop")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    pin_threads()
    print_sizes(options.repeats)
    if options.videos:
        print()
        print_samples(options)


def print_samples(options: argparse.Namespace) -> None:
    """Prints a row for each algorithm: errors, distances, and the cost of a training sample of both streams."""
    videos = [Video(id=path.name, path=path, label=0, group=path.name) for path in options.videos]
    clips, vectors = [], []
    for video in videos:
        start = count_frames(video.path) // 3
        shown = range(start, start + options.pairs + 1)
        frames, motion = read_moving(video.path, shown, shown[1:])
        clips.append(frames)
        vectors.append([*motion.values()])
    tvl1 = TVL1()
    references = [[*tvl1.successive(frames)] for frames in clips]
    still = [
        photometric_error(*(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames[i : i + 2]), np.zeros_like(fields[i]))  # type: ignore[call-arg]
        for frames, fields in zip(clips, references, strict=True)
        for i in range(options.pairs)
    ]
    moved = np.mean([np.hypot(*field.transpose(2, 0, 1)).mean() for fields in references for field in fields])
    tried: list[tuple[str, OpticalFlow]] = [
        (
            f"dis flow.preset={preset}" + (f" flow.short_side={side}" if side else ""),
            DIS(preset=preset, short_side=side),
        )
        for preset in PRESETS
        for side in (None, 180, 120)
    ]
    tried += [("motion_vectors", MotionVectors()), ("farneback", Farneback()), ("tvl1", tvl1)]
    costs = sample_seconds(videos, dict(tried[:-1]), options.size, options.repeats)  # TV-L1 takes minutes for a sample
    print(f"an RGB sample, T=5: {1e3 * costs['']:.0f} ms")
    print(f"{'flow':<50}{'photometric':>12}{'to TV-L1, px':>14}{'to whole, px':>14}{'two streams, ms':>17}{'/ RGB':>7}")
    print(f"{'none':<50}{np.mean(still):>12.2f}{moved:>14.2f}")
    whole: list[list[Field]] = []
    for name, flow in tried:
        fields = vectors if flow.from_video else [[*flow.successive(frames)] for frames in clips]
        photometric, distance = np.mean([errors(*of) for of in zip(fields, clips, references, strict=True)], axis=0)
        if flow.short_side is None:
            whole = [[enlarge(f, *frames.shape[1:3]) for f in of] for of, frames in zip(fields, clips, strict=True)]
        to_whole = np.mean([errors(*of)[1] for of in zip(fields, clips, whole, strict=True)])
        row = f"{'flow=' + name:<50}{photometric:>12.2f}{distance:>14.2f}{to_whole:>14.2f}"
        if name in costs:
            row += f"{1e3 * costs[name]:>17.0f}{costs[name] / costs['']:>7.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()

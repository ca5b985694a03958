"""TV-L1 of PyTorch (`flow.engine=torch`) against OpenCV's, on pairs of frames of videos, in one run."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from twostream.data.decoding import read_frames
from twostream.data.flow import TVL1, pin_threads
from twostream.data.flow.batched_tvl1 import through_pyramid

AT = (20, 21)  # the frames of each video


def main() -> None:
    """Prints a row for each video: mean end-point distances in pixels, and seconds of each engine."""
    parser = argparse.ArgumentParser("python -m benchmarks.tvl1", description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    options = parser.parse_args()
    pin_threads()
    flows = {engine: TVL1(engine=engine) for engine in ("opencv", "torch")}
    device = "cuda" if flows["torch"].on_gpu else "cpu"
    print(f"{'':<28}{'motion':>10}{'to OpenCV':>12}{'to float64':>12}{'opencv, s':>12}{f'torch {device}, s':>14}")
    for path in options.videos:
        frames: dict[int, np.ndarray] = dict(zip(AT, read_frames(path, AT), strict=True))
        found, seconds = {}, {}
        for engine, flow in flows.items():
            started = time.perf_counter()
            [found[engine]] = flow.fields(frames, [AT]).values()
            seconds[engine] = time.perf_counter() - started
        one, other = (torch.from_numpy(flows["torch"]._prepare(frames[i])).double()[None] for i in AT)
        with torch.inference_mode():
            exact = through_pyramid(one, other, flows["torch"])[0].permute(1, 2, 0).numpy()

        def far(other: np.ndarray, field: np.ndarray = found["torch"]) -> float:
            return float(np.linalg.norm(field - other, axis=-1).mean())

        print(
            f"{path.stem:<28}{far(np.zeros_like(exact)):>10.3f}{far(found['opencv']):>12.4f}{far(exact):>12.4f}"
            f"{seconds['opencv']:>12.2f}{seconds['torch']:>14.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

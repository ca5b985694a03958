"""What more views of a video cost, side by side in one run: `python -m benchmarks.views RUN_DIR`.

One view is the central crop of the clip in the middle; ten are its corners and centre, also mirrored. They share
decoded frames and flow, so that only crops and the network are paid for ten times.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from twostream.config.data import build_source, build_views
from twostream.config.loaded import load_run
from twostream.data.dataset import ClipDataset
from twostream.evaluation.evaluate import by_size, views_at_once
from twostream.models.memory_order import channels_last
from twostream.training.system import TwoStreamSystem

PARTS = ("load", "network")
VIEWS = 10


@torch.inference_mode()
def seconds(dataset: ClipDataset, system: TwoStreamSystem, index: int) -> tuple[float, float]:
    """Returns the seconds to load one video, and those of the network."""
    started = time.perf_counter()
    clips = by_size([dataset[(0, index)]])
    loaded = time.perf_counter()
    for clip in clips:
        system(clip, views_at_once(clip, VIEWS))
    return loaded - started, time.perf_counter() - loaded


def bench_views(folder: Path, *, videos: int) -> float:
    """Prints what one and ten views of the run's first test videos cost; returns the ratio of the whole."""
    run = load_run(folder)
    system = run.system
    channels_last(system)
    source = build_source(run.cfg)
    one = build_views(run.cfg, source, part="test", protocol="quick", frame_by_frame=False)
    ten = build_views(run.cfg, source, part="test", protocol="quick", frame_by_frame=False)
    ten.transform.test = "ten"  # type: ignore[attr-defined]  # every transform has it
    number = min(videos, len(one))
    totals = {1: [0.0, 0.0], VIEWS: [0.0, 0.0]}
    for dataset in (one, ten):
        seconds(dataset, system, 0)  # warm
    for index in range(number):  # in turns, so that a busy machine slows both
        for views, dataset in ((1, one), (VIEWS, ten)):
            for part, value in enumerate(seconds(dataset, system, index)):
                totals[views][part] += 1e3 * value / number
    print(f"ms a video, mean of {number}, {torch.get_num_threads()} threads")
    print(f"{'views':<8}" + "".join(f"{name:>10}" for name in (*PARTS, "whole")))
    for views, parts in totals.items():
        print(f"{views:<8}" + "".join(f"{value:>10.1f}" for value in (*parts, sum(parts))))
    ratio = sum(totals[VIEWS]) / sum(totals[1])
    print(
        f"{'ratio':<8}"
        + "".join(f"{b / a:>10.2f}" for a, b in zip(totals[1], totals[VIEWS], strict=True))
        + f"{ratio:>10.2f}"
    )
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.views", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("--videos", type=int, default=20)
    options = parser.parse_args()
    bench_views(options.run, videos=options.videos)


if __name__ == "__main__":
    main()

"""Does anything grow? Memory and open files over many opened videos and epochs: `python -m benchmarks.soak`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from twostream.config.compose import compose_config
from twostream.config.data import build_data, build_source
from twostream.data.decoding import DECODERS, VideoError, read_frames
from twostream.data.module import VideoDataModule

Sample = tuple[float, int]  # MiB, open files; of this process and those that it started


def usage() -> Sample:
    """Returns the resident memory in MiB and the open files of this process and of all below it (Linux)."""
    pages, files = 0, 0
    for process in (os.getpid(), *children(os.getpid())):
        try:
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
            files += len(os.listdir(f"/proc/{process}/fd"))
        except OSError:  # it has just ended
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files


def children(process: int) -> list[int]:
    """Returns the processes that `process` has started, and those that they have started."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def opens(videos: Sequence[Path], count: int, decoder: str) -> Iterator[Sample]:
    """Reads three frames of one video after the other, `count` times; yields a sample after every hundredth."""
    for number in range(1, count + 1):
        with suppress(VideoError, IndexError):  # broken videos leak most easily
            read_frames(videos[number % len(videos)], [0, 5, 9], decoder=decoder)
        if number % 100 == 0:
            yield usage()


def epochs(data: VideoDataModule, count: int) -> Iterator[Sample]:
    """Reads all batches of the training loader `count` times with the same workers; yields a sample after each."""
    loader = data.train_dataloader()
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for _ in loader:
            pass
        yield usage()


def growth(samples: Sequence[Sample]) -> tuple[float, int]:
    """Returns the median MiB and open files of the last quarter, less those of the second.

    >>> growth([(9, 1), (10, 5), (10, 5), (10, 5), (10, 5), (10, 5), (12, 5), (12, 6)])
    (2.0, 0)
    """
    quarter = max(1, len(samples) // 4)
    early, late = np.array(samples[quarter : 2 * quarter]), np.array(samples[-quarter:])
    memory, files = np.median(late, axis=0) - np.median(early, axis=0)
    return float(memory), int(files)


def save_plot(runs: dict[str, list[Sample]], path: Path) -> None:
    """Draws memory above and open files below, with a column for each run."""
    figure = Figure(figsize=(3.2 * len(runs), 4.5), layout="constrained")
    axes = figure.subplots(2, len(runs), squeeze=False)
    for column, (title, samples) in enumerate(runs.items()):
        for row, label in enumerate(("MiB resident", "open files")):
            values = [sample[row] for sample in samples]
            axes[row, column].plot(values)
            axes[row, column].set(ylim=(0, 1.2 * max(values)), title=title if row == 0 else "", ylabel=label)
    figure.savefig(path, dpi=110)


def report(title: str, samples: Iterable[Sample]) -> list[Sample]:
    """Runs through the samples and prints where they began and ended."""
    taken = list(samples)
    memory, files = growth(taken)
    quarter = taken[len(taken) // 4]
    print(
        f"{title:<24} {quarter[0]:8.0f} -> {taken[-1][0]:8.0f} MiB ({memory:+.1f}), {files:+d} open files", flush=True
    )
    return taken


def main() -> None:
    """Prints and draws how memory and open files develop."""
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("videos", nargs="*", type=Path, help="videos to open; none: those of the embedded set")
    parser.add_argument("--opens", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it into this PNG file")
    parser.add_argument("--set", nargs="*", default=[], metavar="OVERRIDE", help="as for train.py")
    options = parser.parse_args()
    cfg = compose_config(options.set)
    source = build_source(cfg)
    data = build_data(cfg, source)
    videos = options.videos or [video.path for video in source.train]
    runs = {}
    for decoder in DECODERS:
        try:
            title = f"{options.opens:,} opens, {decoder}"
            runs[title] = report(title, opens(videos, options.opens, decoder))
        except ImportError:
            print(f"{decoder}: not installed")
    title = f"{options.epochs} epochs"
    runs[title] = report(title, epochs(data, options.epochs))
    if options.plot:
        save_plot(runs, options.plot)


if __name__ == "__main__":
    main()

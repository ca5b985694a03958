"""What a long data set costs: a clip out of 100 and out of 100,000, and the start of training on 200,000.

`python -m twostream.bench_index`: a synthetic index and empty files, for nothing is decoded before the first batch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from twostream.config import build_data, build_source, compose_config
from twostream.data.index import FILE_NAME, Entry, VideoIndex, open_index, write_entries

CLASSES = 100


def write_index(root: Path, size: int) -> VideoIndex:
    """An index of `size` videos that does not look whether they are there."""
    with open_index(root / FILE_NAME, write=True) as connection:
        write_entries(connection, [
            Entry(_path(i), 0, 0, "0" * 64, "avi", "mpeg4", 320, 240, 0, 25.0, i % 300 + 1, 0, True, False, "decord")
            for i in range(size)
        ])  # fmt: skip
    connection.close()
    return VideoIndex(root)


def _path(number: int) -> str:
    return f"class{number % CLASSES:03}/v{number:06}.avi"


def bench_entry(folder: Path, size: int) -> float:
    """Seconds for what is known of one clip, in an index of `size`."""
    root = folder / str(size)
    root.mkdir()
    index = write_index(root, size)
    paths = [root / _path(i) for i in range(0, size, size // 100)]
    times = []
    for _ in range(21):
        started = time.perf_counter()
        for path in paths:
            index.entry(path)
        times.append((time.perf_counter() - started) / len(paths))
    return median(times)


def bench_start(folder: Path, size: int) -> float:
    """Seconds from the configuration to loaders that are ready, for a folder of `size` videos."""
    root = folder / "start"
    for number in range(CLASSES):
        (root / f"class{number:03}").mkdir(parents=True)
    for number in range(size):
        (root / _path(number)).touch()
    write_index(root, size)
    started = time.perf_counter()
    cfg = compose_config(["data=folder", f"data.root={root}", "num_workers=0"])
    data = build_data(cfg, build_source(cfg))
    data.train_dataloader()
    return time.perf_counter() - started


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser("python -m twostream.bench_index", description=__doc__)
    parser.add_argument("--videos", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        few, many = (bench_entry(Path(name), size) for size in (100, 100_000))
        print(f"a clip's entry: {1e6 * few:.0f} us out of 100, {1e6 * many:.0f} us out of 100,000, x{many / few:.2f}")
        print(f"start of training on {options.videos:,} videos: {bench_start(Path(name), options.videos):.1f} s")


if __name__ == "__main__":
    main()

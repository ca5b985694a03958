"""What a long data set costs: a clip out of 100 and out of 100,000, and the start of training on 200,000.

`python -m benchmarks.index`: a synthetic index and empty files, for nothing is decoded before the first batch.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from twostream.config.compose import compose_config
from twostream.config.data import build_data, build_source
from twostream.data.leaks import same_bytes
from twostream.data.storage.index import FILE_NAME, Entry, VideoIndex, open_index, write_entries

CLASSES = 100
SIZE = 1000  # bytes of every video: equal sizes are the worst case for finding copies


def write_index(root: Path, size: int) -> VideoIndex:
    """Writes an index of `size` videos without looking whether they are there."""
    with open_index(root / FILE_NAME, write=True) as connection:
        facts = ("avi", "mpeg4", 320, 240, 0, 25.0)
        entries = (
            Entry(_path(i), SIZE, 0, f"{i:016x}{0:048x}", *facts, i % 300 + 1, 0, True, False, "pyav")
            for i in range(size)
        )
        write_entries(connection, list(entries))
    connection.close()
    return VideoIndex(root)


def _path(number: int) -> str:
    return f"class{number % CLASSES:03}/v{number:06}.avi"


def bench_entry(folder: Path, size: int) -> float:
    """Returns the seconds to look up what is known of one clip, in an index of `size` videos."""
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


def bench_start(folder: Path, size: int) -> tuple[float, float, float]:
    """Measures the start of training on a folder of `size` videos, and the search for videos with the same bytes.

    Returns the seconds from the configuration to loaders that are ready, and those of the search with the index's
    hashes, and without.
    """
    root = folder / "start"
    for number in range(CLASSES):
        (root / f"class{number:03}").mkdir(parents=True)
    for number in range(size):
        (root / _path(number)).write_bytes((number + 1).to_bytes(SIZE, "big"))
        os.utime(root / _path(number), ns=(0, 0))  # as the index says
    write_index(root, size)
    started = time.perf_counter()
    cfg = compose_config(["data=folder", f"data.root={root}", "num_workers=0"])
    source = build_source(cfg)
    data = build_data(cfg, source)
    data.train_dataloader()
    times = [time.perf_counter() - started]
    assert data.record is not None
    for known in ({}, {"sha256": ""}):
        entries = [entry._replace(**known) for part in data.record.parts.values() for entry in part]
        paths = {video.id: video.path for video in source.videos}
        started = time.perf_counter()
        assert same_bytes(entries, paths) == []
        times.append(time.perf_counter() - started)
    return times[0], times[1], times[2]


def main() -> None:
    """Prints the results of both measurements."""
    parser = argparse.ArgumentParser("python -m benchmarks.index", description=__doc__)
    parser.add_argument("--videos", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        few, many = (bench_entry(Path(name), size) for size in (100, 100_000))
        print(f"a clip's entry: {1e6 * few:.0f} us out of 100, {1e6 * many:.0f} us out of 100,000, x{many / few:.2f}")
        start, with_index, without = bench_start(Path(name), options.videos)
        print(f"start of training on {options.videos:,} videos: {start:.1f} s")
        print(f"whether any two hold the same bytes: {with_index:.1f} s with the index, {without:.1f} s without")


if __name__ == "__main__":
    main()

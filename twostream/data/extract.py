"""Fills a flow store: an estimate, then all videos in several processes, with progress; can be stopped at any time."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from twostream.data.decoding import VideoError, iterate_frames, probe
from twostream.data.flow import OpticalFlow, pin_threads, quantise
from twostream.data.flow_store import clip_path, encode_field, file_hash, is_stored, read_manifest, store_clip
from twostream.data.sources import Video
from twostream.data.tasks import run_tasks

EVERY = 10.0  # seconds between two lines of progress


class Estimate(NamedTuple):
    """What a store will cost: pairs in all, seconds of one process for each, bytes for each."""

    pairs: int
    seconds: float
    bytes: float


def estimate(videos: Sequence[Video], flow: OpticalFlow, root: Path, *, samples: int = 3, decoder: str) -> Estimate:
    """From a few pairs of a few videos, and the number of frames that the files claim to have."""
    manifest = read_manifest(root)
    chosen = videos[:: max(1, len(videos) // samples)][:samples]
    lengths, seconds, sizes = [], [], []
    for video in chosen:
        try:
            lengths.append(max(1, probe(video.path).header_frames - 1))
            frames = dict(enumerate(islice(iterate_frames(video.path, decoder=decoder), 3)))
        except VideoError:  # it will be named when its turn comes
            continue
        pairs = [(i, i + 1) for i in range(len(frames) - 1)]
        started = time.perf_counter()
        for field in flow.fields(frames, pairs).values():
            blob = encode_field(quantise(field, flow.bound), manifest["encoding"], manifest.get("quality", 90))
            sizes.append(len(blob))
        seconds.append((time.perf_counter() - started) / max(1, len(pairs)))
    pairs = round(sum(lengths) / max(1, len(lengths)) * len(videos))
    return Estimate(pairs, sum(seconds) / max(1, len(seconds)), sum(sizes) / max(1, len(sizes)))


def extract(
    videos: Sequence[Video],
    flow: OpticalFlow,
    root: Path,
    *,
    decoder: str,
    workers: int,
    engine: str = "local",
    address: str | None = None,
) -> bool:
    """Compute what the store at `root` lacks; True if it is then whole. A broken video is named and stops no other."""
    every = list({video.id: video for video in videos}.values())
    videos = [video for video in every if not is_stored(clip_path(root, video), file_hash(video.path))]
    print(f"{len(every):,} videos, {len(every) - len(videos):,} of them in {root}", flush=True)
    if not videos:
        return True
    pin_threads()
    cost = estimate(videos, flow, root, decoder=decoder)
    free = shutil.disk_usage(root).free
    print(
        f"about {cost.pairs:,} fields for the others: {duration(cost.pairs * cost.seconds / workers)} with "
        f"{workers} processes, {cost.pairs * cost.bytes / 1e9:,.1f} GB of {free / 1e9:,.0f} GB free",
        flush=True,
    )
    done: Counter[str] = Counter()
    fields, size, started, printed = 0, 0, time.perf_counter(), time.perf_counter()
    task = partial(store_one, root, flow, decoder)
    for number, outcome in enumerate(run_tasks(task, videos, workers=workers, engine=engine, address=address), start=1):
        if outcome.error:
            print(f"{outcome.item.id}: {outcome.error}", flush=True)
            done["failed"] += 1
            if "No space left" in outcome.error:
                print("the disk is full: make room and run the same command again; what is stored is whole", flush=True)
                break
        else:
            done[outcome.value.done] += 1
            fields += outcome.value.fields
            size += outcome.value.bytes
        now = time.perf_counter()
        if now - printed > EVERY:
            printed = now
            rate = fields / (now - started)
            rest = (len(videos) - number) / max(1, number) * (now - started)
            print(f"{number:,}/{len(videos):,} videos  {rate:,.1f} pairs/s  {duration(rest)} left", flush=True)
    seconds = time.perf_counter() - started
    print(
        f"{done['computed']:,} videos computed ({fields:,} fields, {size / 1e6:,.1f} MB, {duration(seconds)}, "
        f"{fields / max(seconds, 1e-9):,.1f} pairs/s), {done['there'] + done['elsewhere']:,} by another process, "
        f"{done['failed']:,} failed",
        flush=True,
    )
    return done["computed"] + done["there"] == len(videos)


def store_one(root: Path, flow: OpticalFlow, decoder: str, video: Video):
    """`store_clip` as a task: one thread in each of many processes."""
    pin_threads()
    return store_clip(root, video, flow, decoder=decoder)


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

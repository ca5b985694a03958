"""Fills a folder with a file for each video, such as a flow store, in several processes. May be stopped at any time."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from twostream.data.decoding import VideoError, probe
from twostream.data.flow import OpticalFlow, pin_threads
from twostream.data.sources import Video
from twostream.data.storage.flow_store import (
    QUALITY,
    FromVideo,
    Recorder,
    StoreClip,
    encode_field,
    read_manifest,
)
from twostream.data.storage.video_task import ClipResult, VideoTask
from twostream.data.tasks import run_tasks
from twostream.files.errors import say
from twostream.files.lock import is_held, remove_stale_claim
from twostream.files.progress import Line, bar
from twostream.files.words import counted, duration

POLL = 1.0  # seconds between two looks at whether other processes still work on their videos
COUNTED, TIMED, PAIRS = 20, 4, 4  # the estimate reads the lengths of 20 videos and computes 4 pairs of 4 videos
ENOUGH = 8.0  # seconds after which the estimate computes no further video


class Estimate(NamedTuple):
    """The cost of a store: all its pairs, seconds of one process per pair, and bytes per pair."""

    pairs: int
    seconds: float
    bytes: float


def estimate(videos: Sequence[Video], recorder: Recorder, root: Path) -> Estimate:
    """Estimates the cost from a few pairs of a few videos, and from the numbers of frames that the files claim."""
    manifest = read_manifest(root)
    lengths, sizes = [], []
    for video in _spread(videos, COUNTED):
        try:
            lengths.append(max(0, probe(video.path).header_frames - 1))
        except (VideoError, OSError):  # its own task will report it
            continue
    started = time.perf_counter()
    for video in _spread(videos, TIMED):
        try:
            for field in islice(recorder(video).fields, PAIRS):
                sizes.append(len(encode_field(field, manifest["encoding"], manifest.get("quality", QUALITY))))
        except (VideoError, OSError, ValueError):
            continue
        if time.perf_counter() - started > ENOUGH:
            break
    seconds = time.perf_counter() - started
    pairs = round(sum(lengths) / max(1, len(lengths)) * len(videos))
    return Estimate(pairs, seconds / max(1, len(sizes)), sum(sizes) / max(1, len(sizes)))


def extract(
    videos: Sequence[Video],
    flow: OpticalFlow,
    root: Path,
    *,
    decoder: str,
    workers: int,
    engine: str = "local",
    address: str | None = None,
    recorder: Recorder | None = None,
) -> bool:
    """Computes the flow that the store at `root` lacks, as `fill` does; first prints an estimate.

    Fields come from `recorder`; None: they are computed.
    """
    task = StoreClip(root, recorder or FromVideo(flow, decoder))

    def tell(waiting: Sequence[Video]) -> None:
        pin_threads()
        announce(estimate(waiting, task.recorder, root), root, workers)

    return fill(task, videos, workers=workers, engine=engine, address=address, tell=tell)


def fill(
    task: VideoTask,
    videos: Sequence[Video],
    *,
    workers: int,
    engine: str = "local",
    address: str | None = None,
    tell: Callable[[Sequence[Video]], None] = lambda waiting: None,
) -> bool:
    """Does the task for the videos whose files are not there yet; returns whether all files are there then.

    `tell` is given these videos before the work begins. A broken video does not stop the others. If another process
    works on a video, this one waits, and does the video itself if that process ends without it.
    """
    every = list({video.id: video for video in videos}.values())
    waiting = [video for video in every if not _is_there(task, video)]
    print(f"{counted(len(every), 'video')}, {len(every) - len(waiting):,} of them in {task.root}", flush=True)
    if not waiting:
        return True
    tell(waiting)
    with bar("videos", len(waiting)) as shown:
        progress = Progress(shown, len(waiting), task, None if address else workers)
        try:
            _fill(task, waiting, progress, workers=workers, engine=engine, address=address)
        except KeyboardInterrupt:
            shown.end()
            progress.finish()
            raise
    return progress.finish()


def _fill(
    task: VideoTask, waiting: list[Video], progress: Progress, *, workers: int, engine: str, address: str | None
) -> None:
    """Does the task for the waiting videos, also for those that other processes leave, until the disk is full."""
    while waiting and not progress.stopped:
        elsewhere = []
        outcomes = run_tasks(task, waiting, workers=workers, engine=engine, address=address)
        for video, result, error in outcomes:
            if result is not None and result.done == "elsewhere":
                elsewhere.append(video)
                continue
            progress.add(video, result, error)
            if progress.stopped:
                outcomes.close()  # type: ignore[attr-defined]  # a generator; ends its processes
                break
        waiting = elsewhere
        if waiting and not progress.stopped:
            print(f"waiting for {counted(len(waiting), 'video')} that another process is about", flush=True)
            while all(is_held(task.path(video)) for video in waiting):
                time.sleep(POLL)


def announce(cost: Estimate, root: Path, workers: int) -> None:
    """Prints the estimated time and disk space, and warns if the disk has less."""
    free, needed = shutil.disk_usage(root).free, cost.pairs * cost.bytes
    print(
        f"about {counted(cost.pairs, 'field')} for the others: {duration(cost.pairs * cost.seconds / workers)} with "
        f"{counted(workers, 'process', 'processes')} ({1 / max(cost.seconds, 1e-9):,.1f} pairs/s each), "
        f"{needed / 1e9:,.2f} GB of {free / 1e9:,.1f} GB free"
        f"{'; WARNING: that will not fit' if needed > free else ''}",
        flush=True,
    )


class Progress:
    """Counts the results of the videos and shows them; `stopped` is true once the disk is full.

    `workers`: processes at work; None if nobody knows how many a cluster has.
    """

    def __init__(self, line: Line, videos: int, task: VideoTask, workers: int | None) -> None:
        self.line = line
        self.videos = videos
        self.task = task
        self.workers = workers
        self.done: Counter[str] = Counter()
        self.items = self.bytes = 0
        self.busy = 0.0  # seconds of all processes together, without their start
        self.stopped = False
        self.started = time.perf_counter()

    def add(self, video: Video, result: ClipResult | None, error: str | None) -> None:
        """Counts a finished video: its result, or the error that it ended with."""
        if result is None:
            say(f"{video.id}: {error}")
            self.done["failed"] += 1
        elif result.done == "disk full":
            root = self.task.root
            say(f"the disk is full ({root}): make room and run the same command again; what is stored is whole")
            self.stopped = True
        else:
            self.done[result.done] += 1
            self.items += result.items
            self.bytes += result.bytes
            self.busy += result.seconds
        seconds = time.perf_counter() - self.started
        rate = f"{self.items / max(seconds, 1e-9):,.1f} {self.task.steps}/s"
        self.line.show(sum(self.done.values()), note=rate, left=self.seconds_left(seconds))

    def seconds_left(self, seconds: float) -> float:
        """Returns how long the other videos will take, if they are as long as those computed in the `seconds` so far.

        >>> progress = Progress(None, 100, None, 2)  # two processes, which took ten seconds to start and two a video
        >>> progress.done["computed"], progress.busy = 10, 20.0
        >>> progress.seconds_left(20.0)
        90.0
        """
        number = sum(self.done.values())
        if not self.done["computed"]:  # all were there, or failed
            return (self.videos - number) / max(1, number) * seconds
        workers = self.workers or max(1.0, self.busy / seconds)
        return (self.videos - number) * self.busy / self.done["computed"] / workers

    def finish(self) -> bool:
        """Prints what was done; returns whether no video is missing."""
        seconds, done = time.perf_counter() - self.started, self.done
        rate = f"{self.items / max(seconds, 1e-9):,.1f} {self.task.steps}/s"
        print(
            f"{counted(done['computed'], 'video')} computed ({self.items:,} {self.task.items}, "
            f"{self.bytes / 1e6:,.1f} MB, {duration(seconds)}, {rate}), {done['there']:,} by another process, "
            f"{done['failed']:,} failed",
            flush=True,
        )
        return done["computed"] + done["there"] == self.videos


def _is_there(task: VideoTask, video: Video) -> bool:
    try:
        there = task.is_there(video)
    except OSError:
        return False  # its task will report the error
    if there:
        remove_stale_claim(task.path(video))  # left by a process that was killed after it had written the file
    return there


def _spread(videos: Sequence[Video], count: int) -> list[Video]:
    step = max(1, len(videos) // count)
    return list(videos[step // 2 :: step][:count])

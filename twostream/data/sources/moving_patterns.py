"""Renders the embedded data set: videos whose class neither appearance nor motion shows without the other.

A scene is a square of cells. Each cell is a fixed window onto its own texture, which wraps around. In exactly one
cell the texture moves behind the window. The label is (which pattern, which motion), so a network has to know *where*
each stream saw *what*. Fusion at a convolutional layer keeps this correspondence, and late fusion loses it.

Why neither stream can tell the class alone:

- a pattern consists of colour only. Its luminance is new noise in every cell of every clip, always with the same set
  of values. Optical flow reads luminance, so it sees where and how something moves, but not what;
- the wrapped texture starts at a uniformly drawn phase and moves by whole pixels, so that a single frame of a moving
  cell has exactly the same distribution as that of a resting cell, blur and border included;
- every frame is encoded by itself, with one fixed quantiser, and cells end where the encoder's blocks end. So neither
  prediction nor rate control carries motion into a frame, or from one cell into another;
- after PERIOD frames a moving texture is back in its place: chunks a multiple of PERIOD apart are equal.

Several frames that are not equal do show RGB what moves; `twostream.data.bounds` tells whether a test shows such.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, Int, UInt8

from twostream.data.sources.source import Rendered, Source, Video
from twostream.files.progress import watch

FORMAT_VERSION = 2  # raise it when the same parameters give other pixels, so that older caches are not used
SPLITS = (1, 2, 3)
CELLS = (4, 9, 16)
SHAPES = ("checks", "stripes", "bars", "dots")
TINTS = {"red": (0, 1), "blue": (1, 0), "green": (0, -1), "yellow": (-1, 0)}  # direction in the (Cb, Cr) plane
STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # (rows, columns)
ORDERS = (("left", "right"), ("right", "left"), ("up", "down"), ("down", "up"))
MOTIONS = {"motion": {way: (way,) for way in STEPS}, "order": {"-".join(ways): ways for ways in ORDERS}}
FRAMES = {"motion": 12, "order": 31}
TRAIN_CLIPS = {"motion": 2000, "order": 1000}

CELL = 32  # pixels; a multiple of 16, the encoder's block
WINDOW = 24  # pixels of texture, centred in the cell; also the texture's period
SPEED = 3  # pixels per frame
PERIOD = WINDOW // SPEED  # frames after which a moving texture is back in its place; length of a motion in `order`
# Luminance (of 16 … 235) and colour (of ±112) are such that RGB never saturates: clipped colours would change the grey.
LUMA, LUMA_RANGE, CHROMA = 125, (80, 170), 26
MANY = 500  # clips take a second or more to render, of which progress is shown

log = logging.getLogger(__name__)


class MovingPatterns(Source):
    """The embedded data set, rendered on first use into a folder below `root`.

    `split` 1, 2, 3 are three independent random drawings. `cells` (4, 9 or 16) is also the number of patterns: 4 differ
    in both shape and tint, 9 and 16 in the combination of both. Frames are 64, 96 or 128 pixels square.

    - `task="motion"`: one cell moves all the time; a class is (pattern, direction), 4 for each pattern.
    - `task="order"`: one cell rests r frames, moves for 8, rests r, moves back for 8, rests; a class is (pattern,
      direction of the first motion). Both motions look alike except for direction, so a chunk of L <= r flow fields
      never sees both and does not show whether it sees the first or the second. If two chunks are 8 + r frames apart,
      or one in each half of the clip, both see their motion at the same phase: only the order of the chunks differs.

    Args:
        root: the cache; None: $TWOSTREAM_CACHE, or else ~/.cache/twostream. Each set of parameters has its own folder
            there; the same parameters give the same pixels.
        train_clips: number of training clips; None: 2,000, or 1,000 (longer ones) for `order`.
        frames: number of frames of each clip; None: 12, or as many as `chunks` stacks of `flow_length` fields, PERIOD
            frames apart, need; for `order` 16 + 3r with r = 5.

    Raises ValueError for anything outside these choices, before anything is rendered.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        split: int,
        task: str = "motion",
        cells: int = 4,
        train_clips: int | None = None,
        test_clips: int = 400,
        frames: int | None = None,
        chunks: int = 1,
        flow_length: int = 0,
        seed: int = 0,
    ) -> None:
        known = (("split", split, SPLITS), ("data.task", task, MOTIONS), ("data.cells", cells, CELLS))
        for key, value, choices in known:
            if value not in choices:
                raise ValueError(f"{key}={value!r}: choose from {', '.join(map(str, choices))}")
        if seed < 0:
            raise ValueError(f"data.seed={seed!r}: must not be negative")
        frames = clip_length(task, chunks, flow_length) if frames is None else frames
        train_clips = TRAIN_CLIPS[task] if train_clips is None else train_clips
        motions = {name: displacements(ways, frames) for name, ways in MOTIONS[task].items()}
        classes = tuple(f"{pattern}-{motion}" for pattern in pattern_names(cells) for motion in motions)
        for key, value in (("data.train_clips", train_clips), ("data.test_clips", test_clips)):
            if value < len(classes):
                raise ValueError(f"{key}={value!r}: must be at least {len(classes)}, one for each class")

        drawn = {"task": task, "cells": cells, "frames": frames, "split": split, "seed": seed}
        drawn |= {"train_clips": train_clips, "test_clips": test_clips, "format": FORMAT_VERSION}
        folder = cache_folder(root) / f"moving_patterns-{task}-{cells}-{hash_of(drawn)}"
        train, test = (
            tuple(video_of(folder, part, index, classes) for index in range(count))
            for part, count in (("train", train_clips), ("test", test_clips))
        )
        side = math.isqrt(cells) * CELL
        made = Rendered(num_frames=frames, height=side, width=side)
        super().__init__(name="moving_patterns", split=split, classes=classes, train=train, test=test, rendered=made)
        if not folder.is_dir():  # the folder gets its name when all clips are written
            render(self, folder, list(motions.values()), seed=seed)


def clip_length(task: str, chunks: int, flow_length: int) -> int:
    """Returns the default number of frames of a clip.

    >>> clip_length("motion", 1, 5), clip_length("motion", 4, 5), clip_length("order", 2, 5)
    (12, 30, 31)
    """
    return FRAMES[task] if task == "order" else max(FRAMES[task], (chunks - 1) * PERIOD + flow_length + 1)


def video_of(folder: Path, part: str, index: int, classes: tuple[str, ...]) -> Video:
    """Returns clip `index` of a part; classes take turns, so that all have the same number of clips (±1)."""
    label = index % len(classes)
    name = f"{classes[label]}/{part}-{index:05d}.mp4"
    return Video(id=name, path=folder / name, label=label, group=name)


def render(source: Source, folder: Path, motions: list[np.ndarray], *, seed: int) -> None:
    """Writes all clips beside `folder`, then renames: `folder` is never incomplete, even if two processes render."""
    jobs = [(part, *job) for part, videos in enumerate((source.train, source.test)) for job in enumerate(videos)]
    patterns = len(source.classes) // len(motions)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    log.info("moving_patterns: its %s clips are rendered once, into %s", f"{len(jobs):,}", folder)

    def render_clip(job: tuple[int, int, Video]) -> None:
        part, index, video = job
        pattern, motion = divmod(video.label, len(motions))
        rng = np.random.default_rng((seed, source.split, part, index))
        write_video(aside / video.id, draw_clip(rng, motions[motion], pattern=pattern, patterns=patterns))

    try:
        for name in source.classes:
            (aside / name).mkdir(parents=True)
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # the encoder works outside the GIL
            rendered = pool.map(render_clip, jobs)
            list(watch("rendering")(rendered, len(jobs)) if len(jobs) >= MANY else rendered)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():  # if it exists, another process has rendered the same pixels first
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def hash_of(parameters: dict[str, object]) -> str:
    """Returns 12 characters that differ if the parameters differ."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]


def cache_folder(root: str | Path | None) -> Path:
    """Returns `root` if given, else $TWOSTREAM_CACHE if set, else ~/.cache/twostream."""
    return Path(root or os.environ.get("TWOSTREAM_CACHE") or "~/.cache/twostream").expanduser()


def pattern_names(patterns: int) -> list[str]:
    """Returns the names of the patterns. If there are only four, all differ in shape and are named by it.

    >>> pattern_names(4), pattern_names(9)[-2:]
    (['checks', 'stripes', 'bars', 'dots'], ['red-dots', 'green-checks'])
    """
    names = [f"{list(TINTS)[(k + k // 4) % 4]}-{SHAPES[k % 4]}" for k in range(patterns)]
    return list(SHAPES) if patterns == 4 else names


def displacements(directions: tuple[str, ...], frames: int) -> Int[np.ndarray, "frames 2"]:
    """Returns the texture's place in each frame, in pixels down and right of its place in the first frame.

    A single direction lasts throughout. Two directions last PERIOD steps each, with r steps of rest before and
    between, and r-1 after. Raises ValueError if `frames` does not allow this.
    """
    if len(directions) == 1:
        if frames < 2:
            raise ValueError(f"data.frames={frames!r}: a motion needs at least 2")
        steps = np.repeat([STEPS[directions[0]]], frames - 1, axis=0)
    else:
        rest, left_over = divmod(frames - 2 * PERIOD, 3)
        if rest < 1 or left_over:
            raise ValueError(f"data.frames={frames!r}: data.task=order needs {2 * PERIOD} + 3r, such as 28, 31, 34, 46")
        steps = np.zeros((frames - 1, 2), int)
        for nth, direction in enumerate(directions, start=1):
            end = nth * (rest + PERIOD)
            steps[end - PERIOD : end] = STEPS[direction]
    return SPEED * np.concatenate([np.zeros((1, 2), int), steps.cumsum(axis=0)])


def draw_clip(
    rng: np.random.Generator, displacement: Int[np.ndarray, "frames 2"], *, pattern: int, patterns: int
) -> UInt8[np.ndarray, "frames rows size"]:
    """Draws one scene of `patterns` cells in which `pattern` moves by `displacement`.

    Returns rows = 3*size//2: Y, then Cb and Cr at half the resolution, as the encoder reads them.
    """
    side, frames = math.isqrt(patterns), len(displacement)
    luma = np.full((frames, side * CELL, side * CELL), LUMA, np.uint8)
    chroma = np.full((frames, 2, side * CELL // 2, side * CELL // 2), 128, np.uint8)
    noise = luminance(rng, patterns)
    for place, shown in enumerate(rng.permutation(patterns).tolist()):
        top, left = ((CELL - WINDOW) // 2 + CELL * index for index in divmod(place, side))
        window = np.s_[:, top : top + WINDOW, left : left + WINDOW]
        half_window = np.s_[:, :, top // 2 : (top + WINDOW) // 2, left // 2 : (left + WINDOW) // 2]
        colour = np.roll(tint(shown), rng.integers(WINDOW, size=2), (1, 2))
        moves = displacement if shown == pattern else displacement[:1]  # one picture for all frames
        luma[window] = [np.roll(noise[place], move, (0, 1)) for move in moves]
        chroma[half_window] = [halve(np.roll(colour, move, (1, 2))) for move in moves]
    return np.concatenate([luma.reshape(frames, -1), chroma.reshape(frames, -1)], axis=1).reshape(
        frames, -1, side * CELL
    )


def luminance(rng: np.random.Generator, count: int) -> UInt8[np.ndarray, "count window window"]:
    """Draws smooth isotropic noise that wraps around, always with the same set of values; window = WINDOW."""
    rows, columns = np.fft.fftfreq(WINDOW, 1 / WINDOW), np.fft.rfftfreq(WINDOW, 1 / WINDOW)
    cycles = np.hypot(rows[:, None], columns)
    spectrum = np.fft.rfft2(rng.standard_normal((count, WINDOW, WINDOW))) * ((cycles >= 1) & (cycles <= 4))
    noise = np.fft.irfft2(spectrum, s=(WINDOW, WINDOW)).reshape(count, -1)
    values = np.linspace(*LUMA_RANGE, WINDOW * WINDOW).round().astype(np.uint8)
    return values[noise.argsort(axis=1).argsort(axis=1)].reshape(count, WINDOW, WINDOW)


@cache
def tint(pattern: int) -> Float[np.ndarray, "2 window window"]:
    """Returns a pattern's colour, Cb and Cr: strong on half of its area, else faint; window = WINDOW."""
    down, right = np.mgrid[:WINDOW, :WINDOW]
    high, wide = down // 6 % 2 == 0, right // 6 % 2 == 0
    shape = {
        "checks": high ^ wide,
        "stripes": high,
        "bars": wide,
        "dots": np.hypot(down % 12 - 5.5, right % 12 - 5.5) < 4.8,
    }[SHAPES[pattern % 4]]
    blue, red = list(TINTS.values())[(pattern + pattern // 4) % 4]
    return 128 + CHROMA * np.where(shape, 1.0, 0.3) * np.array([blue, red])[:, None, None]


def halve(planes: Float[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "c h2 w2"]:
    """Returns the means of 2x2 pixels, rounded: h2 = h/2, w2 = w/2."""
    c, h, w = planes.shape
    return planes.reshape(c, h // 2, 2, w // 2, 2).mean(axis=(2, 4)).round().astype(np.uint8)


def write_video(path: Path, planes: UInt8[np.ndarray, "frames rows size"]) -> None:
    """Writes MPEG-4 in which every frame is a key frame of the same quantiser: any decoder reads any frame exactly."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=10, options={"qmin": "4", "qmax": "4"})
        stream.width, stream.height = planes.shape[2], planes.shape[1] * 2 // 3
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 1
        stream.codec_context.thread_count = 1
        for plane in planes:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(plane, format="yuv420p")))
        container.mux(stream.encode())

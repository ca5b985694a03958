"""Makes clean copies of videos: H.264, a keyframe at least every 12 frames, no B-frames, every decoded frame."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding import VideoError, iterate_frames, open_video, probe
from twostream.data.provenance import source_change, source_facts
from twostream.files.atomic import aside_of
from twostream.files.disk_errors import naming

RATE = 18  # x264's constant rate factor; the loss is not visible
GOP = 12  # the most frames from one keyframe to the next
# Containers by suffix. A copy keeps its original's name, since split lists use it. Files whose container does not suit
# H.264 (.webm, .mpg …) become MP4 under the old suffix: decoders look at the content.
CONTAINERS = {".avi": "avi", ".mkv": "matroska"}
OTHERS = "mp4"
FAR = 8.0  # grey levels by which a frame may differ from its original on average; x264 at this rate stays below 3
# A frame that is nearer to the previous original than to its own, by more grey levels than this, is wrong. In blurred
# frames 0.2 occurs.
CLEARLY = 1.0


class Copy(NamedTuple):
    """The result of `reencode`: `made` is False if the copy was there already."""

    made: bool
    num_bytes: int


def reencode(source: Path, copy: Path, *, short_side: int | None = None, decoder: str = "pyav") -> Copy:
    """Writes a copy without sound, whole or not at all, and compares each of its frames with the original.

    Frame i of the copy shows frame i of `source`, upright, at a constant rate. With `short_side`, larger frames are
    reduced to it. An odd row or column at the edge is cut off, since H.264 needs even sizes. If there is a copy of the
    same file with the same options, nothing is written. Raises VideoError if the source is broken or the copy differs
    from it, OSError, ValueError for a short side that is odd or too small.
    """
    options = copy_options(short_side)
    if is_copy(copy, source, options):
        return Copy(False, copy.stat().st_size)
    record = {"source": source_facts(source), **options}
    copy.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(copy, "tmp")
    try:
        with naming(copy):
            count = _write(
                aside, source, record, decoder=decoder, container=CONTAINERS.get(copy.suffix.lower(), OTHERS)
            )
        _compare(aside, source, count, short_side=short_side, decoder=decoder)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(copy)
    finally:
        aside.unlink(missing_ok=True)
    return Copy(True, copy.stat().st_size)


def copy_options(short_side: int | None) -> dict[str, Any]:
    """Returns the options that a copy records. Raises ValueError for a short side that is odd or too small."""
    if short_side is not None and (short_side < 16 or short_side % 2):
        raise ValueError(f"short_side={short_side!r}: must be even, and at least 16")
    return {"short_side": short_side, "rate": RATE, "gop": GOP}


def is_copy(copy: Path, source: Path, options: dict[str, Any]) -> bool:
    """Whether the copy is there and is what `reencode` would write."""
    if not copy.exists():
        return False
    try:
        with open_video(copy) as container:
            metadata = {name.lower(): text for name, text in container.metadata.items()}
        record = json.loads(metadata["comment"])
        same = all(record[name] == value for name, value in options.items())
        return same and source_change(record["source"], source) is None
    except (VideoError, KeyError, TypeError, ValueError, RecursionError):
        return False


def _write(path: Path, source: Path, record: dict[str, Any], *, decoder: str, container: str) -> int:
    """Writes the copy; returns how many frames it has."""
    count = 0
    with av.open(os.path.abspath(path), "w", format=container) as output:
        output.metadata["comment"] = json.dumps(record)
        stream = output.add_stream("libx264", rate=_rate(probe(source).fps))
        for count, frame in enumerate(_frames(source, record["short_side"], decoder), start=1):
            if count == 1:
                _set_up(stream, frame)
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = count - 1
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return count


def _set_up(stream: Any, frame: np.ndarray) -> None:
    stream.height, stream.width = frame.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    stream.codec_context.colorspace, stream.codec_context.color_range = 6, 1  # so that none guesses: BT.601, 16 to 235
    x264 = f"keyint={GOP}:min-keyint=1:bframes=0:log-level=none"
    stream.options = {"crf": str(RATE), "preset": "medium", "x264-params": x264}


def _rate(fps: float) -> Fraction:
    """Returns the frame rate as a fraction; 25 if the file's is not between 1 and 240.

    >>> _rate(30000 / 1001), _rate(0), _rate(1000)
    (Fraction(30000, 1001), Fraction(25, 1), Fraction(25, 1))
    """
    return Fraction(fps).limit_denominator(1001) if 1 <= fps <= 240 else Fraction(25)


def _frames(source: Path, short_side: int | None, decoder: str) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yields the frames that a copy should show: reduced, then cut to even numbers of rows and columns."""
    for frame in iterate_frames(source, decoder=decoder):
        height, width = frame.shape[:2]
        if short_side is not None and short_side < min(height, width):
            scale = short_side / min(height, width)
            size = (2 * round(width * scale / 2), 2 * round(height * scale / 2))
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        yield np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])


def _compare(copy: Path, source: Path, count: int, *, short_side: int | None, decoder: str) -> None:
    """Raises VideoError unless the copy has `count` frames, each like its original and not like the previous one."""
    before, index = None, -1
    pairs = zip_longest(iterate_frames(copy, decoder=decoder), _frames(source, short_side, decoder))
    for index, (found, wanted) in enumerate(pairs):
        if found is None or wanted is None or found.shape != wanted.shape:
            shapes = [None if frame is None else frame.shape for frame in (found, wanted)]
            raise VideoError(source, f"copy is wrong: frame {index} has shape {shapes[0]}, not {shapes[1]}")
        grey, own = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (found, wanted))
        distance = float(cv2.absdiff(grey, own).mean())
        if distance > FAR:
            raise VideoError(source, f"copy is wrong: frame {index} is off by {distance:.1f} grey levels on average")
        if before is not None and distance > float(cv2.absdiff(grey, before).mean()) + CLEARLY:
            raise VideoError(source, f"copy is wrong: frame {index} shows the one before it")
        before = own
    if index + 1 != count or probe(copy).header_frames not in (0, count):
        raise VideoError(source, f"copy is wrong: it has {index + 1} frames, not {count}")

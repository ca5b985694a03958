"""Yields frames in order with the time at which each is shown, from a file or a camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from os import PathLike
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from twostream.data.decoding.facts import VideoError, open_video, video_stream
from twostream.data.decoding.motion import MotionReader, require_vectors
from twostream.data.decoding.pyav_reader import PyAVReader
from twostream.data.decoding.vectors import Field

FRAME_RATE = 25.0  # assumed for a file that does not state its own


class TimedFrame(NamedTuple):
    """An upright RGB frame, how many seconds after the first frame it is shown, and its motion vectors if wanted."""

    second: float
    rgb: UInt8[np.ndarray, "h w 3"]
    motion: Field | None = None


def frame_rate(path: str | PathLike[str]) -> float:
    """Returns the file's average frames per second, or 25 if it states none. Raises `VideoError` like `open_video`."""
    with open_video(path) as container:
        return float(video_stream(container, path).average_rate or FRAME_RATE)


def claimed_seconds(path: str | PathLike[str]) -> float | None:
    """Returns the duration that the file claims, or None if it claims none. Raises `VideoError` like `open_video`."""
    with open_video(path) as container:
        return container.duration / av.time_base if container.duration else None


def timed_frames(path: str | PathLike[str], *, motion: bool = False) -> Iterator[TimedFrame]:
    """Yields all frames of a video in order, with few in memory at a time. PyAV decodes, since only it gives times.

    If a frame's time is missing, or not after that of the frame before, the frame follows at the file's average rate.
    With `motion`, each frame has the field from the frame before to it (see `vectors.moving`).
    Raises `VideoError` if the file cannot be opened or has no frame, or when decoding gets to damage; with `motion`
    also if it has no motion vectors.
    """
    if motion:
        require_vectors(path)
    step = 1 / frame_rate(path)
    first, second = None, -step
    reader = MotionReader(path) if motion else PyAVReader(path)
    with reader:
        if isinstance(reader, MotionReader):
            pictures = ((one.shown.picture, one.field) for one in reader.moving())
        else:
            pictures = ((picture, None) for picture in reader.pictures())
        for picture, field in pictures:
            shown = picture.time
            first = shown if first is None else first
            following = None if shown is None or first is None else shown - first
            second = following if following is not None and following > second else second + step
            yield TimedFrame(second, reader.rgb(picture), field)
    if second < 0:
        raise VideoError(path, "holds no frame that can be decoded")


def camera_frames(index: int) -> Iterator[TimedFrame]:
    """Yields the frames of a camera until it gives no more. Raises `VideoError` if there is no camera or no picture."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # else OpenCV prints lines if there is no camera
    try:
        camera: Any = cv2.VideoCapture(index)
    finally:
        cv2.utils.logging.setLogLevel(before)
    try:
        if not camera.isOpened():
            raise VideoError(f"camera {index}", "cannot be opened; is one connected, and free?")
        started = None
        while True:
            there, picture = camera.read()
            if not there:
                break
            now = time.monotonic()
            started = now if started is None else started
            yield TimedFrame(now - started, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        if started is None:
            raise VideoError(f"camera {index}", "gives no picture")
    finally:
        camera.release()

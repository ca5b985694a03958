"""Frames one after another, with the time at which each is shown: from a file, or from a camera."""

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
from twostream.data.decoding.pyav_reader import PyAVReader

FRAME_RATE = 25.0  # of a file that tells none


class TimedFrame(NamedTuple):
    """An upright RGB frame, and how long after the first one it is shown."""

    second: float
    rgb: UInt8[np.ndarray, "h w 3"]


def frame_rate(path: str | PathLike[str]) -> float:
    """Frames a second, in the mean, as the file tells; 25 where it tells none. Raises `VideoError` like `probe`."""
    with open_video(path) as container:
        return float(video_stream(container, path).average_rate or FRAME_RATE)


def claimed_seconds(path: str | PathLike[str]) -> float | None:
    """How long the file claims to be; None where it tells nothing. Raises `VideoError` like `probe`."""
    with open_video(path) as container:
        return container.duration / av.time_base if container.duration else None


def timed_frames(path: str | PathLike[str]) -> Iterator[TimedFrame]:
    """All frames of a video in turn, one in memory at a time; PyAV decodes, as it alone knows their times.

    A frame whose time is missing, or not behind that of the frame before, follows it at the file's mean rate.
    Raises `VideoError` for a file that cannot be opened, holds no frame, or, when decoding gets there, is damaged.
    """
    step = 1 / frame_rate(path)
    first, second = None, -step
    with PyAVReader(path) as reader:
        for picture in reader.pictures():
            shown = picture.time
            first = shown if first is None else first
            following = None if shown is None or first is None else shown - first
            second = following if following is not None and following > second else second + step
            yield TimedFrame(second, reader.rgb(picture))
    if second < 0:
        raise VideoError(path, "holds no frame that can be decoded")


def camera_frames(index: int) -> Iterator[TimedFrame]:
    """What a camera sees, until it ends or the user presses Ctrl-C. Raises `VideoError` where there is no camera."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # several lines for a camera that is not there
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

"""Draws the film of a prediction: frames, flow, Grad-CAM and the classes' bars, at the video's own pace."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from twostream.data.transform import Box
from twostream.data.video_writer import Film
from twostream.data.windows import Step, View, Window
from twostream.explain.overlay import full_colour, heat_over, motion_picture
from twostream.options.streams import title_of
from twostream.prediction.canvas import (
    GAP,
    INK,
    PAPER,
    Bar,
    Layout,
    draw_bars,
    draw_picture,
    draw_strip,
    font,
    make_layout,
    shortened,
)
from twostream.prediction.predictor import Observer, Seen, best, near_chance

BARS = 5
MOST_POINTS = 300  # in the plot over time


class Shown(NamedTuple):
    """A frame that waits for the window whose scores are shown beside it."""

    index: int
    second: float
    rgb: UInt8[np.ndarray, "h w 3"]
    motion: Float[np.ndarray, "h w 2"]  # in pixels of the flow's working resolution
    others: Mapping[str, UInt8[np.ndarray, "h w 3"]]  # of other files, by column


class AnnotatedFilm(Observer):
    """Writes the film during the prediction; each frame is shown with the window whose middle is nearest.

    So a frame waits, as a small picture, until the window after its own is full: memory does not grow with the video.
    `duration`: seconds of the video, or None if unknown. `multi`: whether a video may have several labels.
    """

    def __init__(
        self,
        path: Path,
        *,
        title: str,
        classes: Sequence[str],
        view: View,
        maps: Sequence[str],
        duration: float | None,
        multi: bool = False,
    ) -> None:
        self.path = path
        self.title = title
        self.classes = classes
        self.view = view
        self.maps = list(maps)
        self.duration = duration
        self.multi = multi
        self._film: Film | None = None
        self._layout: Layout | None = None
        self._waiting: deque[Shown] = deque()
        self._count = 0
        self._looks: list[tuple[Window, Seen]] = []  # the last two windows
        self._times: list[float] = []
        self._scores: list[np.ndarray] = []
        self._largest: float | None = None  # pixels of motion that get the full colour

    def frame(self, step: Step) -> None:
        height, width = step.rgb.shape[:2]
        if self._layout is None:
            beside = sum(stream.made == "flow" or bool(stream.column) for stream in self.view.streams)
            pictures = 1 + beside + len(self.maps)
            self._layout = make_layout(height, width, pictures)
            wide, high = self._layout.size
            self._film = Film(self.path, height=high, width=wide).__enter__()
        size = (self._layout.width, self._layout.height)
        rgb = cv2.resize(step.rgb, size, interpolation=cv2.INTER_AREA if height > size[1] else cv2.INTER_CUBIC)
        motion = step.motion if step.motion is not None else np.zeros((2, 2, 2), np.float32)
        others = {column: cv2.resize(frame, size) for column, frame in step.others.items()}
        motion = cv2.resize(motion, size) * self.view.flow.cell
        self._waiting.append(Shown(self._count, step.second, rgb, motion, others))
        self._count += 1

    def window(self, window: Window, seen: Seen) -> None:
        self._looks = [*self._looks[-1:], (window, seen)]
        self._times.append(sum(window.seconds) / 2)
        self._scores.append(seen.scores)
        if len(self._looks) == 2:
            between = sum(look.start + look.end for look, _ in self._looks) / 4
            self._write(before=between, look=0)

    def end(self) -> None:
        self._write(before=float("inf"), look=-1)
        if self._film is not None:
            self._film.__exit__(None, None, None)
            self._film = None

    def __enter__(self) -> AnnotatedFilm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._film is not None:  # `end` was not called: the unfinished file is deleted
            self._film.__exit__(kind or InterruptedError, error, trace)

    def _write(self, *, before: float, look: int) -> None:
        """Writes the waiting frames before the index `before`, drawn with one of the last two windows."""
        if not self._waiting or self._film is None:
            return
        window, seen = self._looks[look]
        ready = []
        while self._waiting and self._waiting[0].index < before:
            ready.append(self._waiting.popleft())
        if not ready:
            return
        largest = float(np.median([full_colour(shown.motion) for shown in ready]))  # a cut between scenes counts little
        self._largest = largest if self._largest is None else (self._largest + largest) / 2  # to change colours slowly
        for shown in ready:
            self._film.write(self._draw(shown, window, seen, largest=self._largest), shown.second)

    def _draw(self, shown: Shown, window: Window, seen: Seen, *, largest: float) -> UInt8[np.ndarray, "h w 3"]:
        layout = self._layout
        assert layout is not None
        canvas = Image.new("RGB", layout.size, PAPER)
        pictures = self._pictures(shown, window, seen, largest=largest)
        bars_at = layout.columns - 1  # the first row's end
        for place, (caption, picture) in enumerate(pictures.items()):
            draw_picture(canvas, layout, picture, place=place + (place >= bars_at), caption=caption)
        draw = ImageDraw.Draw(canvas)
        bars = [Bar(k, self.classes[k], float(seen.scores[k])) for k in best(seen.scores, BARS)]
        draw_bars(draw, layout, bars, place=bars_at, heading=self.heading(seen))
        width = layout.size[0]
        draw.text((GAP, 8), shortened(self.title, width - 100, 16), font=font(16), fill=INK)
        draw.text((width - GAP, 8), f"{shown.second:.1f} s", font=font(16), fill=INK, anchor="ra")
        every = 1 + len(self._times) // MOST_POINTS
        scores = np.stack(self._scores[::every])
        end = max(self.duration or 0, shown.second, self._times[-1]) or 1.0
        labels = best(scores.mean(0), BARS)
        draw_strip(draw, layout, times=self._times[::every], scores=scores, labels=labels, now=shown.second, end=end)
        return np.asarray(canvas)

    def heading(self, seen: Seen) -> str:
        """Says above the bars what they are of, and whether the network is not sure there."""
        return "this window: not sure" if not self.multi and near_chance(seen.scores[None]) else "this window"

    def _pictures(self, shown: Shown, window: Window, seen: Seen, *, largest: float) -> dict[str, np.ndarray]:
        """Returns {caption: picture} in the order of the cells."""
        pictures = {"RGB": shown.rgb}
        under = dict.fromkeys((stream.name for stream in self.view.streams), shown.rgb)
        for stream in self.view.streams:
            if stream.column:
                under[stream.name] = pictures[stream.name] = shown.others[stream.column]
            if stream.made == "flow":
                under[stream.name] = motion = motion_picture(shown.motion, largest)
                pictures[f"{stream.name}, full colour: {largest:.1f} pixels a frame"] = motion
        nearest = int(np.abs(window.shown - shown.index).argmin())
        for name in self.maps:
            map_ = seen.maps[name]
            largest = float(map_.max())
            caption = f"Grad-CAM, {title_of(name)}" + ("" if largest > 0 else ": nothing")
            pictures[caption] = in_box(under.get(name, shown.rgb), map_[nearest], largest=largest, box=window.box)
        return pictures


def in_box(picture: np.ndarray, heat: np.ndarray, *, largest: float, box: Box) -> UInt8[np.ndarray, "h w 3"]:
    """Draws a map over the part of the picture that the network saw, and dims the rest."""
    rows, columns = box.pixels(*picture.shape[:2])
    dimmed = picture // 3
    dimmed[rows, columns] = heat_over(np.ascontiguousarray(picture[rows, columns]), heat, largest)
    return dimmed

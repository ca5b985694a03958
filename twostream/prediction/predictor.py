"""Predicts the classes of videos with a trained network, window by window."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from twostream.config.loaded import TrainedRun, load_run
from twostream.config.saved import config_file, errors_name_file
from twostream.config.view import build_view
from twostream.data.decoding import FRAME_RATE, TimedFrame, VideoError, frame_rate
from twostream.data.windows import Step, View, Window, Windows
from twostream.explain import grad_cam, maps_to_explain
from twostream.metrics.multi_label import HALF
from twostream.prediction.showing import AnyPath, check_lengths, files_beside, frames_of, shown_steps

NEAR = 0.1  # of the way from chance to certainty: below it, a prediction counts as none


@dataclass(frozen=True)
class Prediction:
    """What a network says of one video, with w windows and k classes.

    - `seconds`: first and last frame of each window.
    - `scores`: probabilities of the classes in each window.
    - `overall`: probabilities for the whole video, from the windows' mean before softmax, as for the views of a test.
    - `thresholds`: of several labels a video, the probability above which it has a class; None: one label a video.
    """

    video: str
    classes: tuple[str, ...]
    num_frames: int
    seconds: Float32[np.ndarray, "w 2"]
    scores: Float32[np.ndarray, "w k"]
    overall: Float32[np.ndarray, " k"]
    thresholds: Float[np.ndarray, " k"] | None = None

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Returns the most probable classes with their probabilities, the best first."""
        return [(self.classes[k], float(self.overall[k])) for k in best(self.overall, count)]

    def present(self, scores: Float32[np.ndarray, " k"] | None = None) -> list[str]:
        """Returns the classes above their threshold, of several labels: in the whole video, or by a window's scores."""
        assert self.thresholds is not None, "one label a video"
        above = (self.overall if scores is None else scores) > self.thresholds
        return [name for name, is_above in zip(self.classes, above, strict=True) if is_above]

    @property
    def unsure(self) -> bool:
        """Whether the network tells nothing here: `near_chance`. Never of several labels, which thresholds judge."""
        return self.thresholds is None and near_chance(self.scores)


class Seen(NamedTuple):
    """What the network said of a window; `maps`: where in the window it looked, if that was asked for."""

    heads: Float32[np.ndarray, "m k"]
    scores: Float32[np.ndarray, " k"]
    maps: dict[str, Float32[np.ndarray, "t g v"]]  # Grad-CAM for the best class; keys: streams, fused

    @property
    def label(self) -> int:
        """The position of the most probable class."""
        return int(self.scores.argmax())


class Observer(Protocol):
    """Receives all frames of a video, each window when it is full, and the end of the video."""

    def frame(self, step: Step) -> None:
        """Receives a frame, and the motion to it."""

    def window(self, window: Window, seen: Seen) -> None:
        """Receives a full window, and what the network said of it."""

    def end(self) -> None:
        """Is called after the last window."""


class Predictor:
    """Shows videos to the network of a run, with the crop, sampling and flow of its training.

    Raises ValueError for an unknown `device`.
    """

    def __init__(self, run: TrainedRun, *, device: str = "auto") -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device={device!r}: choose from auto, cpu, cuda")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.folder = run.folder
        self.device = torch.device(device)
        self.network: Any = run.system.network.eval().to(self.device)
        self.classes = run.system.classes
        self.multi = run.system.multi
        self.thresholds = run.system.thresholds
        if self.multi and self.thresholds is None:
            self.thresholds = np.full(len(self.classes), HALF)
        with errors_name_file(config_file(run.folder)):
            self.view: View = build_view(run.cfg)
        self.layers = maps_to_explain(self.network)

    def predict(
        self,
        video: AnyPath | int,
        *,
        files: Mapping[str, AnyPath] | None = None,
        window: float | None = None,
        stride: float | None = None,
        limit: float | None = None,
        stop: Callable[[], bool] = lambda: False,
        observers: Sequence[Observer] = (),
    ) -> Prediction:
        """Predicts the classes of a video, or, given a whole number, of what that camera sees, window by window.

        - `files`: {stream: file} of the streams that were columns of data.csv. A network of such a stream alone needs
          none: `video` is that file.
        - `window`, `stride`: seconds (default: as many frames as a clip of training spans, and half of a window).
        - `limit`: seconds after which to stop.
        - `stop`: called after each frame; stops if it returns True.

        Memory does not grow with the video. Raises `VideoError` if the video cannot be read, or if another file of it
        has not as many frames (with a `limit`, fewer than are read) or frames of another shape, ValueError for lengths
        that make no windows, and for a file that is missing.
        """
        for key, seconds in (("window", window), ("stride", stride), ("limit", limit)):
            if seconds is not None and not 0 < seconds < inf:
                raise ValueError(f"{key}={seconds!r}: must be a positive number of seconds")
        name = f"camera {video}" if isinstance(video, int) else str(video)
        length, step = self.window_frames(video, window, stride)
        collector = Windows(self.view, length=length, stride=step)
        looks: list[tuple[Window, Seen]] = []
        others = files_beside(self.view, files or {}, str(self.folder))
        if limit is None and not isinstance(video, int):
            check_lengths(video, others)
        try:
            with closing(until(frames_of(video, self.view), limit, stop)) as frames:
                for full in self._windows(frames, collector, observers, others, name):
                    seen = self.look(full, explain=bool(observers))
                    if not np.isfinite(seen.heads).all():
                        raise VideoError(name, f"the scores of {self.folder} are not finite numbers: they say nothing")
                    looks.append((full._replace(streams=()), seen._replace(maps={})))
                    for observer in observers:
                        observer.window(full, seen)
        except ValueError as error:  # frames that are too small for the flow
            raise VideoError(name, str(error)) from None
        for observer in observers:
            observer.end()
        return self.summary(name, collector.count, looks)

    def _windows(
        self,
        frames: Iterator[TimedFrame],
        collector: Windows,
        observers: Sequence[Observer],
        files: Mapping[str, AnyPath],
        video: str,
    ) -> Iterator[Window]:
        """Yields the windows of the frames, each as soon as it is full; shows every frame to the observers."""
        for one in shown_steps(frames, self.view, files, video=video):
            for observer in observers:
                observer.frame(one)
            if (window := collector.add(one)) is not None:
                yield window
        if (window := collector.finish()) is not None:
            yield window

    def window_frames(self, video: AnyPath | int, window: float | None, stride: float | None) -> tuple[int, int]:
        """Returns the length and stride of windows in frames, from seconds.

        Raises ValueError if the stride is longer than the window.
        """
        rate = FRAME_RATE if isinstance(video, int) else frame_rate(video)
        length = self.view.length if window is None else max(1, round(window * rate))
        step = max(1, length // 2) if stride is None else max(1, round(stride * rate))
        if step > length:
            raise ValueError(f"stride={stride!r}: leaves gaps; at most the window, {length / rate:.3g} seconds")
        return length, step

    def look(self, window: Window, *, explain: bool = False) -> Seen:
        """Returns what the network says of one window; with `explain` also the Grad-CAM maps."""
        streams = [torch.from_numpy(x)[None].to(self.device) for x in window.streams]
        if explain:
            heads, maps = grad_cam(self.network, self.layers, streams)
        else:
            with torch.inference_mode():
                heads, maps = self.network(*streams), {}
        said = array(heads[:, 0])
        return Seen(said, self.probabilities(said), {name: array(map_[0]) for name, map_ in maps.items()})

    def probabilities(self, heads: Float32[np.ndarray, "m k"]) -> Float32[np.ndarray, " k"]:
        """Returns the probabilities of the classes, from the scores of the heads."""
        with torch.inference_mode():
            combined = self.network.combine(torch.from_numpy(heads)[:, None].to(self.device))
        scores = combined[0].float()
        return array(scores.sigmoid() if self.multi else scores.softmax(0))

    def summary(self, name: str, num_frames: int, looks: Sequence[tuple[Window, Seen]]) -> Prediction:
        """Puts the windows together into one prediction."""
        heads = np.stack([seen.heads for _, seen in looks]).mean(0)
        return Prediction(
            video=name,
            classes=self.classes,
            num_frames=num_frames,
            seconds=np.array([window.seconds for window, _ in looks], np.float32),
            scores=np.stack([seen.scores for _, seen in looks]),
            overall=self.probabilities(heads),
            thresholds=self.thresholds,
        )


def load(run_dir: AnyPath, *, device: str = "auto", trust: Sequence[str] = ()) -> Predictor:
    """Loads the network of a run folder, or of the Hub ("hf://OWNER/NAME"), to be shown videos.

    `trust`: packages of your own whose code the run may name. Raises ValueError like `twostream.config.loaded.load_run`
    and `twostream.export.hub.download_run`.
    """
    if str(run_dir).startswith("hf://"):
        from twostream.export.hub import download_run  # the exporters are not needed for a folder

        run_dir = download_run(str(run_dir), trust=trust)
    return Predictor(load_run(str(run_dir), trust=trust), device=device)


def until(
    frames: Iterator[TimedFrame], limit: float | None, stop: Callable[[], bool]
) -> Generator[TimedFrame, None, None]:
    """Yields the frames of the first `limit` seconds, or fewer if `stop` returns True; at least one."""
    with closing(frames):  # type: ignore[type-var]
        for frame in frames:
            if limit is not None and frame.second > limit:
                return
            yield frame
            if stop():
                return


def best(scores: Float32[np.ndarray, " k"], count: int) -> list[int]:
    """Returns the positions of the highest scores, the highest first.

    >>> best(np.float32([0.2, 0.5, 0.3]), 2)
    [1, 2]
    """
    return np.argsort(-scores, kind="stable")[:count].tolist()


def near_chance(scores: Float32[np.ndarray, "w k"]) -> bool:
    """Whether no class in any of the w windows is clearly above chance: by a tenth of the way from 1/k to 1.

    Of 2 classes the best has to be below 0.55 throughout, of 16 below 0.156, of 101 below 0.109.

    >>> near_chance(np.float32([[0.5, 0.5], [0.54, 0.46]])), near_chance(np.float32([[0.5, 0.5], [0.56, 0.44]]))
    (True, False)
    """
    chance = 1 / scores.shape[1]
    return float(scores.max()) < chance + NEAR * (1 - chance)


def array(x: Tensor) -> np.ndarray:
    return x.detach().float().cpu().numpy()

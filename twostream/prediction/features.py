"""Reads a network at one layer while it is shown a video: a vector for each window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from twostream.config.features import Recipe, open_recipe
from twostream.data.decoding import VideoError
from twostream.data.flow import OpticalFlow
from twostream.data.windows import Step, View, Window, Windows
from twostream.models.network.reading import read
from twostream.prediction.showing import AnyPath, check_lengths, files_beside, flow_of, frames_of, shown_steps


class Grid(NamedTuple):
    """Which frames the rows show, in frames of the video.

    - `padding` none: row i shows frames i·stride … i·stride + window - 1. A row that would reach beyond the last frame
      is left out; a video shorter than a window has one row, of all of its frames.
    - `padding` centre: row i shows as many, with frame i·stride in place window // 2; beyond both ends of the video its
      first and its last frame repeat, without motion. There is a row for each i·stride that is a frame of the video.
    """

    window: int
    stride: int
    padding: str = "none"

    @property
    def before(self) -> int:
        """How many frames of the first row lie before the video."""
        return self.window // 2 if self.padding == "centre" else 0

    @property
    def after(self) -> int:
        """How many frames of the last row lie behind the video, if its middle is the last frame."""
        return self.window - 1 - self.before if self.padding == "centre" else 0


class Row(NamedTuple):
    """The vector of a window, and what the window shows: of the video's frames, counted from 0.

    - `frames`, `seconds`: the first and the last one in it. `shown`: the middle one of each chunk that the network saw.
    """

    vector: Float32[np.ndarray, " d"]
    frames: tuple[int, int]
    seconds: tuple[float, float]
    shown: tuple[int, ...]


class Reader:
    """Shows videos to a network, and reads it at a layer out of `twostream.models.network.reading.readable`."""

    def __init__(self, network: nn.Module, view: View, layer: str, *, device: torch.device) -> None:
        self.network = network.eval().to(device)
        self.view = view
        self.layer = layer
        self.device = device

    def rows(self, video: AnyPath, grid: Grid, files: Mapping[str, AnyPath]) -> Iterator[Row]:
        """Yields the rows of a video as soon as they are full; keeps the frames of one window.

        `files`: {column: file} of streams that are columns of data.csv. Raises `VideoError` if the video cannot be
        read, or is too small for the flow; ValueError for a file that is missing.
        """
        others = files_beside(self.view, files, "the network")
        check_lengths(video, others)
        collector = Windows(self.view, length=grid.window, stride=grid.stride)
        count = 0  # frames of the video so far

        def counted(steps: Iterator[Step]) -> Iterator[Step]:
            nonlocal count
            for count, one in enumerate(steps, 1):  # noqa: B007
                yield one

        try:
            with closing(frames_of(video, self.view)) as frames:  # type: ignore[type-var]
                steps = counted(shown_steps(frames, self.view, others, video=str(video)))
                row = None
                for one in with_ends(steps, grid, flow_of(self.view)):
                    if (window := collector.add(one)) is not None:
                        yield (row := self.row(window, grid.before, count))
                if row is None and (window := collector.finish()) is not None:
                    yield self.row(window, grid.before, count)
        except ValueError as error:  # frames that are too small for the flow
            raise VideoError(video, str(error)) from None

    def row(self, window: Window, before: int, count: int) -> Row:
        """Returns the row of a window of a video with `count` frames so far, which `before` copies precede."""
        first, last, *shown = np.clip(np.array([window.start, window.end - 1, *window.shown]) - before, 0, count - 1)
        return Row(self.vector(window), (int(first), int(last)), window.seconds, tuple(map(int, shown)))

    @torch.inference_mode()
    def vector(self, window: Window) -> Float32[np.ndarray, " d"]:
        """Returns what the network's parts say of a window, one after the other. Raises ValueError if not finite."""
        streams = [torch.from_numpy(x)[None].to(self.device) for x in window.streams]
        vectors = read(self.network, self.layer, streams)
        vector = torch.cat(list(vectors.values()), 1)[0].float().cpu().numpy()
        if not np.isfinite(vector).all():
            raise ValueError(f"layer {self.layer}: its numbers are not finite: they say nothing")
        return vector


@lru_cache(maxsize=1)  # a process opens its network once, although a cluster sends it the task anew with each video
def reader_of(recipe: Recipe, device: str, weights: str) -> Reader:
    """Returns a reader on a device. Raises ValueError if its weights are not those with this fingerprint."""
    opened = open_recipe(recipe)
    if opened.settings["weights"] != weights:
        raise ValueError(f"{recipe.origin}: its weights have changed since this command began; begin it again")
    return Reader(opened.network, opened.view, recipe.layer, device=torch.device(device))


def with_ends(steps: Iterator[Step], grid: Grid, flow: OpticalFlow | None) -> Iterator[Step]:
    """Yields the steps, with copies of the first and of the last where a grid needs frames beyond the video's ends."""
    last = still = None
    for one in steps:
        yield one
        if last is None and (grid.before or grid.after):
            still = None if flow is None else np.zeros((*flow.working_size(*one.rgb.shape[:2]), 2), np.float32)
            for _ in range(grid.before):
                yield one._replace(motion=still)
        last = one
    if last is not None:
        for _ in range(grid.after):
            yield last._replace(motion=still)

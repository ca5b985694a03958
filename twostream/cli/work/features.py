"""Writes features of videos."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from twostream.config.features import Opened, Recipe, open_recipe
from twostream.data.sources import Video
from twostream.data.storage.extract import fill
from twostream.data.tasks import available_cores
from twostream.files.errors import checked, say
from twostream.prediction.feature_files import StoreFeatures
from twostream.prediction.features import Grid, reader_of
from twostream.prediction.showing import files_beside


def write_features(recipe: Recipe, videos: Sequence[Video], options: argparse.Namespace) -> bool:
    """Writes the features of videos with the options of `twostream features`; returns whether all are there then."""
    with checked():
        opened = open_recipe(recipe)
        for video in videos:
            files_beside(opened.view, video.files, recipe.origin)
        grid = grid_of(opened, options)
        device = options.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        reader = partial(reader_of, recipe, device, opened.settings["weights"])
        chunks = opened.view.sampling.fixed(grid.window, opened.view.span)[0].tolist()
        settings: dict[str, Any] = {"axes": options.axes, "format": options.format, "chunks": chunks, **opened.settings}
        task = StoreFeatures(options.out, reader, grid, settings=settings, facts={"from": recipe.origin})
        options.out.mkdir(parents=True, exist_ok=True)
    streams = [stream.name for stream in opened.view.streams]
    parts = [(part.partition(".")[0], end - start) for part, (start, end) in settings["columns"].items()]
    columns = ", ".join(f"{part if part in streams else recipe.layer} {width}" for part, width in parts)
    say(f"layer {recipe.layer}: columns {columns}; windows of {grid.window} frames, one every {grid.stride}")
    one_is_enough = device != "cpu" or opened.view.flow.on_gpu
    workers = options.workers or (1 if one_is_enough else min(available_cores(), len(videos)))
    return fill(task, videos, workers=workers, engine=options.engine, address=options.address)


def grid_of(opened: Opened, options: argparse.Namespace) -> Grid:
    """Returns which frames the rows show: by default windows as long as a training clip, half a window apart.

    Raises ValueError for a stride that leaves gaps.
    """
    window = options.window or opened.view.length
    stride = options.stride or max(1, window // 2)
    if stride > window:
        raise ValueError(f"--stride {stride}: leaves gaps; at most the window, {window} frames")
    return Grid(window, stride, options.padding)

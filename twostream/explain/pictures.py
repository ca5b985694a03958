"""Saves what goes on inside a network as PNG files: Grad-CAM, filters, fusion weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from twostream.explain.overlay import heat_over
from twostream.explain.weights import Shares, Taps
from twostream.metrics.plots import plain_text, save_figure
from twostream.options.streams import Stream, title_of

FIRST, SECOND, FUSED = "C0", "C1", "C2"  # colours
MOST_FILTERS = 48  # of the flow stream in one picture


class Column(NamedTuple):
    """What a network saw at one time, and where it looked."""

    title: str
    pictures: Mapping[str, UInt8[np.ndarray, "h w 3"]]  # of each stream
    maps: Mapping[str, Float[np.ndarray, "g v"]]
    largest: Mapping[str, float]  # the maps' largest values in the whole clip, so that a colour has one meaning


def column_rows(column: Column) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Returns {caption: picture} of a column: each stream, and each map over the stream that it is of."""
    rows = {title_of(name): picture for name, picture in column.pictures.items()}
    for name, heat in column.maps.items():
        under = column.pictures.get(name, next(iter(column.pictures.values())))  # the fused map: over the first stream
        rows[caption_of(name)] = heat_over(under, heat, column.largest[name])
    return rows


def caption_of(name: str) -> str:
    """Names a row of Grad-CAM."""
    return f"evidence in\n{'both, fused' if name == 'fused' else title_of(name)}\n(Grad-CAM)"


def draw_columns(axes: np.ndarray, columns: Sequence[Column]) -> None:
    """Draws columns into a grid of axes."""
    for place, column in enumerate(columns):
        nothing = [caption_of(name) for name in column.maps if not column.largest[name] > 0]
        for axis, (caption, picture) in zip(axes[:, place], column_rows(column).items(), strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            if caption in nothing:
                axis.text(0.5, 0.5, "nothing", transform=axis.transAxes, ha="center", color="C3", fontsize=9)
            if place == 0:
                axis.set_ylabel(caption, rotation=0, ha="right", va="center", fontsize=9)
        axes[0, place].set_title(column.title, fontsize=9)


def save_columns(columns: Sequence[Column], path: Path, *, title: str) -> None:
    """Draws the chunks of a clip side by side: its streams, Grad-CAM."""
    rows = len(column_rows(columns[0]))
    figure = Figure(figsize=(max(5.0, 1.2 + 1.6 * len(columns)), 0.6 + 1.6 * rows), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    draw_columns(axes, columns)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


def save_filters(stream: Stream, weight: Float[Tensor, "d c h w"], path: Path, *, start: str) -> None:
    """Draws the filters that read the frames of a stream; of a stack of pictures, those that read the middle one.

    `start`: what they were before training, in words.
    """
    if stream.made == "flow":
        save_flow_filters(stream.name, weight, path, start=start)
        return
    if stream.length:
        weight = weight.unflatten(1, (stream.length, 3))[:, stream.length // 2]
    save_picture_filters(stream.name, weight.expand(-1, 3, -1, -1), path, start=start)


def save_picture_filters(stream: str, weight: Float[Tensor, "d 3 h w"], path: Path, *, start: str) -> None:
    """Draws every filter as a small colour picture, the strongest first.

    Zero is grey, and each filter has full contrast.
    """
    weight = strongest_first(weight)
    columns = min(len(weight), 16)
    tiles = 0.5 + 0.5 * weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
    picture = mosaic(tiles.permute(0, 2, 3, 1), columns=columns)
    figure = Figure(figsize=figure_size(picture, width=8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    axes.set_axis_off()
    figure.suptitle(filters_title(stream, len(weight), len(weight), start), fontsize=10)
    save_figure(figure, path)


def filters_title(stream: str, shown: int, count: int, start: str) -> str:
    """Says of filters what they are, how many of them are shown, and what they were before training.

    >>> filters_title("rgb", 48, 96, "random values").splitlines()
    ['Filters that read RGB: 48 of 96, the strongest first', 'before training: random values']
    """
    number = f"{shown} of {count}" if shown < count else f"all {count}"
    return plain_text(f"Filters that read {title_of(stream)}: {number}, the strongest first") + before(start)


def before(start: str) -> str:
    """Says below a title what a layer was before training; "" if that is not known."""
    return f"\nbefore training: {plain_text(start)}" if start else ""


def save_flow_filters(stream: str, weight: Float[Tensor, "d c h w"], path: Path, *, start: str) -> None:
    """Draws the strongest filters over their L fields, the strongest first.

    Each filter has a row, with horizontal motion at the left and vertical at the right; red is positive.
    """
    strongest = strongest_first(weight)[:MOST_FILTERS]
    length = weight.shape[1] // 2
    pairs = strongest / strongest.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
    blocks = 2 if len(strongest) > 12 else 1
    per_block = -(-len(strongest) // blocks)
    side = 0.28 if length >= 8 else 0.36
    figure = Figure(
        figsize=(blocks * 2 * length * side + 1.2, max(2.2, per_block * side * 0.92 + 0.8)), layout="constrained"
    )
    axes = figure.subplots(1, 2 * blocks, squeeze=False)[0]
    image: Any = None
    for place, axis in enumerate(axes):
        rows = pairs[place // 2 * per_block : (place // 2 + 1) * per_block, place % 2 :: 2]
        image = axis.imshow(
            mosaic(rows.flatten(0, 1), columns=length, gap=float("nan")), cmap="RdBu_r", vmin=-1, vmax=1
        )
        axis.set_axis_off()
        axis.set_title(f"{('horizontal', 'vertical')[place % 2]} motion,\nfields 1 to {length}", fontsize=9)
    figure.colorbar(image, ax=list(axes), shrink=0.6, label="weight / the filter's largest")
    figure.suptitle(filters_title(stream, len(strongest), len(weight), start), fontsize=10)
    save_figure(figure, path)


def save_fusion(name: str, found: Shares, path: Path, *, streams: Sequence[str]) -> None:
    """Draws the size of each fusion weight, first stream at the left, and its share of each output."""
    order = torch.argsort(found.shares[:, 0], descending=True)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    matrix, shares = figure.subplots(1, 2, width_ratios=(3, 2))
    largest = float(found.weight.max()) or 1.0
    values = found.weight.clamp_min(largest / 1000).numpy()  # it starts as identities: other weights are far smaller
    scale = LogNorm(largest / 1000, largest)
    image = matrix.imshow(values, cmap="magma", aspect="auto", norm=scale, interpolation="nearest")
    first, second = map(title_of, streams)
    matrix.axvline(found.first_channels - 0.5, color="white", linewidth=1)
    matrix.set(xlabel=f"input channel: {first} | {second}", ylabel="output channel")
    matrix.set_title("size of each weight", fontsize=10)
    figure.suptitle(f"How the layer {plain_text(name)} mixes {first} and {second}{before(found.start)}", fontsize=10)
    figure.colorbar(image, ax=matrix, shrink=0.8)
    share = found.shares[order, 0].numpy()
    places = np.arange(len(share))
    shares.fill_between(places, 0, share, color=FIRST, step="mid", label=first, linewidth=0)
    shares.fill_between(places, share, 1, color=SECOND, step="mid", label=second, linewidth=0)
    shares.axhline(0.5, color="white", linewidth=1, linestyle="--")
    shares.set(xlabel="output channels, sorted", ylabel="share of the filter's norm", ylim=(0, 1))
    average = f"{first} {share.mean():.2f}, {second} {1 - share.mean():.2f} on average"
    shares.set_xlim(0, max(1, len(share) - 1))
    shares.set_title(average, fontsize=10)
    shares.legend(loc="lower left", framealpha=0.9)
    save_figure(figure, path)


def save_taps(taps: Mapping[str, Taps], path: Path, *, streams: Sequence[str]) -> None:
    """Draws how strong 3-D filters are at each of their times."""
    figure = Figure(figsize=(max(5.5, 1.2 + 3.4 * len(taps)), 3.8), layout="constrained")
    starts = dict.fromkeys(found.start for found in taps.values())
    figure.suptitle(f"How strong the filters over time are at each time{before('; '.join(starts))}", fontsize=10)
    for axis, (name, found) in zip(figure.subplots(1, len(taps), squeeze=False)[0], taps.items(), strict=True):
        times = np.arange(found.norms.shape[1]) - found.norms.shape[1] // 2
        width = 0.8 / len(found.streams)
        for place, (stream, norms) in enumerate(zip(found.streams, found.norms, strict=True)):
            shift = (place - (len(found.streams) - 1) / 2) * width
            colour = FUSED if stream == "fused" else (FIRST, SECOND)[streams.index(stream)]
            axis.bar(times + shift, norms.numpy(), width, label=title_of(stream), color=colour)
        axis.set(xlabel="chunk before, same, after", ylabel="norm of the filter")
        axis.set_title(plain_text(name), fontsize=10)
        axis.set_xticks(times, [f"{t:+d}" if t else "0" for t in times])
        axis.grid(alpha=0.3, axis="y")
        axis.set_ylim(0, 1.25 * float(found.norms.max()) or 1.0)  # room for the legend
        axis.legend(frameon=False, ncols=len(found.streams), loc="upper center")
    save_figure(figure, path)


def strongest_first(weight: Float[Tensor, "d c h w"]) -> Float[Tensor, "d c h w"]:
    return weight[torch.argsort(weight.flatten(1).norm(dim=1), descending=True)].cpu()


def mosaic(tiles: Tensor, *, columns: int, gap: float = 1.0) -> np.ndarray:
    """Puts tiles (n, h, w) or (n, h, w, 3) into rows of `columns`, with a line between them.

    >>> mosaic(torch.zeros(2, 1, 1), columns=2).tolist()
    [[0.0, 1.0, 0.0]]
    """
    rows = -(-len(tiles) // columns)
    h, w = tiles.shape[1:3]
    picture = np.full((rows * (h + 1) - 1, columns * (w + 1) - 1, *tiles.shape[3:]), gap, np.float32)
    for place, tile in enumerate(tiles.numpy()):
        top, left = place // columns * (h + 1), place % columns * (w + 1)
        picture[top : top + h, left : left + w] = tile
    return picture


def figure_size(picture: np.ndarray, *, width: float) -> tuple[float, float]:
    return width, width * picture.shape[0] / picture.shape[1] + 0.4

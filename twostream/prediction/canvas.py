"""Draws pictures, text and bars on one canvas: a frame of a film."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from twostream.files.errors import printable

HEIGHT, LEAST_WIDTH, MOST_WIDTH = 240, 240, 480  # of a picture, in pixels
CAPTION, GAP, STRIP, HEAD = 24, 8, 110, 34
PAPER, INK, FAINT = (20, 20, 22), (235, 235, 235), (150, 150, 155)
COLOURS = (
    (86, 160, 215), (255, 150, 60), (95, 195, 95), (235, 95, 95), (170, 130, 215),
    (165, 115, 100), (235, 140, 205), (160, 160, 160), (205, 205, 75), (60, 200, 215),
)  # fmt: skip


class Bar(NamedTuple):
    """A class and its probability."""

    label: int
    name: str
    score: float


class Layout(NamedTuple):
    """A grid of cells with `columns` and `rows`; a cell has a picture of `width` × `height` pixels below a caption."""

    width: int
    height: int
    columns: int
    rows: int

    @property
    def cell(self) -> int:
        return max(self.width, LEAST_WIDTH)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the canvas in pixels; even, as H.264 needs."""
        width = GAP + self.columns * (self.cell + GAP)
        height = HEAD + self.rows * (self.height + CAPTION + GAP) + STRIP + GAP
        return width + width % 2, height + height % 2

    def corner(self, place: int) -> tuple[int, int]:
        """Returns left and top of a cell."""
        row, column = divmod(place, self.columns)
        return GAP + column * (self.cell + GAP), HEAD + row * (self.height + CAPTION + GAP)


def make_layout(height: int, width: int, pictures: int) -> Layout:
    """Returns the layout for frames of a size, with one cell more than `pictures`, for the bars.

    A picture is never larger than MOST_WIDTH × HEIGHT.
    """
    scale = min(HEIGHT / height, MOST_WIDTH / width)
    columns = 3 if pictures > 3 else 2
    rows = -(-(pictures + 1) // columns)
    return Layout(max(2, round(width * scale)), max(2, round(height * scale)), columns, rows)


def draw_bars(draw: ImageDraw.ImageDraw, layout: Layout, bars: Sequence[Bar], *, place: int, heading: str) -> None:
    """Draws classes with bars as long as their probabilities, in the order given, below a heading."""
    left, top = layout.corner(place)
    draw.text((left, top + 4), heading, font=font(13), fill=FAINT)
    step = min(46, (layout.height - 4) // max(1, len(bars)))
    for row, bar in enumerate(bars):
        y = top + CAPTION + 4 + row * step
        draw.text((left, y), shortened(bar.name, layout.cell - 44), font=font(14), fill=INK)
        draw.text((left + layout.cell, y), f"{bar.score:.2f}", font=font(14), fill=INK, anchor="ra")
        line = (left, y + 20, left + layout.cell, y + 27)
        draw.rectangle(line, fill=(48, 48, 52))
        draw.rectangle((left, y + 20, left + round(bar.score * layout.cell), y + 27), fill=colour_of(bar.label))


def draw_picture(
    canvas: Image.Image, layout: Layout, picture: UInt8[np.ndarray, "h w 3"], *, place: int, caption: str
) -> None:
    """Draws a picture in the middle of its cell, below its caption."""
    left, top = layout.corner(place)
    ImageDraw.Draw(canvas).text((left, top + 4), caption, font=font(13), fill=FAINT)
    canvas.paste(Image.fromarray(picture), (left + (layout.cell - layout.width) // 2, top + CAPTION))


def draw_strip(
    draw: ImageDraw.ImageDraw,
    layout: Layout,
    *,
    times: Sequence[float],
    scores: np.ndarray,
    labels: Sequence[int],
    now: float,
    end: float,
) -> None:
    """Draws the probabilities of the classes `labels` over time, from 0 to `end` seconds, as far as they are known.

    A vertical line marks the second `now` of the film. Shapes: `times` (w,), `scores` (w, k).
    """
    right, bottom = layout.size[0] - GAP, layout.size[1] - 2 * GAP - 10
    left, top = GAP + 26, bottom - STRIP + CAPTION

    def at(second: float, score: float) -> tuple[float, float]:
        return left + (right - left) * min(1.0, second / end), bottom - (bottom - top) * score

    for level in (0.0, 0.5, 1.0):
        draw.line([at(0, level), at(end, level)], fill=(50, 50, 54))
        draw.text((left - 5, at(0, level)[1]), f"{level:g}", font=font(11), fill=FAINT, anchor="rm")
    draw.text((right, bottom + 4), f"{end:.1f} s", font=font(11), fill=FAINT, anchor="ra")
    draw.text((left, bottom + 4), "0 s", font=font(11), fill=FAINT)
    for label in labels:
        points = [at(second, score) for second, score in zip(times, scores[:, label], strict=True)]
        if len(points) > 1:
            draw.line(points, fill=colour_of(label), width=2)
        for x, y in points:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour_of(label))
    x, _ = at(now, 0)
    draw.line([(x, top), (x, bottom)], fill=INK)


def colour_of(label: int) -> tuple[int, int, int]:
    """Returns the colour of a class, the same in every frame."""
    return COLOURS[label % len(COLOURS)]


def colours_of(labels: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """Returns a colour for each class that is shown: its own, or if another one has it, one that none has yet.

    >>> [COLOURS.index(colour) for colour in colours_of([12, 2, 3]).values()]
    [2, 0, 3]
    """
    found: dict[int, tuple[int, int, int]] = {}
    for label in labels:
        free = [colour for colour in COLOURS if colour not in found.values()]
        found[label] = colour_of(label) if colour_of(label) in free or not free else free[0]
    return found


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Returns the font that comes with matplotlib, which has most letters."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def shortened(text: str, width: int, size: int = 14) -> str:
    """Cuts a text off so that it fits into `width` pixels."""
    text = printable(text[:1000])
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"

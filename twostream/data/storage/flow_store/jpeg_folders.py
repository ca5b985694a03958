"""Imports flow that other tools have written as folders of JPEGs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from jaxtyping import Int8, UInt8

from twostream.data.decoding import count_frames, probe
from twostream.data.flow import OpticalFlow
from twostream.data.picture import decode_picture
from twostream.data.sources import Video
from twostream.data.storage.flow_store.recording import Recording

# for each tool: the number of the first field, and the names of the files of both components
NAMINGS = {
    "denseflow": (0, re.compile(r"flow_([xy])_(\d+)\.jpe?g")),
    "tsn": (1, re.compile(r"(?:flow_)?([xy])_(\d+)\.jpe?g")),
}


def levels_of(grey: UInt8[np.ndarray, "*any"]) -> Int8[np.ndarray, "*any"]:
    """Converts other tools' grey values v to our levels: round(127 / bound · displacement).

    A grey value stands for the displacement (v / 255 · 2 - 1) · bound. No motion lies between 127 and 128, and both
    become level 0.

    >>> levels_of(np.uint8([0, 64, 127, 128, 255]))
    array([-127,  -63,    0,    0,  127], dtype=int8)
    """
    return np.rint(127 * (np.arange(256) * 2 / 255 - 1)).astype(np.int8)[grey]


class FromJPEGs:
    """Recorder that reads fields from DIR/<class>/<clip>/ or DIR/<clip>/.

    The files of x are named `flow_x_00000.jpg` … (denseflow), or `flow_x_00001.jpg` … or `x_00001.jpg` … (TSN); those
    of y likewise. Field i has to be the motion from frame i to frame i+1, clipped to the configured bound at the
    configured short side. The folder does not say how it was made, so the user has to know. There has to be a field
    for each pair of adjacent frames; one more, as some tools write, is ignored.

    Raises ValueError for an unknown naming or folder. Reading a video raises ValueError if its folder has gaps or
    another number of files, or pictures of another size.
    """

    def __init__(self, folder: Path, naming: str, flow: OpticalFlow, decoder: str) -> None:
        if naming not in NAMINGS:
            raise ValueError(f"naming={naming!r}: choose from {', '.join(NAMINGS)}")
        if not folder.is_dir():
            raise ValueError(f"from-jpegs={str(folder)!r}: no such folder")
        self.folder = folder
        self.naming = naming
        self.flow = flow
        self.decoder = decoder

    def __call__(self, video: Video) -> Recording:
        clip = self._clip_folder(video)
        files = self._files(clip)
        needed = count_frames(video.path, decoder=self.decoder) - 1
        if not needed <= len(files) <= needed + 1:
            raise ValueError(f"{clip}: holds {len(files)} fields, but {video.path} has {needed + 1} frames")
        facts = probe(video.path)
        expected = self.flow.working_size(facts.height, facts.width)
        fields = self._fields(files[:needed], min(expected))
        return Recording((facts.height, facts.width), expected, fields)

    def _clip_folder(self, video: Video) -> Path:
        name = PurePosixPath(video.id).with_suffix("")
        places = [self.folder / name, self.folder / name.name]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise ValueError(f"{video.id}: no folder {' nor '.join(map(str, dict.fromkeys(places)))}")
        return found

    def _files(self, clip: Path) -> list[tuple[Path, Path]]:
        """Returns the x and y file of each field, in order."""
        first, pattern = NAMINGS[self.naming]
        numbered: dict[str, dict[int, Path]] = {"x": {}, "y": {}}
        with os.scandir(clip) as entries:
            for entry in entries:
                if match := pattern.fullmatch(entry.name):
                    numbered[match[1]][int(match[2])] = Path(entry.path)
        last = first + max(map(len, numbered.values()))
        for axis, files in numbered.items():
            if missing := [number for number in range(first, last) if number not in files]:
                raise ValueError(f"{clip}: no {axis} file with number {missing[0]} ({self.naming} counts from {first})")
        return [(numbered["x"][number], numbered["y"][number]) for number in range(first, last)]

    def _fields(self, files: list[tuple[Path, Path]], short_side: int) -> Iterator[Int8[np.ndarray, "h w 2"]]:
        size = None
        for pair in files:
            pictures = [_read_grey(path) for path in pair]
            for path, picture in zip(pair, pictures, strict=True):
                if picture.shape != (size := size or picture.shape) or min(size) != short_side:
                    shape = "x".join(map(str, picture.shape))
                    raise ValueError(
                        f"{path}: is {shape} (the first of the clip {'x'.join(map(str, size))}), but flow.short_side="
                        f"{self.flow.short_side!r} means a short side of {short_side}"
                    )
            yield levels_of(np.stack(pictures, axis=-1))  # type: ignore[arg-type]


def _read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    try:
        return decode_picture(path.read_bytes(), cv2.IMREAD_GRAYSCALE)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: is no picture that can be read ({error})") from None

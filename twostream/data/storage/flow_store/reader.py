"""Reads fields from a flow store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Int8

from twostream.data.flow import OpticalFlow
from twostream.data.picture import JPEG_START, picture_size
from twostream.data.provenance import FACTS, decoding_change, source_change
from twostream.data.sources import Video
from twostream.data.storage.absent import FlowStoreError, check_present
from twostream.data.storage.container import Container, ContainerError
from twostream.data.storage.flow_store.encodings import SEAM, decode_halves
from twostream.data.storage.flow_store.manifest import check_version, clip_path, read_manifest

HEADER = {"!source": FACTS}
# raise it when the same stored fields make other clips than before
READING = 2  # version 1 (not recorded) cropped displacements, not levels: other where rounding is a tie, by one level


class FlowStore:
    """Reads the fields of the store at `root`, which has to be made with the settings of `flow`.

    `levels` gives what `flow.fields` would compute, in grey levels and up to the encoding's loss. Raises
    `FlowStoreError`, with both values, if the store was made with another algorithm, other parameters or another bound,
    or if a video has changed since; `ContainerError` for a damaged file.
    """

    def __init__(self, root: str | Path, flow: OpticalFlow) -> None:
        self.root = Path(root).expanduser()
        manifest = read_manifest(self.root)
        wanted = flow.settings()
        check_version(self.root, manifest, wanted)
        for key in sorted({*wanted, *manifest["flow"]} - {"version"}):
            stored = manifest["flow"].get(key)
            if stored != wanted.get(key):
                raise FlowStoreError(
                    f"flow.store={str(root)!r}: made with {key}={stored!r}, wanted is {key}={wanted.get(key)!r}; "
                    "choose the flow options of the store, or make another store"
                )
        self._last: tuple[Video, Container] | None = None
        self._same: set[Video] = set()  # videos whose files were found to be those that the flow was made from

    def levels(
        self, video: Video, pairs: Sequence[tuple[int, int]] | Int[np.ndarray, "n 2"]
    ) -> Int8[np.ndarray, "n 2 h w"]:
        """Returns u and v of each frame pair (i, i+1) as grey levels around zero, and zeros for (i, i).

        Raises ValueError for other pairs.
        """
        clip = self._container(video)
        levels = np.empty((len(pairs), 2, *clip.header["field"]), np.uint8)
        for planes, (i, j) in zip(levels, np.asarray(pairs).tolist(), strict=True):
            _check_pair(clip, i, j)
            if i == j:
                planes[:] = 0
                continue
            for half, plane in zip(_halves(clip, i), planes, strict=True):
                np.bitwise_xor(half, 128, out=plane)  # 1 … 255 -> -127 … 127
        return levels.view(np.int8)

    def jpegs(
        self, video: Video, pairs: Sequence[tuple[int, int]] | Int[np.ndarray, "n 2"]
    ) -> tuple[list[bytes], tuple[int, int]]:
        """Returns the fields of frame pairs (i, i+1) as they are stored, and their height and width.

        Raises ValueError for other pairs, ContainerError for what is no JPEG of such a field.
        """
        clip = self._container(video)
        blobs = []
        for i, j in np.asarray(pairs).tolist():
            _check_pair(clip, i, j)
            blobs.append(_jpeg(clip, i))
        height, width = clip.header["field"]
        return blobs, (height, width)

    def identity(self) -> str:
        """Returns a text that differs for stores of other settings, and where fields are read by another version."""
        return json.dumps({**read_manifest(self.root), "reading": READING}, sort_keys=True)

    def frame_size(self, video: Video) -> tuple[int, int]:
        """Returns height and width of the video's frames."""
        height, width = self._container(video).header["frame"]
        return height, width

    def count(self, video: Video) -> int:
        """Returns the number of frames of the video."""
        return len(self._container(video)) + 1

    def require(self, videos: Sequence[Video]) -> None:
        """Raises `FlowStoreError`, with their number and first names, if the store lacks videos. Opens no file."""
        check_present(
            videos,
            lambda video: clip_path(self.root, video),
            folder=self.root,
            otherwise="complete it with `twostream flow`",
            error=FlowStoreError,
        )

    def _container(self, video: Video) -> Container:
        last = self._last  # read once: another thread may replace it
        if last is None or last[0] != video:  # keep one file open per process
            last = self._last = video, self._open(video)
        return last[1]

    def _open(self, video: Video) -> Container:
        path = clip_path(self.root, video)
        if not path.is_file():
            raise FlowStoreError(f"{path}: not there; complete the store with `twostream flow` and the same options")
        container = Container(path).require(HEADER, "frame", "field")
        if change := decoding_change(container.header["source"]):
            raise FlowStoreError(f"{path}: {change}; run `twostream flow` again")
        if video not in self._same and video.path.is_file():  # the flow stream can be trained without the video files
            if change := source_change(container.header["source"], video.path):
                raise FlowStoreError(f"{path}: made from another file: {change}; run `twostream flow` again")
            self._same.add(video)
        return container

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}


def _halves(clip: Container, index: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        return decode_halves(clip[index], *clip.header["field"])
    except ValueError as error:
        raise ContainerError(clip.path, f"field {index} is {error}; delete the file and write it again") from None


def _jpeg(clip: Container, index: int) -> bytes:
    blob, (height, width) = clip[index], clip.header["field"]
    half = -(-width // SEAM["jpeg"]) * SEAM["jpeg"]
    try:
        found = picture_size(blob)
    except ValueError as error:
        raise ContainerError(clip.path, f"field {index} is {error}; delete the file and write it again") from None
    if found != (height, 2 * half) or not blob.startswith(JPEG_START):
        raise ContainerError(clip.path, f"field {index} is no JPEG of a field of {width} x {height}")
    return blob


def _check_pair(clip: Container, i: int, j: int) -> None:
    if not (0 <= i <= len(clip) and (j == i or (j == i + 1 and i < len(clip)))):
        raise ValueError(f"{clip.path}: no field from frame {i} to {j}; it has {len(clip)}, from i to i+1")

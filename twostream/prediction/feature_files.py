"""Writes the features of a video: an array of them, and a JSON file beside it that says what each row shows."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import numpy as np
from jaxtyping import Float32

from twostream.data.decoding import frame_rate
from twostream.data.provenance import FACTS, source_change, source_facts
from twostream.data.sources import Video
from twostream.data.storage.video_task import VideoTask
from twostream.files.atomic import aside_of
from twostream.files.disk_errors import naming
from twostream.files.errors import ExpectedError
from twostream.files.extras import missing_extra
from twostream.files.json_yaml import read_json
from twostream.files.lock import Claim
from twostream.prediction.features import Grid, Reader, Row
from twostream.runs.results import versions

VERSION = 1  # of the code here, in `features.py` and `reading.py`: raise it when the same input gives other rows
DATASET = "features"  # in an HDF5 file
TOGETHER = 64  # rows that HDF5 stores as one piece
FOREIGN = "not of `twostream features`; name another --out DIR"
SHAPE = {"!file": str, "!bytes": int, "!version": int, "!source": {str: FACTS}, "!layer": str}


class FeaturesError(ExpectedError):
    """A folder holds other features than those that are asked for, or files of others."""


class StoreFeatures(VideoTask):
    """Writes the features of a video into the array that `root`, its id and `settings` name, and the JSON file.

    - `open_reader`: returns the reader, in the process that does the work.
    - `settings`: all that the features depend on besides the video, as it is in the JSON file. Files with other
      settings are refused by `FeaturesError`; so is an array without a JSON file, which somebody else has made.
    - `facts`: further entries of the JSON file, which may differ.

    The JSON file is renamed first, and the array last: an array never lies there without the JSON file that belongs to
    it, and a JSON file alone counts as nothing.
    """

    items = steps = "rows"

    def __init__(
        self,
        root: Path,
        open_reader: Callable[[], Reader],
        grid: Grid,
        *,
        settings: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> None:
        super().__init__(root)
        self.open_reader = open_reader
        self.grid = grid
        self.settings = json.loads(json.dumps({"version": VERSION, **grid._asdict(), **settings}))
        self.facts = facts

    def path(self, video: Video) -> Path:
        return self.root / PurePosixPath(video.id).with_suffix(f".{self.settings['format']}")

    def is_there(self, video: Video) -> bool:
        array = self.path(video)
        beside = array.with_suffix(".json")
        if not beside.exists():
            if array.exists():
                raise FeaturesError(f"{array}: {FOREIGN} (there is no {beside.name})")
            return False
        try:
            content = read_json(beside, SHAPE, what=FOREIGN)
        except ValueError as error:
            raise FeaturesError(str(error)) from None
        if changed := [name for name, value in self.settings.items() if content.get(name) != value]:
            first = changed[0]
            raise FeaturesError(
                f"{beside}: its {first} is {content.get(first)!r}, and {self.settings[first]!r} is asked for; name "
                "another --out DIR, or delete that one"
            )
        whole = array.is_file() and array.stat().st_size == content["bytes"]
        files = sources(video)
        same = files.keys() == content["source"].keys()
        return whole and same and not any(source_change(content["source"][name], files[name]) for name in files)

    def write(self, video: Video, claim: Claim) -> tuple[int, int]:
        array = self.path(video)
        beside, aside, beside_aside = array.with_suffix(".json"), aside_of(array, "tmp"), aside_of(array, "tmp")
        source = {name: source_facts(path) for name, path in sources(video).items()}
        rows: list[Row] = []
        try:
            with naming(array):
                with WRITERS[self.settings["format"]](aside, self.settings["axes"]) as file:
                    for row in self.open_reader().rows(video.path, self.grid, video.files):
                        file.append(row.vector)
                        rows.append(row._replace(vector=row.vector[:0]))
                        claim.beat()
                content = {
                    "video": video.id,
                    "file": array.name,
                    "bytes": (size := aside.stat().st_size),
                    "shape": file.shape,
                    "fps": frame_rate(video.path),
                    **self.settings,
                    **self.facts,
                    "source": source,
                    "versions": versions(),
                    "frames": [row.frames for row in rows],
                    "seconds": [tuple(round(second, 6) for second in row.seconds) for row in rows],
                    "shown": [row.shown for row in rows],
                }
                beside_aside.write_text(in_lines(content), encoding="utf-8", errors="replace")
                array.unlink(missing_ok=True)  # of the video as it was
                beside_aside.replace(beside)
                aside.replace(array)
        finally:
            aside.unlink(missing_ok=True)
            beside_aside.unlink(missing_ok=True)
        return len(rows), size


def sources(video: Video) -> dict[str, Path]:
    """Returns {column: file} of all files that a video's features are computed from; "video" is its own."""
    return {"video": video.path, **video.files}


def in_lines(content: Mapping[str, Any]) -> str:
    """Returns JSON with an entry a line, so that long lists do not hide what a person reads.

    >>> print(in_lines({"layer": "conv5", "frames": [[0, 9], [5, 14]]}), end="")
    {
      "layer": "conv5",
      "frames": [[0, 9], [5, 14]]
    }
    """
    return "{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()) + "\n}\n"


class ArrayFile(Protocol):
    """A file of rows that are written as they come, in memory that does not grow with it; `shape`: of its array."""

    @property
    def shape(self) -> tuple[int, int]: ...
    def __enter__(self) -> ArrayFile: ...
    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...
    def append(self, vector: Float32[np.ndarray, " d"]) -> None: ...


class NpyFile:
    """An array of NumPy, T × D, or D × T with `axes` DT: the same bytes, in Fortran's order."""

    def __init__(self, path: Path, axes: str) -> None:
        self.axes = axes
        self.count = self.width = 0
        self.file: BinaryIO = path.open("xb")

    @property
    def shape(self) -> tuple[int, int]:
        return (self.count, self.width) if self.axes == "TD" else (self.width, self.count)

    def append(self, vector: Float32[np.ndarray, " d"]) -> None:
        if not self.count:
            self.width = len(vector)
            self._write_header()
        self.file.write(vector.astype("<f4").tobytes())
        self.count += 1

    def _write_header(self) -> None:
        header = {"descr": "<f4", "fortran_order": self.axes == "DT", "shape": self.shape}
        np.lib.format.write_array_header_1_0(self.file, header)  # leaves room for a larger number of rows

    def __enter__(self) -> NpyFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self.file:
            if kind is None:
                self.file.seek(0)
                self._write_header()


class H5File:
    """An HDF5 file with the dataset `features`. Raises ImportError that names the extra if h5py is not installed."""

    def __init__(self, path: Path, axes: str) -> None:
        self.file = require_h5py().File(path, "x")
        self.axes = axes
        self.rows = self.width = 0

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape(self.rows)

    def _shape(self, rows: Any) -> tuple[Any, Any]:
        return (rows, self.width) if self.axes == "TD" else (self.width, rows)

    def append(self, vector: Float32[np.ndarray, " d"]) -> None:
        if not self.rows:
            self.width = len(vector)
            self.file.create_dataset(
                DATASET, self.shape, "<f4", maxshape=self._shape(None), chunks=self._shape(TOGETHER)
            )
        self.rows += 1
        self.file[DATASET].resize(self.shape)
        place = self.rows - 1
        self.file[DATASET][place if self.axes == "TD" else (slice(None), place)] = vector

    def __enter__(self) -> H5File:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.file.close()


def require_h5py() -> Any:
    """Returns the module h5py. Raises ImportError that names the extra if it is not installed."""
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise missing_extra("--format h5", "h5py", "h5", error) from None


WRITERS: Mapping[str, Callable[[Path, str], ArrayFile]] = {"npy": NpyFile, "h5": H5File}

"""Stores many blobs in one file; each can be read without the others.

Layout: MAGIC, the blobs, a JSON header, a table of (end of blob, CRC-32), a footer. The file is written under another
name and then renamed. The footer with its checksum comes last, so that a file that is cut off or damaged is refused.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twostream.data.picture import MOST_PIXELS
from twostream.files.atomic import aside_of
from twostream.files.disk_errors import naming
from twostream.files.errors import ExpectedError
from twostream.files.json_yaml import has_shape

MAGIC = b"2STREAM\x01"
FOOTER = struct.Struct("<QQQI8s")  # where the header starts, where the table starts, blobs, CRC of both, MAGIC
ENTRY = np.dtype([("end", "<u8"), ("crc", "<u4")])


class ContainerError(ExpectedError):
    """A file is not a whole container; `path` names it and `reason` says why."""

    def __init__(self, path: str | os.PathLike[str], reason: str = "") -> None:
        super().__init__(path, reason)  # like VideoError, it is rebuilt from its text alone in another process
        self.path = os.fspath(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.reason else self.path


def write_container(
    path: Path, blobs: Iterable[bytes], *, header: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
) -> None:
    """Writes `blobs`, which may be a generator, and `header`; if that is a function, it is called after the last blob.

    The file appears under its name whole or not at all, even if the disk is full (OSError) or the power fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path, "tmp")
    try:
        with naming(path), aside.open("xb") as file:
            file.write(MAGIC)
            ends, sums = [], []
            for blob in blobs:
                file.write(blob)
                ends.append(file.tell())
                sums.append(zlib.crc32(blob))
            header_start = file.tell()
            tail = json.dumps(header() if callable(header) else dict(header)).encode()
            table_start = header_start + len(tail)
            tail += np.array(list(zip(ends, sums, strict=True)), ENTRY).tobytes()
            file.write(tail)
            file.write(FOOTER.pack(header_start, table_start, len(ends), zlib.crc32(tail), MAGIC))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


class Container:
    """A container file, memory-mapped: `len()`, `[index]` -> bytes, `.header`. A pickled copy opens the file again.

    Raises `ContainerError` for a file that cannot be opened, is cut off or is no container, and for a damaged blob.
    """

    header: dict[str, Any]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            with open(self.path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise ContainerError(self.path, f"cannot be opened ({error})") from None
        if len(self._map) < len(MAGIC) + FOOTER.size or self._map[: len(MAGIC)] != MAGIC:
            raise ContainerError(self.path, "is not a file of twostream's, or of another version")
        table_end = len(self._map) - FOOTER.size
        header_start, table_start, count, checksum, magic = FOOTER.unpack(self._map[table_end:])
        sizes_fit = len(MAGIC) <= header_start <= table_start and table_start + count * ENTRY.itemsize == table_end
        if magic != MAGIC or not sizes_fit or zlib.crc32(self._map[header_start:table_end]) != checksum:
            raise ContainerError(self.path, "is cut off or damaged; delete it and write it again")
        self._table = np.frombuffer(self._map, ENTRY, count, table_start)
        ends = self._table["end"]
        if count and not (len(MAGIC) <= ends[0] and (ends[:-1] <= ends[1:]).all() and ends[-1] <= header_start):
            raise ContainerError(self.path, "is damaged: its parts are not one behind the other")
        try:
            self.header = json.loads(self._map[header_start:table_start])
        except (ValueError, RecursionError) as error:
            raise ContainerError(self.path, f"is damaged: its header cannot be read ({error})") from None

    def require(self, shape: Mapping[str, Any], *sizes: str) -> Container:
        """Returns itself. Raises `ContainerError` unless the header has the given shape (see `has_shape`).

        `sizes` name entries of the header that have to be (height, width) of a picture of at most MOST_PIXELS.
        """
        whole = has_shape(self.header, {**shape, **{f"!{name}": [int] for name in sizes}})
        if not whole or not all(_is_size(self.header[name]) for name in sizes):
            raise ContainerError(self.path, "is damaged, or another kind of file: delete it and write it again")
        return self

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: blob {index} does not exist; there are {len(self)}")
        start = int(self._table["end"][index - 1]) if index else len(MAGIC)
        blob = self._map[start : int(self._table["end"][index])]
        if zlib.crc32(blob) != self._table["crc"][index]:
            raise ContainerError(self.path, f"blob {index} is damaged; delete the file and write it again")
        return blob

    def __reduce__(self) -> tuple[type[Container], tuple[str]]:
        return Container, (self.path,)


def _is_size(pair: list[int]) -> bool:
    return len(pair) == 2 and min(pair) > 0 and pair[0] * pair[1] <= MOST_PIXELS

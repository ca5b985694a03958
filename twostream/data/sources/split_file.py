"""Reads a split from a CSV: which videos are used, on which side, and optionally their classes and groups."""

from __future__ import annotations

import csv as csv_files
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from twostream.data.sources.sides import SIDES, class_depth, side_of
from twostream.data.sources.source import BETWEEN
from twostream.data.sources.tree import decode
from twostream.files.video_files import near

UNUSED = "unused"
FOLD = "fold"
OWN = ("video", "label", "group", FOLD)  # columns that name no further file, as do the splits


class Row(NamedTuple):
    """A video whose classes have no numbers yet. `group` is "" if it is not given, `side` is "" if it is not decided.

    `fold` is the number of its fold, 0 if there are none. `files`: the cells of all other columns, which may name
    further files. `depth` is the place of the class folder in the path: 1 for <class>/…, 2 for <side>/<class>/….
    """

    id: str
    class_names: tuple[str, ...]  # one; of several labels a video: any number
    group: str = ""
    side: str = ""
    depth: int = 1
    files: Mapping[str, str] = {}  # paths below the root, by column
    fold: int = 0


def read_csv(path: Path, split: int, *, undecided: str = "", multi: bool = False) -> list[Row]:
    """Returns the used rows of a split file, sorted by video; `multi`: a label may be several (`a;b`), or none.

    Without a column `split`, a column `fold` is read, for all splits. `undecided`: the option that will decide, such as
    "data.folds=5"; then there may be neither. Raises a ValueError that names file:line.
    """
    try:
        text = decode(read_bytes(path), errors="surrogateescape")  # names may be not UTF-8
    except UnicodeDecodeError as error:  # UTF-16 that is cut off
        raise ValueError(f"{path}: not a text file ({error.reason})") from None
    if "\0" in text:
        raise ValueError(f"{path}: not a text file in UTF-8 (it holds a NUL); save it as CSV in UTF-8")
    reader = csv_files.DictReader(io.StringIO(text, newline=""), strict=True)
    return _read_rows(reader, path, split, undecided, multi=multi)


def read_bytes(path: Path) -> bytes:
    """Returns the content of a split file. Raises ValueError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"data.csv={str(path)!r}: cannot be read ({error.strerror}){near(path)}") from None


def _read_rows(reader: csv_files.DictReader[str], path: Path, split: int, undecided: str, *, multi: bool) -> list[Row]:
    rows: dict[str, Row] = {}
    try:
        reader.fieldnames = columns = [name.strip() for name in reader.fieldnames or []]
        column = _split_column(path, columns, split, undecided)
        if multi and "label" not in columns:
            raise ValueError(f"{path}:1: data.labels=multi: expected a column `label`, found {', '.join(columns)}")
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            row = _to_row(cells, column, where=where, multi=multi)
            if row.id in rows:
                raise ValueError(f"{where}: {row.id} is listed twice")
            rows[row.id] = row
    except csv_files.Error as error:
        raise ValueError(f"{path}:{reader.reader.line_num}: not a CSV file ({error})") from None
    depth = class_depth(list(rows))
    by_folder = "label" not in columns
    return [_placed(rows[name], depth, by_folder=by_folder) for name in sorted(rows) if rows[name].side != UNUSED]


def _split_column(path: Path, columns: Sequence[str], split: int, undecided: str) -> str:
    """Returns the name of the column that decides; "" if none does."""
    found = [name for name in columns if re.fullmatch(r"split\d*", name)]
    wanted = "`video`" if undecided else "`video` and `split`"
    if "video" not in columns or not (found or undecided or FOLD in columns):
        other = "" if undecided else "; in place of `split`: `fold`, or none with data.folds=…"
        raise ValueError(f"{path}:1: expected columns {wanted}, found {', '.join(columns) or 'none'}{other}")
    numbers = {int(name.removeprefix("split") or 1): name for name in found}
    if len(set(columns)) < len(columns) or len(numbers) < len(found):
        raise ValueError(f"{path}:1: a column is there twice: {', '.join(columns)}")
    decides = [*found, *([FOLD] if FOLD in columns else [])]
    if undecided and decides:
        raise ValueError(f"{undecided}: {path} says what is tested, in `{decides[0]}`; leave out one of the two")
    if not found:
        return "" if undecided else FOLD
    if split not in numbers:
        choices = ", ".join(map(str, sorted(numbers)))
        raise ValueError(f"split={split}: {path} has no column `split{split}`; choose from {choices}")
    return numbers[split]


def _to_row(cells: dict[str, str], column: str, *, where: str, multi: bool) -> Row:
    if None in cells or None in cells.values():
        raise ValueError(f"{where}: more or fewer cells than columns; quote names that hold a comma")
    path = PurePosixPath(cells["video"])
    if not is_below(cells["video"]):
        raise ValueError(f"{where}: video={cells['video']!r}: expected a path below root")
    side, fold = _decided(cells[column].strip(), column, where=where) if column else ("", 0)
    for name in ("label", "group"):
        if not is_utf8(cells.get(name, "")) and is_utf8(cells["video"]):  # a file name may have any bytes
            shown = cells[name].encode("utf-8", "surrogateescape")
            raise ValueError(f"{where}: {name}={shown!r}: not UTF-8; save the CSV in UTF-8")
    if "label" not in cells and len(path.parts) < 2:
        raise ValueError(f"{where}: video={cells['video']!r}: no class folder in the path, and no column `label`")
    files = {name: cells[name].strip() for name in cells if name not in OWN and not re.fullmatch(r"split\d*", name)}
    return Row(
        id=str(path),
        class_names=_class_names(cells["label"], where, multi=multi) if "label" in cells else (),
        group=tidy_group(cells.get("group", "")),
        side=side,
        files=files,
        fold=fold,
    )


def _decided(word: str, column: str, *, where: str) -> tuple[str, int]:
    """Returns (side, fold) as a cell says; the side of a fold depends on the split."""
    if word == UNUSED:
        return UNUSED, 0
    if column == FOLD:
        if not re.fullmatch(r"0*[1-9][0-9]{0,8}", word):
            raise ValueError(f"{where}: {column}={word!r}: expected the number of a fold, from 1, or {UNUSED}")
        return "", int(word)
    if (side := side_of(word)) is None:
        raise ValueError(f"{where}: {column}={word!r}: choose from {', '.join((*SIDES, UNUSED))}")
    return side, 0


def _class_names(cell: str, where: str, *, multi: bool) -> tuple[str, ...]:
    """Returns the names in a cell of the column `label`. Raises ValueError for an empty name, and for one twice."""
    if not multi:
        if not cell or cell != cell.strip():
            raise ValueError(f"{where}: label={cell!r}: expected a class name without spaces around it")
        return (cell,)
    names = [name.strip() for name in cell.split(BETWEEN)] if cell.strip() else []
    if "" in names or len({*names}) < len(names):
        raise ValueError(f"{where}: label={cell!r}: expected class names with {BETWEEN} between them, each once")
    return tuple(names)


def _placed(row: Row, depth: int, *, by_folder: bool) -> Row:
    """Returns the row with its depth and, if the CSV gives no labels, with its class folder as class."""
    return row._replace(depth=depth, class_names=(row.id.split("/")[depth - 1],) if by_folder else row.class_names)


def is_below(cell: str) -> bool:
    """Whether a cell is a path that stays below the root.

    >>> is_below("a/b.mp4"), is_below("../b.mp4"), is_below("/b.mp4"), is_below("")
    (True, False, False, False)
    """
    path = PurePosixPath(cell)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def is_utf8(text: str) -> bool:
    """Whether a text is free of bytes that were not UTF-8 when it was read (with surrogateescape).

    >>> is_utf8("é"), is_utf8(b"caf\\xe9".decode("utf-8", "surrogateescape"))
    (True, False)
    """
    return not any("\udc80" <= letter <= "\udcff" for letter in text)


def tidy_group(name: str) -> str:
    """Returns a group's name without spaces around it, in Unicode form NFC: ` g1` and `g1` are one group."""
    return unicodedata.normalize("NFC", name.strip())

"""Your own videos: one folder per class, split by a CSV or by a seed."""

from __future__ import annotations

import csv as csv_files
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from twostream.data.sources import tree
from twostream.data.sources.holdout import divide
from twostream.data.sources.source import Source, Video, first_ten

log = logging.getLogger(__name__)

SUFFIXES = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv")
OURS = re.compile(r"packed-\d+|reencoded(-\d+)?")  # where `twostream prepare` writes: no classes
_SIDES = ("train", "test", "unused")


class Folder(Source):
    """ROOT/<class>/…/<video>: a folder per class (sorted), sub-folders allowed, hidden files ignored.

    Without `csv`, `split=k` is the k-th random split by `seed`: stratified, in whole groups, at least one
    group of each class in training. With `csv`, that file says which videos are used. Its columns (UTF-8,
    commas, a header): `video`, the path below ROOT; `split`, one of train, test, unused (further splits in
    `split2`, `split3`, …); if wanted `label`, the class name (else the first folder of the path), and
    `group` (else `group_pattern`).

    Args:
        root: the folder of class folders.
        split: number of the split, from 1.
        csv: a split to read, for instance one that `write_split` wrote.
        test_fraction: share of each class that a random split gives to test.
        group_pattern: regular expression searched in a video's path below ROOT; what it captures (else all of
            the match) is the group, in whatever class: `_(g\\d+)_` for names like UCF101's. None: the first
            sub-folder is the group, and a video right in its class folder is a group of its own.
        seed: of the random splits; apart from the training seed, so that runs share their test videos.
        classes: use only these classes; None: all.
        suffixes: what counts as a video, in upper or lower case.
        missing: "error" or "skip" for videos in the CSV that are absent.

    Raises ValueError, before any video is opened, naming what is wrong and where.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        split: int,
        csv: str | Path | None = None,
        test_fraction: float = 0.3,
        group_pattern: str | None = None,
        seed: int = 0,
        classes: Sequence[str] | str | None = None,
        suffixes: Sequence[str] = SUFFIXES,
        missing: str = "error",
    ) -> None:
        if not isinstance(split, int) or split < 1:
            raise ValueError(f"split={split!r}: choose from 1, 2, 3, …")
        tree.check_missing(missing)
        top = tree.check_root(root, holds="one folder of videos per class")
        if csv is None:
            if not 0 < test_fraction < 1:
                raise ValueError(f"test_fraction={test_fraction!r}: choose more than 0 and less than 1")
            names, videos = _to_videos(scan(top, suffixes, classes), top, group_pattern)
            videos, _ = tree.keep_existing(videos, (), root=top, missing=missing)  # links to nowhere
            train, test = divide(videos, test_fraction, key=f"test {seed} {split}")
        else:
            rows = read_csv(Path(csv).expanduser(), split)
            chosen = tree.choose_classes(sorted({row.class_name for row in rows}), classes)
            rows = [row for row in rows if row.class_name in chosen]
            names, videos = _to_videos(rows, top, group_pattern)
            train = tuple(v for v, row in zip(videos, rows, strict=True) if row.side == "train")
            test = tuple(v for v, row in zip(videos, rows, strict=True) if row.side == "test")
            train, test = tree.keep_existing(train, test, root=top, missing=missing)
            if shared := sorted({v.group for v in train} & {v.group for v in test}):
                log.warning("%s: %d groups in training and in test: %s", csv, len(shared), first_ten(shared))
        super().__init__(name="folder", split=split, classes=names, train=train, test=test)


class Row(NamedTuple):
    """A video before its class has a number. `group` "" = not given; `side` "" = not decided."""

    id: str
    class_name: str
    group: str = ""
    side: str = ""


def scan(root: Path, suffixes: Sequence[str], classes: Sequence[str] | str | None) -> list[Row]:
    """The videos below the class folders, sorted. Raises ValueError for a class folder without any."""
    with os.scandir(root) as entries:
        visible = sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    found = [name for name, is_folder in visible if is_folder and not OURS.fullmatch(name)]
    if len(found) < 2:
        raise ValueError(
            f"root={str(root)!r}: should hold one folder of videos per class, holds {len(found)} folders"
            f"{': ' + found[0] if found else ''}"
        )
    chosen = tree.choose_classes(found, classes)
    suffixes = [suffixes] if isinstance(suffixes, str) else suffixes
    endings = tuple(f".{suffix.lstrip('.').lower()}" for suffix in suffixes)
    if stray := [name for name, is_folder in visible if not is_folder and name.lower().endswith(endings)]:
        log.warning("%s: %d videos in no class folder: %s", root, len(stray), first_ten(stray))
    rows: list[Row] = []
    empty: list[str] = []
    for name in chosen:
        ids = list(videos_below(root / name, root, endings))
        rows += [Row(id=video, class_name=name) for video in ids]
        if not ids:
            empty.append(name)
    if empty:
        raise ValueError(
            f"root={str(root)!r}: {len(empty)} of {len(chosen)} class folders hold no videos "
            f"({', '.join(endings)}): {first_ten(empty)}; name the classes to use with classes=[…]"
        )
    return sorted(rows)  # as read_csv


def videos_below(folder: Path, root: Path, endings: tuple[str, ...]) -> Iterator[str]:
    """Paths below `root`, with forward slashes, of the files with these endings in `folder` and its sub-folders.

    Links are followed, hidden names ignored. Raises ValueError for a folder that cannot be read.
    """
    seen: set[str] = set()  # links may lead back up

    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename}: cannot be read ({error.strerror})")

    for where, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))  # order: see `seen`
        inside = "" if Path(where) == root else f"{Path(where).relative_to(root).as_posix()}/"
        for name in files:
            if not name.startswith(".") and name.lower().endswith(endings):
                yield f"{inside}{name}"


def read_csv(path: Path, split: int) -> list[Row]:
    """The rows of a split file that are used, sorted by video. Raises ValueError naming file:line."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            return _read_rows(csv_files.DictReader(file, strict=True), path, split)
    except OSError as error:
        raise ValueError(f"csv={str(path)!r}: cannot be read ({error.strerror})") from None


def _read_rows(reader: csv_files.DictReader[str], path: Path, split: int) -> list[Row]:
    rows: dict[str, Row] = {}
    try:
        reader.fieldnames = columns = [name.strip() for name in reader.fieldnames or []]
        column = _split_column(path, columns, split)
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            row = _to_row(cells, column, where=where)
            if row.id in rows:
                raise ValueError(f"{where}: {row.id} is listed twice")
            rows[row.id] = row
    except csv_files.Error as error:
        raise ValueError(f"{path}:{reader.reader.line_num}: not a CSV file ({error})") from None
    return [rows[name] for name in sorted(rows) if rows[name].side != "unused"]


def _split_column(path: Path, columns: Sequence[str], split: int) -> str:
    found = [name for name in columns if re.fullmatch(r"split\d*", name)]
    if "video" not in columns or not found:
        raise ValueError(f"{path}:1: expected columns `video` and `split`, found {', '.join(columns) or 'none'}")
    numbers = {int(name.removeprefix("split") or 1): name for name in found}
    if len(set(columns)) < len(columns) or len(numbers) < len(found):
        raise ValueError(f"{path}:1: a column is there twice: {', '.join(columns)}")
    if split not in numbers:
        choices = ", ".join(map(str, sorted(numbers)))
        raise ValueError(f"split={split}: {path} has no column `split{split}`; choose from {choices}")
    return numbers[split]


def _to_row(cells: dict[str, str], column: str, *, where: str) -> Row:
    if None in cells or None in cells.values():
        raise ValueError(f"{where}: more or fewer cells than columns; quote names that hold a comma")
    path = PurePosixPath(cells["video"])
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in cells["video"]:
        raise ValueError(f"{where}: video={cells['video']!r}: expected a path below root")
    side = cells[column].strip()
    if side not in _SIDES:
        raise ValueError(f"{where}: {column}={side!r}: choose from {', '.join(_SIDES)}")
    if "label" not in cells and len(path.parts) < 2:
        raise ValueError(f"{where}: video={cells['video']!r}: no class folder in the path, and no column `label`")
    class_name = cells.get("label", path.parts[0])
    if not class_name or class_name != class_name.strip():
        raise ValueError(f"{where}: label={class_name!r}: expected a class name without spaces around it")
    return Row(id=str(path), class_name=class_name, group=cells.get("group", ""), side=side)


def _to_videos(rows: Sequence[Row], root: Path, group_pattern: str | None) -> tuple[tuple[str, ...], list[Video]]:
    """(sorted class names, the videos with numbered classes and groups)."""
    names = tuple(sorted({row.class_name for row in rows}))
    labels = {name: label for label, name in enumerate(names)}
    groups = _groups([row.id for row in rows if not row.group], group_pattern)
    videos = [
        Video(id=row.id, path=root / row.id, label=labels[row.class_name], group=row.group or groups[row.id])
        for row in rows
    ]
    return names, videos


def _groups(ids: Sequence[str], pattern: str | None) -> dict[str, str]:
    """id -> group: by `pattern`, else the first sub-folder of the class folder, else the video itself."""
    if pattern is None:
        return {name: "/".join(name.split("/")[:2]) for name in ids}  # class/sub-folder or class/video
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"group_pattern={pattern!r}: not a regular expression ({error})") from None
    matches = {name: expression.search(name) for name in ids}
    if strangers := [name for name, match in matches.items() if not match]:
        raise ValueError(
            f"group_pattern={pattern!r}: matches {len(ids) - len(strangers):,} of {len(ids):,} videos, not "
            f"{first_ten(strangers)}"
        )
    return {name: "/".join(filter(None, match.groups())) or match[0] for name, match in matches.items() if match}

"""Finds videos in class folders, or in folders train/, test/ … of class folders."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from twostream.data.sources import tree
from twostream.data.sources.sides import find_sides, side_of, sides_in_words
from twostream.data.sources.source import first_ten
from twostream.data.sources.split_file import Row
from twostream.files.video_files import SUFFIXES, divide_by_suffix, files_below, is_visible, left_out
from twostream.files.words import counted

log = logging.getLogger(__name__)

OURS = re.compile(r"packed-\d+|reencoded(-\d+)?")  # folders that `twostream prepare` writes, which are not classes

Places = Mapping[str, Sequence[tuple[str, Path]]]  # class -> (side, folder); side "": the random split decides


def scan(root: Path, split: int, suffixes: Sequence[str], classes: Sequence[str] | str | None) -> list[Row]:
    """Returns the videos below the class folders, sorted; with their sides if there are folders train/, test/ …

    Logs which folders are sides and which files are left out. Raises ValueError if there are fewer than two folders,
    if a class has no video, or if folders give one split and `split` is not 1.
    """
    found = require_classes(root)
    endings = tuple(
        f".{suffix.lstrip('.').lower()}" for suffix in ([suffixes] if isinstance(suffixes, str) else suffixes)
    )
    sides = find_sides(root, found)
    tops = [root, *(root / name for name in sides.values())]
    if stray := [name for top in tops for name in _stray(top, root, endings)]:
        log.warning("%s: %s in no class folder: %s", root, counted(len(stray), "video"), first_ten(stray))
    places: Places = {name: [("", root / name)] for name in found}
    if sides:
        log.warning("%s is a split: %s", root, sides_in_words(sides))
        if split != 1:
            raise ValueError(f"split={split}: {root} holds one split, in folders; choose 1, or give others in data.csv")
        places = _below_sides(root, sides)
    elif all(map(side_of, found)):
        hint = "for sides of a split, each has to hold the class folders"
        log.warning("%s: the classes are called %s; %s", root, " and ".join(found), hint)
    chosen = {name: places[name] for name in tree.choose_classes(sorted(places), classes)}
    return _rows(root, chosen, endings, depth=2 if sides else 1)


def own_folders(root: Path) -> list[str]:
    """Returns the names of the folders in `root`, sorted, without hidden ones and those of `twostream prepare`."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if is_visible(e.name) and not OURS.fullmatch(e.name) and e.is_dir())


def require_classes(root: Path) -> list[str]:
    """Returns the names of the class folders, or of folders train/, test/ … Raises ValueError for less than two."""
    found = own_folders(root)
    if len(found) > 1:
        return found
    message = f"data.root={str(root)!r}: should hold one folder of videos per class, holds {len(found)} folders"
    if found:
        alone = f"; name {root / found[0]} to have it split by chance" if side_of(found[0]) else ""
        raise ValueError(f"{message}: {found[0]}{alone}")
    videos = len(list(_stray(root, root, SUFFIXES)))
    hint = f" and {videos} videos: move each into the folder of its class, or list them in data.csv=FILE"
    raise ValueError(message + (hint if videos else ""))


def _stray(folder: Path, root: Path, endings: tuple[str, ...]) -> Iterator[str]:
    """Yields the videos directly in `folder`, as paths below `root`."""
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if is_visible(e.name) and not e.is_dir())
    yield from ((folder / name).relative_to(root).as_posix() for name in names if name.lower().endswith(endings))


def _below_sides(root: Path, sides: Mapping[str, str]) -> Places:
    places: dict[str, list[tuple[str, Path]]] = {}
    for side, folder in sides.items():
        for name in own_folders(root / folder):
            places.setdefault(name, []).append((side, root / folder / name))
    return places


def _rows(root: Path, places: Places, endings: tuple[str, ...], *, depth: int) -> list[Row]:
    rows: list[Row] = []
    empty: list[str] = []
    others: list[str] = []
    for name, folders in places.items():
        before = len(rows)
        for side, folder in folders:
            videos, rest = divide_by_suffix(files_below(folder, root), endings)
            rows += [Row(id=video, class_names=(name,), side=side, depth=depth) for video in videos]
            others += rest
        if len(rows) == before:
            empty.append(name)
    if empty:
        raise ValueError(
            f"data.root={str(root)!r}: {len(empty)} of {len(places)} class folders hold no videos: {first_ten(empty)}; "
            f"name the classes to use with data.classes=[…]{left_out(others)}"
        )
    if others:
        log.warning("%s%s", root, left_out(others))
    return sorted(rows)  # like read_csv

"""HMDB51 (Kuehne et al. 2011): 51 classes, 6,766 videos, three official splits of 70 + 30 per class."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from twostream.data.sources import tree
from twostream.data.sources.published import Lists, Published
from twostream.data.sources.source import Video

VIDEO_FOLDERS = ("hmdb51", "hmdb51_org", "HMDB51", "videos")
LIST_FOLDERS = (
    "testTrainMulti_7030_splits",
    "test_train_splits/testTrainMulti_7030_splits",
    "test_train_splits",
    "official_splits/hmdb51",
    "splits",
    "annotations",
)
WEBSITE = "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/"
_LIST_NAME = re.compile(r"([^.].*)_test_split(\d+)\.txt")
_SIDES = {"1": "train", "2": "test", "0": "unused"}


class HMDB51(Published):
    """Reads the official layout: ROOT/hmdb51/<class>/<name>.avi (or ROOT/<class>/…) and the 153 list files.

    A video's class is the name of the list that names it (exactly: climb is not climb_stairs). There is no index of
    classes, so they are sorted. Videos with flag 1 train, with 2 test, with 0 are not used in that split. A group is
    a class and a recording, which is the part of the name before the class; in the official lists no group is on both
    sides.
    """

    title = "HMDB51"
    holds = "hmdb51/ (the class folders) and testTrainMulti_7030_splits/"

    @staticmethod
    def find_lists(root: Path, lists: str | Path | None) -> Path | None:
        return find_lists(root, lists)

    def read(self, root: Path, lists: str | Path | None, split: int) -> Lists:
        return listed(root, find_lists(root, lists), split)


def find_lists(root: Path, lists: str | Path | None = None) -> Path:
    """Returns the folder of the list files. Raises a ValueError that says where to get them if there are none."""
    wanted = "list files <class>_test_split<1|2|3>.txt"
    return tree.find_lists(root, lists, LIST_FOLDERS, holds=has_lists, wanted=wanted, source=WEBSITE)


def listed(root: Path, lists: Path, split: int) -> Lists:
    """Returns (classes, train, test) as the list files in `lists` say, whether or not the videos exist."""
    classes = read_classes(lists, split)
    return classes, *read_lists(lists, split, classes, tree.find_videos(root, VIDEO_FOLDERS, classes))


def read_classes(folder: Path, split: int) -> tuple[str, ...]:
    """Returns the classes with a list for `split`, sorted. Raises ValueError if one has lists for other splits only."""
    found = [match for name in os.listdir(folder) if (match := _LIST_NAME.fullmatch(name))]
    here = {match[1] for match in found if match[2] == str(split)}
    if lacking := sorted({match[1] for match in found} - here):
        raise ValueError(
            f"{folder / f'{lacking[0]}_test_split{split}.txt'}: missing, while other splits list the class"
        )
    return tuple(sorted(here))


def read_lists(
    folder: Path, split: int, classes: Sequence[str], videos: Path
) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Reads (train, test) of a split from one file per class with lines `<name>.avi <flag> `."""
    sides: dict[str, list[Video]] = {"train": [], "test": [], "unused": []}
    for label, class_name in enumerate(classes):
        listed: set[str] = set()
        for where, line in tree.read_lines(folder / f"{class_name}_test_split{split}.txt"):
            name, *flag = line.rsplit(maxsplit=1)
            if not flag or flag[0] not in _SIDES or "/" in name:
                raise ValueError(
                    f"{where}: {line!r}: expected `name.avi FLAG`, the flag 1 (train), 2 (test) or 0 (unused)"
                )
            recording, found, _ = name.rpartition(f"_{class_name}_")
            if not found:
                raise ValueError(f"{where}: {line!r}: expected a name `<recording>_{class_name}_….avi`")
            if name in listed:
                raise ValueError(f"{where}: {name} is listed twice")
            listed.add(name)
            video = Video(
                id=f"{class_name}/{name}",
                path=videos / class_name / name,
                label=label,
                group=f"{class_name}/{recording}",
            )
            sides[_SIDES[flag[0]]].append(video)
    return tuple(sides["train"]), tuple(sides["test"])


def has_lists(folder: Path) -> bool:
    return any(_LIST_NAME.fullmatch(name) for name in os.listdir(folder))

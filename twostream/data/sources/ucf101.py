"""UCF101 (Soomro, Zamir, Shah 2012): 101 classes, 13,320 videos, three official splits."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from twostream.data.sources import tree
from twostream.data.sources.published import Lists, Published
from twostream.data.sources.source import Video

log = logging.getLogger(__name__)

VIDEO_FOLDERS = ("UCF-101", "UCF101", "ucf101", "videos")
LIST_FOLDERS = (
    "ucfTrainTestlist",
    "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist",
    "official_splits/ucf101",
    "splits",
    "annotations",
)
WEBSITE = "https://www.crcv.ucf.edu/data/UCF101.php"
NUM_VIDEOS = 13_320
_FILE_NAME = re.compile(r"v_\w+_(g\d+)_c\d+\.\w+")


class UCF101(Published):
    """Reads the official layout: ROOT/UCF-101/<class>/v_<Class>_gGG_cCC.avi (or ROOT/<class>/…) and the list files.

    A label is the position of the *folder* in classInd.txt: file names spell one class differently
    (HandstandPushups/v_HandStandPushups_…), and test lists have no labels. A group is a class and a recording (gGG).
    If there are no list files, the splits are derived by their rule: see `derive`.
    """

    title = "UCF101"
    holds = "UCF-101/ (the class folders) and ucfTrainTestlist/"

    @staticmethod
    def find_lists(root: Path, lists: str | Path | None) -> Path | None:
        return find_lists(root, lists)

    def read(self, root: Path, lists: str | Path | None, split: int) -> Lists:
        if (folder := find_lists(root, lists)) is not None:
            return listed(root, folder, split)
        known, train, test = derive(root, split)
        found = len(train) + len(test)
        whole = "" if found == NUM_VIDEOS else f"; {found:,} of the {NUM_VIDEOS:,} videos are there"
        log.warning("%s: no list files; split %d is derived by its rule%s", root, split, whole)
        return known, train, test


def find_lists(root: Path, lists: str | Path | None = None) -> Path | None:
    """Returns the folder of the list files, or None if there is none. Raises ValueError if `lists` has none."""
    if lists is None and tree.look_for_lists(root, LIST_FOLDERS, holds=has_class_index) is None:
        return None
    return tree.find_lists(root, lists, LIST_FOLDERS, holds=has_class_index, wanted="classInd.txt", source=WEBSITE)


def listed(root: Path, lists: Path, split: int) -> Lists:
    """Returns (classes, train, test) as the list files in `lists` say, whether or not the videos exist."""
    classes = read_class_index(lists / "classInd.txt")
    videos = tree.find_videos(root, VIDEO_FOLDERS, classes)
    train, test = (read_list(lists / f"{side}list{split:02d}.txt", classes, videos) for side in ("train", "test"))
    return classes, train, test


def derive(root: Path, split: int) -> Lists:
    """Returns (classes, train, test) by the rule of the official lists: split k tests the recordings 7k-6 to 7k.

    The official numbers of the classes are their alphabetical order without regard to case. If videos are absent, the
    result is the official split without them, and labels count only the classes that exist.
    Raises ValueError if no folder has videos with official names.
    """
    for folder in (*(root / name for name in VIDEO_FOLDERS), root):
        found = sorted(_official_names(folder)) if folder.is_dir() else []
        if found:
            break
    else:
        raise ValueError(
            f"data.root={str(root)!r}: no classInd.txt, and no videos <Class>/v_<Class>_gGG_cCC.avi to derive the "
            f"splits from, in it or in {' or '.join(VIDEO_FOLDERS)}"
        )
    classes = tuple(sorted({name.partition("/")[0] for name in found}, key=str.lower))
    labels = {name: label for label, name in enumerate(classes)}
    sides: dict[bool, list[Video]] = {True: [], False: []}
    for name in found:
        class_name, _, file_name = name.partition("/")
        recording = _FILE_NAME.fullmatch(file_name)[1]  # type: ignore[index]
        video = Video(id=name, path=folder / name, label=labels[class_name], group=f"{class_name}/{recording}")
        sides[in_test(recording, split)].append(video)
    return classes, tuple(sides[False]), tuple(sides[True])


def in_test(recording: str, split: int) -> bool:
    """Whether a recording is in the test set of a split.

    >>> [in_test(recording, 2) for recording in ("g07", "g08", "g14", "g15")]
    [False, True, True, False]
    """
    return (int(recording[1:]) - 1) // 7 == split - 1


def _official_names(folder: Path) -> Iterator[str]:
    """Yields the names `<Class>/v_<Class>_gGG_cCC.avi` of the videos two levels below a folder."""
    for class_name in sorted(os.listdir(folder)):
        if (folder / class_name).is_dir() and not class_name.startswith("."):
            for name in os.listdir(folder / class_name):
                if _FILE_NAME.fullmatch(name):
                    yield f"{class_name}/{name}"


def read_class_index(path: Path) -> tuple[str, ...]:
    """Reads classInd.txt (lines `1 ApplyEyeMakeup`, numbered from 1); returns the names in that order, not sorted."""
    names: list[str] = []
    for where, line in tree.read_lines(path):
        number, *name = line.split()
        if number != str(len(names) + 1) or len(name) != 1 or "/" in name[0] or name[0] in (".", ".."):
            raise ValueError(f"{where}: {line!r}: expected `{len(names) + 1} ClassName`")
        if name[0] in names:
            raise ValueError(f"{where}: {line!r}: the class is listed twice")
        names.append(name[0])
    if not names:
        raise ValueError(f"{path}: no classes in it")
    return tuple(names)


def read_list(path: Path, classes: Sequence[str], folder: Path) -> tuple[Video, ...]:
    """Reads trainlistNN.txt (lines `Class/v_Class_gGG_cCC.avi 1`, numbered from 1) or testlistNN.txt (paths alone).

    The label is the position of the path's first part in `classes`; if there is a number, it has to agree. The
    paths are below `folder`. Raises ValueError that names file:line.
    """
    labels = {name: label for label, name in enumerate(classes)}
    videos: dict[str, Video] = {}
    for where, line in tree.read_lines(path):
        name, *number = line.rsplit(maxsplit=1)
        parts = PurePosixPath(name).parts  # ./Class//file reads as Class/file
        matched = _FILE_NAME.fullmatch(parts[-1])
        if len(parts) != 2 or not matched:
            raise ValueError(
                f"{where}: {line!r}: expected `Class/v_Class_gGG_cCC.avi`, in training lists with a number"
            )
        if parts[0] not in labels:
            raise ValueError(f"{where}: {line!r}: classInd.txt has no class {parts[0]!r}")
        label = labels[parts[0]]
        if number and number[0] != str(label + 1):
            raise ValueError(f"{where}: {line!r}: classInd.txt numbers {parts[0]} {label + 1}, not {number[0]}")
        name = "/".join(parts)
        if name in videos:
            raise ValueError(f"{where}: {name} is listed twice")
        group = f"{parts[0]}/{matched[1]}"
        videos[name] = Video(id=name, path=folder / name, label=label, group=group)
    return tuple(videos.values())


def has_class_index(folder: Path) -> bool:
    return (folder / "classInd.txt").is_file()

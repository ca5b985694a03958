"""Facts of the published data sets: their addresses, the names of their files, and how many videos they have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from twostream.data.sources import Video, hmdb51, ucf101
from twostream.files.video_files import is_visible

Sides = tuple[tuple[str, ...], tuple[Video, ...], tuple[Video, ...]]  # classes, training and test videos of a split


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published data set.

    `in_class(folder, file)` tells whether a file of this name belongs in that class folder. `class_of(file)` returns
    the class folder if the file's name shows it (some archives have no folders), or else None.
    """

    title: str
    size: str
    website: str
    video_urls: tuple[str, ...]
    list_urls: tuple[str, ...]
    archive_names: str  # a regular expression that is found in the names of its archives
    example: str
    video_folders: tuple[str, ...]
    list_folders: tuple[str, ...]
    in_class: Callable[[str, str], bool]
    class_of: Callable[[str], str | None]
    has_lists: Callable[[Path], bool]
    find_lists: Callable[[Path], Path | None]  # raises ValueError if they are missing and cannot be derived
    listed: Callable[[Path, Path, int], Sides]  # root, folder of lists, split
    derive: Callable[[Path, int], Sides] | None
    num_videos: int
    split_sizes: Mapping[int, tuple[int, int]]  # training and test videos

    def has_classes(self, folder: Path) -> bool:
        """Whether `folder` has a class folder with a video in it."""
        return any(self.is_class(path) for path in folders_in(folder))

    def is_class(self, folder: Path) -> bool:
        return any(self.in_class(folder.name, name) for name in os.listdir(folder))


def folders_in(folder: Path) -> list[Path]:
    """Returns the visible folders in a folder, sorted; an empty list if `folder` is not a folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_visible(path.name) and path.is_dir())


_UCF_NAME = re.compile(r"v_(\w+)_g\d+_c\d+\.\w+")
_UCF_SPELLING = {"HandStandPushups": "HandstandPushups"}  # file names spell the class differently from its folder


def _ucf_class(name: str) -> str | None:
    matched = _UCF_NAME.fullmatch(name)
    return _UCF_SPELLING.get(matched[1], matched[1]) if matched else None


UCF101 = Published(
    title="UCF101",
    size="7 GB",
    website=ucf101.WEBSITE,
    video_urls=(
        "https://www.crcv.ucf.edu/data/UCF101/UCF101.rar",
        "https://storage.googleapis.com/thumos14_files/UCF101_videos.zip",
        "http://crcv.ucf.edu/data/UCF101/UCF101.rar",
    ),
    list_urls=(
        "https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip",
        "https://www.crcv.ucf.edu/wp-content/uploads/2019/03/UCF101TrainTestSplits-RecognitionTask.zip",
    ),
    archive_names=r"ucf",
    example="<Class>/v_<Class>_gGG_cCC.avi",
    video_folders=ucf101.VIDEO_FOLDERS,
    list_folders=ucf101.LIST_FOLDERS,
    in_class=lambda folder, name: (_ucf_class(name) or "").lower() == folder.lower(),
    class_of=_ucf_class,
    has_lists=ucf101.has_class_index,
    find_lists=ucf101.find_lists,
    listed=ucf101.listed,
    derive=ucf101.derive,
    num_videos=ucf101.NUM_VIDEOS,
    split_sizes={1: (9_537, 3_783), 2: (9_586, 3_734), 3: (9_624, 3_696)},
)

HMDB51 = Published(
    title="HMDB51",
    size="2 GB",
    website=hmdb51.WEBSITE,
    video_urls=(
        "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/hmdb51_org.rar",
        "http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/hmdb51_org.rar",
    ),
    list_urls=(
        "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/test_train_splits.rar",
        "http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/test_train_splits.rar",
    ),
    archive_names=r"hmdb|test_?train|splits",
    example="<class>/<recording>_<class>_….avi",
    video_folders=hmdb51.VIDEO_FOLDERS,
    list_folders=hmdb51.LIST_FOLDERS,
    in_class=lambda folder, name: re.search(rf"_{re.escape(folder)}_[a-z]_(cm|nm)_np\d+_", name) is not None,
    class_of=lambda name: None,  # `_climb_stairs_` may be of class climb_stairs or of class stairs
    has_lists=hmdb51.has_lists,
    find_lists=hmdb51.find_lists,
    listed=hmdb51.listed,
    derive=None,
    num_videos=6_766,
    split_sizes=dict.fromkeys((1, 2, 3), (3_570, 1_530)),
)

PUBLISHED = {"ucf101": UCF101, "hmdb51": HMDB51}

"""UCF11 (Liu, Luo, Shah 2009) and UCF50 (Reddy, Shah 2012): each class in 25 groups, of which one is left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from twostream.data.sources import tree
from twostream.data.sources.folder import Folder
from twostream.data.sources.folds import BY_GROUP

log = logging.getLogger(__name__)

NUM_GROUPS = 25


class Grouped(Folder):
    """A data set without lists whose clips are in numbered groups; a subclass says where.

    Clips of one class and number come from one video, or show one person or place. Split k leaves out, and tests, the
    k-th number, of all classes together: 25 splits, leave one group out. If numbers are absent, there are fewer splits,
    and a warning.

    Args:
        root: the folder of class folders, or the one that holds it.
        split: number of the split, from 1.
        folds: `group`, as published; or a number of folds that share out the 25 numbers.
        seed: of such folds.
        classes: use only these classes; None: all.
        missing: "error" or "skip" for videos that are absent.

    Raises ValueError, before any video is opened, that names what is wrong and where.
    """

    is_published = True
    folders: ClassVar[tuple[str, ...]]  # names that the folder of class folders has in the published archives
    pattern: ClassVar[str]  # finds the number of a group, see `Folder`

    def __init__(
        self,
        root: str | Path | None,
        *,
        split: int,
        folds: int | str = BY_GROUP,
        seed: int = 0,
        classes: Sequence[str] | str | None = None,
        missing: str = "error",
    ) -> None:
        super().__init__(
            root, split=split, folds=folds, group_pattern=self.pattern, seed=seed, classes=classes, missing=missing
        )
        if (found := len({video.group for video in self.videos})) != NUM_GROUPS:
            log.warning("%s: %d numbers of groups, where the whole %s has %d", root, found, self.title, NUM_GROUPS)

    @classmethod
    def require_paths(cls, root: str | Path | None, **_: object) -> Path:
        """Returns the folder of class folders. Raises ValueError if `root` is not there. Finds no video."""
        top = tree.check_root(root, holds=f"{cls.folders[0]}/, or its class folders")
        return next((top / name for name in cls.folders if (top / name).is_dir()), top)


class UCF11(Grouped):
    """ROOT/UCF11_updated_mpg/<class>/v_<name>_NN/v_<name>_NN_CC.mpg: 11 classes, 1,600 videos; NN is the group.

    The name in a folder is not the class (basketball/v_shooting_01), so only its number is read. The folders
    Annotation/ beside the groups hold no videos.
    """

    title = "ucf11"
    official = "ucf11: <class>/v_<name>_NN/v_<name>_NN_CC.mpg"
    folders = ("UCF11_updated_mpg", "action_youtube_naudio", "UCF11")
    pattern = r"_(\d+)/[^/]+$"


class UCF50(Grouped):
    """ROOT/UCF50/<class>/v_<Class>_gGG_cCC.avi: 50 classes, 6,618 videos; GG is the group."""

    title = "ucf50"
    official = "ucf50: <class>/v_<Class>_gGG_cCC.avi"
    folders = ("UCF50",)
    pattern = r"_(g\d+)_c\d+\.\w+$"

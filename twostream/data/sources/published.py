"""Data sets that are published with official lists of their splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from twostream.data.sources import tree
from twostream.data.sources.source import Source, Video

Lists = tuple[tuple[str, ...], tuple[Video, ...], tuple[Video, ...]]  # classes, training videos, test videos


class Published(Source):
    """A data set with official splits; a subclass says how its lists are read.

    Args:
        root: the folder that holds the videos and the lists, or that of the videos itself.
        split: 1, 2 or 3.
        lists: the folder of the list files, if it is not in a usual place.
        classes: use only these classes, in official order with labels counted from 0; None: all.
        missing: "error" or "skip" for listed videos that are absent.

    Raises ValueError, before any video is opened, that names what is wrong and where.
    """

    is_published = True
    title: ClassVar[str]  # as in messages; in lower case, the name of the source
    holds: ClassVar[str]  # what `root` holds, in words

    def __init__(
        self,
        root: str | Path | None,
        *,
        split: int,
        lists: str | Path | None = None,
        classes: Sequence[str] | str | None = None,
        missing: str = "error",
    ) -> None:
        tree.check_options(self.title, split=split, missing=missing)
        top = self.require_paths(root, lists=lists)
        known, *sides = self.read(top, lists, split)
        chosen = tree.choose_classes(known, classes)
        train, test = (tree.relabel(side, known, chosen) for side in sides)
        train, test = tree.keep_existing(train, test, root=top, missing=missing)
        super().__init__(name=self.title.lower(), split=split, classes=chosen, train=train, test=test)

    @classmethod
    def require_paths(cls, root: str | Path | None, *, lists: str | Path | None = None, **_: object) -> Path:
        """Returns `root` as an absolute path. Raises ValueError if it or `lists` is not there. Finds no video."""
        top = tree.check_root(root, holds=cls.holds)
        if lists is not None:
            cls.find_lists(top, lists)
        return top

    @staticmethod
    def find_lists(root: Path, lists: str | Path | None) -> Path | None:
        """Returns the folder of the list files, or None if there need be none. Raises ValueError if it is missing."""
        raise NotImplementedError

    def read(self, root: Path, lists: str | Path | None, split: int) -> Lists:
        """Returns classes, training videos and test videos as listed, whether the files are there or not."""
        raise NotImplementedError

"""The interface of a data set: named classes, training videos, test videos."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from twostream.files.atomic import atomic_file
from twostream.files.video_files import how_names_differ, same_to_the_eye
from twostream.files.words import counted

log = logging.getLogger(__name__)

NUM_SHOWN = 10  # how many names of a list a message shows
BETWEEN = ";"  # the classes of a video that has several


@dataclass(frozen=True, slots=True)
class Video:
    """One video file. Videos of one `group` (cut from one recording) belong on the same side of every split."""

    id: str  # path below the folder of class folders, with forward slashes on every system
    path: Path
    label: int  # 0-based position in the source's classes; -1 where `labels` has them
    group: str
    files: Mapping[str, Path] = field(default_factory=dict, hash=False)  # other files of it, by column of data.csv
    labels: tuple[int, ...] | None = None  # of several labels a video: the positions of all its classes; None: `label`

    @property
    def all_labels(self) -> tuple[int, ...]:
        """The positions of all its classes: one; or, of several labels a video, any number, also none."""
        return (self.label,) if self.labels is None else self.labels

    def named(self, classes: Sequence[str]) -> str:
        """Returns the names of its classes, as in the column `label` of data.csv.

        >>> Video(id="x", path=Path("x"), label=-1, group="x", labels=(0, 2)).named(["run", "sit", "wave"])
        'run;wave'
        """
        return BETWEEN.join(classes[label] for label in self.all_labels)

    def in_column(self, column: str) -> Video:
        """Returns the video as its file in a column shows it; "": itself."""
        return replace(self, path=self.files[column]) if column else self


@dataclass(frozen=True)
class Rendered:
    """What every video is of a data set that is rendered here: known without opening a file."""

    num_frames: int
    height: int
    width: int

    def count(self, path: Path, decoder: str) -> int:
        """Returns the number of frames; see `twostream.data.frames.Counts`."""
        return self.num_frames


@dataclass(frozen=True)
class Source:
    """One split of a data set. `video.named(classes)` is the name of a video's class, or those of its classes.

    Raises ValueError for a class without training videos, if there is no test video, for a video that is in training
    and in test, and for two classes whose names look the same.
    """

    is_published: ClassVar[bool] = False  # whether the lists are published ones, with which everybody trains

    name: str
    split: int
    classes: tuple[str, ...]
    train: tuple[Video, ...] = field(repr=False)
    test: tuple[Video, ...] = field(repr=False)
    validation: tuple[Video, ...] = field(default=(), repr=False)  # if the data set has its own
    drawn: bool = field(default=False, repr=False, compare=False)  # whether the sides were drawn at random
    fold_of: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)  # id -> fold; {}: no folds
    rendered: Rendered | None = field(default=None, repr=False, compare=False)  # None: videos of others

    def __post_init__(self) -> None:
        what = f"{self.name} split {self.split}"
        if both := sorted({video.id for video in self.train} & {video.id for video in self.test}):
            number = counted(len(both), "video is", "videos are")
            raise ValueError(f"{what}: {number} in training and in test: {first_ten(both)}")
        self._check_classes(what)
        trained = {label for video in self.train for label in video.all_labels}
        if untrained := [name for label, name in enumerate(self.classes) if label not in trained]:
            others = [name for label, name in enumerate(self.classes) if label in trained]
            raise ValueError(
                f"{what}: no training videos for {len(untrained)} of {len(self.classes)} classes: "
                f"{first_ten(untrained)}; add videos, or name the classes to use with data.classes=[…] out of "
                f"those that have some: {', '.join(others) or 'none has'}"
            )
        if not self.test:
            raise ValueError(f"{what}: no test videos, of {counted(len(self.train), 'training video')}")
        tested = {label for video in self.test for label in video.all_labels}
        if untested := [name for label, name in enumerate(self.classes) if label not in tested]:
            log.warning("%s: no test videos for %d of the classes: %s", what, len(untested), first_ten(untested))

    @property
    def videos(self) -> tuple[Video, ...]:
        """The videos of all sides."""
        return (*self.train, *self.validation, *self.test)

    def _check_classes(self, what: str) -> None:
        seen: dict[str, str] = {}
        for name in self.classes:
            other = seen.setdefault(same_to_the_eye(name), name)
            if other != name:
                raise ValueError(
                    f"{what}: classes {other!r} and {name!r} are one to the eye ({how_names_differ(other, name)}); "
                    "give them one name, or names that differ clearly, in folders or in a CSV's column `label`"
                )

    def write_split(self, path: str | Path) -> None:
        """Writes the sides as a CSV that `Folder(csv=path)` reads back: video, label, group, split.

        The last column is named `split` for split 1, and `split2`, `split3`, … for the others, so that it is
        read back under the same number. Of folds it is `fold`, the number of each video's, from which all splits are
        read back. The file appears whole or not at all.
        """
        path = Path(path)
        column = "fold" if self.fold_of else "split" if self.split == 1 else f"split{self.split}"
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        sides = [(video, side) for side, videos in parts.items() for video in videos]
        # surrogateescape: a file name need not be UTF-8, and has to come back byte for byte
        with (
            atomic_file(path) as aside,
            aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["video", "label", "group", column])
            for video, side in sorted(sides, key=lambda pair: pair[0].id):
                cell = self.fold_of[video.id] if self.fold_of else side
                writer.writerow([video.id, video.named(self.classes), video.group, cell])


def fingerprint(videos: Iterable[Video]) -> str:
    """Returns a hash of the set of video ids. It does not depend on their order or on where the files are.

    >>> a, b = (Video(id=name, path=Path(name), label=0, group=name) for name in ("x/a.avi", "x/b.avi"))
    >>> fingerprint([a, b]) == fingerprint([b, a]) != fingerprint([a])
    True
    """
    ids = "\0".join(sorted(video.id for video in videos))
    return hashlib.sha256(ids.encode("utf-8", "surrogateescape")).hexdigest()


def first_ten(names: Collection[str], separator: str = ", ") -> str:
    """Returns the first ten names and how many more there are.

    >>> first_ten(["a", "b"])
    'a, b'
    >>> first_ten("abcdefghijkl")
    'a, b, c, d, e, f, g, h, i, j, and 2 more'
    """
    shown = list(names)[:NUM_SHOWN]
    if len(names) > NUM_SHOWN:
        shown.append(f"and {len(names) - NUM_SHOWN:,} more")
    return separator.join(shown)

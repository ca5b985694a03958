"""Your own videos: one folder per class, split by folders, by a CSV, or at random."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import ClassVar

from twostream.data.sources import tree
from twostream.data.sources.class_folders import require_classes, scan
from twostream.data.sources.folds import check_folds, draw_folds
from twostream.data.sources.holdout import divide
from twostream.data.sources.sides import SIDES, TEST, TRAIN
from twostream.data.sources.source import Source, Video, first_ten
from twostream.data.sources.split_file import Row, is_below, read_bytes, read_csv, tidy_group
from twostream.files.video_files import SUFFIXES
from twostream.files.words import counted

LABELS = ("single", "multi")
log = logging.getLogger(__name__)

TEST_FRACTION = 0.3


class Folder(Source):
    """Videos at ROOT/<class>/…/<video>: one folder per class (sorted); sub-folders are searched, hidden files ignored.

    Without `csv`, `split=k` is the k-th random split by `seed`: it takes the same share of each class, keeps groups
    whole, and leaves at least one group of each class in training. If the folders are ROOT/train/<class>/…,
    ROOT/val/<class>/…, ROOT/test/<class>/…, they give the split, the only one: see `find_sides`.

    With `csv`, that file says which videos are used. It is UTF-8 or UTF-16, with commas and a header. Its columns:
    `video`, the path below ROOT; `split`, one of train, validation, test, unused (further splits in `split2`,
    `split3`, …), or in its place `fold`, a number or unused: split k tests fold k; and, if wanted, `label`, the class
    name (by default the class folder in the path), and `group` (by default found by `group_pattern`). Any other column
    may name further files of the videos, as paths below ROOT: that of depth, say, which `streams=[rgb,depth]` shows by
    the column's name.

    Args:
        root: the folder of class folders.
        split: number of the split, from 1.
        csv: a split to read, for instance one that `write_split` wrote.
        folds: cross-validation instead: split k tests fold k, and trains on the others. `group`: each group is a fold;
            a number: so many folds, see `draw_folds`. The CSV, if there is one, then says no sides.
        test_fraction: share of each class that a random split gives to test.
        group_pattern: regular expression searched in a video's path below ROOT. What it captures (the whole match
            if it captures nothing) names the group, across classes: `_(g\\d+)_` for names like UCF101's. None: the
            first sub-folder is the group; a video directly in its class folder is in one group with the files of
            the same name and another suffix.
        seed: seed of the random splits and folds; not the training seed, so that all runs share their test videos.
        classes: use only these classes; None: all.
        suffixes: file name suffixes of videos, in upper or lower case.
        missing: "error" or "skip" for videos in the CSV that are absent.
        labels: "single", or "multi": the CSV's `label` names all classes of a video, `run;wave`, or none (an empty
            cell). With `classes`, videos all of whose classes are left out are left out, too.

    Raises ValueError, before any video is opened, that names what is wrong and where.
    """

    title: ClassVar[str] = "folder"  # the name of the source
    official: ClassVar[str] = ""  # what the names of its videos look like, if they are published

    def __init__(
        self,
        root: str | Path | None,
        *,
        split: int,
        csv: str | Path | None = None,
        folds: int | str | None = None,
        test_fraction: float = TEST_FRACTION,
        group_pattern: str | None = None,
        seed: int = 0,
        classes: Sequence[str] | str | None = None,
        suffixes: Sequence[str] = SUFFIXES,
        missing: str = "error",
        labels: str = "single",
    ) -> None:
        if not isinstance(split, int) or split < 1:
            raise ValueError(f"split={split!r}: choose from 1, 2, 3, …")
        tree.check_missing(missing)
        top = self.require_paths(root, csv=csv, labels=labels)
        if not 0 < test_fraction < 1:
            raise ValueError(f"data.test_fraction={test_fraction!r}: choose more than 0 and less than 1")
        if folds is not None:
            check_folds(folds)
            if test_fraction != TEST_FRACTION:
                raise ValueError(f"data.folds={folds} and data.test_fraction both say what is tested; give one of them")
        multi = labels == "multi"
        rows = _rows(top, split, csv, folds, suffixes, classes, multi=multi)
        names, videos = _to_videos(rows, top, group_pattern, self.official, multi=multi)
        fold_of = {row.id: row.fold for row in rows if row.fold}
        if folds is not None:
            fold_of = draw_folds(videos, folds, seed=seed, classes=names)
        if fold_of and split > (count := max(fold_of.values())):
            raise ValueError(f"split={split}: there are {count} folds; choose from 1 to {count}")
        decided = [row.side or _side(fold_of.get(row.id), split) for row in rows]
        sides = [
            tuple(video for video, own in zip(videos, decided, strict=True) if own == side) for side in ("", *SIDES)
        ]
        by_chance, train, validation, test = tree.keep_existing(*sides, root=top, missing=missing)
        if by_chance:
            train, test = divide(by_chance, test_fraction, key=f"test {seed} {split}")
        else:
            _warn_of_groups(csv or top, training=train, validation=validation, test=test)
        super().__init__(
            name=self.title,
            split=split,
            classes=names,
            train=train,
            validation=validation,
            test=test,
            drawn=bool(by_chance),
            fold_of=fold_of,
        )

    @classmethod
    def require_paths(
        cls, root: str | Path | None, *, csv: str | Path | None = None, labels: str = "single", **_: object
    ) -> Path:
        """Returns `root` as an absolute path. Finds no video.

        Raises ValueError if it or the CSV is not there, without a CSV if there are fewer than two class folders, and
        for several labels a video without a CSV.
        """
        top = tree.check_root(root, holds="one folder of videos per class")
        if labels not in LABELS:
            raise ValueError(f"data.labels={labels!r}: choose from {', '.join(LABELS)}")
        if labels == "multi" and csv is None:
            raise ValueError(
                "data.labels=multi: needs data.csv=FILE, whose column `label` names all classes of a video"
            )
        if csv is not None:
            read_bytes(Path(csv).expanduser())
        else:
            require_classes(top)
        return top


def _rows(
    root: Path,
    split: int,
    csv: str | Path | None,
    folds: int | str | None,
    suffixes: Sequence[str],
    classes: Sequence[str] | str | None,
    *,
    multi: bool,
) -> list[Row]:
    """Returns the videos of the chosen classes, as the CSV or the folders list them; with `folds`, without sides."""
    undecided = "" if folds is None else f"data.folds={folds}"
    if csv is not None:
        return listed(Path(csv).expanduser(), split, classes, undecided=undecided, multi=multi)
    rows = scan(root, 1 if undecided else split, suffixes, classes)
    if undecided and any(row.side for row in rows):
        raise ValueError(f"{undecided}: {root} is a split already, in folders; leave out the one, or rename the others")
    return rows


def _side(fold: int | None, split: int) -> str:
    """Returns the side of a video in `fold`; "" if it is in none."""
    return "" if fold is None else TEST if fold == split else TRAIN


def listed(
    path: Path, split: int, classes: Sequence[str] | str | None, *, undecided: str = "", multi: bool = False
) -> list[Row]:
    """Returns the rows of a CSV with those of their classes that are chosen; those that had none before stay."""
    rows = read_csv(path, split, undecided=undecided, multi=multi)
    chosen = {*tree.choose_classes(_names(rows), classes)}
    kept = [row._replace(class_names=tuple(name for name in row.class_names if name in chosen)) for row in rows]
    return [now for now, row in zip(kept, rows, strict=True) if now.class_names or not row.class_names]


def _names(rows: Sequence[Row]) -> list[str]:
    return sorted({name for row in rows for name in row.class_names})


def _to_videos(
    rows: Sequence[Row], root: Path, group_pattern: str | None, official: str, *, multi: bool
) -> tuple[tuple[str, ...], list[Video]]:
    """Returns (class names, videos): the names are sorted, and labels count in them."""
    names = tuple(_names(rows))
    positions = {name: label for label, name in enumerate(names)}
    of_row = [tuple(sorted(positions[name] for name in row.class_names)) for row in rows]
    groups = _groups([row for row in rows if not row.group], group_pattern, official)
    videos = [
        Video(
            id=row.id,
            path=root / row.id,
            label=-1 if multi else labels[0],
            labels=labels if multi else None,
            group=row.group or groups[row.id],
            files={name: root / cell for name, cell in row.files.items() if is_below(cell)},
        )
        for row, labels in zip(rows, of_row, strict=True)
    ]
    return names, videos


def _groups(rows: Sequence[Row], pattern: str | None, official: str) -> dict[str, str]:
    """Returns each id's group: by `pattern`, or the first sub-folder of its class, or its path without the suffix."""
    if pattern is None:
        return {row.id: tidy_group(_unit(row)) for row in rows}
    ids = [row.id for row in rows]
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"data.group_pattern={pattern!r}: not a regular expression ({error})") from None
    matches = {name: expression.search(name) for name in ids}
    if strangers := [name for name, match in matches.items() if not match]:
        what, there = official or f"data.group_pattern={pattern!r}", len(ids) - len(strangers)
        raise ValueError(f"{what}: matches {there:,} of {len(ids):,} videos, not {first_ten(strangers)}")
    return {name: "/".join(filter(None, match.groups())) or match[0] for name, match in matches.items() if match}


def _unit(row: Row) -> str:
    """Returns class/sub-folder, or class/video without its suffix: 1.mov and 1.mp4 are of one recording."""
    parts = row.id.split("/")
    return "/".join(parts[: row.depth + 1]) if len(parts) > row.depth + 1 else os.path.splitext(row.id)[0]


def _warn_of_groups(where: str | Path, **sides: Sequence[Video]) -> None:
    """Warns of groups that have videos on two sides of a given split."""
    for one, other in combinations(sides, 2):
        if shared := sorted({video.group for video in sides[one]} & {video.group for video in sides[other]}):
            number = counted(len(shared), "group")
            log.warning("%s: %s in %s and in %s: %s", where, number, one, other, first_ten(shared))

"""Recognises the sides of a split by name: folders train/, val/ and test/ of class folders, or words in a CSV."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from twostream.files.video_files import is_visible, same_to_the_eye, videos_below

TRAIN, VALIDATION, TEST = SIDES = ("train", "validation", "test")
_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}


def side_of(name: str) -> str | None:
    """Returns the side that a folder's name or a word means, in upper or lower case, or None if it means none.

    >>> side_of("Val"), side_of("testing"), side_of("walk")
    ('validation', 'test', None)
    """
    return _NAMES.get(name.strip().lower())


def find_sides(root: Path, folders: Sequence[str]) -> dict[str, str]:
    """Returns {side: its folder} if `folders`, all that `root` has, are the sides of a split; {} if they are classes.

    They are a split if one is named like training, another like test or validation, and both have a folder of
    the same name: a class. Without a test folder, the validation folder is the test side. Folders without any video
    are ignored. Raises ValueError if it is a split, but not a clear one.
    """
    inside = {name: _folder_keys(root / name) for name in folders if side_of(name)}
    trained = {key for name, keys in inside.items() if side_of(name) == TRAIN for key in keys}
    if not any(keys & trained for name, keys in inside.items() if side_of(name) != TRAIN):
        return {}
    looks = f"data.root={str(root)!r}: {_paths(sorted(inside))} look like the sides of a split"
    way_out = "; move away what does not belong there, or say what is what with data.csv=…"
    if others := [name for name in folders if name not in inside and _any_video(root / name)]:
        raise ValueError(f"{looks}, and beside them are videos in {_paths(others)}{way_out}")
    if flat := [name for name, keys in inside.items() if not keys]:
        raise ValueError(f"{looks}, and {_paths(flat)} without class folders{way_out}")
    sides: dict[str, str] = {}
    for name in sorted(inside):
        side = side_of(name)
        assert side is not None
        if side in sides:
            raise ValueError(f"{looks}, and {_paths([sides[side], name])} are the same side{way_out}")
        sides[side] = name
    if TEST not in sides:
        sides[TEST] = sides.pop(VALIDATION)
    return {side: sides[side] for side in SIDES if side in sides}


def sides_in_words(sides: Mapping[str, str]) -> str:
    """Returns a text that says what each folder does.

    >>> sides_in_words({"train": "train", "test": "val"})
    'train/ trains, val/ tests (there is no test folder)'
    >>> sides_in_words({"train": "train", "validation": "val", "test": "Test"})
    'train/ trains, val/ validates (instead of validation_fraction), Test/ tests'
    """
    verbs = {TRAIN: "trains", VALIDATION: "validates (instead of validation_fraction)", TEST: "tests"}
    words = ", ".join(f"{folder}/ {verbs[side]}" for side, folder in sides.items())
    return words + (" (there is no test folder)" if side_of(sides[TEST]) != TEST else "")


def class_depth(ids: Sequence[str]) -> int:
    """Returns the depth of the class folders: 2 if all videos are in class folders below folders of sides, else 1.

    >>> class_depth(["train/walk/1.mp4", "Test/run/2.mp4"]), class_depth(["train/1.mp4", "walk/x/1.mp4"])
    (2, 1)
    """
    return 2 if ids and all(name.count("/") > 1 and side_of(name.partition("/")[0]) for name in ids) else 1


def _folder_keys(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {same_to_the_eye(entry.name) for entry in entries if is_visible(entry.name) and entry.is_dir()}


def _any_video(folder: Path) -> bool:
    return next(videos_below(folder, folder), None) is not None


def _paths(names: Sequence[str]) -> str:
    return ", ".join(f"{name}/" for name in names)

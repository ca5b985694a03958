"""Finds videos by their suffix, and suggests what the user may mean by a file that does not exist."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path

from twostream.files.errors import ExpectedError

# What PyAV reads (see FORMATS in decoding/facts.py), even if the chosen decoder reads less; in alphabetical order.
SUFFIXES = (
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc",
    ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mov", ".mp4", ".mpe",
    ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".qt", ".rm", ".rmvb", ".swf", ".ts", ".vob", ".webm", ".wmv",
    ".wtv", ".xvid", ".y4m",
)  # fmt: skip
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Folders of file servers and of other systems; some hold small copies of the videos beside them.
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
NUM_SHOWN = 3  # names of left-out files in a message
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # one slash, because Path turns two into one


class VideoError(ExpectedError):
    """A file cannot be decoded. `path` names it, `reason` says why, and `str` gives both in one line."""

    def __init__(self, path: str | PathLike[str], reason: str = "") -> None:
        super().__init__(
            path, reason
        )  # a DataLoader rebuilds a worker's error from its text alone, so `reason` is optional
        self.path = os.fspath(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.reason else self.path


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name belongs to the user: it is neither hidden nor the system's."""
    return not name.startswith(".") and name not in SYSTEM_FOLDERS


def files_below(folder: Path, root: Path) -> Iterator[str]:
    """Yields the paths below `root`, with forward slashes, of the visible files in `folder` and its sub-folders.

    Follows links, and enters each folder once. Raises ValueError for a folder that cannot be read.
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
        # Sorted, so that of several links to one folder always the same one is followed.
        folders[:] = sorted(filter(is_visible, folders))
        inside = "" if Path(where) == root else f"{Path(where).relative_to(root).as_posix()}/"
        yield from (f"{inside}{name}" for name in files if is_visible(name))


def videos_below(folder: Path, root: Path, endings: tuple[str, ...] = SUFFIXES) -> Iterator[str]:
    """Yields those of `files_below` that have one of these endings, in upper or lower case."""
    return (name for name in files_below(folder, root) if name.lower().endswith(endings))


def divide_by_suffix(names: Iterable[str], endings: tuple[str, ...] = SUFFIXES) -> tuple[list[str], list[str]]:
    """Returns (names of videos, other names), both sorted.

    >>> divide_by_suffix(["b.MP4", "notes.txt", "a.ts"])
    (['a.ts', 'b.MP4'], ['notes.txt'])
    """
    sides: tuple[list[str], list[str]] = ([], [])
    for name in sorted(names):
        sides[not name.lower().endswith(endings)].append(name)
    return sides


def left_out(names: Sequence[str]) -> str:
    """Says how many files have no suffix of a video, and names the first; "" if there are none.

    >>> left_out(["a/x.txt", "a/y.txt", "b/z"])
    ': 3 files have no suffix of a video and are left out: a/x.txt, a/y.txt, b/z'
    """
    if not names:
        return ""
    what = "file has" if len(names) == 1 else "files have"
    more = f", and {len(names) - NUM_SHOWN:,} more" if len(names) > NUM_SHOWN else ""
    are = "is" if len(names) == 1 else "are"
    return f": {len(names):,} {what} no suffix of a video and {are} left out: {', '.join(names[:NUM_SHOWN])}{more}"


def why_absent(path: str | os.PathLike[str]) -> str | None:
    """Says why no video is at `path`, and what may be meant instead; None if something is there that may be one."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if _ADDRESS.match(os.fspath(path)):
            return "is an address, and only files on this machine are read: download the video, and name the file"
        return f"cannot be opened (No such file or directory){near(path)}"
    except (OSError, ValueError):  # opening it will give the reason
        pass
    return "is a picture; name a video" if os.fspath(path).lower().endswith(PICTURES) else None


def require_video(path: str | os.PathLike[str]) -> None:
    """Raises `VideoError` if nothing is at `path`, or a picture."""
    if reason := why_absent(path):
        raise VideoError(path, reason)


def near(path: str | os.PathLike[str]) -> str:
    """Returns ` (there is NAME: how it differs)` if something is called almost like the absent `path`; else ""."""
    base, absent = os.path.abspath(path), []
    while not os.path.isdir(base):
        base, name = os.path.split(base)
        absent.insert(0, name)
    found, reasons = [], []
    for name in absent:
        alike = _alike(name, os.path.join(base, *found), is_last=len(found) == len(absent) - 1)
        if alike is None:
            return ""
        found.append(alike[0])
        reasons += [alike[1]] if alike[1] else []
    return f" (there is {'/'.join(found)}: {', '.join(dict.fromkeys(reasons))})" if reasons else ""


def same_to_the_eye(name: str) -> str:
    """Returns the same text for names that differ only in upper and lower case, Unicode form (NFC, NFD) or spaces.

    >>> same_to_the_eye("Open  Door ") == same_to_the_eye("open door") != same_to_the_eye("opendoor")
    True
    """
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())


def how_names_differ(one: str, other: str) -> str:
    """Says how two names differ for which `same_to_the_eye` returns the same text.

    >>> how_names_differ("Walk", "walk")
    'upper and lower case differ'
    """
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        return "the same letters in two Unicode forms, NFC and NFD"
    return "upper and lower case differ" if one.lower() == other.lower() else "spaces, case or Unicode forms differ"


def _alike(name: str, folder: str, *, is_last: bool) -> tuple[str, str] | None:
    """Returns (the name in `folder` most like `name`, how it differs or ""), or None if no name is like it."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return None
    if name in names:
        return name, ""
    if other := _find(name, names):
        return other, how_names_differ(name, other)
    if not name.isprintable():  # bytes that are not UTF-8 have become surrogates
        try:
            other = _find(os.fsencode(name).decode("cp1252"), names)
        except UnicodeDecodeError:
            other = None
        if other:
            return other, "the list is not written in UTF-8"
    videos = {os.path.splitext(other)[0]: other for other in names if other.lower().endswith(SUFFIXES)}
    stem = _find(os.path.splitext(name)[0], videos) or _find(name, videos)
    return (videos[stem], "another suffix") if is_last and stem else None


def _find(name: str, names: Collection[str]) -> str | None:
    return next((other for other in names if same_to_the_eye(other) == same_to_the_eye(name)), None)

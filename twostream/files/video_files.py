"""Files on disk: which are videos by their name, and what may be meant by a name that is not there."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

# What PyAV reads (see FORMATS in decoding/facts.py), whatever of it the chosen decoder does; in alphabetical order.
SUFFIXES = (
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc",
    ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mov", ".mp4", ".mpe",
    ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".qt", ".rm", ".rmvb", ".swf", ".ts", ".vob", ".webm", ".wmv",
    ".wtv", ".xvid", ".y4m",
)  # fmt: skip
# Of file servers and other systems; some hold small copies of the videos beside them.
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
NUM_SHOWN = 3  # of files that are left out
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a Path has made one slash of two


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name is the user's, and not hidden."""
    return not name.startswith(".") and name not in SYSTEM_FOLDERS


def files_below(folder: Path, root: Path) -> Iterator[str]:
    """Paths below `root`, with forward slashes, of the visible files in `folder` and its sub-folders.

    Links are followed, each folder is entered once. Raises ValueError for a folder that cannot be read.
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
        folders[:] = sorted(filter(is_visible, folders))  # order: see `seen`
        inside = "" if Path(where) == root else f"{Path(where).relative_to(root).as_posix()}/"
        yield from (f"{inside}{name}" for name in files if is_visible(name))


def videos_below(folder: Path, root: Path, endings: tuple[str, ...] = SUFFIXES) -> Iterator[str]:
    """Those of `files_below` with these endings, in upper or lower case."""
    return (name for name in files_below(folder, root) if name.lower().endswith(endings))


def divide_by_suffix(names: Iterable[str], endings: tuple[str, ...] = SUFFIXES) -> tuple[list[str], list[str]]:
    """(names of videos, other names), both sorted.

    >>> divide_by_suffix(["b.MP4", "notes.txt", "a.ts"])
    (['a.ts', 'b.MP4'], ['notes.txt'])
    """
    sides: tuple[list[str], list[str]] = ([], [])
    for name in sorted(names):
        sides[not name.lower().endswith(endings)].append(name)
    return sides


def left_out(names: Sequence[str]) -> str:
    """In words, how many files are no videos by their suffix, and the first of them; "" where there are none.

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
    """Why nothing is at `path`, in words, with what may be meant instead; None where something is there."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if _ADDRESS.match(os.fspath(path)):
            return "is an address, and only files on this machine are read: download the video, and name the file"
        return f"cannot be opened (No such file or directory){near(path)}"
    except (OSError, ValueError):  # whoever opens it will say why not
        pass
    return None


def near(path: str | os.PathLike[str]) -> str:
    """` (there is …: how its name differs)` of what exists and is called almost like the absent `path`; else ""."""
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
    """The same for names that differ only in upper and lower case, Unicode form (NFC, NFD) or spaces.

    >>> same_to_the_eye("Open  Door ") == same_to_the_eye("open door") != same_to_the_eye("opendoor")
    True
    """
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())


def how_names_differ(one: str, other: str) -> str:
    """What `same_to_the_eye` does not see.

    >>> how_names_differ("Walk", "walk")
    'upper and lower case differ'
    """
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        return "the same letters in two Unicode forms, NFC and NFD"
    return "upper and lower case differ" if one.lower() == other.lower() else "spaces, case or Unicode forms differ"


def _alike(name: str, folder: str, *, is_last: bool) -> tuple[str, str] | None:
    """(what is in `folder` and called almost so, how it differs: "" where it does not), or None."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return None
    if name in names:
        return name, ""
    if other := _find(name, names):
        return other, how_names_differ(name, other)
    if not name.isprintable():  # bytes that are no UTF-8: surrogates
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

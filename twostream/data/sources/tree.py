"""Finds and reads folders, list files and videos for all sources. Names are never used as patterns."""

from __future__ import annotations

import codecs
import difflib
import functools
import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from twostream.data.sources.source import NUM_SHOWN, Video, first_ten
from twostream.files.video_files import near

log = logging.getLogger(__name__)

OFFICIAL_SPLITS = (1, 2, 3)
MISSING = ("error", "skip")


def check_options(name: str, *, split: int, missing: str) -> None:
    """Raises ValueError if there are no official lists for `split`, or `missing` is unknown."""
    if split not in OFFICIAL_SPLITS:
        raise ValueError(f"split={split!r}: {name} has three official splits; choose from 1, 2, 3")
    check_missing(missing)


def check_missing(missing: str) -> None:
    """Raises ValueError if `missing`, the way to treat absent videos, is unknown."""
    if missing not in MISSING:
        raise ValueError(f"data.missing={missing!r}: choose from {', '.join(MISSING)}")


def check_root(root: str | Path | None, *, holds: str, option: str = "data.root=") -> Path:
    """Returns `root` as an absolute path. Raises ValueError if it is not a folder that can be read.

    The error says what the folder should hold, and begins with `option`, by which the user gave `root`.
    """
    if root is None or not str(root):
        raise ValueError(f"{option}{root!r}: name the folder that holds {holds}")
    top = Path(os.path.abspath(os.path.expanduser(root)))  # not resolve(): lists may be beside a link to root
    if not top.is_dir():
        what = "is not a folder" if top.exists() else f"does not exist{near(top)}"
        raise ValueError(f"{option}{str(root)!r}: {top} {what}; it should hold {holds}")
    if not os.access(top, os.R_OK | os.X_OK):
        raise ValueError(f"{option}{str(root)!r}: no permission to read {top}")
    return top


def find_videos(root: Path, names: Sequence[str], classes: Sequence[str]) -> Path:
    """Returns the folder of class folders: the first of `names` below `root` that has one, or `root` itself.

    Raises ValueError if none of them has a folder of one of `classes`.
    """
    for folder in (*(root / name for name in names), root):
        if any(os.path.isdir(folder / name) for name in classes):
            return folder
    raise ValueError(
        f"data.root={str(root)!r}: found none of the {len(classes)} class folders ({', '.join(classes[:3])}, …); "
        f"the videos belong in {root / names[0]}/<class>/ or in {root}/<class>/"
    )


def find_lists(
    root: Path,
    lists: str | Path | None,
    names: Sequence[str],
    *,
    holds: Callable[[Path], bool],
    wanted: str,
    source: str,
) -> Path:
    """Returns the folder of list files: `lists` if given, else `root` or one of `names` (see `look_for_lists`).

    `holds` tells whether a folder has list files. Raises ValueError if there is no such folder; the error says what is
    `wanted` and from which `source` to get it.
    """
    if lists is not None:
        folder = Path(os.path.abspath(os.path.expanduser(lists)))
        if not (folder.is_dir() and holds(folder)):
            raise ValueError(f"data.lists={str(lists)!r}: no {wanted} in {folder}")
        return folder
    folder = look_for_lists(root, names, holds=holds)
    if folder is None:
        raise ValueError(
            f"data.root={str(root)!r}: no {wanted} in it, nor below or beside it in {' or '.join(names)}; "
            f"get them from {source}, or name the folder of the official lists with data.lists=DIR"
        )
    log.info("split lists: %s", folder)
    return folder


def look_for_lists(root: Path, names: Sequence[str], *, holds: Callable[[Path], bool]) -> Path | None:
    """Returns `root`, or the first of `names` below or beside it, that `holds` list files; None if none does."""
    for folder in (root, *(base / name for base in (root, root.parent) for name in names)):
        if folder.is_dir() and holds(folder):
            return folder
    return None


def decode(content: bytes, *, errors: str = "strict") -> str:
    """Decodes UTF-8, or UTF-16 if its byte order mark comes first; removes the mark. Raises UnicodeDecodeError.

    >>> decode("é".encode("utf-16")), decode("é".encode("utf-8-sig"))
    ('é', 'é')
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig", errors)


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields (where, line) for each line that is not blank, without spaces and line ends; where is "file:line".

    Raises a ValueError that names the file if it cannot be read as text.
    """
    try:
        text = decode(path.read_bytes())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if "\0" in text:
        raise ValueError(f"{path}: not a text file (it holds a NUL)")
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):  # a line may end in LF, CRLF or CR
        if line.strip():
            yield f"{path}:{number}", line.strip()


def choose_classes(known: Sequence[str], chosen: Sequence[str] | str | None) -> tuple[str, ...]:
    """Returns the classes to use, always in the order of `known`; None means all. Raises ValueError for unknown ones.

    >>> choose_classes(["climb", "wave", "kick"], ["kick", "climb"])
    ('climb', 'kick')
    """
    if chosen is None:
        return tuple(known)
    wanted = [chosen] if isinstance(chosen, str) else [str(name) for name in chosen]
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"data.classes={wanted!r}: name at least one class, and each once")
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise ValueError(f"classes: {name!r} is no class here; {hint}choose from {', '.join(known)}")
    return tuple(name for name in known if name in wanted)


def relabel(videos: Sequence[Video], old: Sequence[str], new: Sequence[str]) -> tuple[Video, ...]:
    """Returns the videos of the classes `new`, with labels that count in `new` instead of `old`."""
    if tuple(old) == tuple(new):
        return tuple(videos)
    position = {name: label for label, name in enumerate(new)}
    return tuple(replace(video, label=position[old[video.label]]) for video in videos if old[video.label] in position)


def keep_existing(*sides: Sequence[Video], root: Path, missing: str) -> tuple[tuple[Video, ...], ...]:
    """Returns the videos of each side that exist. Lists each folder once and opens no video.

    If videos are absent, raises one ValueError with their number and the first ten; with missing="skip" only logs
    how many are left out.
    """
    listing = functools.cache(_listing)
    absent = [video for side in sides for video in side if not _exists(video.path, listing)]
    if not absent:
        return tuple(map(tuple, sides))
    count = f"{len(absent):,} of {sum(map(len, sides)):,} listed videos are absent"
    if missing == "error":
        shown = [f"{video.id}{near(video.path)}" for video in absent[:NUM_SHOWN]]
        names = first_ten([*shown, *(video.id for video in absent[NUM_SHOWN:])], "\n  ")
        raise ValueError(f"data.root={str(root)!r}: {count} (data.missing=skip leaves them out):\n  {names}")
    log.warning("%s below %s: left out, as data.missing=skip asks", count, root)
    gone = {video.id for video in absent}
    return tuple(tuple(video for video in side if video.id not in gone) for side in sides)


def _listing(folder: str) -> frozenset[str]:
    """Returns the names of the files in a folder; on network drives this is far faster than one call per file."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise ValueError(f"{folder}: cannot be read ({error.strerror})") from None


def _exists(path: Path, listing: Callable[[str], frozenset[str]]) -> bool:
    folder, _, name = str(path).rpartition(os.sep)
    # isfile: a file system that ignores case, or stores accents differently, opens names that it does not list
    return name in listing(folder) or os.path.isfile(path)

"""Test videos that were trained on, by their names or by their bytes; and one file under two labels."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Sequence

from twostream.data.history import History, LeakError
from twostream.data.index import Known, VideoIndex
from twostream.data.provenance import sha256
from twostream.data.sources import Source, Video
from twostream.data.sources.source import first_ten

BLOCK = 4096  # bytes in the middle of a file, which tell most files of one size apart

log = logging.getLogger(__name__)


def check_leaks(
    learned: History, source: Source, validation: Sequence[Video], index: VideoIndex | None, *, allow: bool = False
) -> int:
    """How many test videos were trained on: `learned` has their names, or their bytes are those of a training video.

    `validation`: the videos that are held out, of `source.train` or beside it; those that hold the bytes of training
    videos are told on the log. Raises LeakError where there is such a test video, or a file that is in two classes,
    unless `allow`. Of published lists (`source.is_published`) bytes are told on the log, as all have trained on them.
    """
    held = {video.id for video in validation}
    train = [video for video in source.train if video.id not in held]
    learned.check(source.test, trained=train, allow=allow)
    sides = {video.id: "validation" for video in validation} | {video.id: "test" for video in source.test}
    groups = same_bytes(source.videos, index)
    parted = [group for group in groups if len({sides.get(video.id, "training") for video in group}) > 1]
    doubtful = [group for group in groups if len({video.label for video in group}) > 1]
    tested = [group for group in parted if any(sides.get(video.id) == "test" for video in group)]
    for message in _messages(source, tested, doubtful):
        if not allow and not source.is_published:
            raise LeakError(f"{message}; leave out all but one, or set allow_leak=true")
        log.warning("%s", message)
    if others := [group for group in parted if group not in tested]:
        log.warning("in training and in validation, the same bytes: %s", in_words(others))
    known = set(learned.among(source.test))
    trained = [group for group in tested if any(video.id not in sides for video in group)]
    return len(known | {video.id for group in trained for video in group if sides.get(video.id) == "test"})


def _messages(source: Source, tested: list[list[Video]], doubtful: list[list[Video]]) -> Iterable[str]:
    what = f"{source.name} split {source.split}"
    if tested:
        yield f"{what}: files with the same bytes are in test and on another side: {in_words(tested)}"
    if doubtful:
        yield f"{what}: files with the same bytes are in two classes: {in_words(doubtful)}"


def in_words(groups: Sequence[Sequence[Video]]) -> str:
    return first_ten([" = ".join(video.id for video in group) for group in groups], "; ")


def same_bytes(videos: Sequence[Video], index: VideoIndex | None) -> list[list[Video]]:
    """Groups of videos whose files hold the same bytes, in the order of `videos`. Empty and absent files are in none.

    Hashes come from the index; what it says is believed, and looked at again only where it says that files are the
    same. Files that it does not know are read: of one size (one `stat` each), one block in the middle, and where that
    is the same, too, all of it.
    """
    known = {} if index is None else {entry.path: entry for entry in index.hashes()}
    start = "" if index is None else f"{index.root}{os.sep}"
    entries = {video.id: known.get(str(video.path).removeprefix(start)) for video in videos}

    def size(video: Video) -> Hashable:
        entry = entries[video.id]
        return entry.size if entry else _size(video)

    def content(video: Video) -> Hashable:
        return _hash(video, entries[video.id])

    groups = []
    for group in _alike(videos, size):
        if all(entries[video.id] for video in group):
            groups += _alike(group, lambda video: entries[video.id].sha256)  # type: ignore[union-attr]
        else:
            groups += _alike(group, _middle)
    return [same for group in groups for same in _alike(group, content)]


def _alike(videos: Sequence[Video], key: Callable[[Video], Hashable]) -> list[list[Video]]:
    """Those with the same key, where there are at least two; those whose key is None or 0 are with none."""
    found: dict[Hashable, list[Video]] = {}
    for video in videos:
        if value := key(video):
            found.setdefault(value, []).append(video)
    return [group for group in found.values() if len(group) > 1]


def _size(video: Video) -> int | None:
    try:
        return os.stat(video.path).st_size
    except OSError:  # whoever decodes it will say so
        return None


def _middle(video: Video) -> bytes | None:
    try:
        with open(video.path, "rb") as file:
            file.seek(os.fstat(file.fileno()).st_size // 2)
            return hashlib.sha256(file.read(BLOCK)).digest()
    except OSError:
        return None


def _hash(video: Video, entry: Known | None) -> str | None:
    """That of the index, if the file is as it was then; else its own."""
    try:
        now = os.stat(video.path)
        fresh = entry is not None and (entry.size, entry.mtime_ns) == (now.st_size, now.st_mtime_ns)
        return entry.sha256 if fresh and entry is not None else sha256(video.path)
    except OSError:
        return None

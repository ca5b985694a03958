"""Records the video lists of a run, so that a resumed run can tell what has changed since it began."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from twostream.data.sources import Video
from twostream.data.storage.index import VideoIndex
from twostream.files.json_yaml import has_shape

PARTS = {"train": "training", "validation": "validation", "test": "test"}
NUM_NAMED = 3  # how many videos a message names for each kind of change
AT_ONCE = 16  # threads that look at files: a network disk takes long for each answer
BUNDLE = 200  # how many videos a thread takes at a time
HASH_DIGITS = 16
SHAPE = {"!classes": [str], **{f"!{part}": [[Any]] for part in PARTS}, "!flow": str}


class Entry(NamedTuple):
    """One video of a list. `size`, `flow` and `packed` are file sizes in bytes (-1: absent or unused)."""

    id: str
    label: str  # the names of its classes, since numbers change when a class is added
    size: int = -1
    sha256: str = ""  # the first 16 digits, from the index; "" if the index has none or the file has changed since
    flow: int = -1  # size of its file in the flow store
    packed: int = -1  # size of its file of packed frames


TYPES = [str, str, int, str, int, int]


@dataclass(frozen=True)
class Record:
    """The lists of a run, each in its order; `flow` describes how the fields of its flow store were made."""

    classes: tuple[str, ...]
    parts: Mapping[str, tuple[Entry, ...]]
    flow: str = ""

    def to_text(self) -> str:
        """Returns the record as the text that a checkpoint stores."""
        return json.dumps({"classes": self.classes, **self.parts, "flow": self.flow}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Record:
        """Reads what `to_text` has written. Raises ValueError for any other text."""
        try:
            content = json.loads(text)
            if not has_shape(content, SHAPE):
                raise TypeError
            parts = {part: tuple(Entry(*values) for values in content[part]) for part in PARTS}
            if any([*map(type, entry)] != TYPES for entries in parts.values() for entry in entries):
                raise TypeError
        except (ValueError, TypeError, RecursionError):
            raise ValueError("the list of its videos is damaged") from None
        return cls(tuple(content["classes"]), parts, content["flow"])

    def order(self, part: str) -> list[tuple[str, str]]:
        """Returns (id, class) for each position of a list."""
        return [(entry.id, entry.label) for entry in self.parts[part]]


def summary_of(classes: Sequence[str], lists: Mapping[str, Sequence[Video]]) -> dict[str, dict[str, Any]]:
    """Returns length and hash of each list; a hash is the same if classes, ids, labels and their order are the same."""
    named = {
        part: [[video.id, video.label if video.labels is None else video.labels] for video in lists[part]]
        for part in PARTS
    }
    return {part: {"videos": len(ids), "fingerprint": _hash([list(classes), ids])} for part, ids in named.items()}


def record_of(
    classes: Sequence[str],
    lists: Mapping[str, Sequence[Video]],
    *,
    index: VideoIndex | None = None,
    flow: str = "",
    flow_path: Callable[[Video], Path] | None = None,
    packed_path: Callable[[Video], Path] | None = None,
    columns: Sequence[str] = (),
) -> Record:
    """Records size and known hash of every video, and the sizes of its flow and packed frames; opens no video file.

    With files in `columns`, the size is that of all files, and no hash is recorded.
    """
    hashes = {known.path: known for known in index.hashes()} if index else {}
    top = f"{index.root}{os.sep}" if index else ""

    def entry_of(video: Video) -> Entry:
        size, changed = _facts(video.path)
        known = hashes.get(str(video.path).removeprefix(top).replace(os.sep, "/"))
        fresh = known is not None and (known.size, known.mtime_ns) == (size, changed) and not columns
        size += sum(_facts(video.files[column])[0] for column in columns)
        return Entry(
            video.id,
            video.named(classes),
            size,
            known.sha256[:HASH_DIGITS] if known is not None and fresh else "",
            _facts(flow_path(video))[0] if flow_path else -1,
            _facts(packed_path(video))[0] if packed_path else -1,
        )

    def entries_of(videos: Sequence[Video]) -> list[Entry]:
        return [entry_of(video) for video in videos]

    parts = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for part in PARTS:
            bundles = [lists[part][start : start + BUNDLE] for start in range(0, len(lists[part]), BUNDLE)]
            parts[part] = tuple(entry for entries in pool.map(entries_of, bundles) for entry in entries)
    return Record(tuple(classes), parts, flow)


def differences(before: Record, now: Record) -> list[str]:
    """Returns one text for each kind of change, with counts and some names; an empty list if nothing has changed."""
    found = []
    if before.classes != now.classes:
        found.append(f"the classes were {', '.join(before.classes)}, and are {', '.join(now.classes)}")
    found += _moves(before, now)
    pairs = list(_pairs(before, now))
    for told, changed in {
        "another label": lambda b, n: b.label != n.label,
        "another content": _other_content,
        "other fields in the flow store": lambda b, n: b.flow != n.flow and -1 not in (b.flow, n.flow),
        "other packed frames": lambda b, n: b.packed != n.packed and -1 not in (b.packed, n.packed),
    }.items():
        if ids := [b.id for b, n in pairs if changed(b, n)]:
            found.append(f"{_count(ids)} {told} ({_some(ids)})")
    if before.flow != now.flow and "" not in (before.flow, now.flow):
        found.append("the flow store was made with other settings, or is made or read by another version")
    for part, name in PARTS.items():
        ids = [[entry.id for entry in record.parts[part]] for record in (before, now)]
        if ids[0] != ids[1] and sorted(ids[0]) == sorted(ids[1]):
            found.append(f"the {name} videos are in another order")
    return found


def renamed(before: Record, now: Record, part: str = "train") -> list[str]:
    """Returns the new ids whose files have the content of a video of `part` whose id is gone: renamed videos.

    Files are compared by hash if the index knows both, else by size: few names are gone, and few are new.
    """
    there = {entry.id for entries in now.parts.values() for entry in entries}
    gone = [entry for entry in before.parts[part] if entry.id not in there and entry.size >= 0]
    known = {entry.id for entries in before.parts.values() for entry in entries}
    new = [entry for entries in now.parts.values() for entry in entries if entry.id not in known]
    return [entry.id for entry in new if any(not _other_content(old, entry) for old in gone)]


def _moves(before: Record, now: Record) -> Iterator[str]:
    """Yields one text for each kind of move: videos that are in another list, gone, or new."""
    sides = [{e.id: part for part, entries in record.parts.items() for e in entries} for record in (before, now)]
    moved: dict[tuple[str | None, str | None], list[str]] = {}
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        if (way := (sides[0].get(name), sides[1].get(name))) and way[0] != way[1]:
            moved.setdefault(way, []).append(name)
    for (start, end), ids in moved.items():
        if start is None or end is None:
            what = f"new in {PARTS[end]}" if end else f"gone from {PARTS[start or '']}"
            yield f"{len(ids)} {what} ({_some(ids)})"
        else:
            yield f"{_count(ids, 'moved')} from {PARTS[start]} to {PARTS[end]} ({_some(ids)})"


def _pairs(before: Record, now: Record) -> Iterator[tuple[Entry, Entry]]:
    """Yields the entries (before, now) of each video that is in both records."""
    known = {entry.id: entry for entries in now.parts.values() for entry in entries}
    for entries in before.parts.values():
        for entry in entries:
            if entry.id in known:
                yield entry, known[entry.id]


def _other_content(one: Entry, other: Entry) -> bool:
    if one.sha256 and other.sha256:
        return one.sha256 != other.sha256
    return one.size != other.size


def _facts(path: Path) -> tuple[int, int]:
    """Returns size and time of change (ns) of a file, or (-1, -1) if it cannot be looked at."""
    try:
        stat = os.stat(path)
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _count(ids: Sequence[str], verb: str = "") -> str:
    """Returns the number of videos with its verb.

    >>> _count(["a"]), _count(["a", "b"]), _count(["a"], "moved")
    ('1 video has', '2 videos have', '1 video moved')
    """
    one = len(ids) == 1
    return f"{len(ids):,} {'video' if one else 'videos'} {verb or ('has' if one else 'have')}"


def _some(ids: Sequence[str]) -> str:
    more = len(ids) - NUM_NAMED
    return ", ".join([*ids[:NUM_NAMED], *([f"and {more:,} more"] if more > 0 else [])])


def _hash(value: Any) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:16]

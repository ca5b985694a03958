"""Finds test videos that were trained on, by name or by content, and files that stand in two classes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twostream.data.history import History, LeakError
from twostream.data.record import AT_ONCE, HASH_DIGITS, Entry, Record
from twostream.data.sources import Source
from twostream.data.sources.source import first_ten
from twostream.files.digest import sha256

BLOCK = 4096  # bytes read from the middle of a file; they differ between most files of the same size

log = logging.getLogger(__name__)


def check_leaks(learned: History, source: Source, record: Record, *, allow: bool = False) -> int:
    """Returns how many test videos were trained on: those that `learned` names, or whose bytes a training video has.

    Raises LeakError if there is one, or if a file is in two classes, or a test video has the bytes of a validation
    video, unless `allow`. Same bytes are only logged, as a warning, if the lists are published ones
    (`source.is_published`), since everybody trains on these, or if they are in training and validation.
    `record` has the lists, the file sizes, and the hashes that the index knows.
    """
    paths = {video.id: video.path for video in source.videos}
    sides = {entry.id: part for part, entries in record.parts.items() for entry in entries}
    learned.check(source.test, trained=[v for v in source.train if sides[v.id] == "train"], allow=allow)
    groups = same_bytes([entry for entries in record.parts.values() for entry in entries], paths)
    parted = [group for group in groups if len({sides[entry.id] for entry in group}) > 1]
    tested = [group for group in parted if any(sides[entry.id] == "test" for entry in group)]
    doubtful = [group for group in groups if len({entry.label for entry in group}) > 1]
    for found, where in ((tested, "in test and on another side"), (doubtful, "in two classes")):
        message = f"{source.name} split {source.split}: files with the same bytes are {where}: {in_words(found)}"
        if found and not (allow or source.is_published):
            raise LeakError(f"{message}; leave out all but one, or set allow_leak=true")
        if found:
            log.warning("%s", message)
    if others := [group for group in parted if group not in tested]:
        log.warning("in training and in validation, the same bytes: %s", in_words(others))
    trained = [group for group in tested if any(sides[entry.id] == "train" for entry in group)]
    copies = {entry.id for group in trained for entry in group if sides[entry.id] == "test"}
    return len(copies | set(learned.among(source.test)))


def in_words(groups: Sequence[Sequence[Entry]]) -> str:
    return first_ten([" = ".join(entry.id for entry in group) for group in groups], "; ")


def same_bytes(entries: Sequence[Entry], paths: Mapping[str, Path]) -> list[list[Entry]]:
    """Returns groups of videos whose files have the same bytes. Empty and absent files are in no group.

    Only files of the same size are compared. If the index has the hashes of all of them, no file is read. Otherwise one
    block from the middle of each is compared, and files whose blocks are equal are hashed whole.
    """
    known, unknown = [], []
    for group in _alike(entries, lambda entry: max(0, entry.size)):
        (known if all(entry.sha256 for entry in group) else unknown).append(group)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ids = [entry.id for group in unknown for entry in group]
        middles = dict(zip(ids, pool.map(_middle, map(paths.__getitem__, ids)), strict=True))
    known += [same for group in unknown for same in _alike(group, lambda entry: middles[entry.id])]
    return [same for group in known for same in _alike(group, lambda entry: entry.sha256 or _hash(paths[entry.id]))]


def _alike(entries: Iterable[Entry], key: Callable[[Entry], Hashable]) -> list[list[Entry]]:
    """Returns groups of two and more entries with the same key. Entries whose key is None, 0 or empty are left out."""
    found: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        if value := key(entry):
            found.setdefault(value, []).append(entry)
    return [group for group in found.values() if len(group) > 1]


def _middle(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size // 2 - BLOCK // 2))
            return file.read(BLOCK)
    except OSError:  # decoding will report that the file cannot be read
        return None


def _hash(path: Path) -> str | None:
    try:
        return sha256(path)[:HASH_DIGITS]
    except OSError:
        return None

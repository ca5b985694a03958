"""Test videos that were trained on, by their names or by their bytes; and one file under two labels."""

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

BLOCK = 4096  # bytes in the middle of a file, which tell most files of one size apart

log = logging.getLogger(__name__)


def check_leaks(learned: History, source: Source, record: Record, *, allow: bool = False) -> int:
    """How many test videos were trained on: `learned` has their names, or they hold the bytes of a training video.

    Raises LeakError where there is one, or a file that is in two classes, unless `allow`. Of published lists
    (`source.is_published`) bytes are told on the log, since all have trained on them; so are validation videos that
    hold the bytes of training videos. `record` has the lists and sizes, and the hashes that the index knows.
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
    """Groups of videos whose files hold the same bytes. Empty and absent files are in none.

    Only files of one size are looked at further. Where the index has their hashes, nothing is read; else one block in
    the middle of each, and where that is the same, too, all of it.
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
    """Those with the same key, where there are at least two; those whose key is None or 0 are with none."""
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
    except OSError:  # whoever decodes it will say so
        return None


def _hash(path: Path) -> str | None:
    try:
        return sha256(path)[:HASH_DIGITS]
    except OSError:
        return None

"""The index of a data set: one SQLite file with the facts of each video file, so that none is opened again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from twostream.data.decoding import VideoError, compare_frames, probe, same_frames
from twostream.data.frames import Decoded, Guarded
from twostream.data.sources import Video
from twostream.data.sources.class_folders import OURS
from twostream.data.tasks import Outcome, run_tasks
from twostream.files.digest import sha256
from twostream.files.disk_errors import naming
from twostream.files.video_files import videos_below

FILE_NAME = "index.sqlite"
VERSION = 2  # version 1 did not compare pixels with PyAV's
PATIENCE = 60.0  # seconds without a frame after which a decoder is taken to hang
APPLICATION = 0x32535452  # "2STR" in the file's header, so that another program's database is not taken for ours
COMMIT_EVERY = 1.0  # seconds of work that may be lost if the power fails


class Entry(NamedTuple):
    """One file. `error` is None if the file is sound, else it says what is wrong, and facts may be None.

    `num_frames` is the number that decoding the whole file yields, `header_frames` the one that it claims (0: none).
    """

    path: str  # below the folder of the index, with forward slashes
    size: int
    mtime_ns: int
    sha256: str | None = None
    container: str | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    fps: float | None = None
    num_frames: int | None = None
    header_frames: int | None = None
    has_b_frames: bool | None = None
    random_access_safe: bool | None = None
    decoder: str | None = None  # the decoder that was tried
    error: str | None = None


class Known(NamedTuple):
    """The part of an entry that tells one file from another."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


_COLUMNS = ", ".join(Entry._fields)
_TEXT = ("path", "sha256", "container", "codec", "decoder", "error")
_TYPES = {**dict.fromkeys(_TEXT, "TEXT"), "path": "TEXT PRIMARY KEY", "fps": "REAL"}
_TYPED = ", ".join(f"{name} {_TYPES.get(name, 'INTEGER')}" for name in Entry._fields)
_TABLE = f"CREATE TABLE videos ({_TYPED}) WITHOUT ROWID"
_FIRST_FLAG = Entry._fields.index("has_b_frames")
_FLAGS = {None: None, 0: False, 1: True}
_READ = f"SELECT CAST(path AS BLOB), {', '.join(Entry._fields[1:])} FROM videos"
_AS_TEXT = "CAST(? AS TEXT)"  # of bytes, since a file name need not be UTF-8 and has to come back byte for byte


class VideoIndex:
    """Reads ROOT/index.sqlite, or `file` if given. A pickled copy opens the file again, so that workers can use it.

    Raises ValueError if there is no such file, or it is not an index of this version.
    """

    def __init__(self, root: str | os.PathLike[str], *, file: Path | None = None) -> None:
        self.root = os.path.abspath(root)
        self.file = file or Path(self.root) / FILE_NAME
        self._connections: dict[int, sqlite3.Connection] = {}  # by process: SQLite forbids use after a fork
        self._connection()

    def entries(self) -> list[Entry]:
        """Returns all entries, sorted by path."""
        with _told(self.root):
            rows = self._connection().execute(f"{_READ} ORDER BY path")
            return [_to_entry(row) for row in rows]

    def hashes(self) -> Iterator[Known]:
        """Yields path, size, time of change and hash of every file that has a hash."""
        with _told(self.root):
            wanted = "SELECT CAST(path AS BLOB), size, mtime_ns, sha256 FROM videos WHERE sha256 IS NOT NULL"
            for path, *facts in self._connection().execute(wanted):
                yield Known(path.decode("utf-8", "surrogateescape"), *facts)

    def entry(self, path: str | os.PathLike[str]) -> Entry | None:
        """Returns the entry of a file, or None. Does not check whether the file has changed since."""
        inside = os.path.relpath(path, self.root).replace(os.sep, "/")
        with _told(self.root):
            row = self._connection().execute(f"{_READ} WHERE path = {_AS_TEXT}", [_bytes(inside)])
            found = row.fetchone()
            return found and _to_entry(found)

    def count(self, path: str | os.PathLike[str], decoder: str = "auto") -> int | None:
        """Returns the number of frames that `decoder` yields, or None if that is unknown or the file has changed.

        PyAV's count is known of every sound file, since PyAV counts for all decoders. Another decoder's count is known
        only if the file was examined with that decoder.
        """
        entry = self.entry(path)
        try:
            now = os.stat(path)
        except OSError:
            return None
        fresh = entry is not None and (entry.size, entry.mtime_ns) == (now.st_size, now.st_mtime_ns)
        known = same_frames(decoder) in ("pyav", entry and entry.decoder)
        return entry.num_frames if fresh and known and entry is not None else None

    def _connection(self) -> sqlite3.Connection:
        process = os.getpid()
        if process not in self._connections:
            self._connections[process] = open_index(self.file, write=False)
        return self._connections[process]

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "file": self.file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"], file=state["file"])


def find_index(root: str | os.PathLike[str] | None) -> VideoIndex | None:
    """Returns the index in a data set's folder, or None if there is none. Raises ValueError if it cannot be read."""
    folder = Path(root or "").expanduser()
    return VideoIndex(folder) if root and (folder / FILE_NAME).is_file() else None


class Update(NamedTuple):
    """The result of `update_index`: numbers of files, and the entries of those that are broken now."""

    found: int
    examined: int
    forgotten: int
    broken: list[Entry]
    seconds: float


def update_index(
    root: Path,
    *,
    workers: int,
    engine: str = "local",
    address: str | None = None,
    decoder: str = "auto",
    inside: Path | None = None,
    file: Path | None = None,
    progress: Callable[[Iterator[Outcome], int], Iterator[Outcome]] = lambda outcomes, total: outcomes,
) -> Update:
    """Examines the videos below `root` that are new or changed (by size and time), and forgets those that are gone.

    With `inside`, a folder below `root`, only the videos in there are looked at, and entries of others stay.
    `file` is the index, if it is not ROOT/index.sqlite. `progress` gets the iterator of outcomes and their number, and
    passes the outcomes on.

    A broken file gets an entry with its error. If `decoder` is another one than before, broken files are examined
    again, and sound ones, too, unless it is PyAV, which has read them already. Whenever this is stopped, the entries
    written so far are kept.
    """
    started = time.perf_counter()
    file = file or root / FILE_NAME
    with naming(file), contextlib.closing(open_index(file, write=True)) as connection:
        start = _bytes(_prefix(root, inside))
        # PyAV has read all sound files already
        again = "decoder IS NOT ? AND (error IS NOT NULL OR ? NOT IN ('auto', 'pyav'))"
        facts = f"SELECT CAST(path AS BLOB), size, mtime_ns, {again} FROM videos"
        with _told(root):
            rows = connection.execute(facts, [decoder, decoder])
            known = {path: (size, time, again) for path, size, time, again in rows if path.startswith(start)}
        files = dict(scan(root, inside))
        gone = [(path,) for path in known.keys() - {_bytes(path) for path in files}]
        changed = [path for path, facts in files.items() if known.get(_bytes(path)) != (*facts, False)]
        with connection:
            connection.executemany(f"DELETE FROM videos WHERE path = {_AS_TEXT}", gone)
        if changed:
            task = partial(examine, root, decoder)
            examined = run_tasks(task, changed, workers=workers, engine=engine, address=address)
            with contextlib.closing(examined) as outcomes:  # type: ignore[type-var]
                _store(connection, progress(outcomes, len(changed)), files, decoder)
        with _told(root):
            rows = connection.execute(f"{_READ} WHERE error IS NOT NULL ORDER BY path")
            broken = [_to_entry(row) for row in rows if row[0].startswith(start)]
    return Update(len(files), len(changed), len(gone), broken, time.perf_counter() - started)


def scan(root: Path, inside: Path | None = None) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields (path below root, (size, time of change)) of each video file, or of those `inside` a folder below root.

    Ignores hidden files and folders, and folders that `twostream prepare` has written.
    """
    for path in videos_below(inside or root, root):
        if OURS.fullmatch(path.partition("/")[0]):
            continue
        with contextlib.suppress(FileNotFoundError):  # a broken link, or a file that has just been deleted
            facts = os.stat(os.path.join(root, path))
            yield path, (facts.st_size, facts.st_mtime_ns)


def _prefix(root: Path, inside: Path | None) -> str:
    """Returns the start that the paths of all files in a folder share.

    >>> _prefix(Path("a"), Path("a/b")), _prefix(Path("a"), Path("a")), _prefix(Path("a"), None)
    ('b/', '', '')
    """
    return "" if inside in (None, root) else f"{inside.relative_to(root).as_posix()}/"  # type: ignore[union-attr]


def examine(root: Path, decoder: str, path: str) -> Entry:
    """Hashes a file, decodes it to its end, and compares a few frames with PyAV's. Faults become `Entry.error`."""
    file = root / path
    before = file.stat()
    entry = Entry(path, before.st_size, before.st_mtime_ns, decoder=decoder)
    try:
        entry = entry._replace(sha256=file_hash(file))
        facts = probe(file)
        entry = entry._replace(**{name: value for name, value in vars(facts).items() if name in Entry._fields})
        frame_source = Guarded(Examined(decoder), PATIENCE)
        entry = entry._replace(num_frames=frame_source.count(Video(id=path, path=file, label=0, group=path)))
        after = file.stat()
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise VideoError(file, "changed while it was read")
    except VideoError as error:
        return entry._replace(num_frames=None, error=" ".join(error.reason.split()))
    return entry


class Examined(Decoded):
    """FrameSource that compares a few frames with PyAV's when it counts."""

    def count(self, video: Video) -> int:
        count = super().count(video)
        compare_frames(video.path, count, decoder=self.decoder)
        return count


def file_hash(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes. Raises `VideoError` if the file cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        raise VideoError(path, f"cannot be read ({error.strerror})") from error


def open_index(path: Path, *, write: bool) -> sqlite3.Connection:
    """Opens the database; with `write` creates it if it is missing. Raises ValueError if the file is not an index."""
    if not write and not path.is_file():
        raise ValueError(f"{path}: no index; make one with `twostream prepare`")
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if write else 'ro'}"
    try:
        # other threads may use the connection (`Guarded` reads in one), and SQLite locks by itself
        connection = sqlite3.connect(uri, uri=True, timeout=60, check_same_thread=False)
        if write and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _create(connection)
        marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        # refuse views and triggers, which run SQL of a foreign file: such a program might never end
        made = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    except (sqlite3.Error, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as an index ({error})") from error
    if marks != [APPLICATION, VERSION] or made != [("table", "videos", _TABLE)]:
        connection.close()
        raise ValueError(f"{path}: no index of version {VERSION}; delete it and run `twostream prepare`")
    return connection


@contextlib.contextmanager
def _told(root: str | os.PathLike[str]) -> Iterator[None]:
    """Turns SQLite's errors, and rows that are not those of an index, into a ValueError inside the block."""
    try:
        yield
    except (sqlite3.DatabaseError, AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{Path(root) / FILE_NAME}: damaged ({reason}); delete it and run `twostream prepare`"
        ) from error


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(
        f"BEGIN EXCLUSIVE; {_TABLE.replace('TABLE', 'TABLE IF NOT EXISTS')}; "
        f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
    )


def _store(
    connection: sqlite3.Connection, outcomes: Iterator[Outcome], files: dict[str, tuple[int, int]], decoder: str
) -> None:
    """Writes the outcomes as they come and commits once a second, and once more at the end or an interruption."""
    committed = time.perf_counter()
    try:
        for outcome in outcomes:
            size, changed = files[outcome.item]
            failed = Entry(outcome.item, size, changed, decoder=decoder, error=outcome.error)
            write_entries(connection, [outcome.value or failed])
            if time.perf_counter() - committed > COMMIT_EVERY:
                connection.commit()
                committed = time.perf_counter()
    finally:
        connection.commit()


def write_entries(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Adds entries, or replaces those of the same path; the caller commits."""
    places = ", ".join(_AS_TEXT if name == "path" else "?" for name in Entry._fields)
    rows = [(_bytes(path), *rest) for path, *rest in entries]
    connection.executemany(f"INSERT OR REPLACE INTO videos ({_COLUMNS}) VALUES ({places})", rows)


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _to_entry(row: tuple) -> Entry:
    flags = (_FLAGS[row[_FIRST_FLAG]], _FLAGS[row[_FIRST_FLAG + 1]])
    path = row[0].decode("utf-8", "surrogateescape")
    entry = Entry._make((path, *row[1:_FIRST_FLAG], *flags, *row[_FIRST_FLAG + 2 :]))
    for name, value in zip(Entry._fields, entry, strict=True):
        wanted = str if name in _TEXT else (int, float)
        if value is not None and not isinstance(value, wanted):  # SQLite lets a column hold values of any type
            raise TypeError(f"{name} of {path} is {value!r:.50}")
    if entry.num_frames is not None and not 0 < entry.num_frames < 1 << 31:
        raise TypeError(f"num_frames of {path} is {entry.num_frames}")
    return entry

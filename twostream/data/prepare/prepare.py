"""`twostream prepare`: puts a data set in place, counts and indexes it; makes copies and packed frames if wanted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from twostream.data.prepare.arrange import arrange, arrange_folder, has_lists
from twostream.data.prepare.catalogue import PUBLISHED, Published
from twostream.data.prepare.copies import Packer, Reencoder, Workers, copy_all
from twostream.data.prepare.reencode import copy_options
from twostream.data.prepare.report import Report
from twostream.data.sources import Folder
from twostream.data.sources.class_folders import OURS, own_folders
from twostream.data.sources.sides import find_sides
from twostream.data.sources.source import first_ten
from twostream.data.sources.tree import check_root
from twostream.data.storage.absent import SHORT_SIDE, packed_folder
from twostream.data.storage.index import FILE_NAME, Entry, VideoIndex, update_index
from twostream.files.one_at_a_time import alone
from twostream.files.progress import watch
from twostream.files.words import counted
from twostream.files.writable import is_writable, require_writable
from twostream.options.choices import DATA_SETS


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What to do beyond indexing: download what is missing (from `mirrors` first), write copies, pack frames.

    Raises ValueError for an option without effect, or a short side that is odd or too small.
    """

    download: bool = False
    mirrors: Sequence[str] = ()
    reencode: bool = False
    output: Path | None = None  # folder of the copies; None: ROOT/reencoded, with a short side ROOT/reencoded-N
    pack: bool = False
    short_side: int | None = None  # of copies (None: unchanged) and of packed frames (None: 256)
    packed: Path | None = None  # folder of the packed frames; None: ROOT/packed-256, with a short side ROOT/packed-N

    def __post_init__(self) -> None:
        copy_options(self.short_side)
        for option, given, needed, wanted in (
            ("--mirror", self.mirrors, "--download", self.download),
            ("--output", self.output, "--reencode", self.reencode),
            ("--packed", self.packed, "--pack", self.pack),
            ("--short-side", self.short_side, "--reencode or --pack", self.reencode or self.pack),
        ):
            if given and not wanted:
                raise ValueError(f"{option}: has no effect without {needed}")


class Place(NamedTuple):
    """A data set on disk. `known` is None for the user's own videos, `lists` if there are no list files."""

    known: Published | None
    videos: Path
    lists: Path | None


def prepare(name: str, root: Path, wishes: Wishes, *, decoder: str, workers: Workers) -> int:
    """Prepares the data set `name` in `root` and prints what was done.

    Returns how many videos are broken or could not be copied; each is named. Does only what is missing or has changed.
    Raises ValueError if videos or lists are missing or are not those of the data set, ArchiveError, DownloadError,
    OSError.
    """
    if name not in DATA_SETS:
        raise ValueError(f"{name!r}: no such data set; choose from {', '.join(DATA_SETS)}")
    known, report = PUBLISHED.get(name), Report()
    if wishes.download:
        root.mkdir(parents=True, exist_ok=True)
    holds = f"{known.title}, or its archives" if known else "one folder of videos per class"
    root = check_root(root, holds=holds, option="--root ")
    fetching = {"fetch": wishes.download, "mirrors": wishes.mirrors, "report": report}
    for folder, option in targets(root, wishes).items():
        require_writable(folder, f"name another folder with {option} DIR")
    with alone(root / FILE_NAME, report.note) if is_writable(root) else nullcontext(), index_of(root, report) as file:
        place = Place(known, *(arrange(root, known, **fetching) if known else arrange_folder(root, **fetching)))
        broken = _prepare(root, file, place, wishes, decoder=decoder, workers=workers, report=report)
    if not report.changes:
        report.note("nothing to do")
    return broken


def targets(root: Path, wishes: Wishes) -> dict[Path, str]:
    """Returns {folder that is written into: option that names another one} for copies and packed frames."""
    side, found = wishes.short_side, {}
    if wishes.reencode:
        found[wishes.output or root / ("reencoded" if side is None else f"reencoded-{side}")] = "--output"
    if wishes.pack:
        usual = Path(packed_folder(None, str(root))).with_name(f"packed-{side or SHORT_SIDE}")
        found[wishes.packed or usual] = "--packed"
    return found


@contextmanager
def index_of(root: Path, report: Report) -> Iterator[Path]:
    """Yields the file of the index: that in `root`, or a temporary one if `root` is not writable."""
    if is_writable(root):
        yield root / FILE_NAME
        return
    report.note(f"{root}: nothing can be written there: its videos are looked at, and no index of them is kept")
    with TemporaryDirectory(prefix="twostream-") as folder:
        if (root / FILE_NAME).is_file():
            shutil.copyfile(root / FILE_NAME, Path(folder, FILE_NAME))
        yield Path(folder, FILE_NAME)


def _prepare(
    root: Path, file: Path, place: Place, wishes: Wishes, *, decoder: str, workers: Workers, report: Report
) -> int:
    """Indexes, reports and copies the videos in `place`; returns how many are broken or could not be copied."""
    known = place.known
    broken = _index(root, place.videos, file=file, decoder=decoder, workers=workers, report=report)
    listed = VideoIndex(root, file=file).entries()
    entries = [entry for entry in listed if (root / entry.path).is_relative_to(place.videos)]
    sound = [root / entry.path for entry in entries if entry.error is None]
    there = {(root / entry.path).relative_to(place.videos).as_posix() for entry in entries}
    for line in split_lines(root, place.lists, known, there) if known else folder_lines(root):
        report.note(line)
    for line in copy_lines(entries):
        report.note(line)
    return broken + _copy(root, place, sound, wishes, decoder=decoder, workers=workers, report=report)


def _index(
    root: Path, videos: Path, *, decoder: str, workers: Workers, report: Report, file: Path | None = None
) -> int:
    """Brings the index up to date and reports broken files; returns how many there are."""
    progress = watch("examined")
    update = update_index(root, inside=videos, file=file, decoder=decoder, progress=progress, **workers._asdict())
    gone = f"{update.forgotten:,} no longer there, " if update.forgotten else ""
    report.did(
        update.examined + update.forgotten,
        f"{counted(update.found, 'video')} in {videos}: {update.examined:,} examined, {gone}"
        f"{len(update.broken):,} broken ({update.seconds:.2f} s)",
    )
    for entry in update.broken:
        report.note(f"  broken: {entry.path}: {entry.error}")
    return len(update.broken)


def split_lines(root: Path, lists: Path | None, known: Published, there: Set[str]) -> Iterator[str]:
    """Yields lines that say how many videos of the official splits are `there` (a set of ids).

    Raises ValueError if the data set is complete and the numbers are not the published ones.
    """
    complete = len(there) >= known.num_videos
    where = f"in {lists}" if lists else "derived by their rule, as there are no list files"
    yield f"{len(there):,} of {known.num_videos:,} videos of {known.title} are there; its splits are {where}"
    absent = 0
    for split, (train, test) in known.split_sizes.items():
        try:
            _, *sides = known.listed(root, lists, split) if lists else known.derive(root, split)  # type: ignore[misc]
        except ValueError as error:
            if complete:
                raise
            yield f"split {split} cannot be used: {error}"
            continue
        found = [sum(video.id in there for video in side) for side in sides]
        absent = max(absent, sum(map(len, sides)) - sum(found))
        if complete and found != [train, test]:
            raise ValueError(
                f"{lists or root}: split {split} has {found[0]:,} training and {found[1]:,} test videos, not the "
                f"published {train:,} and {test:,}: get the list files anew from {known.website}"
            )
        published = "as published" if complete else f"{train:,} and {test:,} if complete"
        yield f"split {split}: {found[0]:,} training and {counted(found[1], 'test video')} ({published})"
    if absent:
        listed = counted(absent, "listed video is", "listed videos are")
        yield f"{listed} absent: data.missing=skip trains on the others"


def folder_lines(root: Path) -> Iterator[str]:
    """Yields a line that says how many videos data=folder would train and test with."""
    try:
        source = Folder(root, split=1)
    except ValueError as error:
        yield f"not yet a data set for data=folder: {error}"
    else:
        validation = f", {len(source.validation):,} validation" if source.validation else ""
        sizes = f"{len(source.train):,} training{validation} and {counted(len(source.test), 'test video')}"
        how = "by its folders" if find_sides(root, own_folders(root)) else "by chance"
        yield f"split 1, {how}: {counted(len(source.classes), 'class', 'classes')}, {sizes}"


def copy_lines(entries: Sequence[Entry]) -> Iterator[str]:
    """Yields a line that names files with the same bytes: training refuses them on two sides or in two classes."""
    paths: dict[str, list[str]] = {}
    for entry in entries:
        if entry.sha256 and entry.size:
            paths.setdefault(entry.sha256, []).append(entry.path)
    copies = [names for names in paths.values() if len(names) > 1]
    if copies:
        number = sum(map(len, copies)) - len(copies)
        hold = counted(number, "video holds", "videos hold")
        yield f"{hold} the bytes of another: {first_ten([' = '.join(n) for n in copies], '; ')}"


def _copy(
    root: Path, place: Place, sound: Sequence[Path], wishes: Wishes, *, decoder: str, workers: Workers, report: Report
) -> int:
    """Makes the copies and packed frames that `wishes` ask for; returns how many failed."""
    failed = 0
    folders = {option: folder for folder, option in targets(root, wishes).items()}
    if wishes.reencode:
        output = folders["--output"]
        _check_output(output, place.videos)
        copier = Reencoder(place.videos, output.absolute(), wishes.short_side, decoder)
        failed += copy_all(copier, sound, workers=workers, report=report)
        if output.is_dir():
            _copy_lists(place, output)
            failed += _index(output, output, decoder=decoder, workers=workers, report=report)
    if wishes.pack:
        copier = Packer(place.videos, folders["--packed"], wishes.short_side, decoder)
        failed += copy_all(copier, sound, workers=workers, report=report)
    return failed


def _check_output(output: Path, videos: Path) -> None:
    """Raises ValueError if copies would replace their originals, or look like originals."""
    folder, around = output.resolve(), videos.resolve()
    if folder.is_relative_to(around) and not OURS.fullmatch("".join(folder.relative_to(around).parts[:1])):
        raise ValueError(f"--output: {output} lies among the videos in {videos}: choose a folder outside of them")


def _copy_lists(place: Place, output: Path) -> None:
    """Copies the list files, so that `data.root` may be the folder of the copies, unless lists are found from there."""
    if place.known is None or place.lists is None or has_lists(output, place.known):
        return
    target = output / place.known.list_folders[0]
    aside = target.with_name(f".{target.name}.tmp")
    aside.mkdir(exist_ok=True)
    for path in place.lists.glob("*.txt"):
        shutil.copy2(path, aside)
    aside.replace(target)

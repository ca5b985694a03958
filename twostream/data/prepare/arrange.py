"""Finds, unpacks or downloads the videos and split lists of a data set, and puts them where its source looks."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from twostream.data.prepare.archives import SUFFIXES, ArchiveError, is_archive, unpack
from twostream.data.prepare.catalogue import Published, folders_in
from twostream.data.prepare.download import download
from twostream.data.prepare.report import Report
from twostream.data.sources.sides import side_of
from twostream.data.sources.source import first_ten
from twostream.files.progress import watch_bytes
from twostream.files.video_files import SUFFIXES as VIDEO_SUFFIXES
from twostream.files.video_files import is_visible, videos_below

LISTS = re.compile("split|list|annot", re.IGNORECASE)  # archives with these words in their names have lists, not videos
DEPTH = 3  # how deep below the root an error message looks for misplaced videos


def arrange(
    root: Path, known: Published, *, fetch: bool, mirrors: Sequence[str], report: Report
) -> tuple[Path, Path | None]:
    """Returns (folder of class folders, folder of split lists, or None if splits are derived).

    Videos and lists that exist are not touched. What is missing is unpacked from archives in `root`; with `fetch`,
    archives are downloaded into `root` first, from `mirrors` before others. If this is interrupted, the next call
    continues.

    Raises ValueError if videos or lists are missing, ArchiveError, DownloadError.
    """
    _place_unpacked(root, known)
    if find_classes(root, known) is None:
        archives = _archives(root, known, lists=False)
        if not archives and fetch:
            archives = [_fetch(root, mirror_urls(mirrors, known.video_urls, lists=False))]
        _unpack_all(archives, root, known, report)
    videos = find_classes(root, known)
    if videos is None:
        raise ValueError(_no_videos(root, known))
    if not has_lists(root, known):
        archives = _archives(root, known, lists=True)
        if not archives and fetch:
            archives = [_fetch(root, mirror_urls(mirrors, known.list_urls, lists=True))]
        _unpack_all(archives, root, known, report)
    try:
        return videos, known.find_lists(root)
    except ValueError as error:
        usual = known.list_urls[0].rpartition("/")[2]
        raise ValueError(f"{error}; or put {usual} into root; or let --download fetch it") from None


def arrange_folder(root: Path, *, fetch: bool, mirrors: Sequence[str], report: Report) -> tuple[Path, None]:
    """Does the same for the user's own videos: unpacks archives if there are no videos in `root` yet."""
    _place_unpacked(root, None)
    if _any_video(root):
        return root, None
    archives = sorted(path for path in root.iterdir() if is_archive(path))
    if not archives and fetch:
        if not mirrors:
            raise ValueError("--download: name the address of an archive of your videos with --mirror URL")
        archives = [_fetch(root, mirrors)]
    _unpack_all(archives, root, None, report)
    if not _any_video(root):
        raise ValueError(f"--root {str(root)!r}: no videos and no archives of them in it")
    return root, None


def _any_video(root: Path) -> bool:
    return next(videos_below(root, root), None) is not None


def find_classes(root: Path, known: Published) -> Path | None:
    """Returns the folder of class folders in which the data set's source finds videos, or None if there is none."""
    return next(
        (path for path in (*(root / name for name in known.video_folders), root) if known.has_classes(path)), None
    )


def mirror_urls(mirrors: Sequence[str], urls: Sequence[str], *, lists: bool) -> list[str]:
    """Returns the addresses to ask, mirrors first. A mirror is the address of an archive, or of a folder of the files.

    >>> mirror_urls(["http://m/x/", "http://m/my-splits.zip"], ["http://o/UCF101.rar"], lists=False)
    ['http://m/x/UCF101.rar', 'http://o/UCF101.rar']
    """
    names = list(dict.fromkeys(url.rpartition("/")[2] for url in urls))
    chosen: list[str] = []
    for mirror in mirrors:
        name = urlsplit(mirror).path.rpartition("/")[2]
        if name.lower().endswith(SUFFIXES):
            chosen += [mirror] if bool(LISTS.search(name)) == lists else []
        else:
            chosen += [f"{mirror.rstrip('/')}/{name}" for name in names]
    return list(dict.fromkeys([*chosen, *urls]))


def place(content: Path, root: Path, known: Published | None) -> None:
    """Moves unpacked files to where they belong, and removes the rest. If interrupted, may be called again.

    Raises ArchiveError if a file would be overwritten.
    """
    for source, target in _moves(content, root, known):
        _merge(source, target)
    _remove(content)


def _moves(content: Path, root: Path, known: Published | None) -> list[tuple[Path, Path]]:
    """Returns (source, target) of all files and folders to move."""
    return list(_own_moves(content, root) if known is None else _known_moves(content, root, known))


def _known_moves(content: Path, root: Path, known: Published) -> Iterator[tuple[Path, Path]]:
    videos, lists = root / known.video_folders[0], root / known.list_folders[0]
    for folder in [content, *_folders_below(content)]:
        if known.has_lists(folder):
            yield from ((path, lists / path.name) for path in sorted(folder.glob("*.txt")))
        if folder != content and known.is_class(folder):
            yield folder, videos / folder.name
            continue
        archive = _archive_name(content)
        for name in sorted(os.listdir(folder)):
            class_name = archive if known.in_class(archive, name) else known.class_of(name)
            if class_name:
                yield folder / name, videos / class_name / name


def _own_moves(content: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """Yields (source, target) for the user's own videos.

    A folder around all class folders is left out. Videos in no folder become a class named like their archive.
    Folders or archives named train, val, test … are sides of a split, and stay around their class folders.
    """
    archive, inside = _archive_name(content), folders_in(content)
    flat = next(_files(content), None) is not None
    around = inside[0] if len(inside) == 1 and not flat and not side_of(inside[0].name) else None
    if around and folders_in(around) and next(_files(around), None) is None:
        content, inside = around, folders_in(around)
    is_side = side_of(archive) and not any(side_of(path.name) for path in inside)
    target = root / archive if flat or is_side else root
    for path in sorted(content.iterdir()):
        if path in folders_in(content) or (path.is_file() and not path.name.startswith(".")):
            yield path, target / path.name


CONTENT = ".content"  # the content of walk.zip is unpacked into the folder .walk.zip.content
_ENDS = tuple(f"{suffix}{CONTENT}" for suffix in sorted(SUFFIXES, key=len, reverse=True))


def _archive_name(content: Path) -> str:
    """Returns the name of an archive without its suffix, from the name of the folder of its content.

    >>> _archive_name(Path(".walk.tar.gz.content"))
    'walk'
    """
    return next(content.name[1 : -len(end)] for end in _ENDS if content.name.lower().endswith(end))


def _files(folder: Path) -> Iterator[Path]:
    """Yields the videos directly in a folder."""
    for name in sorted(os.listdir(folder)):
        if name.lower().endswith(VIDEO_SUFFIXES) and is_visible(name):
            yield folder / name


def _folders_below(folder: Path) -> Iterator[Path]:
    for path in folders_in(folder):
        yield path
        yield from _folders_below(path)


def _merge(source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    elif source.is_dir() and target.is_dir():
        for path in sorted(source.iterdir()):
            _merge(path, target / path.name)
    else:
        raise ArchiveError(source, f"would overwrite {target}: move that away, and run the same command again")


def _remove(content: Path) -> None:
    shutil.rmtree(content)


def _unpack_all(archives: Sequence[Path], root: Path, known: Published | None, report: Report) -> None:
    """Unpacks all archives, then moves their content to its place: so if one video is in place, all are unpacked.

    Raises ArchiveError for an archive without videos or lists of the data set.
    """
    for archive in archives:
        report.did(1, f"unpacking {archive.name}")
        content = root / f".{archive.name}{CONTENT}"
        if not content.exists():
            unpack(archive, content)
        if not _moves(content, root, known):
            _remove(content)
            wanted = f"videos {known.example} nor split lists of {known.title}" if known else "files nor folders"
            raise ArchiveError(archive, f"holds neither {wanted}")
    _place_unpacked(root, known)


def _place_unpacked(root: Path, known: Published | None) -> None:
    """Moves all unpacked content to its place, also that of an earlier run that was interrupted."""
    for content in sorted(root.glob(f".*{CONTENT}")):
        if content.name.lower().endswith(_ENDS) and content.is_dir():
            place(content, root, known)


def _archives(root: Path, known: Published, *, lists: bool) -> list[Path]:
    names = re.compile(known.archive_names, re.IGNORECASE)
    found = [path for path in root.iterdir() if is_archive(path) and names.search(path.name)]
    if not lists:  # class archives from an archive of archives that was unpacked by hand
        found += [path for name in known.video_folders for path in (root / name).glob("*") if is_archive(path)]
    return sorted(path for path in found if bool(LISTS.search(path.name)) == lists)


def _fetch(root: Path, urls: Sequence[str]) -> Path:
    with watch_bytes() as progress:
        return download(urls, root, progress=progress)


def has_lists(root: Path, known: Published) -> bool:
    """Whether the data set's source finds its list files."""
    try:
        return known.find_lists(root) is not None
    except ValueError:
        return False


def _no_videos(root: Path, known: Published) -> str:
    message = f"--root {str(root)!r}: no videos {known.example} in it or in {' or '.join(known.video_folders)}"
    if others := [path.name for path in sorted(root.iterdir()) if is_archive(path)]:
        message += f"; its archives are not named like those of {known.title}: {first_ten(others)}"
    for folder in _folders_below(root):
        if len(folder.relative_to(root).parts) <= DEPTH and known.has_classes(folder):
            return f"{message}; they are in {folder}: name that with --root"
    usual = known.video_urls[0].rpartition("/")[2]
    return f"{message}; --download fetches them ({known.size}), or put {usual} from {known.website} into it"

"""Unpacks zip, tar and rar. Whatever is in an archive, nothing is written outside the given folder."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from twostream.files.errors import ExpectedError, one_line

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".rar")
MAX_RATIO = 50  # most bytes out of an archive per byte in it: videos are compressed already, so more is an attack
FREE_BYTES = 1 << 30  # bytes that may come out in any case
BLOCK = 4096  # the least space that a file takes on a disk, in bytes
MOST_OUTPUT = 1 << 26  # most bytes that are read of a list of names
LONGEST_NAME = 1 << 16  # most bytes of a tar entry that describes another entry
PAX, GNU = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE), (b"L", b"K")  # entries that describe the next
PATIENCE, LOOK = 3600.0, 0.5  # seconds that a program may take to unpack, and between checks of what it has written

# The commands with which each program lists the names in an archive, and unpacks it into the current folder.
RAR_TOOLS: dict[str, tuple[list[str], list[str]]] = {
    "unar": (["lsar", "-p", ""], ["unar", "-quiet", "-force-overwrite", "-no-directory", "-p", ""]),
    "bsdtar": (["bsdtar", "-tf"], ["bsdtar", "-xf"]),
    "7z": (["7z", "l", "-ba", "-slt", "-p", "--"], ["7z", "x", "-y", "-p", "-bso0", "--"]),
    # last: before version 6.12 it writes through links that the archive itself has made
    "unrar": (["unrar", "lb", "-p-", "--"], ["unrar", "x", "-idq", "-o+", "-p-", "--"]),
}


class ArchiveError(ExpectedError):
    """An archive cannot or must not be unpacked; `path` names it and `reason` says why."""

    def __init__(self, path: Path, reason: str = "") -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def is_archive(path: Path) -> bool:
    """Whether `path` is a file with the suffix of an archive that can be unpacked."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()


def unpack(path: Path, folder: Path) -> None:
    """Unpacks an archive, and the rar files in it, into `folder`, which must not exist yet.

    Raises `ArchiveError` for an archive with anything but files and folders (links, devices), with absolute paths or
    paths with `..`, and for one that grows too large (see `_Budget`). After an error `folder` does not exist, since the
    files are first written beside it under a hidden name.
    """
    aside = folder.with_name(f".{folder.name.lstrip('.')}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)  # left by a process that was killed
    aside.mkdir(parents=True)
    try:
        _unpack_into(path, aside)
        for inner in sorted(aside.rglob("*.rar")):  # hmdb51_org.rar contains one per class
            holder = inner.with_name(f"{inner.stem}.rar-content")
            holder.mkdir()
            _unpack_into(inner, holder)
            inner.unlink()
            _merge_class(holder, inner.with_suffix(""))
        aside.replace(folder)
    except ArchiveError:
        raise
    except Exception as error:  # each kind of damage raises a different exception
        raise ArchiveError(path, f"cannot be unpacked ({one_line(error)})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _merge_class(holder: Path, folder: Path) -> None:
    """Makes the content of walk.rar the folder walk/, whether or not the archive itself has a folder of that name."""
    inside = list(holder.iterdir())
    if [path.name for path in inside] == [folder.name] and inside[0].is_dir():
        inside[0].replace(folder)
        holder.rmdir()
    else:
        holder.replace(folder)


def _unpack_into(path: Path, folder: Path) -> None:
    name = path.name.lower()
    if name.endswith(".rar"):
        _unpack_rar(path, folder)
        return
    budget = _Budget(path)
    members = _zip_members if name.endswith(".zip") else _tar_members
    for member, is_folder, open_member in members(path):
        target = _inside(path, folder, member)
        budget.spend(BLOCK)  # empty files and folders fill a disk, too
        if is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_member() as source, target.open("xb") as file:
            while block := source.read(1 << 20):
                budget.spend(len(block))
                file.write(block)


class _Budget:
    """Counts the bytes that come out of an archive, and raises ArchiveError if there are too many.

    Allowed are MAX_RATIO times the size of the archive plus FREE_BYTES, but no more than the disk has free.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left = min(MAX_RATIO * path.stat().st_size + FREE_BYTES, shutil.disk_usage(path.parent).free)

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ArchiveError(
                self.path, f"more comes out than {MAX_RATIO} times its size, or than fits on the disk: stopped"
            )


Member = tuple[str, bool, Callable[[], IO[bytes]]]  # name, whether it is a folder, its content


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveError(path, f"holds {info.filename!r}, which is neither file nor folder: refused")
            # orig_filename is the name as stored: `filename` lacks what follows a NUL
            yield info.orig_filename, info.is_dir(), lambda info=info: archive.open(info)


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path, tarinfo=_Member) as archive:
        for info in archive:
            if not (info.isreg() or info.isdir()):
                raise ArchiveError(path, f"holds {info.name!r}, which is neither file nor folder: refused")
            yield info.name, info.isdir(), lambda info=info: archive.extractfile(info)  # type: ignore[misc]


class _Member(tarfile.TarInfo):
    """An entry of a tar. Refuses large entries that only describe the next: tarfile would read them into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> tarfile.TarInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.type in PAX + GNU and info.size > LONGEST_NAME:
            raise ValueError(f"a header of {info.size:,} bytes")
        return info


def _inside(path: Path, folder: Path, member: str) -> Path:
    """Returns the path of a member in `folder`. Raises `ArchiveError` for a name that leads out of it."""
    name = member.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name or re.match("[A-Za-z]:", name):
        raise ArchiveError(path, f"holds {member!r}, which leads out of the folder: refused")
    return folder.joinpath(*parts)


def _unpack_rar(path: Path, folder: Path) -> None:
    """Unpacks with the first program that manages to. Checks names before it runs, and files after it has run."""
    tools = [tool for tool in RAR_TOOLS if shutil.which(tool)]
    if not tools:
        raise ArchiveError(
            path,
            f"needs one of {', '.join(RAR_TOOLS)} to be unpacked, and none is installed: install one (on Debian and "
            "Ubuntu `apt install unar`), or unpack the file yourself",
        )
    failures = []
    for tool in tools:
        try:
            lister, unpacker = RAR_TOOLS[tool]
            for name in _listed(tool, _run(lister, path, folder)):
                _inside(path, folder, name)
            _run(unpacker, path, folder)
            if not any(folder.iterdir()):
                raise _ToolError(f"{tool}: nothing in it")  # bsdtar reports no error for an empty file
            _check_files(path, folder)
            return
        except _ToolError as error:
            failures.append(str(error))
            for left in folder.iterdir():
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    raise ArchiveError(path, f"cannot be unpacked ({'; '.join(failures)})")


class _ToolError(RuntimeError):
    """A program could not unpack an archive; another one may."""


def _check_files(path: Path, folder: Path) -> None:
    budget = _Budget(path)
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            try:
                facts = os.lstat(os.path.join(where, name))
            except FileNotFoundError:  # the program still runs, and has removed or renamed it
                continue
            if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
                raise ArchiveError(path, f"holds {name!r}, which is neither file nor folder: refused")
            budget.spend(facts.st_size + BLOCK)


def _run(command: list[str], path: Path, folder: Path) -> str:
    """Runs a program in `folder` and returns what it prints. Stops it if it takes too long or writes too much.

    Raises `_ToolError` if the program fails, ArchiveError if it was stopped.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        # no shell, no standard input for questions; and an absolute path cannot look like an option
        words = [*command, str(path.absolute())]
        process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=complained)
        try:
            _watch(process, path, folder)
        finally:
            process.kill()
            process.wait()
        output, errors = (_beginning(file) for file in (said, complained))
    if process.returncode:
        words = (errors.encode("utf-8", "surrogateescape").decode("utf-8", "replace") or output).split()
        raise _ToolError(f"{command[0]}: exit code {process.returncode}, {' '.join(words)[-200:]}")
    return output


def _watch(process: subprocess.Popen[bytes], path: Path, folder: Path) -> None:
    """Waits for the end of a program. Raises `ArchiveError` if it takes too long or writes too much."""
    started = time.monotonic()
    while process.poll() is None:
        try:
            process.wait(LOOK)
        except subprocess.TimeoutExpired:
            _check_files(path, folder)
            if time.monotonic() - started > PATIENCE:
                raise ArchiveError(path, f"{process.args[0]} has not unpacked it in {PATIENCE:g} s") from None  # type: ignore[index]


def _beginning(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MOST_OUTPUT).decode("utf-8", "surrogateescape")


def _listed(tool: str, output: str) -> list[str]:
    """Returns the names of members from what a program lists.

    >>> _listed("7z", "Path = a/b.avi\\nSize = 3\\n\\nPath = c\\n")
    ['a/b.avi', 'c']
    >>> _listed("unar", "file.rar: RAR\\na/b.avi\\n")
    ['a/b.avi']
    """
    lines = output.splitlines()
    if tool == "7z":
        return [line.removeprefix("Path = ") for line in lines if line.startswith("Path = ")]
    return lines[1:] if tool == "unar" else [line for line in lines if line]

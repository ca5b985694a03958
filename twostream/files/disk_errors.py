"""Errors of a disk that name the file."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twostream.files.errors import ExpectedError

OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes an error of the disk inside the block name `path`, the file that is written, if it names no file itself.

    The system calls that write, or wait for the disk, know no file name; PyTorch and SQLite raise errors of their own
    that hide the error of the disk.
    """
    try:
        yield
    except ExpectedError:  # its message is complete
        raise
    except (OSError, RuntimeError, sqlite3.Error) as error:
        found = of_the_disk(error)
        other = isinstance(error, OSError) and found is not error  # has a clear message of its own
        if found is None or other or (found is error and found.filename is not None):
            raise
        raise OSError(found.errno, found.strerror, found.filename or str(path)) from error


def of_the_disk(error: BaseException | None) -> OSError | None:
    """Returns the error of a disk in a chain of errors, or None if there is none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in OF_A_DISK:
            return error
        if isinstance(error, sqlite3.Error) and "disk is full" in str(error):
            return OSError(errno.ENOSPC, "No space left on device")
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None

"""How a process ends that trains together with others: after its parent, and after an error of its own."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from twostream.files.errors import UserError, is_expected, one_line
from twostream.training.ranks import lost_others

STARTED_BY = "TWOSTREAM_STARTED_BY"  # environment variable: the process that watches those of a run
PATIENCE_SECONDS = 5.0  # a process that has lost the others waits, so that their errors come first


class ProcessError(UserError):
    """A process that this one started has failed, and has printed why."""


def end_with_parent() -> None:
    """Makes the kernel kill this process when the process that started it ends, even if that was killed itself."""
    parent = os.environ.get(STARTED_BY)
    if parent is None:
        return
    with suppress(AttributeError, OSError):  # only Linux has prctl
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(parent):
        os._exit(1)


def end_rank(rank: int, error: Exception, folder: Path) -> NoReturn:
    """Prints what went wrong in this process and ends it at once, since cleaning up may wait for the other processes.

    If all processes find the same error, only the first prints it. A lost connection is printed last, since it follows
    from an error in another process.
    """
    text = f"error: {one_line(error)}" if is_expected(error) else traceback.format_exc().strip()
    if lost_others(error):
        time.sleep(PATIENCE_SECONDS)
        said = re.sub(r"^\[\S+\] ", "", one_line(error)).split(". This is typically")[0]
        text = f"lost the other processes: {said}"
    tell(rank, text, folder)
    sys.stdout.flush()
    os._exit(1)


def tell(rank: int, text: str, folder: Path) -> None:
    """Prints what went wrong in a process, and writes it into `error.txt` unless that exists already."""
    folder.mkdir(parents=True, exist_ok=True)
    path, noted = folder / "error.txt", text.removeprefix("error: ")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(noted + "\n")
    except FileExistsError:
        if path.read_text(encoding="utf-8").strip() == noted:
            return  # another process found the same
    print(f"[rank {rank}] {text}", file=sys.stderr, flush=True)

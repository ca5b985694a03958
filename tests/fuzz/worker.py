"""Reads many wrong inputs of one kind: `python worker.py KIND SECONDS SEED FOLDER`, with a bound on its memory.

Prints a line of JSON for each input; a process that reads it sees a hang or a crash as a line that does not come.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from kinds import KINDS, Kind, mutate

MORE_MEMORY = 3 << 30  # bytes of address space beyond what a good input takes
MORE_RESIDENT = 700 << 20
FOREIGN = (UnicodeError, json.JSONDecodeError)


class Outcome(NamedTuple):
    """Of one input: "result", "error" (a clear one) or "finding", with what was wrong."""

    kind: str
    seed: str
    file: str
    verdict: str
    text: str = ""


def outcomes(kind: Kind, folder: Path, *, seed: str, first: int = 0) -> Iterator[Outcome]:
    """Without end; the good input is read before the first wrong one."""
    folder.mkdir(parents=True)
    kind.make(folder)
    good = {name: (folder / name).read_bytes() for name in kind.files}
    times = {name: (folder / name).stat().st_mtime_ns for name in kind.files}
    kind.read(folder)
    number = first
    while True:
        random = Random(f"{kind.name} {seed} {number}")
        name, data = mutate(kind, folder.parent, good, random)
        (folder / name).write_bytes(data)
        yield judge(kind, folder, f"{seed} {number}", name)
        (folder / name).write_bytes(good[name])
        os.utime(folder / name, ns=(times[name], times[name]))
        number += 1


def judge(kind: Kind, folder: Path, seed: str, name: str) -> Outcome:
    """Read it."""
    from twostream.files.errors import ExpectedError, UserError

    print(json.dumps(Outcome(kind.name, seed, name, "begun")), flush=True) if IN_WORKER else None
    started, before = time.perf_counter(), resident()
    try:
        kind.each(folder / name) if kind.each else kind.read(folder)
        verdict, text = "result", ""
    except Exception as error:
        verdict, text = "error", f"{type(error).__name__}: {error}"
        clear = isinstance(error, (UserError, ExpectedError, ValueError)) and not isinstance(error, FOREIGN)
        if not clear or not any(name in str(error) for name in (folder.name, "split 1: ")):  # a file, or a data set
            verdict, text = "finding", f"{text[:300]}\n{''.join(traceback.format_exception(error)[-6:])}"
    if resident() - before > MORE_RESIDENT:
        verdict, text = "finding", f"took {(resident() - before) >> 20} MB; {text}"
    if (seconds := time.perf_counter() - started) > kind.limit:
        verdict, text = "finding", f"took {seconds:.1f} s; {text}"
    return Outcome(kind.name, seed, name, verdict, text)


def resident() -> int:
    """The most bytes in memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


IN_WORKER = __name__ == "__main__"


def main() -> None:
    name, seconds, seed, folder, first = sys.argv[1:]
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    work = Path(folder)
    shutil.rmtree(work, ignore_errors=True)
    started: Any = None
    with contextlib.redirect_stderr(open(os.devnull, "w")):
        for outcome in outcomes(KINDS[name], work / "input", seed=seed, first=int(first)):
            print(json.dumps(outcome), flush=True)
            if started is None:
                started = time.perf_counter()
                limit_memory()
            if time.perf_counter() - started > float(seconds):
                break


if IN_WORKER:
    main()

"""Says in one line what has run out (disk, memory, file handles, workers), and what to do about it."""

from __future__ import annotations

import errno
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twostream.files.errors import ExpectedError

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit of file sizes (ulimit -f) is reached",
}
HANDLES = 65536  # more than a run ever needs; some systems allow a billion, and some programs loop over them all

SHARED = re.compile(r"bus error|</?torch_\w+|insufficient shared memory", re.IGNORECASE)
OPEN_FILES = re.compile(r"too many open files|items of ancdata|\[Errno 2[34]\]", re.IGNORECASE)
DISK = re.compile(r"\[Errno (28|122|27)\]|no space left on device|quota exceeded|\d+ requested and \d+ written", re.I)
GPU = re.compile(r"(CUDA|HIP|MPS)\b.*out of memory|CU\w+_STATUS_ALLOC_FAILED", re.DOTALL)
MEMORY = re.compile(r"can't allocate memory|cannot allocate memory|unable to allocate|out of memory", re.IGNORECASE)
WORKER = re.compile(r"DataLoader worker \(pid\D*([\d, ]+)\)\s*(?:is killed by signal: (\w[^.]*)|exited unexpectedly)")


class ShortageError(ExpectedError):
    """A resource has run out: disk, memory, file handles."""


@contextmanager
def explain_shortages(then: Callable[[], str] = lambda: "the same command goes on") -> Iterator[None]:
    """Turns errors of a resource that has run out into a `ShortageError`; `then` returns what to do afterwards."""
    try:
        yield
    except ShortageError:  # explained already
        raise
    except Exception as error:
        text = shortage(error)
        if text is None:
            raise
        raise ShortageError(f"{text}. What was saved before is whole; {then()}") from error


def shortage(error: BaseException | None) -> str | None:
    """Returns what has run out and what to do; None if neither the error nor one that led to it is about a shortage.

    Searches the messages, too: errors of loader workers arrive as text, and those of PyTorch's C++ have no number.

    >>> shortage(OSError(28, "No space left on device", "/runs/a/metrics.csv"))
    'the disk is full (/runs/a/metrics.csv): make room there'
    >>> shortage(ValueError("layer='conv9'"))
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if (text := _explanation(error, str(error))) is not None:
            return text
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _explanation(error: BaseException, text: str) -> str | None:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE) or OPEN_FILES.search(text):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return (
            f"too many open files (the limit is {limit}): raise it with `ulimit -n`, or lower num_workers and prefetch"
        )
    if isinstance(error, (OSError, RuntimeError)) and SHARED.search(text):
        return (
            "the shared memory (/dev/shm) is too small for what the loader's workers hand over: "
            "lower num_workers, prefetch or batch_size, or give the container more (docker run --shm-size=8g)"
        )
    if number in FULL or (isinstance(error, (OSError, RuntimeError)) and DISK.search(text)):
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        return f"{FULL.get(number or 0, FULL[errno.ENOSPC])}{where}: make room there"
    return _of_memory(error, text) or _of_worker(text)


def _of_memory(error: BaseException, text: str) -> str | None:
    if type(error).__name__ == "OutOfMemoryError" or GPU.search(text):  # PyTorch's, without importing it
        return (
            "the GPU is out of memory: split the batch (accumulate=auto, or lower batch_size and raise accumulate), "
            "lower transform.size, or set precision=bf16-mixed; in validation or test lower test_batch_size"
        )
    if isinstance(error, MemoryError) or (isinstance(error, (OSError, RuntimeError)) and MEMORY.search(text)):
        return (
            "out of memory: split the batch (accumulate=auto, or lower batch_size and raise accumulate), "
            "lower num_workers, prefetch, transform.size or test_batch_size, or leave out data.cache=ram"
        )
    return None


def _of_worker(text: str) -> str | None:
    found = WORKER.search(text)
    if found is None:
        return None
    process, signal = found.groups()
    how = f"was killed (signal {signal})" if signal else "ended unexpectedly"
    why = ", as the system does with the largest process when memory runs out" if signal == "Killed" else ""
    return f"the loader's worker {process.strip()} {how}{why}: lower num_workers or prefetch if it happens again"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the GPU or the machine is out of memory."""
    return _of_memory(error, str(error)) is not None


def raise_file_limit() -> None:
    """Raises the limit of open files as far as the system allows: the usual 1,024 are too few for loaders."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = HANDLES if hard == resource.RLIM_INFINITY else min(hard, HANDLES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

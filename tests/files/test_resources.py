"""What has run out is told in one line."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from twostream.data.workers import start_worker
from twostream.files.resources import ShortageError, explain_shortages, raise_file_limit, shortage

LOADER = "DataLoader worker (pid 4711) is killed by signal: "
ERRORS = [
    (OSError(errno.ENOSPC, "No space left on device", "/runs/a/metrics.csv"), r"^the disk is full \(/runs/a/metrics"),
    (OSError(errno.EDQUOT, "Disk quota exceeded", "/runs/a"), r"^the disk quota is used up \(/runs/a\): make room"),
    (
        OSError("Caught OSError in DataLoader worker process 0.\n[Errno 28] No space left"),
        "^the disk is full: make room",
    ),
    (OSError("100000 requested and 4096 written"), "^the disk is full"),
    (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        "^the GPU is out of memory: .*accumulate=auto",
    ),
    (RuntimeError("cuDNN error: CUBLAS_STATUS_ALLOC_FAILED"), "^the GPU is out of memory"),
    (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        "^out of memory: split",
    ),
    (MemoryError(), "^out of memory: split the batch"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "^out of memory"),
    (
        OSError(errno.EMFILE, "Too many open files", "/x"),
        r"^too many open files \(the limit is \d+\): .*ulimit -n.*num_wo",
    ),
    (RuntimeError("received 0 items of ancdata"), "^too many open files"),
    (RuntimeError(f"{LOADER}Bus error. It is possible that"), r"^the shared memory \(/dev/shm\) .*--shm-size"),
    (RuntimeError("unable to write to file </torch_12_34>: No space left on device (28)"), "^the shared memory"),
    (RuntimeError(f"{LOADER}Killed. "), r"^the loader's worker 4711 was killed \(signal Killed\), as the system does"),
    (
        RuntimeError("DataLoader worker (pid(s) 1, 2) exited unexpectedly"),
        "^the loader's worker 1, 2 ended unexpectedly",
    ),
]


@pytest.mark.parametrize(("error", "told"), ERRORS, ids=lambda value: str(value)[:40])
def test_each_shortage_has_its_line(error: Exception, told: str) -> None:
    with pytest.raises(ShortageError, match=told) as raised, explain_shortages(lambda: "train.py resume=a goes on"):
        raise error
    assert str(raised.value).endswith("What was saved before is whole; train.py resume=a goes on")
    assert "\n" not in str(raised.value)


def test_what_led_to_an_error_counts_and_what_did_not_is_left_alone() -> None:
    hidden = RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 576 vs 534")
    hidden.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert str(shortage(hidden)).startswith("the disk is full")
    settled = ValueError("layer='conv9'")
    settled.__context__, settled.__suppress_context__ = OSError(errno.ENOSPC, "No space left on device"), True
    assert shortage(settled) is None
    with pytest.raises(FileNotFoundError), explain_shortages():
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/shm/x")


def test_a_shortage_is_told_once() -> None:
    with pytest.raises(ShortageError) as raised, explain_shortages(lambda: "outer"), explain_shortages(lambda: "inner"):
        raise MemoryError
    assert str(raised.value).endswith("; inner")
    assert "outer" not in str(raised.value)


def test_the_limit_of_open_files_is_raised_as_far_as_is_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = min(before[1], 65536)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Unpicklable(Dataset):
    """Its batches cannot be handed over, as when a worker has no file handle left."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        return NoHandle()


class NoHandle:
    def __reduce__(self):
        raise OSError(errno.EMFILE, "Too many open files")


def test_a_batch_that_a_worker_cannot_hand_over_is_an_error_and_no_endless_wait() -> None:
    loader = DataLoader(Unpicklable(), batch_size=None, num_workers=1, worker_init_fn=start_worker, timeout=120)
    with pytest.raises(ShortageError, match=r"^too many open files"), explain_shortages():
        next(iter(loader))


def test_a_video_is_not_broken_because_there_are_too_many_open_files(tmp_path: Path) -> None:
    code = (
        "import resource\n"
        "from twostream.data.decoding import VideoError, read_frames\n"
        "from twostream.files.resources import shortage\n"
        "for limit in (256, 3):\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 256))\n"
        "    for decoder in ('decord', 'pyav'):\n"
        "        try: read_frames('a.avi', [0], decoder=decoder)\n"
        "        except VideoError as error: print(str(shortage(error))[:19])\n"
    )
    (tmp_path / "a.avi").write_bytes(b"RIFF")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["None", "None", "too many open files", "too many open files"], done.stderr

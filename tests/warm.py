"""Command lines in processes of their own, without the seconds that each of them would import PyTorch for.

One process imports, and forks for every command: `Warm().run(["train.py", "epochs=1"], cwd=…, env=…)` is
`subprocess.run([sys.executable, "train.py", "epochs=1"], …)`, only sooner.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PYTORCH_READS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # when it is imported, as train.py has it


class Warm:
    """The client; `close` ends the process that forks. `heat`: a script whose `heat()` that process calls first."""

    def __init__(self, heat: Path | None = None) -> None:
        self.command = [sys.executable, __file__, *([str(heat)] if heat else [])]
        self.server = self._start()

    def _start(self) -> subprocess.Popen[str]:
        pipe, environment = subprocess.PIPE, {**os.environ, **PYTORCH_READS}
        return subprocess.Popen(self.command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def run(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a script, or `-m` and a module, with arguments; it is killed after `timeout` seconds."""
        if self.server.poll() is not None:  # somebody killed it
            self.server = self._start()
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        with TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("out", "err")]
            request = {"argv": [*arguments], "cwd": str(cwd), "env": {**env}, "timeout": timeout}
            print(json.dumps({**request, "files": [*map(str, files)]}), file=self.server.stdin, flush=True)
            answer = self.server.stdout.readline()
            assert answer, f"the process that forks has ended: {self.server.wait()}"
            code = json.loads(answer)
            return subprocess.CompletedProcess([*arguments], code, *(file.read_text() for file in files))

    def close(self) -> None:
        assert self.server.stdin is not None
        with suppress(BrokenPipeError):
            self.server.stdin.close()
        self.server.wait(timeout=200)


def serve() -> None:
    """Fork for each request, a line of JSON; answers with the exit status."""
    import cv2  # noqa: F401
    import matplotlib.pyplot  # noqa: F401

    import twostream.train  # noqa: F401

    for script in sys.argv[1:]:
        runpy.run_path(script)["heat"]()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(become(**request))
        print(json.dumps(wait(child, request["timeout"])), file=answers, flush=True)


def become(*, argv: list[str], cwd: str, env: dict[str, str], files: list[str], timeout: float) -> int:
    """Do what Python would with this command line."""
    for number, path in zip((1, 2), files, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    code: Any = 0
    try:
        if argv[0] == "-m":
            del sys.argv[0]
            runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code or 0


def wait(child: int, timeout: float) -> int:
    """How the child ended, as `subprocess` has it; one that takes too long is killed."""
    deadline = time.monotonic() + timeout
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


if __name__ == "__main__":
    serve()

"""The command that runs, as the user of this program types it, and what to type after it was stopped."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import PurePath

TWOSTREAM_TRAIN = "twostream train"  # stands in sys.argv in place of a script
TYPED = "TWOSTREAM_TYPED"  # environment variable: the command that has started this process
KEEPING = ("probe", "features", "flow", "prepare")  # commands that go on where they were stopped


def train_command(program: str | None = None) -> str:
    """Returns how training is started in a shell: by the script that runs now, if it is one that trains.

    Any other program may run where there is no train.py; `twostream train` is there wherever the package is installed.

    >>> train_command("train.py"), train_command("../my clone/train.py"), train_command("pretrain.py")
    ('python train.py', "python '../my clone/train.py'", 'twostream train')
    """
    program = sys.argv[0] if program is None else program
    return f"python {shlex.quote(program)}" if PurePath(program).name == "train.py" else TWOSTREAM_TRAIN


def command_of(words: Sequence[str]) -> str:
    """Returns the program that runs with other words behind it, as it is typed in a shell."""
    start = "twostream" if PurePath(sys.argv[0]).name in ("twostream", "__main__.py") else train_command()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        start = f"torchrun … {start.removeprefix('python ')}"
    return f"{start} {shlex.join(words)}".strip()


def this_command() -> str:
    """Returns the command that runs, as it was typed; in a process of several, the command that has started them."""
    return os.environ.get(TYPED) or command_of(sys.argv[1:])


def is_sweep(command: str) -> bool:
    """Whether a command has several runs, so that repeating it goes on with them."""
    return not {"-m", "--multirun"}.isdisjoint(shlex.split(command))


def once_more(command: str) -> str:
    """Says how to go on with a command that was stopped, or to begin again where it has kept nothing.

    >>> once_more("twostream flow data=ucf101 --store flow"), once_more("twostream report runs")
    ('go on with: twostream flow data=ucf101 --store flow', 'begin again with: twostream report runs')
    """
    words = shlex.split(command)
    keeps = is_sweep(command) or {*words[:2]} & {*KEEPING} or any(word.startswith("resume=") for word in words)
    return f"{'go on' if keeps else 'begin again'} with: {command}"

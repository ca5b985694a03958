"""The command that trains, as the user of this program types it."""

from __future__ import annotations

import shlex
import sys

TWOSTREAM_TRAIN = "twostream train"  # stands in sys.argv in place of a script


def train_command(program: str | None = None) -> str:
    """Returns how training is started in a shell: by the script that runs now, if it is one that trains.

    Any other program may run where there is no train.py; `twostream train` is wherever the package is installed.

    >>> train_command("train.py"), train_command("../my train.py"), train_command("twostream info")
    ('python train.py', "python '../my train.py'", 'twostream train')
    """
    program = sys.argv[0] if program is None else program
    return f"python {shlex.quote(program)}" if program.endswith("train.py") else TWOSTREAM_TRAIN

"""The command that trains, as the user of this program types it."""

from __future__ import annotations

import shlex
import sys
from pathlib import PurePath

TWOSTREAM_TRAIN = "twostream train"  # stands in sys.argv in place of a script


def train_command(program: str | None = None) -> str:
    """Returns how training is started in a shell: by the script that runs now, if it is one that trains.

    Any other program may run where there is no train.py; `twostream train` is there wherever the package is installed.

    >>> train_command("train.py"), train_command("../my clone/train.py"), train_command("pretrain.py")
    ('python train.py', "python '../my clone/train.py'", 'twostream train')
    """
    program = sys.argv[0] if program is None else program
    return f"python {shlex.quote(program)}" if PurePath(program).name == "train.py" else TWOSTREAM_TRAIN

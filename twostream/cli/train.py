"""`twostream train`, the same command as `python train.py`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from twostream.files.signals import ending_when_asked
from twostream.options.command import once_more, this_command
from twostream.options.help import print_help


def train(arguments: Sequence[str]) -> None:
    """Train and test one network, or with -m a sweep of them; Hydra reads the same arguments from `sys.argv`."""
    if {"-h", "--help"} & {*arguments}:
        print_help(arguments)
        return
    # Threads that wait for their next layer sleep; if they spin, they take the cores from the loader's workers.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # OpenMP reads it when PyTorch is imported
    typed = this_command()
    with ending_when_asked(lambda: once_more(typed)):
        from twostream.cli.task import main
        from twostream.launch.command import run_command

        run_command(main)

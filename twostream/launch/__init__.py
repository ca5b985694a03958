"""Runs jobs: the command that trains, sweeps, resumed runs, and the processes of a run."""

from twostream.launch.command import notes_errors, run_command
from twostream.launch.processes import needs_own_process, run_own_process
from twostream.launch.refit import choose_epochs
from twostream.launch.resume import recovery_of
from twostream.launch.sweep import claimed, identity

__all__ = [
    "choose_epochs",
    "claimed",
    "identity",
    "needs_own_process",
    "notes_errors",
    "recovery_of",
    "run_command",
    "run_own_process",
]

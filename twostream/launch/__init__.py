"""Runs jobs: the command that trains, sweeps, resumed runs, and the processes of a run."""

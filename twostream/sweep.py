"""A folder of runs: what was planned, and what became of it. (A stand-in: only the types.)"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Cell(NamedTuple):
    """One planned run."""

    name: str  # its folder's name
    folder: Path
    overrides: Mapping[str, str]  # of the swept axes only: {"fusion": "sum", "layer": "conv3", "seed": "0"}
    state: str  # finished | failed | running | interrupted | missing (planned, never begun)
    results: Mapping | None  # results.json where finished
    error: str | None  # first line of error.txt where failed


class Sweep(NamedTuple):
    """All of them."""

    folder: Path
    command: str
    axes: Mapping[str, tuple[str, ...]]  # name -> values in the order typed
    cells: tuple[Cell, ...]


def read_sweep(folder: Path) -> Sweep:
    """From a file that only tests write."""
    plan = json.loads((folder / "stand_in.json").read_text())
    cells = []
    for name, overrides, state in plan["cells"]:
        path = folder / name
        results = json.loads((path / "results.json").read_text()) if state == "finished" else None
        error = (path / "error.txt").read_text().splitlines()[0] if state == "failed" else None
        cells.append(Cell(name, path, overrides, state, results, error))
    axes = {axis: tuple(values) for axis, values in plan["axes"].items()}
    return Sweep(folder, plan["command"], axes, tuple(cells))

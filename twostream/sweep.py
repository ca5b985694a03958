"""What became of a sweep: its plan (`ledger.json`) and the folders of its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from twostream.claim import is_held
from twostream.plain import read_json
from twostream.results import read_results

LEDGER = "ledger.json"
PLAN = {"!command": str, "!axes": {str: [str]}, "!cells": [{str: str}]}
STATES = ("finished", "failed", "running", "interrupted", "missing")


class Cell(NamedTuple):
    """One run of a sweep; a missing one was planned and has not begun."""

    name: str  # of its folder, or for a missing one its values
    folder: Path | None
    overrides: Mapping[str, str]  # of the swept axes: {"fusion": "sum", "seed": "0"}
    state: str  # one of STATES
    results: Mapping[str, Any] | None = None  # results.json of a finished one
    error: str | None = None  # of a failed one, in a line


class Sweep(NamedTuple):
    """A sweep; `axes` has the values of each axis in the order in which they were typed."""

    folder: Path
    command: str
    axes: Mapping[str, tuple[str, ...]]
    cells: tuple[Cell, ...]


def read_sweep(folder: str | Path) -> Sweep:
    """Everything that is known of a sweep; without a ledger, of a folder of run folders.

    Then the axes are those overrides in which the runs differ. Raises ValueError where there is neither.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name the folder of a sweep, or one that holds run folders")
    ledger = read_ledger(folder)
    begun = list(begun_cells(folder))
    if ledger is None and not begun:
        raise ValueError(f"{folder}: neither {LEDGER} nor run folders in it")
    if ledger is None:
        ledger = {"command": "", "axes": differing([cell.overrides for cell in begun]), "cells": []}
    axes = {axis: list(values) for axis, values in ledger["axes"].items()}
    cells = []
    for cell in begun:
        values = {axis: cell.overrides.get(axis, "") for axis in axes}
        for axis, value in values.items():
            if value not in axes[axis]:
                axes[axis].append(value)  # a sweeper that decides as it goes
        cells.append(cell._replace(overrides=values))
    there = {tuple(cell.overrides.values()) for cell in cells}
    for values in ledger["cells"]:
        name = ",".join(f"{axis}={value}" for axis, value in values.items())
        if tuple(values[axis] for axis in axes) not in there:
            cells.append(Cell(name, None, values, "missing"))
    order = {axis: {value: place for place, value in enumerate(values)} for axis, values in axes.items()}
    ordered = sorted(cells, key=lambda cell: [order[axis][cell.overrides[axis]] for axis in axes])
    return Sweep(folder, ledger["command"], {axis: tuple(values) for axis, values in axes.items()}, tuple(ordered))


def read_ledger(folder: Path) -> dict[str, Any] | None:
    """The plan of a sweep. Raises ValueError for a file that is none."""
    path = folder / LEDGER
    try:
        ledger = read_json(path, PLAN, what="no plan of a sweep")
    except FileNotFoundError:
        return None
    axes = {axis: set(values) for axis, values in ledger["axes"].items()}
    if not all(set(cell) == set(axes) and all(cell[axis] in axes[axis] for axis in axes) for cell in ledger["cells"]):
        raise ValueError(f"{path}: damaged (its cells are not on its axes)")
    return ledger


def begun_cells(folder: Path) -> Iterator[Cell]:
    """The cells that have a folder, with all their overrides."""
    for path in sorted(folder.iterdir()):
        written = path / "overrides.json"
        if not path.is_dir() or path.name.startswith(".") or not written.exists():
            continue
        words = read_json(written, [str], what="no overrides of a run")
        overrides = {key.lstrip("+"): value for key, _, value in (word.partition("=") for word in words)}
        results = read_results(path)
        error = path / "error.txt"
        if results is not None:
            yield Cell(path.name, path, overrides, "finished", results)
        elif is_held(path / "results.json"):
            yield Cell(path.name, path, overrides, "running")
        elif error.exists():
            lines = error.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            yield Cell(path.name, path, overrides, "failed", error=(lines or [""])[-1])
        else:
            yield Cell(path.name, path, overrides, "interrupted")


def differing(runs: list[Mapping[str, str]]) -> dict[str, list[str]]:
    """The overrides in which runs differ, with their values.

    >>> differing([{"fusion": "sum", "epochs": "3"}, {"fusion": "max", "epochs": "3"}])
    {'fusion': ['sum', 'max']}
    """
    names = dict.fromkeys(name for run in runs for name in run)
    values = {name: list(dict.fromkeys(run.get(name, "") for run in runs)) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}

"""Reads what became of a sweep: its plan (`ledger.json`) and the folders of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from twostream.files.json_yaml import read_json, read_yaml
from twostream.runs.folders import STATES, Cell, never_began, one_spelling, read_run, run_folders, text_of, value_of

__all__ = ["STATES", "Cell"]
LEDGER = "ledger.json"
PLAN = {"!command": str, "!axes": {str: [str]}, "!cells": [{str: str}], "fixed": {str: str}}
# Options of how a run computes and what it shows: they make no difference to its results.
NO_DIFFERENCE = (
    *("logger", "num_workers", "prefetch", "persistent_workers", "pin_memory", "decode_timeout"),
    *("resume", "allow_change", "checkpoint_minutes", "log_every"),
)


class Sweep(NamedTuple):
    """A sweep; `axes` has the values of each axis in the order in which they were typed."""

    folder: Path
    command: str
    axes: Mapping[str, tuple[str, ...]]
    cells: tuple[Cell, ...]
    left_out: tuple[str, ...] = ()  # folders that cannot be read as runs, with the reason
    data: str = ""  # the data set of these runs, if the folder has runs on several

    @property
    def name(self) -> str:
        return f"{self.folder.absolute().name}{': ' if self.data else ''}{self.data}"


def read_sweep(folder: str | Path) -> Sweep:
    """Returns all that is known of a sweep; without a ledger, of the runs below the folder, or of the run in it.

    Overrides that are not planned axes, but in which the runs differ, become further axes: runs of an earlier command
    in the same folder are not replicates of the planned ones. Raises ValueError if there is neither a ledger nor a run.
    """
    folder, ledger, begun, left_out = read_folder(folder)
    return make_sweep(folder, ledger, begun, left_out)


def read_folder(folder: str | Path) -> tuple[Path, dict[str, Any] | None, list[Cell], list[str]]:
    """Returns (folder, its plan or None, its runs, what cannot be read as a run, with the reason)."""
    folder = Path(folder)
    if not folder.is_dir():
        wrong = "is a file" if folder.exists() else "no such folder"
        raise ValueError(f"{folder}: {wrong}; name the folder of a sweep, or one that holds run folders")
    ledger, left_out = read_ledger(folder), []
    begun, refused = [], 0
    for path in run_folders(folder, left_out, deep=ledger is None):
        if ledger is None and never_began(path):
            refused += 1
            continue
        try:
            begun.append(read_run(path, path.relative_to(folder).as_posix() if path != folder else path.name))
        except ValueError as error:
            left_out.append(str(error))
    if refused:
        what = "a command was refused" if refused == 1 else f"{refused:,} commands were refused"
        left_out.append(f"{folder}: {what} before a run began")
    if ledger is None and not begun:
        lines = "".join(f"; {line}" for line in left_out)
        raise ValueError(f"{folder}: no training run is in it or below it{lines}")
    return folder, ledger, begun, left_out


def make_sweep(folder: Path, ledger: dict[str, Any] | None, begun: Sequence[Cell], left_out: Sequence[str]) -> Sweep:
    """Places runs on their axes and sorts them by these; with a plan, adds the missing runs.

    Without a plan, values that a run did not type are those of its config.yaml, if another run typed them.
    """
    planless, ledger = ledger is None, ledger or {"command": "", "axes": {}, "cells": []}
    axes = {axis: list(values) for axis, values in ledger["axes"].items()}
    fixed = ledger.get("fixed", begun[-1].overrides if begun else {})
    runs = [cell.overrides for cell in begun] + [fixed] * bool(ledger["cells"])
    typed = dict.fromkeys(name for run in runs for name in run)
    names = [name for name in typed if name.split(".")[0].lstrip("~") not in NO_DIFFERENCE]
    begun = [cell._replace(overrides={name: value_of(cell, name) for name in [*axes, *names]}) for cell in begun]
    begun = [configured(cell) for cell in begun] if planless else begun
    planned = [{**{name: fixed.get(name, "") for name in names}, **values} for values in ledger["cells"]]
    axes |= {name: [] for name in differing([cell.overrides for cell in begun] + planned) if name not in axes}
    cells = [cell._replace(overrides={axis: cell.overrides[axis] for axis in axes}) for cell in begun]
    there = {tuple(cell.overrides.values()) for cell in cells}
    for values, place in zip(planned, ledger["cells"], strict=True):
        values = {axis: values[axis] for axis in axes}
        if tuple(values.values()) not in there:
            cells.append(Cell(",".join(f"{axis}={value}" for axis, value in place.items()), None, values, "missing"))
    for axis, values in axes.items():  # unplanned values: of an earlier command, or a sweeper that chooses as it goes
        values += dict.fromkeys(cell.overrides[axis] for cell in cells if cell.overrides[axis] not in values)
    order = {axis: {value: place for place, value in enumerate(values)} for axis, values in axes.items()}
    ordered = sorted(cells, key=lambda cell: [order[axis][cell.overrides[axis]] for axis in axes])
    tuples = {axis: tuple(values) for axis, values in axes.items()}
    return Sweep(folder, ledger["command"], tuples, tuple(ordered), tuple(left_out))


def configured(cell: Cell) -> Cell:
    """Returns a run with the plain values of its config.yaml where it does not say its own."""
    if "" not in cell.overrides.values() or cell.folder is None:
        return cell
    try:
        config = read_yaml(cell.folder / "config.yaml")
    except (OSError, ValueError):  # it was refused before it wrote one, or is of an old version
        return cell

    def value(name: str) -> str:
        found = reduce(lambda part, key: part.get(key, {}) if isinstance(part, dict) else {}, name.split("."), config)
        return "" if isinstance(found, dict) else text_of(found)  # a group, or nothing

    return cell._replace(overrides={name: typed or value(name) for name, typed in cell.overrides.items()})


def read_ledger(folder: Path) -> dict[str, Any] | None:
    """Returns the plan of a sweep, or None if there is none. Raises ValueError if its file is damaged."""
    path = folder / LEDGER
    try:
        ledger = read_json(path, PLAN, what="no plan of a sweep")
    except FileNotFoundError:
        return None
    ledger["axes"] = {axis: [*map(one_spelling, values)] for axis, values in ledger["axes"].items()}
    for values in (*ledger["cells"], ledger.get("fixed", {})):
        values.update({axis: one_spelling(value) for axis, value in values.items()})
    axes = {axis: set(values) for axis, values in ledger["axes"].items()}
    if not all(set(cell) == set(axes) and all(cell[axis] in axes[axis] for axis in axes) for cell in ledger["cells"]):
        raise ValueError(f"{path}: damaged (its cells are not on its axes)")
    return ledger


def differing(runs: list[Mapping[str, str]]) -> dict[str, list[str]]:
    """Returns the overrides in which runs differ, with their values.

    >>> differing([{"fusion": "sum", "epochs": "3"}, {"fusion": "max", "epochs": "3"}])
    {'fusion': ['sum', 'max']}
    """
    names = dict.fromkeys(name for run in runs for name in run)
    values = {name: list(dict.fromkeys(run.get(name, "") for run in runs)) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}

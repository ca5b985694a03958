"""What became of a sweep: its plan (`ledger.json`) and the folders of its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from twostream.claim import is_held
from twostream.plain import read_json
from twostream.results import read_results

LEDGER = "ledger.json"
NULL = "null"  # how Hydra's sweeper writes the value of `~group`
PLAN = {"!command": str, "!axes": {str: [str]}, "!cells": [{str: str}], "fixed": {str: str}}
STATES = ("finished", "failed", "running", "interrupted", "missing")
# how a run computes and what it shows, not what comes out of it
NO_DIFFERENCE = (
    *("logger", "num_workers", "prefetch", "persistent_workers", "pin_memory", "decode_timeout"),
    *("resume", "allow_change", "checkpoint_minutes", "log_every"),
)


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

    Further axes are the overrides in which the runs differ besides: those of an earlier command in the same folder are
    no replicates of the planned ones. Raises ValueError where there is neither a ledger nor a run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name the folder of a sweep, or one that holds run folders")
    ledger = read_ledger(folder)
    begun = list(begun_cells(folder))
    if ledger is None and not begun:
        raise ValueError(f"{folder}: neither {LEDGER} nor run folders in it")
    ledger = ledger or {"command": "", "axes": {}, "cells": []}
    axes = {axis: list(values) for axis, values in ledger["axes"].items()}
    fixed = ledger.get("fixed", begun[-1].overrides if begun else {})
    runs = [cell.overrides for cell in begun] + [fixed] * bool(ledger["cells"])
    typed = dict.fromkeys(name for run in runs for name in run)
    names = [name for name in typed if name.split(".")[0].lstrip("~") not in NO_DIFFERENCE]
    begun = [cell._replace(overrides={name: value_of(cell, name) for name in [*axes, *names]}) for cell in begun]
    planned = [{**{name: fixed.get(name, "") for name in names}, **values} for values in ledger["cells"]]
    axes |= {name: [] for name in differing([cell.overrides for cell in begun] + planned) if name not in axes}
    cells = [cell._replace(overrides={axis: cell.overrides[axis] for axis in axes}) for cell in begun]
    there = {tuple(cell.overrides.values()) for cell in cells}
    for values, place in zip(planned, ledger["cells"], strict=True):
        values = {axis: values[axis] for axis in axes}
        if tuple(values.values()) not in there:
            cells.append(Cell(",".join(f"{axis}={value}" for axis, value in place.items()), None, values, "missing"))
    for axis, values in axes.items():  # more than planned: of an earlier command, or a sweeper that decides as it goes
        values += dict.fromkeys(cell.overrides[axis] for cell in cells if cell.overrides[axis] not in values)
    order = {axis: {value: place for place, value in enumerate(values)} for axis, values in axes.items()}
    ordered = sorted(cells, key=lambda cell: [order[axis][cell.overrides[axis]] for axis in axes])
    return Sweep(folder, ledger["command"], {axis: tuple(values) for axis, values in axes.items()}, tuple(ordered))


def value_of(cell: Cell, name: str) -> str:
    """As it was typed, or else as a finished run says; "" where nothing is known.

    >>> results = {"choices": {"fusion": "conv"}, "layer": ["conv5", "fc8"], "seed": 0}
    >>> cell = Cell("run", None, {"split": "2"}, "finished", results)
    >>> [value_of(cell, name) for name in ("split", "fusion", "layer", "seed", "epochs")]
    ['2', 'conv', '[conv5,fc8]', '0', '']
    """
    if typed := cell.overrides.get(name):
        return typed
    results = cell.results or {}
    value = {**results.get("choices", {}), **{key: results.get(key) for key in ("layer", "split", "seed")}}.get(name)
    return "" if value is None else f"[{','.join(value)}]" if isinstance(value, list) else str(value)


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
        parts = [word.partition("=") for word in words]
        overrides = {key.lstrip("+"): value or NULL * key.startswith("~") for key, _, value in parts}
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

"""Divides the runs of a folder into tables: runs that were tested on different videos must not be compared."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twostream.files.json_yaml import read_yaml
from twostream.files.words import counted
from twostream.runs.data_values import which_videos
from twostream.runs.folders import Cell, value_of, working_folder
from twostream.runs.old_names import with_present_names, without_later
from twostream.runs.sweep import Sweep, make_sweep, read_folder

UNKNOWN = "unknown test videos"
PATHS = ("root", "lists", "csv")  # of `data`
Tests = Mapping[str, set[str]]  # {split: hashes of the lists of test videos}


def read_tables(folder: str | Path) -> dict[str, Sweep]:
    """Reads a folder as `read_sweep` does, but divides its runs by their data: {name of the data: its runs}.

    Runs of no sweep are divided by the data in their configuration; those of a sweep, where its axes of `data` choose
    other test videos. Where the list of a split was changed between runs, each list has a table. Unfinished runs are
    with the finished ones of their data; if there are none, they are left out of all tables.
    """
    folder, ledger, begun, left_out = read_folder(folder)
    if ledger is None:
        kinds = _by_data(begun)
        names = name_data({data: option_of(cells) for data, cells in kinds.items() if tests_of(cells)})
        found = {name: kinds.pop(data) for data, name in names.items()}
        lost = [cell for cells in kinds.values() for cell in cells]
    else:
        whole = make_sweep(folder, ledger, begun, left_out)
        found, lost = _of_sweep(whole)
    parts = [part for name, cells in found.items() for part in _by_lists(name, cells)]
    tables = {name: cells for name, cells in parts if name}
    lost += [cell for name, cells in parts if not name for cell in cells]
    if len(tables) < 2:
        return {next(iter(tables), folder.name): make_sweep(folder, ledger, begun, left_out)}
    left_out = [*left_out, *(f"{cell.name}: {cell.state}{f', {cell.error}' if cell.error else ''}" for cell in lost)]
    if ledger is None:
        return {name: make_sweep(folder, None, cells, left_out)._replace(data=name) for name, cells in tables.items()}
    return {name: _part(whole, cells, left_out)._replace(data=name) for name, cells in tables.items()}


def tests_of(cells: Iterable[Cell]) -> Tests:
    """Returns which lists of test videos the finished runs had; old runs do not say theirs."""
    tests: dict[str, set[str]] = {}
    for cell in cells:
        if cell.results is not None:
            tests.setdefault(str(cell.results.get("split")), set()).update({list_of(cell)} - {UNKNOWN})
    return tests


def list_of(cell: Cell) -> str:
    """Returns number and hash of the test videos of a finished run, or that it does not say."""
    tested = ((cell.results or {}).get("data") or {}).get("test")
    return f"{counted(tested['videos'], 'test video')} ({tested['fingerprint'][:4]})" if tested else UNKNOWN


def option_of(cells: Iterable[Cell]) -> str:
    """Returns the option `data` of the first finished run."""
    return next(value_of(cell, "data") for cell in cells if cell.results is not None)


def _by_data(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Returns {data: the runs on them}. Data are the same if they were typed alike, or lie in the same folders.

    They are named as they were typed, or if that was done in several ways, with whole paths; in these runs the paths
    that were typed set nothing apart.
    """
    kinds: list[tuple[set[str], set[str], set[int]]] = []  # data as typed, with whole paths, and the places of the runs
    for place, cell in enumerate(cells):
        typed, whole = data_of(cell)
        same = [kind for kind in kinds if typed in kind[0] or whole in kind[1]]
        kinds = [kind for kind in kinds if kind not in same]
        merged = [set().union(*parts) for parts in zip(*same, ({typed}, {whole}, {place}), strict=True)]
        kinds.append((merged[0], merged[1], merged[2]))
    kinds.sort(key=lambda kind: min(kind[2]))
    found = {}
    for typed, whole, places in kinds:
        own = [cells[place] for place in sorted(places)]
        found[min(typed if len(typed) == 1 else whole)] = own if len(typed) == 1 else [*map(without_paths, own)]
    return found


def without_paths(cell: Cell) -> Cell:
    """Returns a run without the overrides that say where its data lie."""
    paths = {f"data.{key}" for key in PATHS}
    return cell._replace(overrides={key: value for key, value in cell.overrides.items() if key not in paths})


def data_of(cell: Cell) -> tuple[str, str]:
    """Returns the data of a run as its configuration describes them, and with whole paths; "" if not known (yet).

    Paths begin in the folder in which the run was typed; where that is not known, they stay as they are.
    """
    assert cell.folder is not None
    try:
        described = without_later({"data": with_present_names(read_yaml(cell.folder / "config.yaml")["data"])})
        told = {key: value for key, value in which_videos(described["data"]).items() if value is not None}
        paths = {key: os.path.expanduser(told[key]) for key in PATHS if isinstance(told.get(key), str)}
        typed_in = None if all(map(os.path.isabs, paths.values())) else working_folder(cell.folder)
        whole = {key: os.path.normpath(os.path.join(typed_in or "", path)) for key, path in paths.items()}
        return json.dumps(told, sort_keys=True), json.dumps({**told, **whole}, sort_keys=True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""


def name_data(options: Mapping[str, str]) -> dict[str, str]:
    """Returns a name for each of several data: their option, and the values in which data of one option differ.

    `options`: {data: the option that they are of}.

    >>> name_data({'{"root": "a"}': "mine", '{"root": "b"}': "mine", '{"root": "c"}': "ucf101"})
    {'{"root": "a"}': 'mine root=a', '{"root": "b"}': 'mine root=b', '{"root": "c"}': 'ucf101'}
    """
    parsed = {text: json.loads(text) if text else {} for text in options}
    names = {}
    for text, values in parsed.items():
        alike = [parsed[other] for other, option in options.items() if option == options[text]]
        keys = [key for key in values if any(others.get(key) != values[key] for others in alike)]
        names[text] = " ".join([options[text] or "unknown data", *(f"{key}={values[key]}" for key in keys)])
    return names


def _of_sweep(sweep: Sweep) -> tuple[dict[str, list[Cell]], list[Cell]]:
    """Returns the cells of a sweep by their data, and those of data without a finished run."""
    axes = [axis for axis in sweep.axes if axis.split(".")[0] == "data"]
    tables: list[list[Cell]] = []
    lost: list[Cell] = []
    for cells in _by(lambda cell: tuple(cell.overrides[axis] for axis in axes), sweep.cells).values():
        if not (tests := tests_of(cells)):
            lost += cells
        elif alike := [table for table in tables if _agree(tests_of(table), tests)]:
            alike[0].extend(cells)
        else:
            tables.append(cells)
    values = [[",".join(dict.fromkeys(cell.overrides[axis] for cell in table)) for axis in axes] for table in tables]
    differ = [place for place in range(len(axes)) if len({one[place] for one in values}) > 1]
    told = [[one[at] if axes[at] == "data" else f"{axes[at]}={one[at]}" for at in differ] for one in values]
    return {" ".join(words) or sweep.name: table for words, table in zip(told, tables, strict=True)}, lost


def _agree(one: Tests, other: Tests) -> bool:
    """Whether two tests share a split, and of each split that they share its one list."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(len(one[split] | other[split]) == 1 for split in shared)


def _by_lists(name: str, cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Returns [(name, runs)] of one data set: a table, or if a list has changed between its runs, one for each list.

    The table of unfinished runs, whose list is not known, then has no name.
    """
    if all(len(lists) < 2 for lists in tests_of(cells).values()):
        return [(name, list(cells))]
    parts = _by(lambda cell: cell.results and f"{name} split={cell.results.get('split')}, {list_of(cell)}", cells)
    return [(part or "", found) for part, found in parts.items()]


def _part(sweep: Sweep, cells: Sequence[Cell], left_out: Sequence[str]) -> Sweep:
    """Returns a sweep of some of its cells, with the values that these have."""
    there = {axis: {cell.overrides[axis] for cell in cells} for axis in sweep.axes}
    axes = {axis: tuple(one for one in values if one in there[axis]) for axis, values in sweep.axes.items()}
    return sweep._replace(axes=axes, cells=tuple(cells), left_out=tuple(left_out))


def _by(key: Callable[[Cell], Any], cells: Iterable[Cell]) -> dict[Any, list[Cell]]:
    found: dict[Any, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return found

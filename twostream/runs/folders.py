"""Finds the runs in a folder, and what became of each."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from twostream.files.json_yaml import read_json, read_yaml
from twostream.files.lock import is_held
from twostream.files.words import counted
from twostream.runs.results import read_results

STATES = ("finished", "failed", "running", "interrupted", "damaged", "missing")
NO_RUNS = {"probe.json": "probe", "metrics.json": "evaluation"}  # a file of a folder that is no run: what it is
FLOAT = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")
NULL = "null"  # how Hydra's sweeper writes the value of `~group`


class Cell(NamedTuple):
    """One run of a sweep; a missing one was planned and has not begun."""

    name: str  # of its folder; of a missing run, its values on the axes
    folder: Path | None
    overrides: Mapping[str, str]  # of the swept axes: {"fusion": "sum", "seed": "0"}
    state: str  # one of STATES
    results: Mapping[str, Any] | None = None  # results.json of a finished run
    error: str | None = None  # of a failed or a damaged run, in one line


def run_folders(folder: Path, left_out: list[str], *, deep: bool) -> Iterator[Path]:
    """Yields the run folders directly in a folder; with `deep`, the folder itself if it is one, else all below it.

    Does not look for runs inside of run folders. Adds to `left_out`, with the reason, folders that cannot be read, and
    what seems to be a run and is none.
    """
    if deep and is_run(folder):
        yield folder
        return
    others: Counter[str] = Counter()
    for where, folders, files in os.walk(
        folder, onerror=lambda error: left_out.append(f"{error.filename}: {error.strerror}")
    ):
        others.update(NO_RUNS.keys() & {*files} if deep else ())
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        runs = {name for name in folders if is_run(Path(where, name))}
        yield from (Path(where, name) for name in sorted(runs))
        folders[:] = [name for name in folders if deep and name not in runs]
    for file, number in others.items():
        left_out.append(f"{folder}: {counted(number, NO_RUNS[file])} ({file}), since a report compares training runs")


def working_folder(folder: Path) -> Path | None:
    """Returns the folder in which the command of a run was typed, or None if that is not known."""
    try:
        return Path(str(read_yaml(folder / ".hydra" / "hydra.yaml")["hydra"]["runtime"]["cwd"]))
    except (ValueError, KeyError, TypeError):
        return None


def is_run(folder: Path) -> bool:
    """Whether a run has begun in a folder."""
    names = [(folder / name).is_file() for name in ("overrides.json", "results.json", "config.yaml")]
    return names[0] or (names[1] and names[2])


def never_began(folder: Path) -> bool:
    """Whether all that a command has left in a folder is its error: it was refused before its run began."""
    return (folder / "error.txt").is_file() and not any(
        (folder / name).exists() for name in ("config.yaml", "metrics.csv", "results.json", "checkpoints")
    )


def read_run(path: Path, name: str) -> Cell:
    """Returns the run in a folder. Raises ValueError if neither its overrides nor its results can be read."""
    results, damage, held = None, "", is_held(path / "results.json")  # first: a run that ends meanwhile leaves results
    try:
        results = read_results(path)
    except ValueError as error:
        damage = str(error)
    try:
        words = read_json(path / "overrides.json", [str], what="no overrides of a run")
    except (FileNotFoundError, ValueError) as error:
        if results is None or "overrides" not in results:
            raise ValueError(damage or str(error)) from None
        words = results["overrides"]
    parts = [word.partition("=") for word in words]
    overrides = {key.lstrip("+"): one_spelling(value) or NULL * key.startswith("~") for key, _, value in parts}
    if results is not None:
        return Cell(name, path, overrides, "finished", results)
    if held:
        return Cell(name, path, overrides, "running")
    if damage:
        return Cell(name, path, overrides, "damaged", error=damage)
    if (error := path / "error.txt").exists():
        lines = error.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return Cell(name, path, overrides, "failed", error=(lines or [""])[-1])
    return Cell(name, path, overrides, "interrupted")


def value_of(cell: Cell, name: str) -> str:
    """Returns the value of an option as it was typed, or else from the results of a finished run; "" if unknown.

    >>> results = {"choices": {"fusion": "conv"}, "layer": ["conv5", "fc8"], "seed": 0}
    >>> cell = Cell("run", None, {"split": "2"}, "finished", results)
    >>> [value_of(cell, name) for name in ("split", "fusion", "layer", "seed", "epochs")]
    ['2', 'conv', '[conv5,fc8]', '0', '']
    """
    if typed := cell.overrides.get(name):
        return typed
    results = cell.results or {}
    value = {**results.get("choices", {}), **{key: results.get(key) for key in ("layer", "split", "seed")}}.get(name)
    return "" if value is None else text_of(value)


def text_of(value: Any) -> str:
    """Returns a plain value as it is typed.

    >>> text_of(["conv5", "fc8"]), text_of(False), text_of(None), text_of(1e-3)
    ('[conv5,fc8]', 'false', 'null', '0.001')
    """
    return one_spelling(
        NULL if value is None else f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
    )


def one_spelling(value: str) -> str:
    """Returns a value in one spelling, however it was typed; Hydra spells some anew in a sweep, none in a single run.

    >>> [one_spelling(typed) for typed in ("False", "true", "1e-3", "1.50", "[conv5, fc8]", "conv5", "3", "Nullpunkt")]
    ['false', 'true', '0.001', '1.5', '[conv5,fc8]', 'conv5', '3', 'Nullpunkt']
    """
    if value.lower() in ("true", "false", NULL):
        return value.lower()
    if FLOAT.fullmatch(value):
        return str(float(value))
    return re.sub(r",\s+", ",", value) if value.startswith("[") else value

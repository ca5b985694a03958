"""Divides the runs of a folder into tables: runs on different data must not be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from twostream.files.json_yaml import read_yaml
from twostream.runs.data_values import which_videos
from twostream.runs.folders import Cell, value_of
from twostream.runs.old_names import with_present_names
from twostream.runs.sweep import Sweep, make_sweep, read_folder


def read_tables(folder: str | Path) -> dict[str, Sweep]:
    """Reads a folder as `read_sweep` does, but divides runs of no sweep by their data: {name of the data: its runs}.

    Unfinished runs are with the finished runs of their data; if there are none, they are left out of all tables.
    """
    folder, ledger, begun, left_out = read_folder(folder)
    data = {cell.name: data_of(cell) for cell in begun} if ledger is None else {}
    names = name_data({data[c.name]: value_of(c, "data") for c in begun if data and c.state == "finished"})
    if len(names) < 2:
        return {next(iter(names.values()), folder.name): make_sweep(folder, ledger, begun, left_out)}
    lost = [f"{cell.name}: {cell.state}{_because(cell)}" for cell in begun if data[cell.name] not in names]
    found = {name: [cell for cell in begun if data[cell.name] == text] for text, name in names.items()}
    tables = {name: make_sweep(folder, None, cells, [*left_out, *lost]) for name, cells in found.items()}
    return {name: table._replace(data=name) for name, table in tables.items()}


def data_of(cell: Cell) -> str:
    """Returns the data of a run, as its configuration describes them; "" if that is not known (yet)."""
    assert cell.folder is not None
    try:
        described = with_present_names(read_yaml(cell.folder / "config.yaml")["data"])
        return json.dumps(which_videos(described), sort_keys=True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


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


def _because(cell: Cell) -> str:
    return f", {cell.error}" if cell.error else ""

"""Names the teachers of `distill.from` by what they see, not by where their runs lie (pure functions)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twostream.runs.sweep import Cell, Sweep

AXIS = "distill.from"
NOBODY = "none"


def with_named_teachers(sweep: Sweep) -> Sweep:
    """Returns a sweep in which runs that learned from a teacher name its streams in place of its folder.

    So runs whose teachers differ in seed or split alone repeat one setting. If other settings of such teachers differ,
    a short hash of these tells them apart. Runs without a result keep the folder, unless another run tells what is in
    it.
    """
    if AXIS not in sweep.axes:
        return sweep
    known = {cell.overrides.get(AXIS, ""): facts for cell in sweep.cells if (facts := facts_of(cell))}
    kinds = {(streams_text(facts), facts["settings"]) for cell in sweep.cells if (facts := facts_of(cell))}

    def name(cell: Cell) -> str:
        folder = cell.overrides.get(AXIS, "")
        facts = facts_of(cell) or known.get(folder)
        if facts is None:
            return NOBODY if folder in ("", "null") else folder
        streams = streams_text(facts)
        alone = sum(other == streams for other, _ in kinds) == 1
        return streams if alone else f"{streams} {facts['settings'][:4]}"

    cells = tuple(cell._replace(overrides={**cell.overrides, AXIS: name(cell)}) for cell in sweep.cells)
    return sweep._replace(axes={**sweep.axes, AXIS: tuple(dict.fromkeys(map(name, sweep.cells)))}, cells=cells)


def facts_of(cell: Cell) -> Mapping[str, Any] | None:
    """Returns what a finished run says of its teacher; None if it had none, or has not finished."""
    return (cell.results or {}).get("teacher")


def streams_text(facts: Mapping[str, Any]) -> str:
    """Returns the streams of a teacher in one word: `flow`, `rgb+flow`."""
    return "+".join(facts["streams"])

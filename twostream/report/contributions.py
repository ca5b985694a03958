"""What each stream contributes: the fused runs of a sweep against single-stream runs of the same split and seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twostream.metrics.contribution_tables import METHOD, accuracy_rows, count_rows, with_interval
from twostream.metrics.contributions import FUSED, Contributions, compare, points, sentence
from twostream.report.build import Report, Setting
from twostream.report.columns import result
from twostream.report.contribution_page import table
from twostream.report.escape import markdown as escape
from twostream.report.groups import REPEATED, REPLICATES
from twostream.report.run_scores import scores_of
from twostream.runs.sweep import Cell

OF_FUSION = ("streams", "fusion", "layer", "align", "two_towers", "init", "train_from")  # a single stream ignores them
SHOWN = 8  # settings that the page shows, those with the highest accuracy
NOTE = (
    "Each fused run against the runs of either stream alone that share its split, its seed and all other settings but "
    f"those of fusion ({', '.join(OF_FUSION)}); top-1 of the same test videos, averaged over the runs; {METHOD}; not "
    "what another training would give."
)


def settings(report: Report) -> list[Setting]:
    """Returns what is known of each setting of fused runs, the most accurate first; reads the runs' test_scores.npz.

    Leaves out settings without single-stream runs beside them, and those whose runs were not tested on the same videos.
    """
    alone: dict[Any, list[Cell]] = {}
    for cell in report.sweep.cells:
        if cell.state != REPEATED and len(streams := streams_of(cell)) == 1:
            alone.setdefault((*streams, *shared(cell)), []).append(cell)
    found = []
    for row in report.rows:
        threes = [three for cell in row.group.cells if (three := with_partners(cell, alone))]
        for streams in dict.fromkeys(streams_of(three[-1]) for three in threes):
            of_streams = [three for three in threes if streams_of(three[-1]) == streams]
            if (compared := compare_cells(of_streams, streams)) is not None:
                found.append(Setting(row.group.label, len(row.group.cells), compared))
    return sorted(found, key=lambda setting: -setting.found.accuracy(FUSED).value)


def streams_of(cell: Cell) -> tuple[str, ...]:
    """Returns the streams of a finished run, in the order of its network; none if that is not known."""
    return tuple(result(cell, "weights") or ())


def shared(cell: Cell) -> tuple[Any, ...]:
    """Returns what a fused run and its single-stream runs have in common."""
    own = [value for axis, value in cell.overrides.items() if not of_fusion(axis) and axis not in REPLICATES]
    return (result(cell, "split"), result(cell, "seed"), *own)


def of_fusion(axis: str) -> bool:
    """Whether an axis is an option that a network of one stream has no use for.

    >>> of_fusion("fusion.per"), of_fusion("init.rgb"), of_fusion("epochs")
    (True, True, False)
    """
    return re.split(r"[.@]", axis)[0] in OF_FUSION


def with_partners(cell: Cell, alone: Mapping[Any, Sequence[Cell]]) -> tuple[Cell, Cell, Cell] | None:
    """Returns a fused run behind those of its streams; None if one is not there. Of several: the most alike."""
    if len(streams := streams_of(cell)) != 2:
        return None
    pair = []
    for stream in streams:
        known = alone.get((stream, *shared(cell)), ())
        pair += sorted(known, key=lambda one: -len(one.overrides.items() & cell.overrides.items()))[:1]
    return (pair[0], pair[1], cell) if len(pair) == 2 else None


def compare_cells(threes: Sequence[tuple[Cell, Cell, Cell]], streams: Sequence[str]) -> Contributions | None:
    """Returns the comparison of those runs that have scores; None if there are none, or of other videos."""
    runs, names = [], []
    for three in threes:
        scores = [of for cell in three if (of := scores_of(cell))]
        if len(scores) == len(three):
            runs.append(scores)
            names.append([cell.name for cell in three])
    try:
        return compare(runs, (streams[0], streams[1]), names=names) if runs else None
    except ValueError:  # the notes say that the data were changed between the runs
        return None


def as_lines(report: Report) -> list[str]:
    """Returns a sentence for each pair of streams, of its best setting; none without such runs."""
    best = {}
    for setting in report.contributions:
        best.setdefault(setting.found.streams, setting.told)
    return list(best.values())


def as_section(report: Report) -> list[str]:
    """Returns the parts of the section in Markdown; none without such runs."""
    found = report.contributions
    parts = ["## What each stream contributes"] if found else []
    for streams in dict.fromkeys(setting.found.streams for setting in found):
        own = [setting for setting in found if setting.found.streams == streams]
        parts += [f"**{escape(own[0].told)}**", escape(sentence(own[0].found, added=0)), table(list(rows(own)))]
    return [*parts, escape(NOTE)] if found else []


def rows(found: Sequence[Setting]) -> Iterator[list[str]]:
    """Yields a header and a row for each setting of the same streams, in per cent."""
    first, second = found[0].found.streams
    yield ["setting", "runs", first, second, "fused", "either", f"{second} adds", "95 %", *found[0].found.kinds]
    for setting in found:
        one = setting.found
        accuracies = [points(one.accuracy(which).value) for which in (0, 1, FUSED)]
        kinds = [points(one.counts[kind].sum() / one.counts.sum()) for kind in one.kinds.values()]
        gain = with_interval(one.gain(0), "+")
        yield [setting.label, number_of_runs(setting), *accuracies, points(one.oracle), *gain, *kinds]


def number_of_runs(setting: Setting) -> str:
    """Returns the number of fused runs that are compared; with that of all of them, if some have no partners."""
    runs = setting.found.runs
    return str(runs) if runs == setting.planned else f"{runs}/{setting.planned}"


def as_data(report: Report) -> dict[str, Any] | None:
    """Returns what the page shows; None without such runs."""
    found = report.contributions
    return {"note": NOTE, "settings": [setting_data(setting) for setting in found[:SHOWN]]} if found else None


def setting_data(setting: Setting) -> dict[str, Any]:
    found = setting.found
    return {
        "label": setting.label,
        "runs": number_of_runs(setting),
        "sentences": [sentence(found), sentence(found, added=0)],
        "streams": found.streams,
        "accuracies": accuracy_rows(found),
        "counts": count_rows(found),
        "kinds": [[name, found.counts[kind].tolist()] for name, kind in found.kinds.items()],
        "classes": [
            {
                "name": found.classes[label],
                "videos": int((found.labels == label).sum()),
                "gains": [[round(100 * end, 2) for end in found.gain(over, label)] for over in (0, 1)],
            }
            for label in found.tested
        ],
    }

"""Says what a reader of the table has to know: how it was computed, and what it cannot say (pure functions)."""

from __future__ import annotations

from collections import Counter

from twostream.report.build import Report
from twostream.report.columns import note, p_text, starts_text
from twostream.report.compare import eligible_groups
from twostream.report.groups import REPEATED
from twostream.report.statistics import EXACT, RANDOM_FLIPS


def headline(report: Report) -> str:
    """Says how many runs there are, and in which states."""
    counted = ", ".join(f"{number} {state}" for state, number in report.states.items())
    return f"{number_of_runs(len(report.sweep.cells))}: {counted}"


def number_of_runs(number: int, what: str = "") -> str:
    """Returns a number of runs in words.

    >>> number_of_runs(1), number_of_runs(2, "finished")
    ('1 run', '2 finished runs')
    """
    return " ".join(filter(None, [f"{number:,}", what, "run" if number == 1 else "runs"]))


def without_result(report: Report) -> list[str]:
    """Returns a line for each folder without a number in the table, with the reason.

    These are the unfinished runs, and what only seems to be a run.
    """
    lines = [f"{cell.name}: {cell.state}{f', {cell.error}' if cell.error else ''}" for cell in report.unfinished]
    there = [line for line, cell in zip(lines, report.unfinished, strict=True) if cell.folder is not None]
    return [*there, *report.sweep.left_out]


def notes(report: Report) -> list[str]:
    """Returns all notes, one or two sentences each."""
    lines = [_values(report)]
    if any(not row.group.complete for row in report.rows):
        lines.append(
            "Where runs are failed, running, interrupted, damaged or missing, n says how many of those planned have a "
            "result, and the mean is over these; such a row is not marked best"
            + (" unless no row is complete." if _all_lack(report) else ".")
        )
    lines += _unequal(report)
    if repeated := report.states.get(REPEATED):
        lines.append(f"{repeated} of the runs repeat another one with the same configuration and are not counted.")
    if report.reference is not None and len(report.rows) > 1:
        lines += _significance(report)
    lines += _papers(report)
    warned = [cell.name for cell in report.sweep.cells if cell.state == "finished" and note(cell)]
    if warned:
        verb = "has" if len(warned) == 1 else "have"
        told = number_of_runs(len(warned), "finished")
        lines.append(f"{told} {verb} a note (see the list of runs), the first is {warned[0]}.")
    lines += [f"Weights at the start: {line}." for line in _starts(report)]
    lines += _other_videos(report)
    lines += [f"Left out: {line}." for line in report.sweep.left_out]
    return lines


def _papers(report: Report) -> list[str]:
    """Returns a note of each paper with a number in the table, and how that was made, as far as known."""
    lines = {}
    for row in report.rows:
        if row.printed is None:
            continue
        there = ", ".join(f"{what}: {said}" for what, said in row.printed.recipe.items())
        lines[row.printed.paper] = (
            f"paper: {row.printed.paper}, the table named, same data, network and splits; "
            + (f"there {there}; " if there else "")
            + "training, optical flow and test views may differ from these runs'."
        )
    return list(lines.values())


def _starts(report: Report) -> list[str]:
    """Returns what the streams of the runs started from; if that differs, also how many runs did so."""
    found = [starts_text(cell) for cell in report.sweep.cells]
    counted = Counter(text for text in found if text)
    return [text if len(counted) == 1 else f"{text} ({number_of_runs(n)})" for text, n in counted.items()]


def _other_videos(report: Report) -> list[str]:
    """Warns if runs that should have been tested on the same videos were not.

    In that case the data were changed between them.
    """
    first: dict[tuple[str, ...], tuple[str, str]] = {}
    others: list[tuple[str, str]] = []
    for cell in report.sweep.cells:
        if not (cell.results and cell.results.get("data")):
            continue
        described = [f"{axis}={value}" for axis, value in cell.overrides.items() if axis.partition(".")[0] == "data"]
        tested = str(cell.results["data"].get("test"))
        key = (str(cell.results.get("choices", {}).get("data")), str(cell.results.get("split")), *described)
        name, expected = first.setdefault(key, (cell.name, tested))
        others += [(cell.name, name)] * (tested != expected)
    if not others:
        return []
    number, (cell_name, name) = len(others), others[0]
    return [
        f"Not all were tested on the same videos: the data were changed between {name} and {cell_name}"
        f"{f' (and {number - 1} more)' if number > 1 else ''}, so their difference is not one of settings."
    ]


def _unequal(report: Report) -> list[str]:
    """Warns if a row has all its runs, but not those seeds and splits that others have."""
    groups = [row.group for row in report.rows]
    measured = set().union(*(group.replicates for group in groups))
    if not any(group.values and group.complete and group.replicates != measured for group in groups):
        return []
    none = "" if eligible_groups(groups) else ", and none has"
    over = " and ".join(report.over)
    return [f"The rows are not over the same {over}: only one that has them all can be marked best{none}."]


def _all_lack(report: Report) -> bool:
    return not any(row.group.complete for row in report.rows)


def _values(report: Report) -> str:
    shown = f"{report.metric.name}{' in per cent' if report.metric.is_share else ''}"
    better = "lower" if report.metric.lower_is_better else "higher"
    if max((len(row.group.values) for row in report.rows), default=0) < 2:
        return f"{shown}, {better} is better; one run a row, no spread is known."
    over = " and ".join(report.over) or "runs of the same values"
    return (
        f"{shown}, {better} is better: mean ± sample standard deviation (ddof = 1) over {over}; n is the number of "
        "runs, and one run has no standard deviation."
    )


def _significance(report: Report) -> list[str]:
    assert report.reference is not None
    label = report.rows[report.reference].group.label
    against = f"{label} ({'the named baseline' if report.has_baseline else 'the best'})"
    pairs = max((row.comparison.pairs for row in report.rows if row.comparison), default=0)
    if pairs < 2:
        return [f"Δ is the difference to {against}; whether it is chance takes two seeds or splits at least: p is n/a."]
    exact = "exact" if pairs <= EXACT else f"{RANDOM_FLIPS:,} random sign flips (exact up to {EXACT} pairs):"
    lines = [
        f"Δ and p compare with {against} over the runs that share {' and '.join(report.over)}: {exact} sign-flip "
        "permutation test of the mean difference, two-sided; p (Holm) is corrected for all rows; n/a below two pairs."
    ]
    if pairs <= EXACT:
        tests = sum(row.comparison is not None and row.comparison.p is not None for row in report.rows)
        rows = "1 row" if tests == 1 else f"{tests} rows"
        smallest = 2.0 ** (1 - pairs)
        lines.append(
            f"With {pairs} pairs p cannot be below {p_text(smallest)}, and corrected for {rows} not below "
            f"{p_text(min(1.0, tests * smallest))}: it takes more seeds to tell more."
        )
    if not report.has_baseline:
        lines.append("The best was chosen by the same numbers, which favours it; name a --baseline for a fair test.")
    if "split" in report.over:
        lines.append("The official splits share videos, so over splits p is smaller than it should be.")
    return lines

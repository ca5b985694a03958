"""Says what a reader of the table has to know: how it was computed, and what it cannot say (pure functions)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from twostream.files.words import counted
from twostream.metrics.intervals import few_note
from twostream.report.build import Report
from twostream.report.columns import note, p_text, result, starts_text
from twostream.report.compare import Comparison, eligible_groups
from twostream.report.groups import REPEATED
from twostream.report.statistics import DRAWS, EXACT, RANDOM_FLIPS


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
    """Returns a line for each run that has begun and has no number in the table, with the reason."""
    begun = [cell for cell in report.unfinished if cell.folder is not None]
    return [f"{cell.name}: {cell.state}{f', {cell.error}' if cell.error else ''}" for cell in begun]


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
    lines += _few(report)
    lines += _papers(report)
    warned = [cell.name for cell in report.sweep.cells if cell.state == "finished" and note(cell)]
    if warned:
        verb = "has" if len(warned) == 1 else "have"
        told = number_of_runs(len(warned), "finished")
        lines.append(f"{told} {verb} a note (see the list of runs), the first is {warned[0]}.")
    lines += [f"Weights at the start: {line}." for line in _starts(report)]
    lines += [f"Left out: {line}." for line in report.sweep.left_out]
    return lines


def _few(report: Report) -> list[str]:
    """Says how little the fewest test videos of a run can tell; nothing where they are many, or old runs do not say."""
    told = [tested["test"] for cell in report.sweep.cells if "test" in (tested := result(cell, "data") or {})]
    if not told:
        return []
    note = few_note(min(test["videos"] for test in told), multi=report.metric.name == "test/map")
    return [f"{note}."] if note else []


def _papers(report: Report) -> list[str]:
    """Returns a note of each paper with a number in the table; it names what differs between there and the runs."""
    differs: dict[str, dict[str, None]] = {}
    unknown: dict[str, dict[str, None]] = {}
    for printed in (row.printed for row in report.rows if row.printed):
        told = (f"{what} ({said})" for what, said in printed.differs.items())
        differs.setdefault(printed.paper, {}).update(dict.fromkeys(told))
        unknown.setdefault(printed.paper, {}).update(dict.fromkeys(printed.unknown))
    return [
        f"paper: {paper}, the table named, same data, network and splits"
        + (f"; different: {'; '.join(found)}" if found else "")
        + (f"; not known there: {', '.join(unknown[paper])}" if unknown[paper] else "")
        + ". Training may differ, too."
        for paper, found in differs.items()
    ]


def _starts(report: Report) -> list[str]:
    """Returns what the streams of the runs started from; if that differs, also how many runs did so."""
    found = [starts_text(cell) for cell in report.sweep.cells]
    counted = Counter(text for text in found if text)
    return [text if len(counted) == 1 else f"{text} ({number_of_runs(n)})" for text, n in counted.items()]


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
    """Says of each test in the table what it asks, what it assumes, and what it cannot tell."""
    assert report.reference is not None
    against = (
        f"{report.rows[report.reference].group.label} ({'the named baseline' if report.has_baseline else 'the best'})"
    )
    found = [row.comparison for row in report.rows if row.comparison]
    pairs = max((compared.pairs for compared in found), default=0)
    shared = " and ".join(report.over) or "all values"
    lines = [f"Δ is the mean difference to {against} over the runs that share {shared}."]
    lines += _over_videos(found)
    if pairs < 2:
        lines.append("How another seed would turn out takes two seeds or splits at least: no p tells it.")
    else:
        lines.append(_over_seeds(found, pairs))
    if any(compared.p_seeds is not None or compared.p_videos is not None for compared in found):
        lines.append("Every p is two-sided and corrected for all rows (Holm); groups.csv has them uncorrected, too.")
    if unknown := [compared.unknown for compared in found if compared.unknown]:
        rows = "1 row is" if len(unknown) == 1 else f"{len(unknown)} rows are"
        lines.append(f"{rows} not compared over videos: {'; '.join(dict.fromkeys(unknown[:3]))}.")
    if not report.has_baseline:
        lines.append("The best was chosen by the same numbers, which favours it; name a --baseline for a fair test.")
    if "split" in report.over and pairs > 1:
        lines.append("Splits share training videos, so over splits p is smaller than it should be.")
    return lines


def _over_videos(found: Sequence[Comparison]) -> list[str]:
    lines, tested = [], [compared for compared in found if compared.units is not None]
    if any(compared.p_both is not None for compared in tested):
        lines.append(
            "The interval of 95 % (of each row alone) and p both are for new seeds and new videos, as is a claim about "
            f"settings: a bootstrap of two levels ({DRAWS:,} draws, percentiles), groups of videos drawn again, the "
            "scatter of seeds by Student's t."
        )
    if tested:
        one, more = tested[0].kind
        units = counted(max(compared.units or 0 for compared in tested), one, more)
        lines.append(
            f"p videos is for new videos and these very networks: sign flips of {units}, averaged over seeds. A seed "
            "that is lucky is so on all videos: it says nothing of other seeds."
        )
    return lines


def _over_seeds(found: Sequence[Comparison], pairs: int) -> str:
    exact = "exact" if pairs <= EXACT else f"{RANDOM_FLIPS:,} random"
    line = f"p seeds is for new seeds and these very videos: {exact} sign flips of the runs' differences."
    if pairs > EXACT:
        return line
    tests = sum(compared.p_seeds is not None for compared in found)
    smallest, rows = 2.0 ** (1 - pairs), "1 row" if tests == 1 else f"{tests} rows"
    return (
        f"{line} Of {pairs} pairs it cannot be below {p_text(smallest)}, and corrected for {rows} not below "
        f"{p_text(min(1.0, tests * smallest))}: seeds alone would have to be more."
    )

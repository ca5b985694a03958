"""Builds a report's tables as columns of texts, which every format then writes in its own way (pure functions)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twostream.files.words import counted
from twostream.report.build import Report, Row
from twostream.report.column import Column, words
from twostream.report.compare import TESTS, Comparison
from twostream.report.metric import Metric
from twostream.runs.results import worse_than_probe
from twostream.runs.sweep import Cell


def group_columns(report: Report) -> list[Column]:
    """Returns the comparison, with a row for each group; leaves out columns that would be empty."""
    metric, rows = report.metric, report.rows
    groups = [row.group for row in rows]
    columns = [words(axis, [group.axes[axis] for group in groups]) for axis in report.axes]
    columns.append(_column(metric.title, groups, lambda g: g.mean, lambda g: metric.mean_std(g.mean, g.std)))
    columns.append(_column("n", groups, lambda g: len(g.values), lambda g: g.n))
    if any(not group.complete for group in groups):
        columns.append(words("without a result", [group.states for group in groups]))
    if report.reference is not None and len(rows) > 1:
        columns += _comparison_columns(report)
    if any(row.printed for row in rows):
        columns.append(_column("paper, %", rows, lambda r: r.printed and r.printed.accuracy, _printed))
    probes = [mean_probe(group.cells, metric) for group in groups]
    if any(value is not None for value in probes):
        title = metric.title.replace(metric.name, "probe")
        columns.append(Column(title, tuple(map(metric.text, probes)), tuple(probes)))
    for title, name, text in COSTS:
        values = [tuple(sorted(_distinct(group.cells, name))) for group in groups]
        if any(values):
            texts = [" – ".join(map(text, dict.fromkeys([v[0], v[-1]]))) if v else "" for v in values]
            columns.append(Column(title, tuple(texts), tuple(v[0] if v else None for v in values)))
    return columns


def _comparison_columns(report: Report) -> list[Column]:
    """Returns the comparison with the reference, whose own row only says that it is the reference.

    All p are corrected. A test that no row has is left out, and so are pairs if n tells them.
    """
    against = "baseline" if report.has_baseline else "best"
    found = [row.comparison for row in report.rows]
    interval = " [95 %]" if any(c and c.low is not None for c in found) else ""
    differences = tuple(c and c.difference for c in found)
    shown = tuple(against if c is None else difference_text(report.metric, c) for c in found)
    columns = [Column(f"Δ to {against}{interval}", shown, differences)]
    if any(row.comparison and row.comparison.pairs != len(row.group.values) for row in report.rows):
        columns.append(_column("pairs", found, lambda c: c and c.pairs, lambda c: "" if c is None else str(c.pairs)))
    for test in TESTS:
        values = tuple(c and getattr(c, f"p_{test}_holm") for c in found)
        texts = tuple("" if c is None else p_text(p) for c, p in zip(found, values, strict=True))
        columns += [Column(f"p {test}", texts, values)] if any(p is not None for p in values) else []
    return columns


def difference_text(metric: Metric, compared: Comparison) -> str:
    """Returns a difference and the interval of 95 % that it lies in; "n/a" if no two runs share a seed and a split."""
    text = metric.text(compared.difference, signed=True) or "n/a"
    ends = [metric.text(end, signed=True) for end in (compared.low, compared.high) if end is not None]
    return f"{text} [{', '.join(ends)}]" if ends else text


def cell_columns(report: Report) -> list[Column]:
    """Returns the table of all planned runs, a row for each."""
    cells = report.sweep.cells
    columns = [words("run", [cell.name if cell.folder else "" for cell in cells])]
    columns += [words(axis, [cell.overrides.get(axis, "") for cell in cells]) for axis in report.sweep.axes]
    columns.append(words("state", [cell.state for cell in cells]))
    for name in metric_names(cells, first=report.metric):
        metric = Metric(name)
        columns.append(_column(metric.title, cells, metric.of, lambda cell, m=metric: m.text(m.of(cell)) or "—"))
    probes = [probe_of(cell, report.metric) for cell in cells]
    if any(value is not None for value in probes):
        title = report.metric.title.replace(report.metric.name, "probe")
        columns.append(Column(title, tuple(map(report.metric.text, probes)), tuple(probes)))
    seconds = [result(cell, "seconds") for cell in cells]
    columns.append(Column("seconds", tuple("" if s is None else count(s) for s in seconds), tuple(seconds)))
    notes = [note(cell) for cell in cells]
    return [*columns, words("note", notes)] if any(notes) else columns


def metric_names(cells: Iterable[Cell], first: Metric) -> list[str]:
    """Returns the names of the metrics of all finished runs, the report's own first."""
    found = (name for cell in cells if cell.results for name in cell.results["metrics"])
    return list(dict.fromkeys([first.name, *found]))


def result(cell: Cell, name: str) -> Any:
    """Returns a value of results.json, or None if the run has not finished or does not have it."""
    return cell.results.get(name) if cell.results else None


def probe_of(cell: Cell, metric: Metric) -> float | None:
    """Returns what the network reached on the test videos before its first step.

    Returns None for a run that did not start from a probe.
    """
    return (result(cell, "probe") or {}).get(metric.name.removeprefix("test/"))


def mean_probe(cells: Iterable[Cell], metric: Metric) -> float | None:
    """Returns the mean of `probe_of` over the runs that started from a probe, or None if none did."""
    found = [value for cell in cells if (value := probe_of(cell, metric)) is not None]
    return sum(found) / len(found) if found else None


def below_probe(cell: Cell) -> str:
    """Says where a trained network is worse than the probe that it started from; "" if nowhere."""
    worse = worse_than_probe(result(cell, "metrics") or {}, result(cell, "probe"))
    return ", ".join(f"{name} {Metric(name).text(now)} after {Metric(name).text(then)}" for name, now, then in worse)


def note(cell: Cell) -> str:
    """Returns what a reader has to know about a run before believing its number; "" if nothing."""
    parts = [cell.error] if cell.error else []
    if leaked := result(cell, "leaked"):
        parts.append(f"trained on {leaked} of its test videos")
    if leaked := result(cell, "leaked_validation"):
        parts.append(f"began with weights trained on {leaked} of its validation videos")
    if lower := below_probe(cell):
        parts.append(f"training has made it worse than its probe: {lower}")
    parts += result(cell, "cautions") or []
    for part, videos in (result(cell, "unreadable") or {}).items():
        parts.append(f"{counted(len(videos), f'{part} video')} could not be read")
    return "; ".join(parts)


def starts_text(cell: Cell) -> str:
    """Says what each stream's weights were before training; "" if the run does not say (yet)."""
    return "; ".join(f"{stream}: {start}" for stream, start in (result(cell, "weights") or {}).items())


def pivot_text(report: Report, position: int | None) -> str:
    """Returns mean ± std, and which runs are lacking; "" if no run was planned."""
    if position is None:
        return ""
    group = report.rows[position].group
    if group.complete:
        return report.metric.mean_std(group.mean, group.std)
    counted = f"n={group.n}; {group.states}"
    return f"{report.metric.mean_std(group.mean, group.std)} ({counted})" if group.values else group.states


def count(value: float) -> str:
    """Formats a number with separators.

    >>> count(162912)
    '162,912'
    """
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Formats a number with one decimal below 100, and a unit.

    >>> short(40_000_000), short(2.5e11), short(12.34)
    ('40.0 M', '250 G', '12.3')
    """
    factor, unit = next((pair for pair in UNITS if value >= pair[0]), (1.0, ""))
    scaled = value / factor
    return f"{scaled:.{0 if scaled >= 99.95 else 1}f}{unit}"


def p_text(p: float | None) -> str:
    """Formats a p value with two digits; "n/a" if there was nothing to test.

    >>> p_text(0.25), p_text(0.0004), p_text(1.0), p_text(None)
    ('0.25', '< 0.001', '1.00', 'n/a')
    """
    if p is None:
        return "n/a"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


UNITS = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
COSTS = (  # title, name in results.json, how it is written
    ("parameters", "parameters", count),
    ("FLOPs", "flops", short),
    ("clips/s", "clips_per_second", short),
    ("test videos/s", "test_videos_per_second", short),
)


def _printed(row: Row) -> str:
    return f"{100 * row.printed.accuracy:.2f} ({row.printed.table})" if row.printed else ""


def _distinct(cells: Iterable[Cell], name: str) -> set[float]:
    return {value for cell in cells if (value := result(cell, name)) is not None}


def _column(title: str, items: Sequence[Any], key: Callable[[Any], Any], text: Callable[[Any], Any]) -> Column:
    return Column(title, tuple(map(text, items)), tuple(map(key, items)))

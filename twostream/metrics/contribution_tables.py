"""The tables of what each stream contributes, as rows of texts below a header; in per cent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twostream.metrics.contributions import FUSED, Contributions, points, sentence
from twostream.metrics.intervals import Number

Rows = list[list[str]]
METHOD = "intervals of 95 %: Wilson 1927 of a share, Newcombe 1998 (method 10) of a gain, over independent videos"


def accuracy_rows(found: Contributions) -> Rows:
    """Returns a row for each stream, for the fusion and for the oracle; p only where it has a meaning."""
    rows = [["", "top1", "95 %", "fused gains", "95 %", "p (McNemar)"]]
    for which, stream in enumerate(found.streams):
        p = found.p(which)
        told = "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
        rows.append([stream, *with_interval(found.accuracy(which)), *with_interval(found.gain(which), "+"), told])
    rows.append(["fused", *with_interval(found.accuracy(FUSED)), "", "", ""])
    rows.append(["either (oracle)", points(found.oracle), "", "", "", ""])
    return [row[:-1] for row in rows] if found.repeated else rows


def count_rows(found: Contributions) -> Rows:
    """Returns how many videos which stream has right alone, and how many of those the fusion has right."""
    counts = [found.counts[kind] for kind in found.kinds.values()]
    return [
        ["right alone", *found.kinds],
        ["videos", *(f"{of.sum():,}" for of in counts)],
        ["of these fused right", *(f"{of[1]:,}" for of in counts)],
    ]


def class_rows(found: Contributions) -> Rows:
    """Returns a row for each class that has videos, that with the largest gain over the first stream first."""
    first, second = found.streams
    rows = [["class", "videos", first, second, "fused", f"over {first}", "95 %", f"over {second}", "95 %"]]
    for label in found.tested:
        accuracies = [points(found.accuracy(which, label).value) for which in (0, 1, FUSED)]
        gains = [text for over in (0, 1) for text in with_interval(found.gain(over, label), "+")]
        rows.append([found.classes[label], str(int((found.labels == label).sum())), *accuracies, *gains])
    return rows


def with_interval(number: Number, sign: str = "") -> tuple[str, str]:
    """Returns the texts of a number and of its interval."""
    return points(number.value, sign), f"{points(number.low)} to {points(number.high)}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as text in columns: words on the left, numbers on the right.

    >>> print(aligned([["", "top1"], ["rgb", "62.5"], ["flow", "9.0"]]))
          top1
    rgb   62.5
    flow   9.0
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(text.rjust(width) if place else text.ljust(width) for place, (text, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def as_json(found: Contributions) -> dict[str, Any]:
    """Returns all numbers; a number with an interval is [value, low, high], from 0 to 1."""
    named = {name: which for which, name in enumerate((*found.streams, "fused"))}
    return {
        "sentences": [sentence(found), sentence(found, added=0)],
        "streams": list(found.streams),
        "runs": found.runs,
        "videos": len(found.labels),
        "top1": {name: found.accuracy(which) for name, which in named.items()},
        "oracle": found.oracle,
        "gain_over": {stream: found.gain(which) for which, stream in enumerate(found.streams)},
        "p_mcnemar": {stream: found.p(which) for which, stream in enumerate(found.streams)},
        "counts": {
            name: {"videos": int(found.counts[kind].sum()), "fused_right": int(found.counts[kind][1])}
            for name, kind in found.kinds.items()
        },
        "classes": {
            found.classes[label]: {
                "videos": int((found.labels == label).sum()),
                **{name: found.accuracy(which, label).value for name, which in named.items()},
                "gain_over": {stream: found.gain(which, label) for which, stream in enumerate(found.streams)},
            }
            for label in found.tested
        },
        "method": METHOD,
    }

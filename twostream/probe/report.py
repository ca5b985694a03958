"""Writes the results of a probe: probe.json, probe.md, probe.png, each stream's scores, and a table for the console."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from twostream.metrics.plots import plain_text, save_figure
from twostream.metrics.scores import Scores
from twostream.probe.outcome import Number, Outcome, sentence, streams_of, warnings
from twostream.probe.scoring import BOTH
from twostream.report.escape import markdown as cell
from twostream.runs.results import versions, write_json, write_text

SHOWN = 30  # classes in a picture: those that the second stream helps most, and least


@dataclass(frozen=True)
class Probe:
    """An outcome, and what it was measured with."""

    outcome: Outcome
    scores: Mapping[str, Scores]
    data: str
    protocol: str  # how the videos were divided, in words
    network: str
    weights: Mapping[str, str]
    views: int
    strengths: Mapping[str, list[float]]
    unreadable: list[str]
    overrides: list[str]

    @property
    def title(self) -> str:
        return f"{self.data}, {self.protocol}; frozen features of {self.network} at {self.views} places of each video"

    @property
    def cautions(self) -> list[str]:
        left_out = [f"left out, for they cannot be read: {', '.join(self.unreadable)}"] * bool(self.unreadable)
        return [*warnings(self.outcome), *left_out]


def console(probe: Probe) -> str:
    """Returns the sentence, then the tables, as text."""
    outcome = probe.outcome
    lines = [sentence(outcome), "", probe.title, f"{'':<12}{'mean class (95 %)':<24}{'top-1 (95 %)':<24}".rstrip()]
    lines += [
        f"{name:<12}{outcome.mean_class[name]!s:<24}{number!s:<24}".rstrip() for name, number in outcome.top1.items()
    ]
    name, top1, mean_class = outcome.largest
    lines.append(f"{'largest':<12}{mean_class:<24.2f}{top1:.2f}  always {name}")
    width = max(len("class"), *map(len, outcome.classes)) + 2
    kinds = list(outcome.top1)
    lines += ["", f"{'class':<{width}}{'videos':>6}" + "".join(f"{kind:>7}" for kind in kinds) + gain_title(outcome)]
    for name, row in by_gain(outcome):
        numbers = "".join(f"{row[kind].value:>7.2f}" for kind in kinds)
        gain = f"  {row['gain'].signed}" if "gain" in row else ""
        lines.append(f"{name:<{width}}{row['videos']:>6}{numbers}{gain}")
    return "\n".join([*lines, *(f"WARNING: {caution}" for caution in probe.cautions)])


def gain_title(outcome: Outcome) -> str:
    return "" if outcome.gain is None else f"  both - {streams_of(outcome.top1)[0]} (95 %)"


def by_gain(outcome: Outcome) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns the classes, those that the second stream helps most first."""
    return sorted(outcome.classes.items(), key=lambda item: -item[1]["gain"].value if "gain" in item[1] else 0.0)


def write_probe(probe: Probe, folder: Path) -> None:
    """Writes each file whole or not at all; other files of the folder stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, scores in probe.scores.items():
        scores.save(folder / f"{name}.npz")
    save_picture(probe, folder / "probe.png")
    write_text(folder / "probe.md", markdown(probe))
    write_json(folder / "probe.json", described(probe))


def described(probe: Probe) -> dict[str, Any]:
    """Returns the content of probe.json; a number is [value, low, high], with its interval of 95 %."""
    outcome = probe.outcome
    name, top1, mean_class = outcome.largest
    return {
        "sentence": sentence(outcome),
        "data": probe.data,
        "protocol": probe.protocol,
        "network": probe.network,
        "weights": dict(probe.weights),
        "views": probe.views,
        "videos": outcome.videos,
        "groups": outcome.groups,
        "mean_class": dict(outcome.mean_class),
        "top1": dict(outcome.top1),
        "gain": outcome.gain,
        "largest_class": {"class": name, "top1": top1, "mean_class": mean_class},
        "classes": {name: dict(row) for name, row in outcome.classes.items()},
        "strengths": dict(probe.strengths),
        "unreadable": probe.unreadable,
        "warnings": probe.cautions,
        "overrides": probe.overrides,
        "versions": versions(),
    }


def markdown(probe: Probe) -> str:
    """Returns the same tables as Markdown."""
    outcome = probe.outcome
    kinds = list(outcome.top1)
    name, top1, mean_class = outcome.largest
    lines = [f"# Probe of {cell(probe.data)}", "", f"**{sentence(outcome)}**", "", cell(probe.title) + ".", ""]
    lines += ["| | mean class (95 %) | top-1 (95 %) |", "|---|---|---|"]
    lines += [f"| {kind} | {outcome.mean_class[kind]} | {outcome.top1[kind]} |" for kind in kinds]
    lines += [f"| always {cell(name)} | {mean_class:.2f} | {top1:.2f} |", ""]
    gains = [] if outcome.gain is None else [gain_title(outcome).strip()]
    header = ["class", "videos", *kinds, *gains]
    lines += [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name, row in by_gain(outcome):
        cells = [cell(name), str(row["videos"]), *(f"{row[kind].value:.2f}" for kind in kinds)]
        cells += [row["gain"].signed for _ in gains]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"![accuracies, and what {streams_of(kinds)[-1]} adds to each class](probe.png)", ""]
    return "\n".join([*lines, *(f"- {cell(caution)}" for caution in probe.cautions)]).rstrip() + "\n"


def save_picture(probe: Probe, path: Path) -> None:
    """Draws both accuracies with intervals; beside them each class's, or what the second stream adds to it."""
    outcome = probe.outcome
    rows = by_gain(outcome)
    if len(rows) > SHOWN:
        rows = rows[: SHOWN // 2] + rows[-SHOWN // 2 :]
    figure = Figure(figsize=(9.6, max(3.6, 1.4 + 0.28 * len(rows))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    kinds, streams = list(outcome.top1), streams_of(outcome.top1)
    for place, numbers in enumerate((outcome.mean_class, outcome.top1)):
        for index, kind in enumerate(kinds):
            bar(
                left,
                place + 0.27 * (index - (len(kinds) - 1) / 2),
                numbers[kind],
                "C2" if kind == BOTH else f"C{streams.index(kind)}",
                kind if place == 0 else None,
            )
        floor = outcome.largest[2 - place]
        left.hlines(floor, place - 0.45, place + 0.45, "black", "dotted", label="largest class" if place == 0 else None)
    left.set_xticks([0, 1], ["mean class", "top-1"])
    left.set(ylim=(0, 1.02), ylabel="accuracy, with its interval of 95 %", title=plain_text(probe.data))
    left.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.08), fontsize=8, columnspacing=1)
    key = streams[0] if outcome.gain is None else "gain"
    for place, (_, row) in enumerate(reversed(rows)):
        number: Number = row[key]
        right.barh(place, number.value, 0.6, color="C2" if number.value > 0 else "C3")
        right.hlines(place, number.low, number.high, "black", linewidth=1)
    right.axvline(0, color="black", linewidth=0.8)
    right.set_yticks(
        range(len(rows)), [plain_text(f"{name} ({row['videos']})") for name, row in reversed(rows)], fontsize=8
    )
    right.set(
        xlabel=f"both - {streams[0]}" if key == "gain" else f"accuracy of {key}",
        title=f"what {streams[-1]} adds to each class" if key == "gain" else "each class",
    )
    save_figure(figure, path)


def bar(axes: Any, place: float, number: Number, colour: str, label: str | None) -> None:
    """Draws one bar with its interval and its number."""
    axes.bar(place, number.value, 0.25, color=colour, label=label)
    axes.vlines(place, number.low, number.high, "black", linewidth=1.2)
    axes.text(place, 0.02, f"{number.value:.2f}", ha="center", va="bottom", color="white", fontsize=8)

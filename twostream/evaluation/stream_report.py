"""Writes what a run makes of each stream to `RUN_DIR/evaluation/<protocol>-<part>-streams/`, and as text."""

from __future__ import annotations

from pathlib import Path

from twostream.evaluation.report import described, folder_name, remarks, title, write_csv
from twostream.evaluation.streams import MEAN, SHUFFLED, StreamOutcome
from twostream.files.atomic import atomic_folder
from twostream.metrics import ranks
from twostream.metrics.contribution_tables import METHOD, Rows, aligned, with_interval
from twostream.metrics.contributions import points
from twostream.metrics.intervals import Number, gain_of, share
from twostream.metrics.plots import save_bars
from twostream.metrics.scores import Scores
from twostream.metrics.table import metrics_of
from twostream.runs.results import write_json

SHOWN = {SHUFFLED: "of another video", MEAN: "at its mean"}


def summary(outcome: StreamOutcome) -> str:
    """Returns sentences and a table for the console."""
    drawn = f"of another video: drawn at random, {same_class(outcome)} of {len(outcome.donors)} from their own class"
    return "\n".join(
        [
            *sentences(outcome),
            title(outcome.whole),
            aligned(rows(outcome)),
            f"{drawn}; {METHOD}",
            *remarks(outcome.whole),
        ]
    )


def sentences(outcome: StreamOutcome) -> list[str]:
    """Says of each stream what becomes of top-1 if it is that of another video."""
    said = []
    for (stream, how), scores in outcome.ways.items():
        change = change_to(scores, outcome)
        interval = f"(95 % interval {points(change.low, '+')} to {points(change.high, '+')})"
        if how == SHUFFLED and change.low <= 0 <= change.high:
            said.append(
                f"no change is shown with {stream} of another video: {points(change.value, '+')} points {interval}"
            )
        elif how == SHUFFLED:
            falls = "falls" if change.value < 0 else "rises"
            said.append(f"top-1 {falls} with {stream} of another video: {points(change.value, '+')} points {interval}")
    return said


def rows(outcome: StreamOutcome) -> Rows:
    """Returns a row for each way of showing the videos, below a header; in per cent."""
    found = [["", "top1", "95 %", "class top1", "change", "95 %"]]
    for name, scores in named(outcome).items():
        change = ("", "") if scores is outcome.whole.scores else with_interval(change_to(scores, outcome), "+")
        found.append([name, *with_interval(top1(scores)), points(metrics_of(scores)["mean_class_top1"]), *change])
    return found


def named(outcome: StreamOutcome) -> dict[str, Scores]:
    """Returns the scores by what was shown."""
    replaced = {f"{stream} {SHOWN[how]}": scores for (stream, how), scores in outcome.ways.items()}
    return {"whole": outcome.whole.scores, **replaced}


def top1(scores: Scores) -> Number:
    return share(ranks(scores.logits, scores.labels) == 0)


def change_to(scores: Scores, outcome: StreamOutcome) -> Number:
    """Returns how much more of the videos is right than with the whole ones."""
    return gain_of(*(ranks(of.logits, of.labels) == 0 for of in (outcome.whole.scores, scores)))


def same_class(outcome: StreamOutcome) -> int:
    """Returns how many videos were shown a stream from their own class."""
    scores = outcome.whole.scores
    label = dict(zip(scores.videos, scores.labels.tolist(), strict=True))
    return sum(label[own] == label[donor] for own, donor in outcome.donors.items())


def write_streams(outcome: StreamOutcome, out: Path) -> Path:
    """Writes a folder in `out` and returns its path; it is written aside, then renamed, and replaces an earlier one."""
    place = out / f"{folder_name(outcome.whole)}-streams"
    with atomic_folder(place) as folder:
        outcome.whole.scores.save(folder / "scores.npz")
        for (stream, how), scores in outcome.ways.items():
            scores.save(folder / f"{stream}-{how}.npz")
        write_json(folder / "streams.json", as_json(outcome))
        write_csv(folder / "donors.csv", [{"video": own, "donor": other} for own, other in outcome.donors.items()])
        bars = {name: top1(scores) for name, scores in named(outcome).items()}
        save_bars(
            bars, folder / "streams.png", label="top-1 in %, with intervals of 95 %", title="each stream replaced"
        )
    return place


def as_json(outcome: StreamOutcome) -> dict[str, object]:
    """Returns all numbers; a number with an interval is [value, low, high], from 0 to 1."""
    return {
        "sentences": sentences(outcome),
        **described(outcome.whole, metrics_of(outcome.whole.scores)),
        "top1": top1(outcome.whole.scores),
        "replaced": {
            f"{stream}-{how}": {
                "metrics": metrics_of(scores),
                "top1": top1(scores),
                "change": change_to(scores, outcome),
            }
            for (stream, how), scores in outcome.ways.items()
        },
        "donors_of_same_class": same_class(outcome),
        "method": METHOD,
    }

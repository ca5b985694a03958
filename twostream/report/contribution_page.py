"""What each stream contributes, of one comparison: as text, as Markdown, as JSON and a picture."""

from __future__ import annotations

from pathlib import Path

from twostream.metrics.contribution_tables import METHOD, Rows, accuracy_rows, aligned, as_json, class_rows, count_rows
from twostream.metrics.contributions import Contributions, sentence
from twostream.report.escape import markdown as escape
from twostream.runs.results import write_json, write_text

DRAWN = 60  # most classes in a picture: those with the largest and with the smallest gains


def as_text(found: Contributions, title: str, *, classes: int) -> str:
    """Returns the comparison for a terminal, with so many classes at most."""
    rows = class_rows(found)
    more = len(rows) - 1 - classes
    parts = [
        f"{sentence(found)}\n{sentence(found, added=0)}",
        f"{title}\n{aligned(accuracy_rows(found))}",
        aligned(count_rows(found)),
        aligned(rows[: classes + 1]) + (f"\n… and {more} more classes" if more > 0 else ""),
        METHOD,
    ]
    return "\n\n".join(parts)


def as_markdown(found: Contributions, title: str) -> str:
    """Returns the comparison as a page, with all classes."""
    first, second = found.streams
    parts = [
        f"# What {escape(first)} and {escape(second)} contribute",
        f"**{escape(sentence(found))}**",
        escape(sentence(found, added=0)),
        escape(title),
        *(table(rows) for rows in (accuracy_rows(found), count_rows(found), class_rows(found))),
        f"![what {escape(second)} adds to each class](contributions.png)",
        METHOD,
    ]
    return "\n\n".join(parts) + "\n"


def table(rows: Rows) -> str:
    """Returns rows below a header as Markdown."""
    lines = [[escape(text) for text in row] for row in rows]
    rules = ["---"] + ["---:"] * (len(rows[0]) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rules, *lines[1:]))


def write_contributions(found: Contributions, title: str, folder: Path) -> None:
    """Writes contributions.json, .md and .png, each whole or not at all; other files of the folder stay."""
    from twostream.metrics.plots import save_bars  # matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    labels = found.tested if len(found.tested) <= DRAWN else [*found.tested[: DRAWN // 2], *found.tested[-DRAWN // 2 :]]
    first, second = found.streams
    save_bars(
        {f"{found.classes[label]} ({(found.labels == label).sum()})": found.gain(0, label) for label in labels},
        folder / "contributions.png",
        label=f"fused − {first}, points of top-1, with intervals of 95 %",
        title=f"what {second} adds to each class",
    )
    write_text(folder / "contributions.md", as_markdown(found, title))
    write_json(folder / "contributions.json", as_json(found))

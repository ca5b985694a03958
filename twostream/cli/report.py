"""`twostream report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twostream.errors import checked
from twostream.options.arguments import Parser
from twostream.report import as_text, write_report


def report(arguments: Sequence[str]) -> None:
    """Compare the runs of a sweep: SWEEP_DIR/report/ as Markdown, CSV, LaTeX and one HTML page."""
    parser = Parser("twostream report", description=report.__doc__)
    parser.add_argument("folder", type=Path, metavar="SWEEP_DIR")
    parser.add_argument("--metric", default="test/top1", help="of results.json (default test/top1)")
    parser.add_argument("--pivot", nargs=2, metavar="AXIS", help="rows and columns (default: those with most values)")
    parser.add_argument("--baseline", metavar="AXIS=VALUE,…", help="compare with these runs (default: with the best)")
    parser.add_argument("--wandb", metavar="MODE", help="off, auto, offline, online (default: as the runs did)")
    options = parser.parse_args(arguments)
    with checked():
        written = write_report(
            options.folder,
            metric=options.metric,
            pivot=options.pivot,
            baseline=options.baseline,
            wandb=options.wandb,
        )
    print(f"{as_text(written)}\n-> {options.folder / 'report' / 'report.html'}")

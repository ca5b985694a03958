"""`twostream report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twostream.files.errors import checked, say
from twostream.files.progress import terminal_width
from twostream.options.arguments import Parser
from twostream.report import all_as_text, write_reports


def report(arguments: Sequence[str]) -> None:
    """Compare the runs of a sweep, or all below a folder: DIR/report/ as Markdown, CSV, LaTeX and one HTML page."""
    parser = Parser(
        "twostream report", report.__doc__, examples=("runs/sweeps/SWEEP", "runs --metric test/mean_class --out tables")
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="the folder of a sweep, or any folder with runs below it"
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="a number of results.json (default: test/top1; of several labels a video test/map)",
    )
    parser.add_argument(
        "--pivot", nargs=2, metavar="AXIS", help="the settings in rows and columns (default: those with most values)"
    )
    parser.add_argument("--baseline", metavar="AXIS=VALUE,…", help="compare with these runs (default: with the best)")
    parser.add_argument(
        "--wandb", metavar="MODE", help="send the table to W&B: off, auto, offline, online (default: as the runs did)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write into (default: DIR/report)")
    options = parser.parse_args(arguments)
    with checked():
        reports = write_reports(
            options.folder,
            metric=options.metric,
            pivot=options.pivot,
            baseline=options.baseline,
            wandb=options.wandb,
            out=options.out,
        )
    say(all_as_text(reports, terminal_width()))

"""`twostream report`: reads a sweep, writes its report in every form."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from twostream.errors import one_line
from twostream.files.foreign import inside
from twostream.files.place import require_writable
from twostream.report.build import Report, build_report
from twostream.report.csv_files import cells_as_csv, groups_as_csv
from twostream.report.html import as_html
from twostream.report.latex import as_latex
from twostream.report.markdown import as_markdown
from twostream.report.paper import printed_number
from twostream.report.wandb_summary import log_summary, wandb_mode
from twostream.results import write_text
from twostream.sweep import read_sweep

FORMATS = {
    "report.md": as_markdown,
    "report.csv": cells_as_csv,
    "groups.csv": groups_as_csv,
    "report.tex": as_latex,
    "report.html": as_html,
}


def write_report(
    folder: Path,
    *,
    metric: str = "test/top1",
    pivot: Sequence[str] | None = None,
    baseline: str | None = None,
    wandb: str | None = None,
    out: Path | None = None,
) -> Report:
    """Write SWEEP_DIR/report/, or `out`, and if `wandb` says so a W&B run.

    Raises ValueError for what the sweep does not have, and where nothing can be written.

    The files are whole before W&B is begun. Only where W&B was asked for by name is its failing an error.
    """
    output = inside(folder, "report") if out is None else out
    require_writable(output, "name another folder with --out DIR")
    sweep = read_sweep(folder)
    report = build_report(sweep, metric=metric, pivot=pivot, baseline=baseline, printed_number=printed_number)
    mode = wandb_mode(wandb, sweep.cells)
    output.mkdir(parents=True, exist_ok=True)
    for name, written in FORMATS.items():
        write_text(output / name, written(report))
    if mode != "off":
        try:
            log_summary(report, output, mode=mode)
        except Exception as error:  # the network, the account, the disk: W&B has no common class for these
            if wandb in ("offline", "online"):
                raise ValueError(f"wandb={wandb}: {error} (the files in {output} are written)") from error
            print(f"W&B: {one_line(error)}; the files in {output} are written", file=sys.stderr)
    return report

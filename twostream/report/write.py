"""`twostream report`: reads a sweep, writes its report in every form."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twostream.files.errors import one_line
from twostream.files.foreign import inside
from twostream.files.writable import require_writable
from twostream.report.build import Report, build_report
from twostream.report.contributions import settings
from twostream.report.csv_files import cells_as_csv, groups_as_csv
from twostream.report.html import as_html
from twostream.report.latex import as_latex
from twostream.report.markdown import as_markdown
from twostream.report.per_video import marks_of
from twostream.report.pooled import pooled_columns
from twostream.report.published import printed_number
from twostream.report.tables import read_tables
from twostream.report.wandb_summary import log_summary, wandb_mode
from twostream.runs.results import write_text

FORMATS = {
    "report.md": as_markdown,
    "report.csv": cells_as_csv,
    "groups.csv": groups_as_csv,
    "report.tex": as_latex,
    "report.html": as_html,
}
FROM_FILES: Any = {  # what reports read of runs
    "printed_number": printed_number,
    "marks_of": marks_of,
    "pooled": pooled_columns,
    "contributions": settings,
}


def write_reports(
    folder: Path,
    *,
    metric: str | None = None,
    pivot: Sequence[str] | None = None,
    baseline: str | None = None,
    wandb: str | None = None,
    out: Path | None = None,
) -> dict[Path, Report]:
    """Writes DIR/report/ (or `out`), with a folder for each of several data, and a W&B run each if `wandb` says so.

    Raises ValueError for what the runs do not have; if only some of the tables lack it, these are left out, and named.
    The files of a table are whole before its W&B run begins. If W&B fails, this is an error only if `wandb` is
    "offline" or "online".
    """
    tables = read_tables(folder)
    reports, problems = {}, []
    whole = inside(folder, "report") if out is None else out
    require_writable(whole, "name another folder with --out DIR")
    for name, sweep in tables.items():
        output = whole / (re.sub(r"[^\w.=-]+", "_", name)[:100] if len(tables) > 1 else "")
        output = output if output not in reports else output.with_name(f"{output.name}-{len(reports)}")
        try:
            reports[output] = build_report(sweep, metric=metric, pivot=pivot, baseline=baseline, **FROM_FILES)
            wandb_mode(wandb, sweep.cells)
        except ValueError as error:
            problems.append(f"{name}: {error}" if len(tables) > 1 else str(error))
    if problems and len(problems) == len(tables):
        raise ValueError(problems[0])
    for problem in problems:
        print(f"no report of {problem}", file=sys.stderr)
    for output, report in reports.items():
        write(report, output, wandb)
    if out is None and whole not in reports:  # an earlier report, of what was one table then
        for name in FORMATS:
            (whole / name).unlink(missing_ok=True)
    return reports


def write(report: Report, output: Path, wandb: str | None = None) -> None:
    """Writes all formats into a folder, then the W&B run."""
    mode = wandb_mode(wandb, report.sweep.cells)
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

"""The command `train.py`: what it says when something fails, and how a sweep of it ends."""

from __future__ import annotations

import functools
import os
import shlex
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from twostream.config.compose import check_options
from twostream.config.processes import ProcessError, end_rank, end_with_parent
from twostream.config.resume import continued
from twostream.config.sweep import BASIC_SWEEPER, Ledger
from twostream.errors import checked, is_expected, one_line, print_any_name
from twostream.processes import rank_of
from twostream.results import write_text
from twostream.shortage import raise_file_limit, shortages_told
from twostream.signals import Stopped, requeue
from twostream.sweep import read_sweep


def notes_errors(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Leaves `error.txt` in the run folder of a run that failed; a sweep shows it and goes on with the next cell."""

    @functools.wraps(task)
    def wrapped(cfg: DictConfig) -> Any:
        hydra_config = HydraConfig.get()
        folder, alone = Path(hydra_config.runtime.output_dir), hydra_config.mode != RunMode.MULTIRUN
        try:
            with shortages_told(f"python train.py {shlex.quote(f'resume={folder}')}" if alone else "the same command"):
                return task(cfg)
        except Exception as error:
            failed_elsewhere = isinstance(error, ProcessError)  # it has said so, and left `error.txt`
            if not failed_elsewhere and (rank := rank_of(os.environ)) is not None:
                end_rank(rank, error, folder)
            text = one_line(error) if is_expected(error) else traceback.format_exc()
            with suppress(OSError):  # the disk may be full
                if not failed_elsewhere:
                    write_text(folder / "error.txt", text + "\n")
            if alone:
                raise
            print(f"cell {folder.name} failed: {one_line(error)}", file=sys.stderr, flush=True)
            if hydra_config.sweeper._target_ != BASIC_SWEEPER:
                raise  # other sweepers have rules of their own for cells that fail

    return wrapped


def run_command(main: Callable[[], None]) -> None:
    """Run a Hydra main function; what the user got wrong ends in one line and exit code 1, without a traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the errors itself
    raise_file_limit()
    end_with_parent()
    print_any_name()
    try:
        sys.argv[1:] = continued(sys.argv[1:])
        with checked():
            check_options(sys.argv[1:])
        with shortages_told():  # before a run has its folder
            main()
        if Ledger.ended is not None:
            end_sweep(Ledger.ended)
    except Stopped as stopped:
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            print(f"{stopped}; the same command, or resume=RUN_DIR, goes on", file=sys.stderr)
            print(requeue(stopped) or "", end="", file=sys.stderr, flush=True)
        sys.exit(stopped.exit_code)
    except Exception as error:
        if not is_expected(error):
            raise
        sys.exit(f"error: {one_line(error)}")


def end_sweep(folder: Path) -> None:
    """The report of a sweep; exit code 1 where a cell has no results."""
    from twostream.report import as_text, write_report  # of use at the end alone

    sweep = read_sweep(folder)
    unfinished = [cell for cell in sweep.cells if cell.state != "finished"]
    if len(unfinished) < len(sweep.cells):
        print(f"{as_text(write_report(folder))}\n-> {folder / 'report' / 'report.html'}")
    if unfinished:
        states = Counter(cell.state for cell in unfinished)
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        sys.exit(f"{folder}: of {len(sweep.cells)} cells {told}; the same command tries them again")

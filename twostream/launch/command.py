"""The command `train.py`: what it prints if something fails, and how its sweeps end."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from twostream.config.saved import own_targets
from twostream.config.trust import find_own_code, search_plugins
from twostream.config.typed import check_words, naming_options
from twostream.config.values import check_choices, check_values
from twostream.files.errors import (
    UserError,
    checked,
    end_with,
    ending_in_one_line,
    is_expected,
    one_line,
    print_any_name,
    say,
)
from twostream.files.progress import terminal_width
from twostream.files.resources import explain_shortages, raise_file_limit
from twostream.files.signals import Stopped, line_end, requeue
from twostream.launch.ranks import ProcessError, end_rank, end_with_parent
from twostream.launch.resume import continued
from twostream.launch.sweep import BASIC_SWEEPER, Ledger
from twostream.options.command import command_of, is_sweep, once_more, this_command
from twostream.runs.interrupted import has_begun
from twostream.runs.results import write_text
from twostream.runs.sweep import read_sweep
from twostream.training.ranks import rank_of


def notes_errors(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Makes a failed run write `error.txt` into its folder; a sweep prints the error and goes on with its next cell."""

    @functools.wraps(task)
    def wrapped(cfg: DictConfig) -> Any:
        hydra_config = HydraConfig.get()
        folder, alone = Path(hydra_config.runtime.output_dir), hydra_config.mode != RunMode.MULTIRUN
        try:
            with explain_shortages(lambda: then(folder, cfg, alone=alone)):
                find_own_code(OmegaConf.to_container(cfg))
                with checked():
                    check_values(cfg)
                return task(cfg)
        except Stopped as stopped:
            stopped.then = then(folder, cfg, alone=alone)
            raise
        except Exception as error:
            failed_elsewhere = isinstance(error, ProcessError)  # it has printed the error, and written `error.txt`
            if not failed_elsewhere and (rank := rank_of(os.environ)) is not None:
                end_rank(rank, error, folder)
            text = one_line(error) if is_expected(error) else traceback.format_exc()
            with suppress(OSError):  # the disk may be full
                refused = isinstance(error, UserError) and has_begun(folder)  # the run can still go on
                if not failed_elsewhere and not refused:
                    write_text(folder / "error.txt", text + "\n")
            if alone and is_expected(error):
                end_with(error)  # Hydra would put a line of its own before it
            if alone:
                raise
            Ledger.failed += (folder.name,)
            print(f"cell {folder.name} failed: {one_line(error)}", file=sys.stderr, flush=True)
            if hydra_config.sweeper._target_ != BASIC_SWEEPER:
                raise  # other sweepers have rules of their own for cells that fail

    return wrapped


def run_command(main: Callable[[], None]) -> None:
    """Runs a Hydra main function; what the user got wrong ends in one line and exit code 1, without a traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the errors itself
    raise_file_limit()
    end_with_parent()
    print_any_name()
    try:
        with ending_in_one_line():
            sys.argv[1:] = words_for_hydra(sys.argv[1:])
            with explain_shortages(begins), naming_options(UserError):  # errors before a run has its folder
                main()
            if Ledger.ended is not None:
                end_sweep(Ledger.ended)
    except Stopped as stopped:
        if not rank_of(os.environ):  # the only process, or the first
            print(f"{line_end()}{stopped}; {stopped.then or begins()}", file=sys.stderr)
            print(requeue(stopped) or "", end="", file=sys.stderr, flush=True)
        sys.exit(stopped.exit_code)


def words_for_hydra(typed: list[str]) -> list[str]:
    """Returns what Hydra is to read: the words of a resumed run, if there is one, and those that were typed.

    Raises UserError for words that are wrong.
    """
    words = continued(typed)
    goes_on = words[-1:] != typed[-1:] and "".join(words[-1:]).startswith("hydra.run.dir=")  # a resumed run …
    resumed = ["hydra.output_subdir=null"] if goes_on else []  # … keeps its .hydra/: it may be refused
    words.sort(key=lambda word: word not in ("-m", "--multirun"))  # Hydra wants it first
    search_plugins()
    with checked():
        check_words(words)
        check_choices(words)
    return [*words, *resumed]


def end_sweep(folder: Path) -> None:
    """Reports on a sweep; exit code 1 if a cell failed, or has no results and no process is running it."""
    from twostream.report import all_as_text, write_reports  # only needed here, at the end

    sweep = read_sweep(folder)
    states = Counter(cell.state for cell in sweep.cells)
    finished = states.pop("finished", 0)
    if finished:
        say(all_as_text(write_reports(folder), terminal_width()))
    text = f"{folder}: of {len(sweep.cells)} cells {', '.join(f'{count} {state}' for state, count in states.items())}"
    if states.keys() - {"running"}:
        sys.exit(f"{text}; try them again with: {this_command()}")
    if states:
        print(f"{text}: another process is at it", flush=True)
    if Ledger.failed:
        sys.exit(f"{folder}: {', '.join(Ledger.failed)}: not taken for finished, see above")


def then(folder: Path, cfg: DictConfig, *, alone: bool) -> str:
    """Says how to go on after a run has stopped, by a whole command to paste into a shell.

    A cell goes on with its sweep. A run that uses code or options of the user's own needs them named anew.
    """
    if not alone or is_sweep(this_command()):
        return once_more(this_command())
    if not (folder / "overrides.json").exists():
        return begins()
    dirs = [word for word in sys.argv[1:] if word.startswith("--config-dir=")]
    folders = [Path(word.partition("=")[2]) for word in dirs]
    packages = dict.fromkeys(name.partition(".")[0] for name, _ in own_targets(cfg, folders=folders))
    trust = [word for package in packages for word in ("--trust", package)]
    return f"go on with: {command_of([f'resume={folder}', *dirs, *trust])}"


def begins() -> str:
    """Says how to begin again before a run has its folder."""
    told = once_more(this_command())
    return told if told.startswith("go on") else f"nothing had begun; {told}"

"""`twostream evaluate`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from twostream.cli.code import add_trust
from twostream.config.protocols import PROTOCOLS
from twostream.config.saved import require_run
from twostream.evaluation.plan import Plan, of_splits
from twostream.files.errors import checked, say
from twostream.files.foreign import inside
from twostream.files.progress import begins
from twostream.files.writable import require_writable
from twostream.metrics.scores import PARTS
from twostream.metrics.table import metrics_table
from twostream.options.arguments import Parser, value_of
from twostream.runs.results import write_json

if TYPE_CHECKING:
    from twostream.evaluation.evaluate import Prepared


def evaluate(arguments: Sequence[str]) -> None:
    """Test a finished run by a protocol of views; metrics, tables, pictures go to RUN_DIR/evaluation/."""
    parser = Parser(
        "twostream evaluate",
        evaluate.__doc__,
        examples=("RUN_DIR --protocol paper", "RUN_1 RUN_2 RUN_3 --splits 1,2,3"),
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN_DIR", help="a folder that training has left; several with --splits"
    )
    parser.add_argument(
        "--splits", type=numbers, metavar="1,2,3", help="print the mean over a run of each of these splits, too"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder to write into (default: RUN_DIR/evaluation)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="with --splits: write all numbers there, as JSON")
    add_plan(parser)
    options = vars(parser.parse_args(arguments))
    runs, splits, out, output = (options.pop(name) for name in ("runs", "splits", "out", "output"))
    with checked():
        plan = Plan(**options)
        if (splits is None and len(runs) > 1) or (splits and (plan.split is not None or plan.devices > 1)):
            raise ValueError("several run folders need --splits, which goes without --split and --devices")
        if splits and plan.streams:
            raise ValueError("--streams is of one run: it goes without --splits")
        if output and not splits:
            raise ValueError(f"--output {output}: needs --splits; the numbers of one run are in its folder")
        if output and not output.absolute().parent.is_dir():
            raise ValueError(f"--output {output}: its folder does not exist")
        for run in runs:
            require_run(run)
        places = {run: place_of(run, out, splits) for run in runs}
        runs = runs if splits is None else of_splits(runs, splits, trust=plan.trust)
        for run in runs:
            plan.check(run)
        begins("Loading PyTorch and the network")
        from twostream.evaluation.evaluate import prepare, score
        from twostream.evaluation.report import mean_of, summary, write_evaluation

        prepared = [prepare(run, plan) for run in runs]
        if splits and (found := [one.split for one in prepared]) != splits:
            raise ValueError(f"--splits {splits}: with these --set the runs are tested on {found}")
    if plan.streams:
        return evaluate_streams(prepared[0], plan, places[runs[0]])
    rows = {}
    for one in prepared:
        outcome = score(one, plan)
        if outcome is None:  # one process of several writes
            return
        with checked():
            folder, metrics = write_evaluation(outcome, places[one.run.folder])
        say(f"{summary(outcome, metrics)}\n-> {folder}")
        rows[f"split {one.split}"] = metrics
    if splits:
        rows["mean"] = mean_of(list(rows.values()))
        say(metrics_table(rows))
        if output:
            write_json(output, rows)


def evaluate_streams(prepared: Prepared, plan: Plan, place: Path) -> None:
    """Scores one run with each of its streams replaced, and writes a folder in `place`."""
    from twostream.evaluation.stream_report import summary, write_streams
    from twostream.evaluation.streams import score_streams

    if (outcome := score_streams(prepared, plan)) is None:  # one process of several writes
        return
    with checked():
        folder = write_streams(outcome, place)
    say(f"{summary(outcome)}\n-> {folder}")


def place_of(run: Path, out: Path | None, splits: Sequence[int] | None) -> Path:
    """Returns the folder for the evaluation of a run; with `splits`, a folder with the run's name below `out`.

    Raises ValueError if nothing can be written there, or if a link in the run folder leads out of it.
    """
    if out is None:
        place = inside(run, "evaluation")
        require_writable(place, "name another folder with --out DIR")
        return place
    require_writable(out, "name another folder with --out DIR")
    return out if splits is None else out / run.resolve().name


def numbers(text: str) -> list[int]:
    """Reads `1,2,3` as a list."""
    return [value_of("whole >= 1")(number) for number in text.split(",")]


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Adds the options of an evaluation; their names are the fields of `twostream.evaluation.plan.Plan`."""
    add, whole = parser.add_argument, value_of("whole")
    add(
        "--protocol",
        choices=PROTOCOLS,
        default="train",
        help="which parts of each video are shown; train: as the run itself tested",
    )
    add(
        "--part", choices=PARTS, default="test", help="test: the test videos; validation: those held out for validation"
    )
    add(
        "--split",
        type=whole,
        metavar="K",
        help="test on split K; refused if its videos were trained on (default: the run's own)",
    )
    add("--root", metavar="DIR", help="where the data set lies now (default: where it lay in training)")
    add(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="test with another value than the run had, such as flow.store=null",
    )
    add(
        "--streams",
        action="store_true",
        help="what each stream gives: test with one of them taken from another video, or averaged",
    )
    add("--allow-leak", action="store_true", help="test also on videos that the weights were trained on")
    add("--views-per-batch", type=whole, metavar="N", help="at most so many views at once (default: batch_size)")
    add("--batch-size", type=whole, metavar="N", help="videos a batch (default: as many as those views make)")
    add("--workers", type=whole, metavar="N", help="loader processes (default: num_workers of the run)")
    add("--accelerator", choices=("auto", "cpu", "gpu", "mps"), default="auto", help="what computes")
    add("--devices", type=whole, metavar="N", default=1, help="processes, each with a GPU of its own, or on the CPU")
    add_trust(parser)
    add("--precision", help="of the numbers in the network, such as bf16-mixed (default: the run's)")

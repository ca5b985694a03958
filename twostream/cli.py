"""The command `twostream`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from twostream.bench import bench as run_bench
from twostream.bench import save_chart
from twostream.bench import table as bench_table
from twostream.config import (
    EXPECTED,
    UserError,
    build_data,
    build_flow,
    build_source,
    build_system,
    checked,
    compose_config,
    describe_config,
    one_line,
)
from twostream.data.decoding import DECODERS
from twostream.data.extract import extract
from twostream.data.flow_store import ENCODINGS, NAMINGS, QUALITY, FromJPEGs, FromVideo, make_store
from twostream.data.module import available_cores
from twostream.data.prepare import DATA_SETS, Wishes, Workers
from twostream.data.prepare import prepare as run_prepare
from twostream.data.tasks import ENGINES
from twostream.description import table
from twostream.doctor import report as doctor_report
from twostream.evaluate import Plan, of_splits
from twostream.evaluate import prepare as prepare_evaluation
from twostream.evaluate import score as score_videos
from twostream.evaluation_report import mean_of, metrics_of, metrics_table, summary, write_evaluation
from twostream.fuse import fuse as fuse_scores
from twostream.fuse import parse_weights, search
from twostream.inspection.command import inspect
from twostream.prediction.command import predict
from twostream.protocols import PROTOCOLS
from twostream.report import as_text, write_report
from twostream.results import write_json
from twostream.scores import PARTS, Scores


def info(arguments: Sequence[str]) -> None:
    """Print what a network is, before anything runs."""
    parser = argparse.ArgumentParser("twostream info", description=info.__doc__)
    parser.add_argument("overrides", nargs="*", help="as for train.py: fusion=conv layer=conv5 backbone=vgg16 …")
    parser.add_argument("--classes", type=int, default=101, help="number of classes (default 101, UCF101)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    with checked():
        description = describe_config(compose_config(options.overrides), options.classes)
    print(json.dumps(description.as_dict(), indent=2) if options.json else table(description))


def doctor(arguments: Sequence[str]) -> None:
    """Check this machine, and with your videos its decoders; one screen to paste into an issue."""
    parser = argparse.ArgumentParser("twostream doctor", description=doctor.__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="videos, or folders of them")
    parser.add_argument("--clips", type=int, default=5, help="check so many at most (default 5)")
    options = parser.parse_args(arguments)
    with checked():
        for line in doctor_report(options.paths, most=options.clips):
            print(line, flush=True)


def flow(arguments: Sequence[str]) -> None:
    """Compute the flow of a data set once, into a store that training reads with flow.store=PATH."""
    parser = argparse.ArgumentParser("twostream flow", description=flow.__doc__)
    parser.add_argument("overrides", nargs="*", help="as for train.py: data=ucf101 data.root=DIR flow=dis …")
    parser.add_argument("--store", type=Path, required=True, help="the folder; a store there is continued")
    parser.add_argument("--encoding", choices=ENCODINGS, default="jpeg", help="png: no loss; small: H.264")
    parser.add_argument("--quality", type=int, default=QUALITY, help=f"of JPEG, 1 to 100 (default {QUALITY})")
    parser.add_argument("--from-jpegs", type=Path, metavar="DIR", help="import what another tool wrote, at flow.bound")
    parser.add_argument("--naming", choices=NAMINGS, default="denseflow", help="of those files (default denseflow)")
    add_engine(parser)
    parser.set_defaults(workers=None)
    options = parser.parse_intermixed_args(arguments)
    with checked():
        cfg = compose_config(options.overrides)
        source = build_source(cfg)
        algorithm = build_flow(cfg)
        recorder = FromVideo(algorithm, cfg.decoder)
        if options.from_jpegs is not None:
            recorder = FromJPEGs(options.from_jpegs, options.naming, algorithm, cfg.decoder)
        origin = None if options.from_jpegs is None else options.naming
        make_store(options.store, algorithm, encoding=options.encoding, quality=options.quality, origin=origin)
    complete = extract(
        [*source.train, *source.test],
        algorithm,
        options.store,
        decoder=cfg.decoder,
        workers=options.workers or (1 if getattr(recorder, "on_gpu", False) else available_cores()),
        engine=options.engine,
        address=options.address,
        recorder=recorder,
    )
    if not complete:
        sys.exit(1)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The options of commands that work in several processes."""
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes (default: one per core)")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="this machine's processes, or Ray's")
    parser.add_argument("--address", help="of a Ray cluster, e.g. auto; default: one is started here")


def bench(arguments: Sequence[str]) -> None:
    """Measure where the time of training goes, on this machine and data, and say what would help."""
    parser = argparse.ArgumentParser("twostream bench", description=bench.__doc__)
    parser.add_argument("overrides", nargs="*", help="as for train.py: data=ucf101 data.root=DIR backbone=resnet50 …")
    parser.add_argument("--seconds", type=float, default=60.0, help="about so long (default 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw them into this PNG file")
    options = parser.parse_args(arguments)
    with checked():
        cfg = compose_config(options.overrides)
        source = build_source(cfg)
        named = ("batch_size", "precision", "channels_last", "compile", "decoder", "layer")
        result = run_bench(
            build_data(cfg, source),
            build_system(cfg, source.classes),
            seconds=options.seconds,
            device=torch.device("cuda" if torch.cuda.is_available() and cfg.trainer.accelerator != "cpu" else "cpu"),
            precision=cfg.precision,
            flops=describe_config(cfg, len(source.classes)).flops,
            configuration={"data": source.name, **{name: str(cfg[name]) for name in named}},
        )
    print(bench_table(result))
    if options.json:
        write_json(options.json, result.as_dict())
    if options.chart:
        save_chart(result, options.chart)


def report(arguments: Sequence[str]) -> None:
    """Compare the runs of a sweep: SWEEP_DIR/report/ as Markdown, CSV, LaTeX and one HTML page."""
    parser = argparse.ArgumentParser("twostream report", description=report.__doc__)
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


def prepare(arguments: Sequence[str]) -> None:
    """Find, download or unpack a data set, check every video, and index them; does only what is not done yet."""
    parser = argparse.ArgumentParser("twostream prepare", description=prepare.__doc__)
    parser.add_argument("data_set", choices=DATA_SETS, help="folder: your own videos, in a folder for each class")
    parser.add_argument("--root", type=Path, required=True, help="the folder of the videos, or of their archives")
    parser.add_argument("--download", action="store_true", help="fetch what is missing; goes on where it was stopped")
    parser.add_argument("--mirror", action="append", default=[], metavar="URL", help="ask there first; may be repeated")
    parser.add_argument("--strict", action="store_true", help="exit with code 1 where a video is broken")
    parser.add_argument("--reencode", action="store_true", help="write clean H.264 copies into ROOT/reencoded")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write the copies there")
    parser.add_argument("--pack", action="store_true", help="write the frames of each video, for data.frames=packed")
    parser.add_argument("--short-side", type=int, metavar="PIXELS", help="of copies and packed frames (those: 256)")
    parser.add_argument("--decoder", choices=DECODERS, default="decord", help="that has to read them (default decord)")
    add_engine(parser)
    options = parser.parse_args(arguments)
    with checked():
        broken = run_prepare(
            options.data_set,
            options.root.expanduser(),
            Wishes(
                download=options.download,
                mirrors=options.mirror,
                reencode=options.reencode,
                output=options.output,
                pack=options.pack,
                short_side=options.short_side,
            ),
            decoder=options.decoder,
            workers=Workers(options.workers, options.engine, options.address),
        )
    if broken and options.strict:
        sys.exit(1)


def evaluate(arguments: Sequence[str]) -> None:
    """Test a finished run by a protocol of views; metrics, tables, pictures go to RUN_DIR/evaluation/."""
    parser = argparse.ArgumentParser("twostream evaluate", description=evaluate.__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="what train.py left; several: --splits")
    parser.add_argument("--splits", type=numbers, metavar="1,2,3", help="the mean over a run of each of these splits")
    parser.add_argument("--output", type=Path, metavar="FILE", help="with --splits: all numbers as JSON")
    add_plan(parser)
    options = vars(parser.parse_args(arguments))
    runs, splits, output = (options.pop(name) for name in ("runs", "splits", "output"))
    with checked():
        plan = Plan(**options)
        if (splits is None and len(runs) > 1) or (splits and (plan.split is not None or plan.devices > 1)):
            raise ValueError("several run folders need --splits, which goes without --split and --devices")
        runs = runs if splits is None else of_splits(runs, splits)
        prepared = [prepare_evaluation(run, plan) for run in runs]
    rows = {}
    for one in prepared:
        outcome = score_videos(one, plan)
        if outcome is None:  # one process of several writes
            return
        with checked():
            folder, metrics = write_evaluation(outcome, one.run.folder)
        print(f"{summary(outcome, metrics)}\n-> {folder}", flush=True)
        rows[f"split {one.split}"] = metrics
    if splits:
        rows["mean"] = mean_of(list(rows.values()))
        print(metrics_table(rows))
        if output:
            write_json(output, rows)


def numbers(text: str) -> list[int]:
    """`1,2,3` as a list."""
    return [int(number) for number in text.split(",")]


def add_plan(parser: argparse.ArgumentParser) -> None:
    """The options of an evaluation; their names are the fields of `twostream.evaluate.Plan`."""
    add = parser.add_argument
    add("--protocol", choices=PROTOCOLS, default="train", help="which views; train (default): as train.py tested")
    add("--part", choices=PARTS, default="test", help="test (default), or the videos held out for validation")
    add("--split", type=int, help="another split than the run's own: refused if its videos were trained on")
    add("--root", help="where the data set lies now")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="e.g. flow.store=null")
    add("--allow-leak", action="store_true", help="test also on videos that the weights were trained on")
    add("--views-per-batch", type=int, metavar="N", help="views at once through the network (default: batch_size)")
    add("--batch-size", type=int, metavar="N", help="videos a batch (default: as many as those views make)")
    add("--workers", type=int, help="loader processes (default: num_workers of the run)")
    add("--accelerator", choices=("auto", "cpu", "gpu", "mps"), default="auto")
    add("--devices", type=int, default=1, help="processes, each with a GPU of its own or on the CPU (default 1)")
    add("--precision", help="e.g. bf16-mixed (default: the run's)")


def fuse(arguments: Sequence[str]) -> None:
    """Fuse the scores of several networks on the same videos: the weighted mean of logits, or of probabilities."""
    parser = argparse.ArgumentParser("twostream fuse", description=fuse.__doc__)
    parser.add_argument("files", nargs="+", metavar="SCORES.npz", help="test_scores.npz, or evaluation/…/scores.npz")
    parser.add_argument("--weights", metavar="1:1.5", help="one for each file, in their order (default: all alike)")
    parser.add_argument("--softmax", action="store_true", help="of class probabilities (Simonyan & Zisserman 2014)")
    parser.add_argument("--search", action="store_true", help="find the weights; for scores of validation videos")
    parser.add_argument("--output", type=Path, metavar="FILE.npz", help="write the fused scores there")
    options = parser.parse_args(arguments)
    names = options.files
    with checked():
        files = [Scores.load(name) for name in names]
        if options.search and options.weights:
            raise ValueError("--search finds the weights: give no --weights")
        weights = parse_weights(options.weights or ":".join("1" * len(files)), len(files))
        if options.search:
            weights, _ = search(files, softmax=options.softmax, names=names)
        fused = fuse_scores(files, weights, softmax=options.softmax, names=names)
        title = "fused " + ":".join(f"{weight:g}" for weight in weights)
        rows = {name: metrics_of(scores) for name, scores in zip(names, files, strict=True)}
        if options.output:
            fused.save(options.output)
    what = "class probabilities" if options.softmax else "logits"
    print(f"{fused.data} split {fused.split}, {fused.part}: {len(fused.videos)} videos, weighted mean of {what}; in %")
    print(metrics_table({**rows, title: metrics_of(fused)}))
    if options.search:
        print(f"--weights {':'.join(f'{weight:g}' for weight in weights)}")


def of_a_run(command: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """A command whose every ValueError is about what the user typed."""

    def run(arguments: Sequence[str]) -> None:
        with checked():
            command(arguments)

    return run


COMMANDS = {
    "bench": bench,
    "doctor": doctor,
    "evaluate": evaluate,
    "flow": flow,
    "fuse": fuse,
    "info": info,
    "inspect": of_a_run(inspect),
    "predict": of_a_run(predict),
    "prepare": prepare,
    "report": report,
}


def main() -> None:
    """Run one subcommand; wrong input ends in one line and exit code 1."""
    parser = argparse.ArgumentParser("twostream", description="Two-stream action recognition; training is train.py.")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    try:
        COMMANDS[options.command](options.arguments)
    except (UserError, *EXPECTED) as error:
        sys.exit(f"error: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit(130)  # as shells have it


if __name__ == "__main__":
    main()

"""What a trained network says of videos."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from twostream.cli.code import files_of
from twostream.data.decoding import VideoError, claimed_seconds
from twostream.files.errors import one_line, say
from twostream.prediction.annotated import AnnotatedFilm
from twostream.prediction.output import save_csv, save_json, table
from twostream.prediction.predictor import Observer, Prediction, Predictor, load
from twostream.prediction.sheet import save_sheet
from twostream.prediction.window_sample import WindowSample

Video = str | int  # a file, or the number of a camera


def predict(videos: Mapping[str, Video], options: argparse.Namespace) -> None:
    """Prints and writes what the network says of {name: video}, with the options of `twostream predict`.

    Raises `VideoError` for a video that cannot be read, unless it is one of a folder: these end the program at the end.
    """
    predictor = load(options.run, device=options.device, trust=options.trust)
    predictions: list[Prediction] = []
    failed: dict[str, str] = {}
    is_folder = os.path.isdir(options.video)
    try:
        for name, video in videos.items():
            try:
                predictions.append(look_at(predictor, video, options, name=name if is_folder else None))
                say(table(predictions[-1], options.top))
            except VideoError as error:
                if not is_folder:
                    raise
                failed[str(video)] = error.reason
                print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
    finally:  # also after Ctrl-C: keep the predictions so far
        if predictions or failed:
            save(options, predictions, predictor, failed=failed)
    if failed:
        sys.exit(f"{len(failed)} of {len(videos)} videos could not be read")


def save(
    options: argparse.Namespace, predictions: Sequence[Prediction], predictor: Predictor, *, failed: Mapping[str, str]
) -> None:
    """Writes the JSON and CSV files that were asked for."""
    if options.json is not None:
        said = {"run": options.run, "classes": predictor.classes, "thresholds": predictor.thresholds}
        save_json(options.json, predictions, **said, failed=failed, top=options.top)
    if options.csv is not None:
        save_csv(options.csv, predictions, predictor.classes, multi=predictor.multi)


def look_at(predictor: Predictor, video: Video, options: argparse.Namespace, *, name: str | None) -> Prediction:
    """Predicts one video, writes its film and sheet; `name`: of a video in a FOLDER, whose outputs go into folders."""
    film, sheet = (output(path, name, suffix) for path, suffix in ((options.film, ".mp4"), (options.sheet, ".png")))
    observers: list[Observer] = []
    sample = WindowSample()
    with ExitStack() as stack:
        if film is not None:
            shown = os.path.basename(video) if isinstance(video, str) else f"camera {video}"
            annotated = AnnotatedFilm(
                film,
                title=shown,
                classes=predictor.classes,
                view=predictor.view,
                maps=list(predictor.layers),
                duration=duration(video, options.limit),
                multi=predictor.multi,
            )
            observers.append(stack.enter_context(annotated))
        if sheet is not None:
            observers.append(sample)
        stop = stack.enter_context(interruptible()) if isinstance(video, int) else lambda: False
        prediction = predictor.predict(
            video,
            files=files_of(options.streams, name),
            window=options.window,
            stride=options.stride,
            limit=options.limit,
            stop=stop,
            observers=observers,
        )
    if sheet is not None:
        save_sheet(sample, prediction, sheet, view=predictor.view)
    return prediction


def output(path: Path | None, name: str | None, suffix: str) -> Path | None:
    """Returns where the film or sheet of a video goes; None if it was not asked for.

    For a video of a FOLDER, this is the file NAME.mp4 or NAME.png below `path`; its folder is made.
    """
    if path is None or name is None:
        return path
    path = path / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def duration(video: Video, limit: float | None) -> float | None:
    """Returns the seconds that will be read, as the file claims; None if neither file nor `limit` says."""
    if isinstance(video, int):
        return limit
    seconds = claimed_seconds(video)
    return seconds if limit is None else min(limit, seconds or limit)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Keeps Ctrl-C from ending the program in the block, so that what a camera has seen so far is written.

    Yields a function that says whether Ctrl-C was pressed.
    """
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)

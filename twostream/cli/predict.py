"""`twostream predict`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from twostream.cli.code import add_stream, add_trust
from twostream.config.saved import require_run
from twostream.files.errors import checked
from twostream.files.progress import begins
from twostream.files.video_files import VideoError, divide_by_suffix, files_below, left_out, why_absent
from twostream.options.arguments import Parser, value_of


@checked()
def predict(arguments: Sequence[str]) -> None:
    """Say what happens in a video, in every video of a folder, or before a camera; over time, and overall."""
    options = read_options(arguments)
    if options.run.is_file():
        require_run(options.run)  # before the run folder is searched for videos, where the two were swapped
    videos = find_videos(options.video)
    for path in (options.json, options.csv, *([options.film, options.sheet] if len(videos) == 1 else [])):
        if path is not None and not path.absolute().parent.is_dir():
            raise VideoError(path, "its folder does not exist")
    require_run(options.run)
    begins("Loading PyTorch and the network")
    from twostream.cli.work.predict import predict as predict_all

    predict_all(videos, options)


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads what the user typed."""
    parser = Parser(
        "twostream predict",
        predict.__doc__,
        examples=("RUN_DIR VIDEO", "RUN_DIR FOLDER --csv scores.csv --video annotated"),
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a folder that training has left")
    parser.add_argument("video", metavar="VIDEO|FOLDER|CAMERA", help="a file, a folder of files, or a camera's number")
    seconds = value_of("number > 0")
    parser.add_argument(
        "--window", type=seconds, metavar="SECONDS", help="so much is judged at a time (default: as a training clip)"
    )
    parser.add_argument(
        "--stride",
        type=seconds,
        metavar="SECONDS",
        help="from the start of one window to the next (default: half a window)",
    )
    parser.add_argument(
        "--limit",
        type=seconds,
        metavar="SECONDS",
        help="stop after so much of the video (a camera: or with Ctrl-C; default: at its end)",
    )
    parser.add_argument("--top", type=value_of("whole >= 1"), default=5, metavar="N", help="print so many classes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all scores into this file")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the same, a row for each window")
    parser.add_argument(
        "--video",
        dest="film",
        type=Path,
        metavar="MP4",
        help="write a video of frames, flow, Grad-CAM and bars; of a FOLDER: a folder of them",
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="write all of that as one picture; of a FOLDER: a folder of them"
    )
    add_stream(parser, "; of a FOLDER: a folder with files of the same names")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="what computes")
    add_trust(parser)
    return parser.parse_args(arguments)


def find_videos(typed: str) -> dict[str, str | int]:
    """Returns {name: path or camera} for what was typed. Raises `VideoError` if no video is there."""
    if os.path.isdir(typed):
        from twostream.data.sources.class_folders import OURS
        from twostream.data.storage.index import FILE_NAME

        found = files_below(Path(typed), Path(typed))  # the index, copies and packed frames of `prepare` are no videos
        theirs = (name for name in found if Path(name).name != FILE_NAME and not OURS.fullmatch(name.partition("/")[0]))
        names, others = divide_by_suffix(theirs)
        if not names:
            raise VideoError(typed, f"holds no videos{left_out(others)}")
        if others:
            print(f"{typed}{left_out(others)}", file=sys.stderr, flush=True)
        return {name: os.path.join(typed, name) for name in names}
    reason = why_absent(typed)
    if reason and typed.isdecimal():
        return {f"camera {typed}": int(typed)}
    if reason:
        raise VideoError(typed, reason)
    return {os.path.basename(typed): typed}

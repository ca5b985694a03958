"""`twostream features`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from twostream.cli.code import add_stream, add_trust, files_of
from twostream.cli.engine import add_engine
from twostream.cli.predict import find_videos
from twostream.config.compose import compose_config
from twostream.config.paths import check_weight_files
from twostream.config.saved import config_file, require_run
from twostream.files.errors import checked
from twostream.files.extras import missing_extra
from twostream.files.progress import begins
from twostream.files.video_files import VideoError, why_absent
from twostream.files.writable import require_writable
from twostream.options.arguments import Parser, value_of
from twostream.options.choices import AXES, FEATURE_FORMATS, PADDINGS, READABLE
from twostream.options.rule import did_you_mean

OVERRIDE = re.compile(r"[+~]*[A-Za-z_][\w./@]*=")


def features(arguments: Sequence[str]) -> None:
    """Write a vector for each window of videos, read at a layer of a network, for localisation and classifiers."""
    options = read_options(arguments)
    with checked():
        run, overrides, typed = divide(options.words)
        check_options(options)
        if run is None:
            check_weight_files(compose_config(overrides, config_dir=options.config_dir))
        elif options.config_dir is not None:
            raise ValueError(f"--config-dir {options.config_dir}: a run has all of its options; leave it out")
        else:
            require_run(run)
        videos = {video: path for word in typed for video, path in found_in(word).items()}
        check_names(videos)
        begins("Loading PyTorch and the network")
        from twostream.cli.work.features import write_features
        from twostream.config.features import Recipe
        from twostream.data.sources import Video

        listed = [
            Video(name, path, 0, name, files_of(options.streams, name if is_of_folder else None))
            for (name, is_of_folder), path in videos.items()
        ]
        folder = None if options.config_dir is None else str(options.config_dir.absolute())
        recipe = Recipe(options.layer, run, tuple(overrides), folder, tuple(options.trust))
    if not write_features(recipe, listed, options):
        sys.exit(1)


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads what the user typed."""
    parser = Parser(
        "twostream features",
        features.__doc__,
        examples=(
            "RUN_DIR FOLDER --layer head --out DIR",
            "backbone=resnet18 weights=imagenet streams=rgb FOLDER --layer conv5 --out DIR",
        ),
    )
    parser.usage = "twostream features RUN_DIR|NAME=VALUE… VIDEO|FOLDER… --layer NAME --out DIR [options]"
    parser.add_argument(
        "words", nargs="+", metavar="RUN_DIR|NAME=VALUE… VIDEO|FOLDER…",
        help="a folder that training has left, or, as for `twostream train`, a network and what it starts from: "
        "backbone=resnet18 weights=imagenet streams=rgb …; then videos, or folders of them",
    )  # fmt: skip
    parser.add_argument(
        "--layer", required=True, metavar="[STREAM.]NAME",
        help=f"{', '.join(READABLE)}; head: what the classifier gets; of all streams, or of one: flow.conv5",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder to write into; what is there is continued"
    )
    count = value_of("whole >= 1")
    parser.add_argument(
        "--window", type=count, metavar="FRAMES", help="so many frames a row (default: as a training clip spans)"
    )
    parser.add_argument("--stride", type=count, metavar="FRAMES", help="from row to row (default: half a window)")
    parser.add_argument(
        "--padding", choices=PADDINGS, default="none",
        help="none: row 0 begins with frame 0; centre: row i has frame i × stride in its middle",
    )  # fmt: skip
    parser.add_argument("--axes", choices=AXES, default="TD", help="TD: a row a window; DT: a column, for MS-TCN")
    parser.add_argument("--format", choices=FEATURE_FORMATS, default="npy", help="of the files; h5: HDF5")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="what computes")
    add_engine(parser)
    parser.set_defaults(workers=None)
    add_stream(parser, "; of a FOLDER: a folder with files of the same names")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="a folder of further options, as for training")
    add_trust(parser)
    return parser.parse_intermixed_args(arguments)


def divide(words: Sequence[str]) -> tuple[str | None, list[str], list[str]]:
    """Divides what was typed into (run folder or None, overrides, videos and folders).

    Without a choice of data, options are those for videos of one's own (data=folder). Raises ValueError if there is no
    video, or a run folder beside overrides.
    """
    overrides = [word for word in words if OVERRIDE.match(word) and not os.path.exists(word)]
    others = [word for word in words if word not in overrides]
    if overrides and others and config_file(others[0]).is_file():
        raise ValueError(f"{others[0]}: a run has all of its options; leave out {overrides[0]}")
    run = None if overrides else others.pop(0)
    if not others:
        raise ValueError(f"{words[-1]}: is followed by no VIDEO or FOLDER; name some; see twostream features --help")
    if overrides and not any(word.startswith(("data=", "experiment=")) for word in overrides):
        overrides.insert(0, "data=folder")
    return run, overrides, others


def check_options(options: argparse.Namespace) -> None:
    """Raises ValueError for a layer that no network has, ImportError without h5py for a format that needs it."""
    if (name := options.layer.rpartition(".")[2]) not in READABLE:
        near = did_you_mean(name, READABLE)
        raise ValueError(
            f"--layer {options.layer}: no network has {name or 'it'}; {near}choose from {', '.join(READABLE)}"
        )
    if options.window and options.stride and options.stride > options.window:
        raise ValueError(f"--stride {options.stride}: leaves gaps; at most the window, {options.window} frames")
    if options.format == "h5" and importlib.util.find_spec("h5py") is None:
        raise missing_extra("--format h5", "h5py", "h5")
    require_writable(options.out, "name another folder with --out DIR")


def found_in(typed: str) -> dict[tuple[str, bool], Path]:
    """Returns {(name below its folder, whether it is one of a folder): path}. Raises `VideoError` for no video."""
    if (reason := why_absent(typed)) is not None:
        raise VideoError(typed, reason)
    return {(name, os.path.isdir(typed)): Path(path).absolute() for name, path in find_videos(typed).items()}  # type: ignore[arg-type]


def check_names(videos: dict[tuple[str, bool], Path]) -> None:
    """Raises ValueError if the features of two videos would have one name."""
    seen: dict[PurePosixPath, Path] = {}
    for (name, _), path in videos.items():
        other = seen.setdefault(PurePosixPath(name).with_suffix(""), path)
        if other != path:
            raise ValueError(f"{other} and {path}: their features would be one file; name them in two commands")

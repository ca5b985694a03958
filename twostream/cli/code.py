"""Options of commands that may use code of the user's own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from twostream.config.compose import compose_config
from twostream.config.typed import meant
from twostream.options.arguments import Parser


def add_overrides(parser: Parser) -> None:
    """Adds the arguments that are typed as for `twostream train`."""
    parser.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="as for training: twostream train --help")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="a folder of further options, as for training")
    parser.hint = meant


def composed(options: argparse.Namespace) -> DictConfig:
    """Returns the configuration that was typed."""
    return compose_config(options.overrides, config_dir=options.config_dir)


def add_stream(parser: argparse.ArgumentParser, further: str = "") -> None:
    """Adds `--stream`, for commands that show a run a video beside which it sees other files; `further` help."""
    parser.add_argument(
        "--stream", dest="streams", action="append", default=[], metavar="NAME=PATH",
        help=f"the file of a stream that was a column of data.csv{further}",
    )  # fmt: skip


def files_of(typed: Sequence[str], name: str | None) -> dict[str, Path]:
    """Returns {stream: file} of what was typed by --stream; `name`: of a video in a FOLDER, whose paths are folders.

    Raises ValueError for what is no NAME=PATH.
    """
    found = {}
    for word in typed:
        stream, equals, path = word.partition("=")
        if not stream or not equals or not path:
            raise ValueError(f"--stream {word!r}: must be NAME=PATH, such as depth=a.mp4")
        found[stream] = Path(path) if name is None else Path(path) / name
    return found


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds `--trust`, for commands that load a run: the packages whose code it may name."""
    parser.add_argument(
        "--trust", action="append", default=[], metavar="PACKAGE",
        help="your own package, whose code the run uses, here or installed; may be repeated",
    )  # fmt: skip

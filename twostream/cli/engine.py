"""Options of commands that work in several processes."""

from __future__ import annotations

import argparse

from twostream.data.tasks import ENGINES, available_cores
from twostream.options.arguments import value_of


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Adds the options of commands that work in several processes."""
    workers = value_of("whole >= 1, <= 1024")
    parser.add_argument("--workers", type=workers, default=available_cores(), help="processes (default: one per core)")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="this machine's processes, or Ray's")
    parser.add_argument("--address", help="of a Ray cluster, e.g. auto; default: one is started here")

"""Options of commands that work in several processes."""

from __future__ import annotations

import argparse

from twostream.data.tasks import ENGINES, available_cores
from twostream.options.arguments import value_of


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Adds the options of commands that work in several processes."""
    workers = value_of("whole >= 1, <= 1024")
    parser.add_argument(
        "--workers", type=workers, metavar="N", default=available_cores(), help="processes (default: one per core)"
    )
    parser.add_argument(
        "--engine", choices=ENGINES, default="local", help="local: processes of this machine; ray: of a Ray cluster"
    )
    parser.add_argument("--address", help="of that Ray cluster, such as auto (default: one is started here)")

"""The command `twostream`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from twostream.config import EXPECTED, UserError, checked, compose_config, describe_config, one_line
from twostream.description import table


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


COMMANDS = {"info": info}


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

"""The subcommands.

Importing PyTorch takes seconds. So each module is imported only when its command is called, and imports what does the
work only where it has read the arguments and checked them.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from twostream.files.errors import ending_in_one_line, print_any_name
from twostream.files.resources import explain_shortages, raise_file_limit
from twostream.options.arguments import Parser

COMMANDS = {  # command -> the module with the function of that name
    "bench": "twostream.cli.bench",
    "doctor": "twostream.cli.doctor",
    "evaluate": "twostream.cli.evaluate",
    "export": "twostream.cli.export",
    "flow": "twostream.cli.flow",
    "fuse": "twostream.cli.fuse",
    "info": "twostream.cli.info",
    "inspect": "twostream.cli.inspect",
    "predict": "twostream.cli.predict",
    "prepare": "twostream.cli.prepare",
    "probe": "twostream.cli.probe",
    "replay": "twostream.cli.replay",
    "report": "twostream.cli.report",
    "train": "twostream.cli.train",
}


def main() -> None:
    """Runs one subcommand; wrong input ends the program with one line and exit code 1."""
    parser = Parser("twostream", description="Two-stream action recognition.")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    sys.argv = [f"twostream {options.command}", *options.arguments]  # Hydra reads it
    raise_file_limit()
    print_any_name()
    try:
        with ending_in_one_line(), explain_shortages():
            getattr(importlib.import_module(COMMANDS[options.command]), options.command)(options.arguments)
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)  # as in shells

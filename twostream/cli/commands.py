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

COMMANDS = {  # command -> (the module with the function of that name, what it does)
    "bench": ("twostream.cli.bench", "measure where the time of training goes"),
    "contributions": ("twostream.cli.contributions", "say what each of two streams adds to the other one"),
    "doctor": ("twostream.cli.doctor", "check this machine, and the decoders on your videos"),
    "evaluate": ("twostream.cli.evaluate", "test a finished run by a protocol of views"),
    "export": ("twostream.cli.export", "write the network of a run as a file for use elsewhere"),
    "features": (
        "twostream.cli.features",
        "write a vector for each window of videos, for localisation and classifiers",
    ),
    "flow": ("twostream.cli.flow", "compute the optical flow of a data set once, into a store"),
    "fuse": ("twostream.cli.fuse", "add up the scores of several runs"),
    "info": ("twostream.cli.info", "print the layers, shapes and costs of a network"),
    "inspect": ("twostream.cli.inspect", "draw what a trained network looks for, and where it looks"),
    "predict": ("twostream.cli.predict", "say what happens in a video, a folder of them, or before a camera"),
    "prepare": ("twostream.cli.prepare", "find or download a data set, check and index its videos"),
    "probe": ("twostream.cli.probe", "measure without training how well frozen networks tell your classes apart"),
    "replay": ("twostream.cli.replay", "repeat a training step that was not finite, to find the layer"),
    "report": ("twostream.cli.report", "compare runs in tables"),
    "train": ("twostream.cli.train", "train and test one network, or a sweep of them"),
}


def main() -> None:
    """Runs one subcommand; wrong input ends the program with one line and exit code 1."""
    parser = Parser(
        "twostream",
        description="Two-stream action recognition.",
        epilog="\n".join(f"  {command:<15}{what}" for command, (_, what) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of those below; each has its --help")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    options = parser.parse_args()
    if options.command == "train":
        sys.argv = [f"twostream {options.command}", *options.arguments]  # Hydra reads it
    # of other commands it stays as typed: Lightning starts further processes (--devices 2) by it
    raise_file_limit()
    print_any_name()
    try:
        with ending_in_one_line(), explain_shortages():
            module, _ = COMMANDS[options.command]
            getattr(importlib.import_module(module), options.command)(options.arguments)
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)  # as in shells

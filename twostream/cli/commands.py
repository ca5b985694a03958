"""The subcommands.

Importing PyTorch takes seconds. So each module is imported only when its command is called, and imports what does the
work only where it has read the arguments and checked them.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

from twostream.files.errors import ending_in_one_line, print_any_name
from twostream.files.resources import explain_shortages, raise_file_limit
from twostream.files.signals import ending_when_asked
from twostream.options.command import once_more, this_command
from twostream.options.help import entries, print_lines, wrapped
from twostream.options.rule import did_you_mean

COMMANDS = {  # command -> (the module with the function of that name, what it does)
    "bench": ("twostream.cli.bench", "measure where the time of training goes"),
    "contributions": ("twostream.cli.contributions", "say what each of two streams adds to the other one"),
    "demo": ("twostream.cli.demo", "open a page for the browser in which trained networks look at videos"),
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


SECTIONS = {  # of the help, in the order of a day's work
    "start": ("probe", "info"),
    "train": ("train", "replay"),
    "look": ("predict", "inspect", "demo"),
    "compare": ("evaluate", "report", "fuse", "contributions"),
    "use elsewhere": ("features", "export"),
    "data": ("prepare", "flow"),
    "this machine": ("doctor", "bench"),
}
WHAT = (
    "Trains networks that tell what happens in a video, from what single frames show and from how it moves (optical "
    "flow). Tests them, compares them in tables, and shows them your videos."
)
EXAMPLES = {
    "twostream train": "a first run, minutes on a CPU",
    "twostream train data=folder data.root=DIR": "your videos, in one folder for each class",
    "twostream train -m fusion=sum,max,conv": "a sweep: three runs, and a table of them",
    "twostream predict RUN_DIR VIDEO": "what a trained network sees in a video",
    "twostream report runs": "all runs in one table",
}
MORE = {
    "twostream COMMAND --help": "what a command does, and its options",
    "twostream train --help": "every option of training, with its default",
    "README.md, docs/": "in the repository: how to do what, and what was measured",
}


def main() -> None:
    """Runs one subcommand; wrong input ends the program with one line and exit code 1."""
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        return print_lines(help_lines())
    if command not in COMMANDS:
        choices = f"{did_you_mean(command, COMMANDS)}choose from {', '.join(COMMANDS)}"
        sys.exit(f"error: command {command}: {choices}; see twostream --help")
    if command == "train":
        sys.argv = [f"twostream {command}", *arguments]  # Hydra reads it
    # of other commands it stays as typed: Lightning starts further processes (--devices 2) by it
    raise_file_limit()
    print_any_name()
    with ending_when_asked(again := partial(once_more, this_command())), ending_in_one_line(), explain_shortages(again):
        module, _ = COMMANDS[command]
        getattr(importlib.import_module(module), command)(arguments)
        sys.stdout.flush()


def help_lines() -> list[str]:
    """Returns the help: what the tool does, examples, the commands by what one does with them."""
    lines = ["usage: twostream COMMAND …", "", wrapped(WHAT), "", "EXAMPLES", "", *entries(EXAMPLES, 46), ""]
    for heading, commands in SECTIONS.items():
        lines += [heading.upper(), "", *entries({command: COMMANDS[command][1] for command in commands}, 17), ""]
    return [*lines, "MORE", "", *entries(MORE)]

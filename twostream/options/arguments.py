"""Arguments of commands besides overrides, checked by the rules of `rule.py`, with errors of one line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from twostream.files.video_files import near
from twostream.options.help import columns, wrapped
from twostream.options.rule import Rule, did_you_mean

QUOTE = "'"


class Shape(argparse.RawDescriptionHelpFormatter):
    """The help of a command: as wide as that of training, every option with its default."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=columns())

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if not action.option_strings or action.required or action.nargs == 0 or "default" in text:
            return text
        return f"{text} (default: {'none' if action.default in (None, []) else '%(default)s'})"


class Parser(argparse.ArgumentParser):
    """argparse's parser, with help of one shape for all commands, and errors of one line.

    `examples`: what may be typed behind `prog`. A wrong argument ends the program by its name, its value, and what is
    allowed. `hint`: returns a question for an option that does not exist, such as whether an override was meant.
    """

    def __init__(self, prog: str, description: str | None = None, *, examples: Sequence[str] = ()) -> None:
        shown = "\n".join(["examples:", *(f"  {prog} {words}".rstrip() for words in examples)])
        super().__init__(prog, description=wrapped(description or ""), epilog=shown, formatter_class=Shape)
        self.hint: Callable[[str], str] = lambda name: ""

    def format_usage(self) -> str:
        needed = [action for action in self._actions if action.required or not action.option_strings]
        return f"usage: {self.usage or ' '.join([self.prog, *map(as_typed, needed), '[options]'])}\n"

    def format_help(self) -> str:
        self.usage = self.format_usage().removeprefix("usage: ").strip()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        if chosen := re.fullmatch(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)", message):
            name, value, listed = chosen.groups()
            choices = listed.replace(QUOTE, "").split(", ")
            message = f"{name} {value}: {did_you_mean(value, choices)}choose from {', '.join(choices)}"
        elif unknown := re.match(r"unrecognized arguments: (-\S+)", message):
            name = unknown[1].partition("=")[0]
            options = [option for action in self._actions for option in action.option_strings]
            hint = did_you_mean(name, options, cutoff=0.75) or self.hint(unknown[1].lstrip("-"))
            message = f"{unknown[1]}: no such option{'; ' if hint else ''}{hint}".rstrip()
        else:
            message = message.replace("unrecognized arguments:", "more than is read:")
            message = re.sub(r"^argument (\S+): (?!expected|ignored|not allowed)", r"\1 ", message)
        sys.exit(f"error: {message}{'' if message.endswith('?') else ';'} see {self.prog} --help")


def as_typed(action: argparse.Action) -> str:
    """Returns an argument as it is typed in a usage line: `RUN_DIR`, `[VIDEO]`, `NAME=VALUE …`, `--out DIR`."""
    name = str(action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper()))
    if action.option_strings:
        return f"{action.option_strings[0]} {name}"
    return {"?": f"[{name}]", "*": f"[{name} …]", "+": f"{name} …"}.get(str(action.nargs), name)


def value_of(rule: str) -> Callable[[str], Any]:
    """Returns a function, for argparse's `type`, that reads an argument and checks it by a rule.

    >>> value_of("whole >= 1")("3")
    3
    >>> value_of("whole >= 1")("nan")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: nan: must be a whole number of at least 1
    """
    known = Rule(rule)

    def read(text: str) -> Any:
        try:
            return known.read(typed(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text}: {error}") from None

    return read


def typed(text: str) -> Any:
    """Returns a number if the text looks like one, as for overrides, or else the text.

    >>> typed("1e-3"), typed("007"), typed("inf"), typed("1_0")
    (0.001, 7, inf, '1_0')
    """
    for kind in (int, float):
        if "_" not in text:
            try:
                return kind(text)
            except ValueError:
                continue
    return text


def existing(text: str) -> Path:
    """Returns the path of a file or folder. Raises ArgumentTypeError if nothing is there."""
    path = Path(text)
    if not text or not path.exists():
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder{near(text)}")
    return path


def new_file(text: str) -> Path:
    """Returns the path of a file to write. Raises ArgumentTypeError if it is a folder, or its folder does not exist."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a folder; name a file")
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: its folder does not exist")
    return path

"""Arguments of commands besides overrides, checked by the rules of `rule.py`, with errors of one line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from twostream.files.video_files import near
from twostream.options.rule import Rule

QUOTE = "'"


class Parser(argparse.ArgumentParser):
    """argparse's parser; a wrong argument ends the program in one line: its name, its value and what is allowed."""

    def error(self, message: str) -> NoReturn:
        if chosen := re.fullmatch(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)", message):
            name, value, choices = chosen.groups()
            message = f"{name} {value}: choose from {choices.replace(QUOTE, '')}"
        else:
            message = re.sub(r"^argument (\S+): (?!expected|ignored|not allowed)", r"\1 ", message)
        sys.exit(f"error: {message}; see {self.prog} --help")


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

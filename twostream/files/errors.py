"""Errors that the user or a file has caused: commands report them in one line, without a traceback."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

OF_WORKER = re.compile(
    r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback.*\n[\w.]+: (.*)\Z", re.DOTALL
)


class ExpectedError(RuntimeError):
    """Something outside of the program is wrong: a damaged file, a full disk, a store made with other options."""


class UserError(Exception):
    """Something that the user typed, or a file that the user named, cannot be used."""


@contextmanager
def checked() -> Iterator[None]:
    """Turns the errors that wrong input raises into a `UserError`; used around building, not around training."""
    try:
        yield
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            raise
        if type(error).__name__ == "InstantiationException":  # Hydra's: its cause has the better message
            raise UserError(str(error.__cause__ or error)) from error
        if isinstance(error, (ValueError, OSError, ImportError)) or is_expected(error):
            raise UserError(str(error)) from error
        raise


def is_expected(error: BaseException) -> bool:
    """Whether the user needs only the message of an error, and no traceback.

    Recognises errors of Hydra and Lightning about a configuration by their names, to avoid importing these packages.
    """
    foreign = type(error).__module__.partition(".")[0] in ("hydra", "omegaconf")
    return (
        isinstance(error, (UserError, ExpectedError)) or foreign or type(error).__name__ == "MisconfigurationException"
    )


def one_line(error: BaseException) -> str:
    """Returns the message of an error in one line; an error without a message gives the name of its class.

    >>> one_line(ValueError("In 'config':\\n\\tno such option"))
    "In 'config': no such option"

    Of an error that PyTorch has brought from a loader's worker, with a traceback in its text, it is the message alone.
    """
    text = str(error).split("Config search path:")[0]  # does not help a user who mistyped an option
    if of_worker := OF_WORKER.match(text):
        text = of_worker[1]
    return printable(text) or type(error).__name__


def first_line(error: BaseException) -> str:
    r"""Returns the first line of the message of an error, or the name of its class: the rest is advice of others.

    >>> first_line(ValueError("\nno such layer\n  File …")), first_line(ValueError())
    ('no such layer', 'ValueError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def end_with(error: BaseException, about: str = "") -> NoReturn:
    """Ends the program with an error in one line, and exit code 1; `about`: what it is about, with a colon."""
    sys.exit(f"error: {about}{one_line(error)}")


@contextmanager
def ending_in_one_line() -> Iterator[None]:
    """Ends the program with one line if the user needs no more of an error; silently if nobody reads its output."""
    try:
        yield
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            end_unread()
        if not is_expected(error):
            raise
        end_with(error)


def print_any_name() -> None:
    """Makes `print` write `?` for letters that the terminal's encoding lacks, so that no file name ends the program."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def nobody_reads() -> bool:
    """Whether the program that reads our output, as in `… | head`, has ended."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on Windows; no file, or a closed one
        return False


def end_unread() -> NoReturn:
    """Ends the program without any message, as shells expect once the reader of its output has gone (`… | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def say(text: str) -> None:
    """Prints text that may come from others (names of classes and files, messages), without codes for the terminal."""
    print("\n".join(shown(line) for line in text.split("\n")), flush=True)


def shown(line: str) -> str:
    r"""Returns a line with `?` for codes that a terminal would obey, and for what cannot be shown; spaces stay.

    >>> shown("a  b\x1b[2J \x9b \u202e")
    'a  b?[2J ? ?'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def printable(text: str) -> str:
    r"""Returns text in one line, with `?` for what cannot be shown.

    That is: bytes of file names that are not UTF-8, and codes for a terminal.

    >>> printable("a\n  b\x1b[2J \udcff")
    'a b?[2J ?'
    """
    return shown(" ".join(text.split()))

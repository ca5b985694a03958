"""What the user or a file got wrong, told in one line and without a traceback."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class ExpectedError(RuntimeError):
    """Something outside of the program is wrong: a damaged file, a full disk, a store of other options."""


class UserError(Exception):
    """Something the user typed, or a file the user named, that cannot be obeyed."""


@contextmanager
def checked() -> Iterator[None]:
    """Turns the errors that wrong input raises into a `UserError`; used around building, not around training."""
    try:
        yield
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            raise
        if type(error).__name__ == "InstantiationException":  # Hydra's: what was instantiated says it better
            raise UserError(str(error.__cause__ or error)) from error
        if isinstance(error, (ValueError, OSError, ImportError)) or is_expected(error):
            raise UserError(str(error)) from error
        raise


def is_expected(error: BaseException) -> bool:
    """Whether the message is all that the user needs.

    Errors of Hydra and Lightning about a configuration are told by their names: looking must not load them.
    """
    foreign = type(error).__module__.partition(".")[0] in ("hydra", "omegaconf")
    return (
        isinstance(error, (UserError, ExpectedError)) or foreign or type(error).__name__ == "MisconfigurationException"
    )


def one_line(error: BaseException) -> str:
    """The message without its line breaks.

    >>> one_line(ValueError("In 'config':\\n\\tno such option"))
    "In 'config': no such option"
    """
    text = str(error).split("Config search path:")[0]  # of no help to who mistyped an option
    return printable(text) or type(error).__name__


def print_any_name() -> None:
    """From here on `print` writes `?` for what the terminal's encoding does not have: no name may end a program."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def nobody_reads() -> bool:
    """Whether the program has gone that was given what is printed here."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on Windows; no file, or a closed one
        return False


def end_unread() -> NoReturn:
    """End as a program does whose reader has gone, as in `… | head`: without a word, also from Python itself."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def say(text: str) -> None:
    """Print what may hold text of others: names of classes and files, messages. Each line stays what it looks like."""
    print("\n".join(shown(line) for line in text.split("\n")), flush=True)


def shown(line: str) -> str:
    r"""With `?` for codes that a terminal would obey, and for what cannot be shown; spaces stay.

    >>> shown("a  b\x1b[2J \x9b \u202e")
    'a  b?[2J ? ?'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def printable(text: str) -> str:
    r"""In one line, with `?` for what cannot be shown: bytes of file names that are not UTF-8, codes for a terminal.

    >>> printable("a\n  b\x1b[2J \udcff")
    'a b?[2J ?'
    """
    return shown(" ".join(text.split()))

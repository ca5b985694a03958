"""The command `twostream`."""

from twostream.cli.commands import main

__all__ = ["main"]

"""What `twostream prepare` says, and how many files it has changed."""

from __future__ import annotations

from twostream.files.errors import say


class Report:
    """Prints lines for the user and counts the changes that were made."""

    def __init__(self) -> None:
        self.changes = 0

    def note(self, line: str) -> None:
        say(line)

    def did(self, changes: int, line: str) -> None:
        """Prints what was done, and counts `changes`, the number of files that it was done to."""
        self.changes += changes
        self.note(line)

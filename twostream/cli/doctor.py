"""`twostream doctor`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from twostream.doctor import report as doctor_report
from twostream.errors import checked, say


def doctor(arguments: Sequence[str]) -> None:
    """Check this machine, and with your videos its decoders; one screen to paste into an issue."""
    parser = argparse.ArgumentParser("twostream doctor", description=doctor.__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="videos, or folders of them")
    parser.add_argument("--clips", type=int, default=5, help="check so many at most (default 5)")
    options = parser.parse_args(arguments)
    with checked():
        for line in doctor_report(options.paths, most=options.clips):
            say(line)

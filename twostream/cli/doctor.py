"""`twostream doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from twostream.files.errors import checked, say
from twostream.options.arguments import Parser, existing, value_of


def doctor(arguments: Sequence[str]) -> None:
    """Check this machine, and with your videos its decoders; one screen to paste into an issue."""
    parser = Parser("twostream doctor", doctor.__doc__, examples=("", "DIR --clips 20"))
    parser.add_argument(
        "paths",
        nargs="*",
        type=existing,
        metavar="VIDEO|FOLDER",
        help="your own videos, or folders of them, to try the decoders on",
    )
    most = value_of("whole >= 1")
    parser.add_argument("--clips", type=most, default=5, metavar="N", help="check so many videos of a folder at most")
    options = parser.parse_args(arguments)
    with checked():
        from twostream.cli.work.doctor import report

        for line in report(options.paths, most=options.clips):
            say(line)

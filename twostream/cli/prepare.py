"""`twostream prepare`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from twostream.cli.engine import add_engine
from twostream.files.errors import checked
from twostream.options.arguments import Parser, value_of
from twostream.options.choices import DATA_SETS, DECODERS


def prepare(arguments: Sequence[str]) -> None:
    """Find, download or unpack a data set, check every video, and index them; does only what is not done yet."""
    parser = Parser(
        "twostream prepare", prepare.__doc__, examples=("folder --root DIR", "ucf101 --root DIR --download")
    )
    parser.add_argument(
        "data_set", choices=DATA_SETS, help="ucf101, hmdb51; folder: your own videos, in a folder for each class"
    )
    parser.add_argument(
        "--root", type=Path, required=True, metavar="DIR", help="the folder of the videos, or of their archives"
    )
    parser.add_argument("--download", action="store_true", help="fetch what is missing; goes on where it was stopped")
    parser.add_argument("--mirror", action="append", default=[], metavar="URL", help="ask there first; may be repeated")
    parser.add_argument("--strict", action="store_true", help="exit with code 1 where a video is broken")
    parser.add_argument("--reencode", action="store_true", help="write clean H.264 copies into ROOT/reencoded")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write the copies there (default: ROOT/reencoded)")
    parser.add_argument("--pack", action="store_true", help="write the frames of each video, for data.frames=packed")
    parser.add_argument(
        "--packed",
        type=Path,
        metavar="DIR",
        help="write those frames there, for data.packed=DIR (default: ROOT/packed-256)",
    )
    pixels = value_of("whole")
    parser.add_argument(
        "--short-side",
        type=pixels,
        metavar="PIXELS",
        help="of copies (default: as they are) and packed frames (default: 256)",
    )
    parser.add_argument("--decoder", choices=DECODERS, default="auto", help="the decoder that has to read them")
    add_engine(parser)
    options = parser.parse_args(arguments)
    with checked():
        from twostream.data.prepare import Wishes, Workers
        from twostream.data.prepare import prepare as run_prepare

        broken = run_prepare(
            options.data_set,
            options.root.expanduser(),
            Wishes(
                download=options.download,
                mirrors=options.mirror,
                reencode=options.reencode,
                output=options.output,
                pack=options.pack,
                packed=options.packed,
                short_side=options.short_side,
            ),
            decoder=options.decoder,
            workers=Workers(options.workers, options.engine, options.address),
        )
    if broken and options.strict:
        sys.exit(1)

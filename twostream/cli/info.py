"""`twostream info`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from twostream.cli.code import add_overrides, composed
from twostream.files.errors import checked, say
from twostream.options.arguments import Parser, value_of


def info(arguments: Sequence[str]) -> None:
    """Print the layers, shapes and costs of a network, before anything runs."""
    parser = Parser("twostream info", info.__doc__, examples=("backbone=vgg16 fusion=conv layer=conv5 --classes 20",))
    add_overrides(parser)
    count = value_of("whole >= 1")
    parser.add_argument("--classes", type=count, default=101, metavar="K", help="number of classes; UCF101 has 101")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_intermixed_args(arguments)
    with checked():
        cfg = composed(options)
        from twostream.config.bounds import cautions
        from twostream.config.network import describe_config
        from twostream.config.sampling import shows_rows
        from twostream.models.network.description import table

        description = describe_config(cfg, options.classes)
        warnings = [] if shows_rows(cfg) else cautions(cfg)  # rows of frames are meant to show motion
    say(json.dumps(description.as_dict(), indent=2) if options.json else table(description))
    for warning in warnings:
        print(f"WARNING: {warning}", file=sys.stderr)  # keeps JSON on stdout valid

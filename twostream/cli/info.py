"""`twostream info`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from twostream.config import compose_config, describe_config
from twostream.description import table
from twostream.errors import checked
from twostream.options.arguments import Parser, value_of


def info(arguments: Sequence[str]) -> None:
    """Print what a network is, before anything runs."""
    parser = Parser("twostream info", description=info.__doc__)
    parser.add_argument("overrides", nargs="*", help="as for train.py: fusion=conv layer=conv5 backbone=vgg16 …")
    count = value_of("whole >= 1")
    parser.add_argument("--classes", type=count, default=101, help="number of classes (default 101, UCF101)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    with checked():
        description = describe_config(compose_config(options.overrides), options.classes)
    print(json.dumps(description.as_dict(), indent=2) if options.json else table(description))

"""`twostream info`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from twostream.config import cautions, compose_config, describe_config
from twostream.description import table
from twostream.errors import checked


def info(arguments: Sequence[str]) -> None:
    """Print what a network is, before anything runs."""
    parser = argparse.ArgumentParser("twostream info", description=info.__doc__)
    parser.add_argument("overrides", nargs="*", help="as for train.py: fusion=conv layer=conv5 backbone=vgg16 …")
    parser.add_argument("--classes", type=int, default=101, help="number of classes (default 101, UCF101)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    with checked():
        cfg = compose_config(options.overrides)
        description = describe_config(cfg, options.classes)
        warnings = cautions(cfg)
    print(json.dumps(description.as_dict(), indent=2) if options.json else table(description))
    for warning in warnings:
        print(f"WARNING: {warning}", file=sys.stderr)  # not among what is JSON

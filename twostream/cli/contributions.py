"""`twostream contributions`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from twostream.files.errors import checked, say
from twostream.files.words import counted
from twostream.files.writable import require_writable
from twostream.metrics.score_fusion import fuse
from twostream.metrics.scores import Scores
from twostream.options.arguments import Parser

FUSED = "fused"
SHOWN = 10  # classes that the terminal shows; the files have all


def contributions(arguments: Sequence[str]) -> None:
    """Say what each of two streams adds to the other one, from the scores of each alone and of both."""
    parser = Parser(
        "twostream contributions",
        contributions.__doc__,
        examples=("rgb=RGB_RUN/test_scores.npz flow=FLOW_RUN/test_scores.npz",),
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=named,
        metavar="STREAM=SCORES.npz",
        help="rgb=FILE flow=FILE, each trained alone, and fused=FILE of both (default: the mean of their logits)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write contributions.json, .md and .png there")
    options = parser.parse_args(arguments)
    with checked():
        typed = {name: f"{name}={path}" for name, path in options.files}
        streams = streams_of([name for name, _ in options.files])
        if options.out is not None:
            require_writable(options.out, "name another folder with --out DIR")
        files = {name: Scores.load(path) for name, path in options.files}
        if FUSED not in files:
            names = [typed[stream] for stream in streams]
            files[FUSED] = fuse([files[stream] for stream in streams], (1, 1), softmax=False, names=names)
        from twostream.metrics.contributions import compare

        order = [*streams, FUSED]
        found = compare([[files[name] for name in order]], streams, names=[[typed.get(name, name) for name in order]])
        from twostream.report.contribution_page import as_text, write_contributions

        first = files[streams[0]]
        how = "" if FUSED in typed else "; fused: the mean of logits"
        title = f"{first.data} split {first.split}, {first.part}: {counted(len(first.videos), 'video')}; in %{how}"
        if options.out is not None:
            write_contributions(found, title, options.out)
    say(as_text(found, title, classes=SHOWN))
    for name, path in options.files:
        if leaked := files[name].leaked:
            say(f"WARNING: {path}: the weights were trained on {leaked} of the videos (--allow-leak)")
    if options.out is not None:
        say(f"-> {options.out / 'contributions.md'}")


def named(text: str) -> tuple[str, str]:
    """Reads `rgb=FILE` as (name, path)."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text}: say of which stream it is, such as rgb={text or 'FILE'}")
    return name, path


def streams_of(names: Sequence[str]) -> tuple[str, str]:
    """Returns the two streams that were named, besides `fused`. Raises ValueError unless there are two."""
    streams = [name for name in names if name != FUSED]
    if len(set(names)) < len(names) or len(streams) != 2:
        raise ValueError(f"{' '.join(names)}: name two streams and at most one fused: rgb=FILE flow=FILE fused=FILE")
    return streams[0], streams[1]

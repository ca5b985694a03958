"""`twostream fuse`."""

from __future__ import annotations

from collections.abc import Sequence

from twostream.files.errors import checked, say
from twostream.metrics.score_fusion import fuse as fuse_scores
from twostream.metrics.score_fusion import parse_weights, search
from twostream.metrics.scores import Scores
from twostream.metrics.table import metrics_of, metrics_table, untested_in
from twostream.options.arguments import Parser, new_file


def fuse(arguments: Sequence[str]) -> None:
    """Fuse the scores of several networks on the same videos: the weighted mean of logits, or of probabilities."""
    parser = Parser(
        "twostream fuse", fuse.__doc__, examples=("RGB_RUN/test_scores.npz FLOW_RUN/test_scores.npz --weights 1:1.5",)
    )
    parser.add_argument("files", nargs="+", metavar="SCORES.npz", help="test_scores.npz, or evaluation/…/scores.npz")
    parser.add_argument("--weights", metavar="1:1.5", help="of the files, in their order (default: all alike)")
    parser.add_argument(
        "--softmax", action="store_true", help="add class probabilities, not logits (Simonyan & Zisserman 2014)"
    )
    parser.add_argument("--search", action="store_true", help="find the weights; for scores of validation videos")
    parser.add_argument("--output", type=new_file, metavar="FILE.npz", help="write the fused scores there")
    options = parser.parse_args(arguments)
    names = options.files
    with checked():
        files = [Scores.load(name) for name in names]
        if options.search and options.weights:
            raise ValueError("--search finds the weights: give no --weights")
        weights = parse_weights(options.weights or ":".join("1" * len(files)), len(files))
        if options.search:
            weights, _ = search(files, softmax=options.softmax, names=names)
        fused = fuse_scores(files, weights, softmax=options.softmax, names=names)
        title = "fused " + ":".join(f"{weight:g}" for weight in weights)
        rows = {name: metrics_of(scores) for name, scores in zip(names, files, strict=True)}
        if options.output:
            fused.save(options.output)
    what = "class probabilities" if options.softmax else "logits"
    say(f"{fused.data} split {fused.split}, {fused.part}: {len(fused.videos)} videos, weighted mean of {what}; in %")
    say(metrics_table({**rows, title: metrics_of(fused)}))
    if absent := untested_in(fused):
        say(f"WARNING: {absent}")
    for name, scores in zip(names, files, strict=True):
        if scores.leaked:
            say(f"WARNING: {name}: the weights were trained on {scores.leaked} of the videos (--allow-leak)")
    if options.search:
        say(f"--weights {':'.join(f'{weight:g}' for weight in weights)}")

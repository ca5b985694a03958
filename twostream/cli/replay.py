"""`twostream replay`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twostream.cli.code import add_trust
from twostream.config.saved import require_run
from twostream.files.errors import checked, say
from twostream.options.arguments import Parser


def replay(arguments: Sequence[str]) -> None:
    """Repeat the training step whose loss or gradient was not a finite number, and tell in which layer that begins."""
    parser = Parser("twostream replay", replay.__doc__, examples=("RUN_DIR",))
    parser.add_argument("path", type=Path, metavar="RUN_DIR|FILE", help="the run, or its nonfinite-….pt")
    add_trust(parser)
    options = parser.parse_args(arguments)
    with checked():
        path = find_kept(options.path)
        require_run(path.parent)
        from twostream.launch.replay import replay as replay_step

        found = replay_step(path, trust=options.trust)
    say(f"{path}: loss {found.loss}")
    for video, loss in found.losses.items():
        say(f"  {video}: {loss:.4f}")
    if found.gradients:
        say(f"gradients that are not finite: {', '.join(found.gradients)}")
    if found.weights:
        say(f"weights that are not finite: {', '.join(found.weights)}")
    say(f"the first output that is not finite: {found.first or 'none'}")


def find_kept(path: Path) -> Path:
    """Returns a file of `FiniteLoss`: `path`, or the newest one in a run folder. Raises ValueError if there is none."""
    if path.is_file():
        return path
    kept = sorted(path.glob("nonfinite-*.pt"))
    if not kept:
        raise ValueError(f"{path}: has no nonfinite-*.pt, that a run leaves whose loss or gradient is not finite")
    return kept[-1]
